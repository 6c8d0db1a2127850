"""Exit codes, and the one line on stderr that goes with each."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from aegis_cli import __main__ as process
from aegis_cli import exits
from aegis_cli.exits import EXIT_CODES, MEANINGS, ExitCode, describe, exit_code
from storage import errors

EXAMPLES: list[tuple[BaseException, int]] = [
    (errors.StorageError("x"), 1),
    (RuntimeError("x"), 1),
    (OSError(errno.EIO, "Input/output error"), 1),
    (exits.UsageError("x"), 2),
    (exits.CommandFailed("x"), 11),
    (exits.Unreachable("x"), 6),
    (errors.InvalidNameError("../x", "it holds a slash"), 2),
    (errors.SettingError("a", "does not exist", remedy="b"), 2),
    (errors.StoreNotFoundError("/s"), 3),
    (errors.TopicNotFoundError("t"), 3),
    (errors.PartitionNotFoundError("t", 4, 2), 3),
    (errors.GroupNotFoundError("g"), 3),
    (FileNotFoundError(errno.ENOENT, "No such file", "f"), 3),
    (errors.TopicExistsError("t", "T"), 4),
    (errors.TopicChangedError("t"), 4),
    (errors.OffsetConflictError("t", 0, 1, 2), 4),
    (errors.MemberFencedError("g", "7-a", "t", 0), 4),
    (errors.GroupInUseError("g", ["7-a"], ["process 7"]), 4),
    (errors.TransactionEndedError(), 4),
    (errors.FencedError("groups/g", 1, 2), 4),
    (errors.OutputFileError("f", 9, 3), 4),
    (errors.DamageError("f", "a checksum fails"), 5),
    (errors.FileMissingError("f"), 5),
    (errors.LockTimeoutError("partition", "process 7", 1.5), 6),
    (errors.InvalidRecordError(3, "no JSON", remedy="use --text"), 7),
    (errors.InvalidRecordError(3, "no JSON", remedy="use --text", published=0), 7),
    (errors.DiskFullError("/s"), 8),
    (OSError(errno.ENOSPC, "No space left on device"), 8),
    (errors.NotAStoreError("/s", "it holds mail"), 9),
    (errors.NewerFormatError("/s", 2, 1, action="read"), 9),
    (errors.ReadOnlyStoreError("/s"), 9),
    (errors.UnsafeFileSystemError("/s", "nfs"), 9),
    (errors.StoreFailedError("/s", "input/output error"), 9),
    (PermissionError(errno.EACCES, "Permission denied", "f"), 9),
    (errors.InvalidRecordError(3, "no JSON", remedy="use --text", published=2), 10),
    (errors.InDoubtError("t", 0, "process 7 is at it and stands"), 10),
    (errors.NotYetVisibleError("t", 0, "input/output error"), 10),
    (errors.SyncFailedError("/s", "input/output error"), 10),
    (BrokenPipeError(), 0),
    (KeyboardInterrupt(), 130),
    (exits.Terminated(), 143),
]


@pytest.mark.parametrize(("error", "code"), EXAMPLES, ids=lambda value: type(value).__name__)
def test_an_error_ends_in_its_code(error: BaseException, code: int) -> None:
    assert code == exit_code(error)


def test_every_error_of_the_store_has_an_example_here() -> None:
    shown = {type(error) for error, _ in EXAMPLES}
    defined = [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, errors.StorageError)
    ]
    missing = [cls.__name__ for cls in defined if not any(issubclass(example, cls) for example in shown)]
    assert [] == missing


def test_every_code_has_a_meaning() -> None:
    assert set(ExitCode) == set(MEANINGS)


def test_every_code_is_reached_by_the_table_or_by_a_rule() -> None:
    by_rule = {ExitCode.OK, ExitCode.FAILED}
    assert set(ExitCode) == set(EXIT_CODES.values()) | by_rule


def test_a_message_is_always_one_line() -> None:
    assert "first second" == describe(RuntimeError("first\nsecond"))
    assert "RuntimeError" == describe(RuntimeError())


def test_a_message_of_the_kernel_names_the_file() -> None:
    assert "f: No such file" == describe(FileNotFoundError(errno.ENOENT, "No such file", "f"))


def test_an_invalid_record_says_how_much_was_published_before_it() -> None:
    error = errors.InvalidRecordError(3, "no JSON", remedy="use --text", published=1)
    assert "line 3: no JSON; use --text (1 record before it published)" == describe(error)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["confg"], "no such command 'confg'; did you mean 'config'?"),
        (["config", "get"], "missing argument 'KEY'; see 'aegis config get --help'"),
        (["config", "list", "--jsn"], "no such option: --jsn; did you mean '--json'?"),
        (["config", "list", "more"], "got unexpected extra argument(s) (more); see"),
        (["config", "list", "--store"], "option '--store' requires an argument"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_exit_2(aegis: Any, arguments: list[str], message: str) -> None:
    finished = aegis(*arguments)
    assert 2 == finished.code
    assert b"" == finished.stdout
    assert 1 == finished.err.count("\n")
    assert "aegis: error: " == finished.err[: len("aegis: error: ")]
    assert message in finished.err


@pytest.mark.parametrize("arguments", [[], ["config"]])
def test_a_bare_group_shows_its_help_on_stderr_and_exits_2(aegis: Any, arguments: list[str]) -> None:
    finished = aegis(*arguments)
    assert 2 == finished.code
    assert b"" == finished.stdout
    assert "Commands:" in finished.err


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_goes_to_stdout_and_exits_0(aegis: Any, flag: str) -> None:
    finished = aegis("config", "list", flag)
    assert 0 == finished.code
    assert "Usage: aegis config list" in finished.out
    assert b"" == finished.stderr


def test_debug_shows_where_an_error_comes_from(aegis: Any) -> None:
    finished = aegis("--debug", "config", "get", "nothing")
    assert 2 == finished.code
    assert "Traceback" in finished.err
    assert finished.err.splitlines()[-1].startswith("aegis: error: setting 'nothing'")


def test_a_reader_that_went_away_is_no_error(aegis: Any) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    finished = subprocess.run(
        aegis.command("config", "list"),
        stdout=writer,
        stderr=subprocess.PIPE,
        env=aegis.environ,
        check=False,
        timeout=60,
    )
    os.close(writer)
    assert (0, b"") == (finished.returncode, finished.stderr)


def test_a_full_disk_behind_stdout_is_reported(aegis: Any) -> None:
    with open("/dev/full", "wb") as full:  # noqa: PTH123 - a device
        finished = subprocess.run(
            aegis.command("config", "list"),
            stdout=full,
            stderr=subprocess.PIPE,
            env=aegis.environ,
            check=False,
            timeout=60,
        )
    assert (8, b"aegis: error: no space left on device\n") == (finished.returncode, finished.stderr)


def test_a_closed_stdout_is_an_error_and_no_file_of_ours_takes_its_number(aegis: Any) -> None:
    finished = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *aegis.command("config", "list")],
        stderr=subprocess.PIPE,
        env=aegis.environ,
        check=False,
        timeout=60,
    )
    assert (1, b"aegis: error: bad file descriptor\n") == (finished.returncode, finished.stderr)


# A command that says when it has begun, then waits for a signal.
_WAITS = """
import sys, time
from aegis_cli import __main__ as process

def wait(arguments):
    sys.stdout.write("ready\\n")
    sys.stdout.flush()
    while True:
        time.sleep(60)

process._answer = wait
sys.exit(process.main([]))
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_quietly_with_its_code(aegis: Any, number: signal.Signals, code: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _WAITS], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=aegis.environ
    ) as waiting:
        assert waiting.stdout is not None
        assert b"ready\n" == waiting.stdout.readline()
        waiting.send_signal(number)
        _, err = waiting.communicate(timeout=60)
    assert (code, b"") == (waiting.returncode, err)


def test_an_ignored_sigterm_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        monkeypatch.setattr(process, "_answer", lambda _: 0)
        assert 0 == process.main([])
        assert signal.SIG_IGN is signal.getsignal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
