"""Exit codes, and the one table that says which error ends in which.

    CliError            what the command line itself refuses
    ├── UsageError      a combination of arguments that cannot be carried out
    ├── CommandFailed   a command that messages were handed to
    ├── Unreachable     a server that does not answer
    └── Incomplete      a run that stopped at a message, everything before which is done

A code tells a script what to do next; the message on stderr tells a person. The codes are part of the
contract: they are listed in aegis.1 from `MEANINGS`, and never change their meaning.
"""

from __future__ import annotations

import errno
from enum import IntEnum

from storage.errors import (
    ConflictError,
    DamageError,
    DiskFullError,
    InDoubtError,
    InvalidNameError,
    InvalidRecordError,
    LockTimeoutError,
    NotFoundError,
    NotYetVisibleError,
    RefusedError,
    SettingError,
    SyncFailedError,
)


class ExitCode(IntEnum):
    """What `aegis` exits with."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    CONFLICT = 4
    DAMAGED = 5
    TIMED_OUT = 6
    INVALID_DATA = 7
    DISK_FULL = 8
    REFUSED = 9
    INCOMPLETE = 10
    COMMAND_FAILED = 11
    INTERRUPTED = 130
    TERMINATED = 143


MEANINGS: dict[ExitCode, str] = {
    ExitCode.OK: "Done; also when the reader of the output went away, as in a pipe into head.",
    ExitCode.FAILED: "Failed for a reason that has no code of its own.",
    ExitCode.USAGE: "The command line, a name or a setting cannot be used; nothing was done.",
    ExitCode.NOT_FOUND: "The store, topic, partition, group, pipeline or file does not exist.",
    ExitCode.CONFLICT: "The state is not what the request relies on: a name is taken, an offset moved on, "
    "a group has members, a pipeline runs already.",
    ExitCode.DAMAGED: "Stored data does not match its checksum.",
    ExitCode.TIMED_OUT: "A lock was not free in time, no message came within the idle timeout, or a database "
    "could not be reached.",
    ExitCode.INVALID_DATA: "The input is not valid and nothing of it was published.",
    ExitCode.DISK_FULL: "There is no room on the disk.",
    ExitCode.REFUSED: "The store refuses: read-only, of a newer format, not a store, or failed earlier.",
    ExitCode.INCOMPLETE: "Only a part was published, or it is not certain or not yet visible, or a pipeline "
    "stopped at a message; look before you repeat.",
    ExitCode.COMMAND_FAILED: "A command that messages were handed to failed; what it had is not done with.",
    ExitCode.INTERRUPTED: "Interrupted with Ctrl-C (SIGINT).",
    ExitCode.TERMINATED: "Ended by SIGTERM.",
}


class CliError(Exception):
    """What the command line refuses by itself; the message is one line, lower case, without a full stop."""


class UsageError(CliError):
    """Arguments that cannot be carried out as given."""


class CommandFailed(CliError):
    """A command that messages were handed to failed, and there is nothing else to do with them."""


class Unreachable(CliError):
    """A server did not answer, though it was asked again and again."""


class Incomplete(CliError):
    """A run stopped at a message; what was before it is done."""


class Terminated(BaseException):
    """SIGTERM arrived. Like `KeyboardInterrupt` it is no `Exception`, so no handler of errors keeps it."""


EXIT_CODES: dict[type[BaseException], ExitCode] = {
    KeyboardInterrupt: ExitCode.INTERRUPTED,
    Terminated: ExitCode.TERMINATED,
    BrokenPipeError: ExitCode.OK,
    UsageError: ExitCode.USAGE,
    CommandFailed: ExitCode.COMMAND_FAILED,
    Unreachable: ExitCode.TIMED_OUT,
    Incomplete: ExitCode.INCOMPLETE,
    InvalidNameError: ExitCode.USAGE,
    SettingError: ExitCode.USAGE,
    NotFoundError: ExitCode.NOT_FOUND,
    FileNotFoundError: ExitCode.NOT_FOUND,
    ConflictError: ExitCode.CONFLICT,
    DamageError: ExitCode.DAMAGED,
    LockTimeoutError: ExitCode.TIMED_OUT,
    InvalidRecordError: ExitCode.INVALID_DATA,
    DiskFullError: ExitCode.DISK_FULL,
    RefusedError: ExitCode.REFUSED,
    PermissionError: ExitCode.REFUSED,
    SyncFailedError: ExitCode.INCOMPLETE,
    InDoubtError: ExitCode.INCOMPLETE,
    NotYetVisibleError: ExitCode.INCOMPLETE,
}

_FULL = (errno.ENOSPC, errno.EDQUOT)


def exit_code(error: BaseException) -> ExitCode:
    """The code that `error` ends in: that of its nearest class in the table, `FAILED` where none is."""
    if isinstance(error, InvalidRecordError) and error.published:
        return ExitCode.INCOMPLETE
    if isinstance(error, OSError) and error.errno in _FULL:
        return ExitCode.DISK_FULL
    for cls in type(error).__mro__:
        if cls in EXIT_CODES:
            return EXIT_CODES[cls]
    return ExitCode.FAILED


def describe(error: BaseException) -> str:
    """The message for a person, on one line."""
    if isinstance(error, InvalidRecordError) and error.published is not None:
        text = f"{error} ({error.published} {_records(error.published)} before it published)"
    elif isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
        text = text if error.filename else text[:1].lower() + text[1:]
        if error.errno in (errno.EMFILE, errno.ENFILE):
            text += "; allow more with 'ulimit -n', or name fewer partitions with -p"
    else:
        text = str(error) or type(error).__name__
    return " ".join(text.split())


def _records(count: int) -> str:
    return "record" if count == 1 else "records"
