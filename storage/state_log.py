"""A log that holds a state: its records are changes, and folding them in order gives what is so now.

A group, a producer, a subscription each is such a log. Promises: a state that was read is durable, since only
what is durable is visible; a change is one record, appended like any other and so also in one transaction
with messages; the log stays short, since now and then one record says all of the state and what lies before
it is removed.

A record that says all is appended without keeping others from appending: it names the last offset that it
covers, and who begins with it applies the records between that one and itself once more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from storage.batch import RecordBatch
from storage.entry import Entry
from storage.errors import DamageError, StorageError, TopicExistsError, TopicNotFoundError
from storage.read_segment import ReadSegment
from storage.reader import Gap, LogReader
from storage.store import Append, Store
from storage.topic import Topic, TopicSettings

SEGMENT_BYTES = 1 << 20
# After so many changes, or so many bytes of them, one record says all, and what is before it may go.
_RECORDS_BETWEEN_SNAPSHOTS = 4096
_BYTES_BETWEEN_SNAPSHOTS = 2 << 20
# Changes that are read before the record that says all, where the beginning of the log is gone.
_EARLY_RECORDS_MAX = 1_000_000

Change = dict[str, object]
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Change).decode


class Fold(Protocol):
    """A state, and how a record changes it."""

    def apply(self, change: Change, offset: int) -> None:
        """Make a change that is in the log at `offset`."""

    def snapshot(self) -> object:
        """All of the state, as JSON can say it."""

    def restore(self, snapshot: object) -> None:
        """Become the state that `snapshot` gave."""


class StateLog:
    """The log of this full name ('groups/g'), read into `fold`. Raises `TopicNotFoundError`, `DamageError`.

    `next_offset` is the offset behind the last change that was read, `fence` that of the newest batch read.
    Not for several threads at once.
    """

    def __init__(self, store: Store, name: str, fold: Fold) -> None:
        self.store = store
        self.name = name
        self.fold = fold
        self.topic = store.log_topic(name)
        self._reader = LogReader(self.topic, 0)
        start = self._reader.start_offset
        self._cursor = self._reader.cursor(start)
        self.next_offset = start
        self.fence = 0
        self._incomplete = start > 0
        self._early: list[tuple[int, Change]] = []
        self._last_snapshot = 0
        self._bytes_since = 0
        self.refresh()

    @property
    def directory(self) -> str:
        """Where the log's segments lie, for who wants to watch it grow."""
        return self._reader.directory

    def refresh(self) -> bool:
        """Read what was appended since; says whether there was anything."""
        before = self.next_offset
        while (taken := self._cursor.take(None)) is not None:
            if isinstance(taken, Gap):
                if taken.damage:
                    raise DamageError(taken.path, taken.reason)
                # The beginning went while it was read: what comes is complete only from where all is said.
                self._incomplete = True
                continue
            for entry in taken.entries:
                self._take(taken.segment, entry)
        damaged = self._cursor.damage_at_end()
        if damaged is not None:
            raise DamageError(damaged.path, damaged.reason)
        return self.next_offset > before

    def _take(self, segment: ReadSegment, entry: Entry) -> None:
        batch = self._reader.batch(segment, entry)
        if isinstance(batch, Gap):
            raise DamageError(batch.path, batch.reason)
        self.fence = entry.fence
        self._bytes_since += entry.data_length
        for offset, line in zip(batch.offsets(), batch.values(), strict=True):
            change = _decode(line)
            if "snapshot" in change:
                self._restore(change, offset)
            elif self._incomplete:
                if len(self._early) >= _EARLY_RECORDS_MAX:
                    raise DamageError(self.directory, "no record says all of the state")
                self._early.append((offset, change))
            else:
                self.fold.apply(change, offset)
        self.next_offset = entry.last_offset + 1

    def _restore(self, change: Change, offset: int) -> None:
        self._last_snapshot = offset
        self._bytes_since = 0
        if not self._incomplete:
            return
        self.fold.restore(change["snapshot"])
        covered = change["as_of"]
        assert isinstance(covered, int)
        for early_offset, early in self._early:
            if early_offset > covered:
                self.fold.apply(early, early_offset)
        self._early.clear()
        self._incomplete = False

    def append(
        self,
        changes: Sequence[object],
        *,
        expect_offset: int | None = None,
        expect_fence: int | None = None,
        fence: int | None = None,
    ) -> Append:
        """What appends these changes, to be given to `Store.append`, alone or with others."""
        lines = b"".join([_encode(change) + b"\n" for change in changes])
        return Append(
            topic=self.name,
            partition=0,
            batches=[RecordBatch(lines=lines, count=len(changes))],
            expect_offset=expect_offset,
            expect_fence=expect_fence,
            fence=fence,
        )

    def shorten_if_due(self) -> None:
        """Say all of the state in one record if many changes were made since, and remove what is before."""
        changes = self.next_offset - self._last_snapshot
        many = changes >= _RECORDS_BETWEEN_SNAPSHOTS or self._bytes_since >= _BYTES_BETWEEN_SNAPSHOTS
        if many and not self._incomplete:
            self.shorten()

    def shorten(self) -> int:
        """Say all of the state in one record, and remove the segments that are not needed any more.

        Returns how many bytes the record has.
        """
        covered = self.next_offset - 1
        record = self.append([{"snapshot": self.fold.snapshot(), "as_of": covered}])
        size_bytes = len(record.batches[0].lines)
        receipt = self.store.append([record])[0]
        self._last_snapshot = receipt.base_offset
        self._bytes_since = 0
        try:
            self.store.maintenance.trim_if_idle(self.topic, 0, before_offset=covered + 1)
        except StorageError:
            return size_bytes  # the record is there; the next one removes what this one would have
        return size_bytes


def open_state_log(store: Store, name: str, fold: Fold, *, create: bool) -> StateLog:
    """Open the log of this full name; with `create`, make it when there is none."""
    try:
        return StateLog(store, name, fold)
    except TopicNotFoundError:
        if not create:
            raise
    create_log(store, name)
    return StateLog(store, name, fold)


def create_log(store: Store, name: str) -> Topic:
    """Make the log of this full name, unless somebody else just did."""
    try:
        return store.create_log(name, TopicSettings(segment_bytes=SEGMENT_BYTES))
    except TopicExistsError as error:
        if error.existing != name.rpartition("/")[2]:
            raise
        return store.log_topic(name)
