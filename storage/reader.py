"""Reading one partition: in order of offsets, without a lock, and never writing. FORMAT.md section 8.

Promises: what is handed out was committed and matches its checksum; damage is handed out as a `Gap` with its
offsets, and reading goes on behind it; what retention removes meanwhile is a `Gap` too; an entry that is not
there yet ends the reading, and a later call goes on from there.
"""

from __future__ import annotations

import os
import time
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from storage.batch import Batch, Message
from storage.entry import ENTRY_BYTES, Entry, decode_entry
from storage.errors import DamageError, PartitionNotFoundError, TopicChangedError
from storage.read_segment import ReadSegment
from storage.segment import data_path, index_path, meta_path, segment_bases
from storage.topic import TOPIC_FILE, Topic

if TYPE_CHECKING:
    from storage.store import Store

# Writing an entry takes microseconds; one that is still torn after this will stay so.
_TORN_SECONDS = 0.02
# How often a directory is listed again when what it named is gone by the time it is opened.
_LOOKS_MAX = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Offsets that cannot be read, from `first_offset` to before `end_offset`, and why."""

    topic: str
    partition: int
    first_offset: int
    end_offset: int
    reason: str
    path: str
    damage: bool = True


@dataclass(frozen=True, slots=True)
class Run:
    """Entries that follow on one another in one segment, oldest first; at least one."""

    segment: ReadSegment
    entries: list[Entry]


class LogReader:
    """One partition of a topic, open for reading. Not thread-safe; open one a thread."""

    def __init__(self, topic: Topic, partition: int) -> None:
        if not 0 <= partition < topic.partitions:
            raise PartitionNotFoundError(topic.name, partition, topic.partitions)
        self.topic = topic
        self.partition = partition
        self.directory = topic.partition_directory(partition)

    def bases(self) -> list[int]:
        """The base offsets of the segments.

        Raises `TopicChangedError` if the topic is gone, `DamageError` if only this partition is.
        """
        try:
            bases = segment_bases(self.directory)
            if not bases and os.path.exists(self.directory):
                raise DamageError(self.directory, "it holds no index")
            return bases
        except FileNotFoundError:
            if not os.path.exists(os.path.join(self.topic.directory, TOPIC_FILE)):
                raise TopicChangedError(self.topic.name) from None
            raise DamageError(self.directory, "the partition is missing") from None

    @property
    def start_offset(self) -> int:
        """The offset of the oldest record that is kept."""
        bases = self.bases()
        return bases[0]

    @property
    def end_offset(self) -> int:
        """The offset that the next record to become visible will have, or a higher one."""
        for _ in range(_LOOKS_MAX):
            newest = self.bases()[-1]
            try:
                last = ReadSegment(self.directory, newest, without_data=True).last_entry()
            except FileNotFoundError:
                continue  # replaced or removed since the directory was listed
            return last.last_offset + 1 if last is not None else newest
        raise DamageError(self.directory, "its newest index cannot be opened")

    def offset_at_time(self, timestamp_ms: int) -> int:
        """The first offset whose record is as new as `timestamp_ms`; the end where none is."""
        for base in self.bases():
            try:
                segment = ReadSegment(self.directory, base)
            except FileNotFoundError:
                continue
            last = segment.last_entry()
            if last is None or last.max_timestamp_ms < timestamp_ms:
                continue
            slot = segment.slot_of_time(timestamp_ms)
            entry = segment.entry(slot)
            while entry is not None:
                offset = self._offset_in_batch(segment, entry, timestamp_ms)
                if offset is not None:
                    return offset
                slot += 1
                entry = segment.entry(slot)
        return self.end_offset

    def _offset_in_batch(self, segment: ReadSegment, entry: Entry, timestamp_ms: int) -> int | None:
        batch = self.batch(segment, entry)
        if isinstance(batch, Gap):
            return None
        times = batch.timestamps_ms()
        if times is None:
            return batch.base_offset if batch.append_time_ms >= timestamp_ms else None
        for offset, own_ms in zip(batch.offsets(), times, strict=True):
            if own_ms >= timestamp_ms:
                return offset
        return None

    def batch(self, segment: ReadSegment, entry: Entry) -> Batch | Gap:
        """Read and check one batch."""
        lines = segment.read_data(entry)
        if lines is None:
            return self.unreadable(segment, entry)
        try:
            columns = segment.read_columns(entry)
        except ValueError as error:
            path = meta_path(self.directory, segment.base_offset)
            return self.gap(entry.base_offset, entry.last_offset + 1, str(error), path)
        offsets: range | list[int] = range(entry.base_offset, entry.last_offset + 1)
        if columns is not None and columns.offset_deltas is not None:
            offsets = [entry.base_offset + delta for delta in columns.offset_deltas]
        return Batch(
            topic=self.topic.name,
            partition=self.partition,
            offsets=offsets,
            lines=lines,
            append_time_ms=entry.append_time_ms,
            columns=columns,
            key_field=self.topic.settings.key,
        )

    def unreadable(self, segment: ReadSegment, entry: Entry) -> Gap:
        """The gap that a batch is whose lines are not what its entry says."""
        path = data_path(self.directory, segment.base_offset)
        reason = "messages do not match their checksum"
        if segment.data_fd < 0:
            reason = f"{os.path.basename(path)}, the file of their messages, is missing"
        return self.gap(entry.base_offset, entry.last_offset + 1, reason, path)

    def gap(self, first: int, end: int, reason: str, path: str, *, damage: bool = True) -> Gap:
        return Gap(
            topic=self.topic.name,
            partition=self.partition,
            first_offset=first,
            end_offset=end,
            reason=reason,
            path=path,
            damage=damage,
        )

    def batches(
        self, *, start_offset: int | None = None, end_offset: int | None = None
    ) -> Iterator[Batch | Gap]:
        """The batches from `start_offset` to before `end_offset`; to the end as it is now."""
        end = self.end_offset if end_offset is None else end_offset
        start = self.start_offset if start_offset is None else start_offset
        cursor = self.cursor(start)
        while (taken := cursor.take(end)) is not None:
            if isinstance(taken, Gap):
                yield taken
                continue
            for entry in taken.entries:
                batch = self.batch(taken.segment, entry)
                if isinstance(batch, Gap):
                    yield batch
                elif (part := batch.between(start, end)) is not None:
                    yield part
        if (damaged := cursor.damage_at_end()) is not None and end_offset is None:
            yield damaged

    def cursor(self, offset: int) -> Cursor:
        """A place in the partition from which to read on."""
        return Cursor(self, offset)


class Cursor:
    """Reads a partition forward. `offset` is the next one to be handed out."""

    def __init__(self, reader: LogReader, offset: int) -> None:
        self.reader = reader
        self.offset = offset
        self._segment: ReadSegment | None = None
        self._slot = 0

    def take(self, end_offset: int | None = None) -> Run | Gap | None:
        """The next run of entries, or the gap that comes next, or `None` if nothing is there (yet).

        A run begins at or before `offset` and may reach beyond `end_offset`: whoever reads its batches cuts
        them. Whatever is returned counts as handed out.
        """
        while end_offset is None or self.offset < end_offset:
            if self._segment is None:
                gap = self._seek()
                if gap is not None or self._segment is None:
                    return gap
            found = self._next_in_segment(end_offset)
            if found is not None:
                return found
            moved = self._next_segment()
            if moved is not None:
                return moved if isinstance(moved, Gap) else None
        return None

    def _seek(self) -> Gap | None:
        reader = self.reader
        bases = reader.bases()
        if self.offset < bases[0]:
            first, self.offset = self.offset, bases[0]
            return reader.gap(first, bases[0], "removed by retention", reader.directory, damage=False)
        base = bases[bisect_right(bases, self.offset) - 1]
        try:
            self._segment = ReadSegment(reader.directory, base)
        except FileNotFoundError:
            left = reader.bases()
            following = [later for later in left if later > base]
            # Retention removes from the front, the messages of a segment before its index.
            half_removed = left[0] == base and reader.topic.is_trimmed
            if following and (half_removed or base not in left):
                first, self.offset = self.offset, following[0]
                return reader.gap(first, following[0], "removed by retention", reader.directory, damage=False)
            # This one was not removed: its messages are lost, and its index tells which.
            self._segment = ReadSegment(reader.directory, base, without_data=True)
        self._slot = self._segment.slot_of(self.offset)
        return None

    def _next_in_segment(self, end_offset: int | None) -> Run | Gap | None:
        segment = self._segment
        assert segment is not None
        block = segment.block(self._slot)
        run: list[Entry] = []
        for entry in block:
            if entry is None:
                break
            if end_offset is not None and entry.base_offset >= end_offset:
                break
            run.append(entry)
        if run:
            self._slot += len(run)
            self.offset = run[-1].last_offset + 1
            return Run(segment, run)
        # A torn entry is not there yet; one with a valid entry behind it is damaged, since none is written
        # before all the earlier ones are.
        for index, entry in enumerate(block):
            if entry is not None and index > 0:
                first, self.offset = self.offset, entry.base_offset
                self._slot += index
                if entry.base_offset <= first:
                    return self._next_in_segment(end_offset)
                path = index_path(segment.directory, segment.base_offset)
                return self.reader.gap(first, self.offset, "index entries do not match their checksum", path)
        return None

    def damage_at_end(self) -> Gap | None:
        """What is damaged behind the last entry that can be read; `None` if the end is sound.

        A slot there that holds something is either being written just now or damaged: a short wait tells.
        """
        segment = self._segment
        if segment is None:
            return None
        if segment.slot_count() <= self._slot:
            # An index is made before its messages come, so messages without one have lost it.
            if self._index_is_lost(segment, self.offset):
                return self._gap_without_index(self.offset, self.offset + 1)
            return None
        deadline = time.monotonic() + _TORN_SECONDS
        while True:
            raw = os.pread(segment.index_fd, ENTRY_BYTES, self._slot * ENTRY_BYTES)
            if not any(raw) or decode_entry(raw) is not None:
                return None
            if time.monotonic() > deadline:
                path = index_path(segment.directory, segment.base_offset)
                reason = "the last index entry does not match its checksum"
                return self.reader.gap(self.offset, self.offset + 1, reason, path)
            time.sleep(_TORN_SECONDS / 10)

    def _next_segment(self) -> Gap | bool | None:
        """Go on in the next segment: `None` when that is possible, `False` when there is nothing yet."""
        segment = self._segment
        assert segment is not None
        bases = self.reader.bases()
        following = bisect_right(bases, segment.base_offset)
        if following == len(bases):
            return False
        # A segment is whole before its successor exists, so what is not there now will never be.
        if segment.entry(self._slot) is not None:
            return None
        base = bases[following]
        self._segment = None
        first = self.offset
        if base <= first or bases[following - 1] != segment.base_offset:
            return None
        self.offset = base
        # Messages without an index, between this segment and the next, are a segment whose index was lost.
        if self._index_is_lost(segment, first):
            return self._gap_without_index(first, base)
        if segment.slot_count() <= self._slot and segment.data_size() <= segment.data_end(self._slot - 1):
            return None  # offsets that no record was ever given
        path = index_path(segment.directory, segment.base_offset)
        return self.reader.gap(first, base, "index entries are missing or do not match their checksum", path)

    def _index_is_lost(self, segment: ReadSegment, offset: int) -> bool:
        """Whether messages lie behind a segment, from `offset` on, whose index is missing."""
        directory = segment.directory
        lies_there = offset != segment.base_offset and _size(data_path(directory, offset)) > 0
        return lies_there and not os.path.exists(index_path(directory, offset))

    def _gap_without_index(self, first: int, end: int) -> Gap:
        path = index_path(self.reader.directory, first)
        reason = f"{os.path.basename(path)}, the index of their segment, is missing"
        return self.reader.gap(first, end, reason, path)


def messages(
    store: Store, topic: str, partition: int | None = None, start_offset: int | None = None
) -> Iterator[Message]:
    """What `Store.read` returns."""
    count = store.log_topic(topic).partitions
    for number in range(count) if partition is None else [partition]:
        for batch in store.batches(topic, number, start_offset=start_offset):
            if not isinstance(batch, Gap):
                yield from batch.messages()
            elif batch.damage:
                raise DamageError(batch.path, batch.reason)


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0
