"""Publishing all of an input at once: everything that it holds in one append, or nothing.

Promises: nothing is written before the end of the input was read and all of it was checked; memory is bounded
by `BYTES_MAX`, above which the input is refused. Afterwards it takes one journal record, whatever topics and
partitions the messages go to, so a power cut leaves all of them or none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from storage.append import LOGS_MAX
from storage.batch import Receipt, RecordBatch, merged
from storage.errors import InvalidRecordError
from storage.intake import Intake
from storage.lines import ERRORS_KEPT
from storage.publish import Appender, Published, append_counted
from storage.source import Source
from storage.store import Append, Store

BYTES_MAX = 64 * 1024 * 1024
"""How much one transaction may hold: its values, with keys, headers and timestamps where they are stored."""

# What is gathered before it is sorted: enough for large batches, little beside the whole.
_STEP_BYTES = 4 * 1024 * 1024
# An item of a column in memory, besides its text.
_ITEM_BYTES = 64
# Nothing is published before the end: lines may wait for it as long as they like.
_LINGER_MS = 1_000_000_000


class Gathering(Protocol):
    """Where blocks of input go: `Gathered`, or `storage.topic_field.ManyTopics`."""

    def take(self, block: bytes) -> InvalidRecordError | None:
        """Take in a block of whole lines; returns the error of a line that ends it."""

    def refuse_rest(self, size_bytes: int) -> bool:
        """See `Intake.refuse_rest`."""

    def drain(self) -> list[Append]:
        """What was taken in since the last time, sorted."""

    def count(self, done: Published) -> None:
        """Say what was left out."""


class Gathered:
    """What is gathered for one topic."""

    def __init__(self, intake: Intake) -> None:
        self.intake = intake
        self._batches: list[RecordBatch] = []

    def take(self, block: bytes) -> InvalidRecordError | None:
        batches, error = self.intake.take(block)
        self._batches += batches
        return error

    def refuse_rest(self, size_bytes: int) -> bool:
        return self.intake.refuse_rest(size_bytes)

    def drain(self) -> list[Append]:
        batches, self._batches = self._batches, []
        return self.intake.appends(batches)

    def count(self, done: Published) -> None:
        done.blank_lines += self.intake.blank_lines
        done.refused_lines += self.intake.refused_lines
        done.refusals = (done.refusals + self.intake.refusals)[:ERRORS_KEPT]


def publish_atomic(
    store: Store,
    gathering: Gathering,
    fd: int,
    *,
    name: str = "the input",
    on_receipts: Callable[[list[Receipt]], None] | None = None,
    on_progress: Callable[[int], None] | None = None,
    published: Published | None = None,
) -> Published:
    """Publish everything that `fd` gives in one append, or nothing of it.

    The arguments are those of `publish_stream`. Raises `InvalidRecordError` for a line that is no record, and
    where the whole is larger than `BYTES_MAX` or goes to more than `LOGS_MAX` partitions; nothing is
    published then. Raises whatever `Store.append` raises.
    """
    done = published if published is not None else Published()
    whole = _Whole(gathering)
    try:
        error = whole.read(Source(fd, linger_ms=_LINGER_MS, name=name), done, on_progress)
    finally:
        gathering.count(done)
    if error is not None:
        done.last_line_was_cut = False
        remedy = f"{error.remedy} (nothing was published)"
        raise InvalidRecordError(error.line, error.reason, remedy=remedy)
    appends = whole.appends()
    if appends:
        with Appender(lambda _: append_counted(store.append, appends, done, on_receipts)) as appender:
            appender.add([batch for item in appends for batch in item.batches])
            appender.finish()
    return done


class _Whole:
    """All of an input, sorted into partitions."""

    def __init__(self, gathering: Gathering) -> None:
        self._gathering = gathering
        self._parts: dict[tuple[str, int], list[RecordBatch]] = {}
        self._expected: dict[tuple[str, int], int | None] = {}
        self._size_bytes = 0
        self._waiting_bytes = 0
        self._lines = 0

    def read(
        self, source: Source, done: Published, on_progress: Callable[[int], None] | None
    ) -> InvalidRecordError | None:
        """Read and check until the end; returns the error of the line that ended it."""
        for block in source.blocks(lambda: 0):
            if on_progress is not None:
                on_progress(len(block.data))
            error = self._take(block.data)
            if error is not None:
                return error
            done.last_line_was_cut = block.cut
            try:
                if self._gathering.refuse_rest(block.rest_bytes):
                    source.skip_line()
                    self._lines += 1
            except InvalidRecordError as refusal:
                return refusal
        self._drain()
        return self._too_large()

    def _take(self, block: bytes) -> InvalidRecordError | None:
        error = self._gathering.take(block)
        if error is not None:
            return error
        self._lines += block.count(b"\n")
        self._waiting_bytes += len(block)
        if self._waiting_bytes >= _STEP_BYTES:
            self._drain()
        return self._too_large()

    def _drain(self) -> None:
        self._waiting_bytes = 0
        for item in self._gathering.drain():
            place = item.topic, item.partition
            self._parts.setdefault(place, []).extend(item.batches)
            self._expected.setdefault(place, item.expect_offset)
            self._size_bytes += sum(map(_size_of, item.batches))

    def _too_large(self) -> InvalidRecordError | None:
        if self._size_bytes + self._waiting_bytes > BYTES_MAX:
            reason = f"the input up to here takes more than {BYTES_MAX >> 20} MiB with its keys and headers"
        elif len(self._parts) > LOGS_MAX:
            reason = f"the input up to here goes to more than {LOGS_MAX} partitions"
        else:
            return None
        return InvalidRecordError(
            self._lines,
            f"{reason}, which is the most that one transaction holds",
            remedy="publish it in parts",
        )

    def appends(self) -> list[Append]:
        """All of it. May be called once: what is merged is let go."""
        appends = []
        while self._parts:
            place, batches = self._parts.popitem()
            topic, partition = place
            appends.append(
                Append(
                    topic=topic,
                    partition=partition,
                    batches=merged(batches),
                    expect_offset=self._expected[place],
                )
            )
        return sorted(appends, key=lambda item: (item.topic, item.partition))


def _size_of(batch: RecordBatch) -> int:
    """How much memory a batch takes until it is written, about. Keys and headers become lines of meta."""
    size = len(batch.lines)
    for column in (batch.keys, batch.headers):
        if column is not None:
            size += 2 * sum(map(len, column)) + _ITEM_BYTES * batch.count
    if batch.timestamps_ms is not None:
        size += _ITEM_BYTES * batch.count
    return size
