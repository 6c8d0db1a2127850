"""Failpoints: what they accept, when they act, and that every step of the code has its name in the list."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from storage import files
from storage.errors import DiskFullError, ReadOnlyStoreError, SettingError, SyncFailedError
from storage.failpoints import STEPS, Failpoints
from storage.files import Sync

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def observed(monkeypatch: pytest.MonkeyPatch):
    """Install points for the test and take them away again."""

    def install(text: str) -> None:
        monkeypatch.setattr(files, "observer", Failpoints.from_environment(text))

    return install


def child(code: str, points: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", f"from storage import files\n{code}"],
        env={**os.environ, "AEGIS_FAILPOINTS": points, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
    )


def test_every_step_of_the_code_can_be_named_and_no_other() -> None:
    found = set()
    for path in (*(ROOT / "storage").glob("*.py"), *(ROOT / "aegis_cli").rglob("*.py")):
        found |= set(re.findall(r"files\.step\(\"([a-z.]+)\"\)", path.read_text()))
    assert found == STEPS


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("journal.append", "has no action"),
        ("journal.apend=kill", "names no step or operation 'journal.apend'"),
        ("journal.append=kil", "has no action 'kil' for 'journal.append'"),
        ("journal.append=eio", "has no action 'eio' for 'journal.append'"),
        ("journal.append:x=kill", "has a pattern that means nothing"),
        ("write:=kill", "has a pattern that means nothing"),
        ("sync:JOURNAL=eio", "names no sync 'JOURNAL'"),
        ("sync=short", "has no action 'short' for 'sync'"),
        ("apply=kill@0", "has no count '0'"),
        ("apply=kill@x", "has no count 'x'"),
        ("apply=stall:x", "has no action 'stall:x'"),
        ("apply=stall:60001", "has no action 'stall:60001'"),
        ("apply=wait:", "has no action 'wait:'"),
        ("apply=kill;roll", "has no action"),
        (";".join(["apply=kill"] * 101), "has more than 100 points"),
    ],
)
def test_what_cannot_be_read_is_refused(text: str, reason: str) -> None:
    with pytest.raises(SettingError) as caught:
        Failpoints.from_environment(text)
    assert reason in str(caught.value)


def test_empty_points_mean_nothing() -> None:
    Failpoints.from_environment(" ; ;").step("apply")


def test_errors_arrive_as_those_of_the_store(observed, tmp_path: Path) -> None:
    observed(
        "allocate=enospc;write:b/x=erofs;write:b/y=eio;sync:EPOCH=eio;rename:new=eio;unlink=eio;truncate=eio"
    )
    (tmp_path / "b").mkdir()
    x, y = str(tmp_path / "b" / "x"), str(tmp_path / "b" / "y")
    x_fd, y_fd = files.open_file(x, create=True), files.open_file(y, create=True)
    with pytest.raises(DiskFullError):
        files.allocate(x_fd, 0, 1)
    with pytest.raises(ReadOnlyStoreError):
        files.write_at(x_fd, b"1", 0)
    with pytest.raises(OSError, match=r"Input/output error.*b/y"):
        files.write_at(y_fd, b"1", 0)
    with pytest.raises(SyncFailedError):
        files.sync(x_fd, Sync.EPOCH, x)
    with pytest.raises(SyncFailedError):
        files.sync_directory(str(tmp_path), Sync.EPOCH)
    files.sync(x_fd, Sync.SETTINGS, x)
    with pytest.raises(OSError, match="Input/output error"):
        files.rename(x, str(tmp_path / "new"))
    with pytest.raises(OSError, match="Input/output error"):
        files.unlink(x)
    with pytest.raises(OSError, match="Input/output error"):
        files.truncate(x_fd, 0)
    assert b"" == (tmp_path / "b" / "x").read_bytes()
    files.close_file(x_fd)
    files.close_file(y_fd)


def test_making_a_file_or_a_directory_can_fail(observed, tmp_path: Path) -> None:
    observed("create:x=enospc;mkdir=erofs")
    with pytest.raises(DiskFullError):
        files.open_file(str(tmp_path / "x"), create=True)
    with pytest.raises(ReadOnlyStoreError):
        files.make_directory(str(tmp_path / "d"))


def test_a_count_means_that_time_only(observed, tmp_path: Path) -> None:
    observed("write=eio@2")
    fd = files.open_file(str(tmp_path / "x"), create=True)
    files.write_at(fd, b"1", 0)
    with pytest.raises(OSError, match="Input/output"):
        files.write_at(fd, b"2", 0)
    files.write_at(fd, b"3", 0)
    files.close_file(fd)
    assert b"3" == (tmp_path / "x").read_bytes()


def test_a_short_write_leaves_its_first_half(observed, tmp_path: Path) -> None:
    observed("write=short")
    fd = files.open_file(str(tmp_path / "x"), create=True)
    with pytest.raises(DiskFullError):
        files.write_at(fd, b"1234", 0)
    files.close_file(fd)
    assert b"12" == (tmp_path / "x").read_bytes()


def test_a_torn_write_ends_the_process(tmp_path: Path) -> None:
    opening = f"fd = files.open_file({str(tmp_path / 'x')!r}, create=True)"
    process = child(f"{opening}\nfiles.write_at(fd, b'1234', 0)\nprint('on')", "write=torn")
    assert b"" == process.communicate(timeout=30)[0]
    assert -signal.SIGKILL == process.returncode
    assert b"12" == (tmp_path / "x").read_bytes()


def test_kill_ends_the_process_before_the_step(tmp_path: Path) -> None:
    process = child("files.step('roll')\nprint('on')", "roll=kill")
    assert b"" == process.communicate(timeout=30)[0]
    assert -signal.SIGKILL == process.returncode


def test_stop_waits_for_the_signal_to_go_on(tmp_path: Path) -> None:
    process = child("files.step('roll')\nprint('on')", "roll=stop")
    pid, status = os.waitpid(process.pid, os.WUNTRACED)
    assert (process.pid, True) == (pid, os.WIFSTOPPED(status))
    process.send_signal(signal.SIGCONT)
    assert b"on\n" == process.communicate(timeout=30)[0]


def test_wait_says_that_it_was_reached_and_goes_on_when_told(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    process = child("files.step('roll')\nprint('on')", f"roll=wait:{gate}")
    deadline = time.monotonic() + 30
    while not (tmp_path / "gate.reached").exists():
        assert time.monotonic() < deadline
        assert process.poll() is None
    gate.touch()
    assert b"on\n" == process.communicate(timeout=30)[0]


def test_a_stall_takes_its_time(observed) -> None:
    observed("roll=stall:20")
    began = time.monotonic()
    files.step("roll")
    assert 0.02 <= time.monotonic() - began


def test_a_wrong_point_ends_the_process_with_a_message(tmp_path: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-m", "aegis_cli", "publish", "t", "1", "--store", str(tmp_path)],
        env={**os.environ, "AEGIS_FAILPOINTS": "aply=kill", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert 2 == process.returncode
    assert (
        b"aegis: error: setting 'AEGIS_FAILPOINTS' names no step or operation 'aply' in 'aply=kill'; "
        b"see storage/failpoints.py\n"
    ) == process.stderr
