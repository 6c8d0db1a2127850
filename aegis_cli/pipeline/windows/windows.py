"""What a store of windows promises. Each kind is a state machine: no clock, no input or output.

A window is the time from its start to before its end. It closes when the watermark reaches its end, a session
when it is past that, and is given out then; with `allow_late_ms` it is kept for so long, and each late record
gives it out once more.
Windows are given out in order of end, start and key, so what comes out depends on the records and their
order alone: not on how often `close` is called, nor on restarts in between. For that, whoever drives it

- calls `find` for each record, and nothing else of the record may fail after the checks of the aggregates;
- calls `undo` if a record is refused, so that it leaves no trace;
- calls `touch` for each group of a record whose `is_clean` is true, after the checks;
- gives out `revised()` after each record that took `find`, and `close(watermark)` before the next record as
  soon as the watermark has reached `next_end_ms`; calling either more often changes nothing;
- asks for `changes` only between records. Restoring is `apply` on a new store, then `close` with the
  watermark of then, which gives out nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from aegis_cli.pipeline.aggregates.function import Accumulator
from aegis_cli.pipeline.windows.group import Group
from aegis_cli.pipeline.windows.key import Key

# Below and above every event time there is.
NEVER_MS = -(1 << 62)
FOREVER_MS = 1 << 62


class Closed(NamedTuple):
    """A group that is given out; `key` are the plain values. The `revision` is 0 the first time.

    Look at `acc` at once: where late records are allowed it goes on changing.
    """

    start_ms: int
    end_ms: int
    key: tuple[Any, ...]
    acc: Accumulator
    revision: int


class Windows(Protocol):
    """The open windows of all groups. `StateTooLargeError` is raised for more than the limit of groups."""

    next_end_ms: int
    """The watermark at which `close` next has something to do, or less; `FOREVER_MS` for never."""

    closed_ms: int
    """The greatest watermark by which windows were closed; `NEVER_MS` where no time does that."""

    @property
    def open(self) -> int:
        """How many groups there are, with those that are kept for late records."""
        ...

    def find(self, time_ms: int, key: Key, closed_ms: int) -> Sequence[Accumulator]:
        """The accumulators that a record goes into; none if it is late.

        `closed_ms` is the watermark that holds for it, never less than the one given to `close`. Raises
        `RecordError`, and has changed nothing then.
        """
        ...

    def undo(self) -> None:
        """Take the last `find` back, unless its record was taken in, which `touch` says."""
        ...

    def touch(self, group: Group) -> None:
        """Note that a group changes, whose `is_clean` is true."""
        ...

    def revised(self) -> list[Closed]:
        """What is to be given out because of the last record, without the watermark moving."""
        ...

    def close(self, watermark_ms: int) -> list[Closed]:
        """The windows that end at or before the watermark, in order; what cannot be revised is forgotten."""
        ...

    def flush(self) -> list[Closed]:
        """Everything that is not given out yet, in order: closed as by the watermark of the last end."""
        ...

    def changes(self) -> list[Any]:
        """What changed since the last call, as rows [start, key, state or null]; costs what changed.

        Rows hold the lists of live accumulators: encode them before the next record. Applied in order, also
        twice, the rows of all calls make the same store again.
        """
        ...

    def apply(self, changes: list[Any]) -> None:
        """Take over what `changes` or `snapshot` gave."""
        ...

    def snapshot(self) -> list[Any]:
        """All of it in the form of changes; what `changes` says next does not depend on it."""
        ...
