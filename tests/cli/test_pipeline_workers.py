"""`aegis pipeline run --workers`: processes that die, are killed, are stopped, and leave nobody behind."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from aegis_cli.pipeline.admin import status_of
from storage.batch import RecordBatch
from storage.store import Append, Store
from storage.topic import TopicSettings
from tests.cli.processes import Running, running, wait_for

_RECORDS = 60_000
_SLOW = """\
source: a
filter: matches(page, "^/p/[0-9]+(/[a-z]+)*$")
map:
  at: at
  k: substr(sha256(page), 0, 1)
  n: int(regex_extract(page, "[0-9]+"))
time: {field: at, watermark: 1s}
group_by: k
window: 10s
aggregate: {n: count(), s: sum(n)}
sink: [b, {file: out.jsonl}]
commit_interval: 20ms
"""


@pytest.fixture
def home(aegis: Any) -> Path:
    """Where p.yaml is; the topic a has enough records for a run to be met in its work."""
    lines = [b'{"at":%d,"page":"/p/%d/x"}\n' % (number // 300, number % 977) for number in range(_RECORDS)]
    with Store(aegis.store, create=True) as store:
        store.create_topic("a", TopicSettings(durability="os"))
        for first in range(0, _RECORDS, 3000):
            batch = RecordBatch(lines=b"".join(lines[first : first + 3000]), count=3000)
            store.append([Append(topic="a", partition=0, batches=[batch])])
    Path(aegis.home, "p.yaml").write_text(_SLOW)
    return Path(aegis.home)


@pytest.fixture
def expected(aegis: Any, home: Path) -> tuple[list[bytes], bytes]:
    """What a run alone writes."""
    text = _SLOW.replace("sink: [b, {file: out.jsonl}]", "name: alone\nsink: [c, {file: alone.jsonl}]")
    Path(home, "alone.yaml").write_text(text)
    assert 0 == aegis("pipeline", "run", "alone.yaml", "--once").code
    return values(aegis, "c"), Path(home, "alone.jsonl").read_bytes()


def values(aegis: Any, topic: str) -> list[bytes]:
    with Store(aegis.store) as store:
        return [message.value for message in store.read(topic)]


def records_in(aegis: Any) -> int:
    with Store(aegis.store) as store:
        if "p" not in store.catalog.names("pipelines"):
            return 0
        found = status_of(store, "p")
        assert found.balances
        return found.account.records_in


def children(pid: int) -> list[int]:
    """The processes that a process began."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = Path(entry, "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == pid and fields[0] != "Z":
                found.append(int(entry.name))
    return found


def are_gone(pids: list[int]) -> bool:
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


def at_work(aegis: Any, process: Running, *, more_than: int) -> list[int]:
    """Wait until a run has committed more than so many records; returns its workers."""
    wait_for(lambda: records_in(aegis) > more_than)
    pids = children(process.pid)
    assert 2 == len(pids)
    return pids


def finish(aegis: Any, home: Path) -> tuple[list[bytes], bytes]:
    """What is there when a last run has come to the end."""
    finished = aegis("pipeline", "run", "p.yaml", "--once", "--workers", "3")
    assert (0, f"in {_RECORDS} = ") == (finished.code, finished.err[21 : 21 + len(f"in {_RECORDS} = ")])
    return values(aegis, "b"), (home / "out.jsonl").read_bytes()


def test_killed_workers_and_runs_lose_and_double_nothing_and_leave_nobody_behind(
    aegis: Any, home: Path, expected: tuple[list[bytes], bytes]
) -> None:
    for number in range(6):
        done = records_in(aegis)
        with running(aegis, "pipeline", "run", "p.yaml", "--workers", "2") as process:
            pids = at_work(aegis, process, more_than=done)
            os.kill((pids[number % 2], process.pid)[number // 3], signal.SIGKILL)
            if number < 3:
                assert 1 == process.wait()
                said = process.stderr.decode()
                reason = (
                    f"worker {pids[number % 2]} of the pipeline failed: killed by signal 9; nothing is lost"
                )
                assert reason in said
                assert 1 == said.count("\n")
            else:
                assert -signal.SIGKILL == process.wait()
        wait_for(lambda: are_gone(pids))  # noqa: B023
    assert records_in(aegis) < _RECORDS, "the runs came to the end before they were killed"
    assert expected == finish(aegis, home)


@pytest.mark.parametrize("stopped", [False, True], ids=["at work", "stopped"])
def test_a_run_with_workers_ends_within_a_second(aegis: Any, home: Path, stopped: bool) -> None:
    with running(aegis, "pipeline", "run", "p.yaml", "--workers", "2") as process:
        pids = at_work(aegis, process, more_than=0)
        if stopped:
            os.kill(pids[0], signal.SIGSTOP)
        for pid in (*pids, process.pid):
            # As a supervisor does it, and a terminal on Ctrl-C.
            os.kill(pid, signal.SIGTERM)
        began = time.monotonic()
        assert 0 == process.wait()
        assert time.monotonic() - began < 1.0
    assert are_gone(pids)
    assert records_in(aegis) > 0


def test_workers_go_on_with_a_file_that_was_changed(aegis: Any, home: Path) -> None:
    Path(home, "p.yaml").write_text("source: a\nmap: {at: at}\nsink: b\n")
    with running(aegis, "pipeline", "run", "p.yaml", "--workers", "2") as process:
        pids = at_work(aegis, process, more_than=0)
        Path(home, "p.yaml").write_text("source: a\nmap: {at: at, page: page}\nsink: b\n")
        os.kill(process.pid, signal.SIGHUP)
        process.says("reloaded, with another map")
        wait_for(lambda: records_in(aegis) == _RECORDS)
        assert pids == children(process.pid)
        with Store(aegis.store) as store:
            store.publish("a", {"at": 1, "page": "new"})
        wait_for(lambda: records_in(aegis) == _RECORDS + 1)
        os.kill(process.pid, signal.SIGTERM)
        assert 0 == process.wait()
    written = values(aegis, "b")
    assert (_RECORDS + 1, b'{"at":1,"page":"new"}') == (len(written), written[-1])


@pytest.mark.parametrize(
    ("number", "text", "message"),
    [
        ("0", _SLOW, "invalid value for '--workers': 0 is not in the range 1<=x<=16"),
        ("17", _SLOW, "invalid value for '--workers': 17 is not in the range 1<=x<=16"),
        ("2", "source: '-'\nsink: '-'\n", "--workers needs a topic or a file as source"),
    ],
)
def test_workers_that_cannot_be_are_refused(aegis: Any, number: str, text: str, message: str) -> None:
    Path(aegis.home, "p.yaml").write_text(text)
    finished = aegis("pipeline", "run", "p.yaml", "--once", "--workers", number)
    assert (2, b"") == (finished.code, finished.stdout)
    assert message in finished.err


def test_a_file_can_be_read_by_workers(aegis: Any) -> None:
    Path(aegis.home, "in.jsonl").write_text("".join(f'{{"n":{number}}}\n' for number in range(5000)))
    Path(aegis.home, "p.yaml").write_text("source: {file: in.jsonl}\nmap: {n: n * 2}\nsink: '-'\n")
    finished = aegis("pipeline", "run", "p.yaml", "--once", "--workers", "2")
    assert 0 == finished.code
    assert [f'{{"n":{number * 2}}}' for number in range(5000)] == finished.lines
