"""What can go wrong with a command that messages are handed to.

CommandFailedError      it failed, and was not to be tried again
OutputTooLargeError     it wrote more than a batch may become
BadOutputError          it wrote a line that is no message (an `InvalidRecordError`)
"""

from __future__ import annotations

from storage.errors import InvalidRecordError, StorageError


class CommandFailedError(StorageError):
    """A command did not exit with 0. `source` says which messages it had; `status` is negative for a signal.

    `reason` says in words how it ended, and `tries` how often it was run with these messages.
    """

    def __init__(
        self, command: str, source: str, *, status: int | None, reason: str, tries: int, remedy: str
    ) -> None:
        self.command = command
        self.source = source
        self.status = status
        self.reason = reason
        self.tries = tries
        often = "" if tries == 1 else f" after {tries} tries"
        super().__init__(f"command '{command}' failed on {source}: {reason}{often}; {remedy}")


class OutputTooLargeError(StorageError):
    """A command's output for one batch is over the limit, in bytes."""

    def __init__(self, command: str, source: str, bytes_max: int) -> None:
        self.command = command
        self.source = source
        self.bytes_max = bytes_max
        super().__init__(
            f"command '{command}' wrote more than {bytes_max} bytes for {source}; give a smaller --batch"
        )


class BadOutputError(InvalidRecordError):
    """A line of a command's output is no message; lines count from 1 within the output of one run."""

    def __init__(self, command: str, source: str, cause: InvalidRecordError) -> None:
        super().__init__(cause.line, cause.reason, remedy=cause.remedy)
        self.command = command
        self.source = source
        self.args = (
            f"output of command '{command}' for {source}, line {cause.line}: {cause.reason}; "
            f"nothing of it was published; {cause.remedy}",
        )
