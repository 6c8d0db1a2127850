"""What can go wrong with a pipeline.

PipelineError             base of all below
  PipelineFileError       a pipeline's file does not say what it must: names line and column
    ExpressionError       an expression in it does not
    PipelineFileNotFoundError  there is no such file
  RecordRefusedError      `on_error: stop`, and a record could not be processed
  TooManyRefusedError     more records could not be processed than `max_ratio` allows
  StateTooLargeError      more groups are open than the pipeline's limit
  StateChangedError       the state is of another definition of the pipeline
  PipelineRunsError       another process runs the pipeline
  PipelineNotFoundError   no pipeline of this name has run in this store
  WorkerError             a process that prepares records died, or failed
  SinkError               results cannot be brought to where they shall go
    SinkUnreachableError  the server does not answer, or not any more
    SinkTakenError        a later run writes there

`RecordError` is raised while a record is processed and never leaves the engine: it says why the record is
refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from storage.errors import ConflictError, NotFoundError, StorageError

if TYPE_CHECKING:
    from aegis_cli.pipeline.definition import Definition, Text


class RecordError(Exception):
    """A record cannot be processed; its text says why, on one line."""


class PipelineError(StorageError):
    """Base of what goes wrong with a pipeline."""


class PipelineFileError(PipelineError):
    """A file does not say what a pipeline must. `line` and `column` count from 1; 0 where there is none."""

    def __init__(self, path: str, reason: str, *, line: int = 0, column: int = 0, hint: str = "") -> None:
        self.path = path
        self.reason = reason
        self.line = line
        self.column = column
        self.hint = hint
        place = f"{path}:{line}:{column}" if line else path
        super().__init__(f"{place}: {reason}" + (f"; {hint}" if hint else ""))


class ExpressionError(PipelineFileError):
    """An expression cannot be understood or may not be used; `line` and `column` point into the file."""


class PipelineFileNotFoundError(PipelineFileError, NotFoundError):
    """There is no file at this path."""

    def __init__(self, path: str) -> None:
        super().__init__(path, "no such file", hint="'aegis pipeline init' writes an example")


class RecordRefusedError(PipelineError):
    """A record could not be processed and the pipeline stops there; nothing behind it was committed."""

    def __init__(self, pipeline: str, place: str, reason: str) -> None:
        self.pipeline = pipeline
        self.place = place
        self.reason = reason
        super().__init__(
            f"pipeline '{pipeline}' stops at {place}: {reason}; "
            "repair the message's cause, or give 'on_error: {to: TOPIC}' or 'on_error: drop'"
        )


class TooManyRefusedError(PipelineError):
    """The share of records that could not be processed is over `max_ratio`."""

    def __init__(
        self,
        pipeline: str,
        refused: int,
        records: int,
        max_ratio: float,
        reason: str,
        *,
        what: str = "records",
    ) -> None:
        self.pipeline = pipeline
        self.refused = refused
        self.records = records
        self.max_ratio = max_ratio
        self.reason = reason
        super().__init__(
            f"pipeline '{pipeline}' stops: {refused} of {records} {what} could not be processed, "
            f"more than max_ratio {max_ratio:g} allows; the last one: {reason}"
        )


class StateTooLargeError(PipelineError):
    """More is open at once than the limit of the pipeline."""

    def __init__(self, pipeline: str, what: str, limit: int) -> None:
        self.pipeline = pipeline
        self.what = what
        self.limit = limit
        super().__init__(
            f"pipeline '{pipeline}' stops: it would hold more than {limit} {what}; "
            "raise 'limits', or let windows end or values expire sooner"
        )


class StateChangedError(PipelineError, ConflictError):
    """A changed definition cannot go on with what the pipeline holds; `reason` says with what of it.

    `place` is where the change stands in the file, if that is known.
    """

    def __init__(
        self, definition: Definition, reason: str, *, place: Text | None = None, hint: str = ""
    ) -> None:
        self.pipeline = definition.name
        self.path = definition.path
        self.reason = reason
        self.place = place
        where = f"{definition.path}:{place.line}:{place.column}: " if place is not None else ""
        do = hint or "undo the change, give it another name"
        super().__init__(f"{where}{reason}; {do}, or run 'aegis pipeline reset {definition.name}'")


class PipelineRunsError(PipelineError, ConflictError):
    """Another process runs the pipeline, and a record is for one of them only."""

    def __init__(self, pipeline: str, holder: str) -> None:
        self.pipeline = pipeline
        self.holder = holder
        super().__init__(f"pipeline '{pipeline}' runs already, in {holder}; stop that one first")


class PipelineNotFoundError(PipelineError, NotFoundError):
    """No pipeline of this name has run in this store."""

    def __init__(self, pipeline: str, known: list[str]) -> None:
        self.pipeline = pipeline
        self.known = known
        hint = f"; there are: {', '.join(sorted(known)[:10])}" if known else ""
        super().__init__(f"no pipeline '{pipeline}' has run in this store{hint}")


class WorkerError(PipelineError):
    """A worker died or failed; nothing of what it had in work was committed."""

    def __init__(self, pid: int, reason: str) -> None:
        self.pid = pid
        self.reason = reason
        super().__init__(f"worker {pid} of the pipeline failed: {reason}; nothing is lost, run it again")


class SinkError(PipelineError):
    """Results cannot be brought to where they shall go; what was not brought there stays pending."""

    def __init__(self, pipeline: str, sink: str, reason: str, *, hint: str | None = None) -> None:
        self.pipeline = pipeline
        self.sink = sink
        self.reason = reason
        do = hint or "nothing is lost, run it again"
        super().__init__(f"pipeline '{pipeline}' cannot write to {sink}: {reason}; {do}")


class SinkUnreachableError(SinkError):
    """The server of a sink does not answer, and was asked again and again. The same may succeed later."""


class SinkTakenError(SinkError, ConflictError):
    """A later run of the pipeline writes there, and this one must not any more."""
