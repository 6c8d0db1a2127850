"""What a topic holds, told from the ends of its partitions: offsets, sizes, times, who holds a lock.

Promises: nothing is written and no lock is taken; what it costs grows with the number of segments (one `stat`
a file), never with the number of messages.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from storage.entry import Entry
from storage.errors import DamageError, TopicChangedError
from storage.lock import describe_process
from storage.read_segment import ReadSegment
from storage.segment import data_path, index_path, meta_path, segment_bases
from storage.topic import Topic, TopicSettings

if TYPE_CHECKING:
    from storage.store import Store

_HEAD = "head"
# Retention may remove a segment between listing it and looking into it; this often in a row it does not.
_LOOKS_MAX = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentFile:
    """One file of messages of a partition, and how large it and what belongs to it are on disk."""

    partition: int
    base_offset: int
    path: str
    data_bytes: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionDescription:
    """One partition. Times are milliseconds UTC, `None` while it is empty.

    `records` counts the offsets from start to end: a compacted or damaged partition holds fewer records.
    `lock_holder` says in words which process is appending at this moment, `None` if none is or none is known.
    """

    partition: int
    start_offset: int
    end_offset: int
    records: int
    size_bytes: int
    segments: int
    oldest_timestamp_ms: int | None
    newest_timestamp_ms: int | None
    oldest_append_time_ms: int | None
    newest_append_time_ms: int | None
    lock_holder: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicDescription:
    """One topic with all its partitions. `topic_id` is in hexadecimal digits."""

    name: str
    topic_id: str
    directory: str
    settings: TopicSettings
    partitions: tuple[PartitionDescription, ...]

    @property
    def records(self) -> int:
        return sum(partition.records for partition in self.partitions)

    @property
    def size_bytes(self) -> int:
        return sum(partition.size_bytes for partition in self.partitions)

    @property
    def segments(self) -> int:
        return sum(partition.segments for partition in self.partitions)

    @property
    def newest_append_time_ms(self) -> int | None:
        times = [partition.newest_append_time_ms for partition in self.partitions]
        return max((time for time in times if time is not None), default=None)


def describe_topic(store: Store, name: str) -> TopicDescription:
    """Describe the topic of this name.

    Raises `InvalidNameError`, `TopicNotFoundError`, `TopicChangedError` if it is deleted meanwhile, and
    `DamageError` if its settings or a partition cannot be read.
    """
    topic = store.topic(name)
    holders = lock_holders()
    return TopicDescription(
        name=topic.name,
        topic_id=topic.topic_id.hex(),
        directory=topic.directory,
        settings=topic.settings,
        partitions=tuple(
            _describe_partition(topic, partition, holders) for partition in range(topic.partitions)
        ),
    )


def segment_files(topic: Topic, partition: int) -> list[SegmentFile]:
    """The segments of one partition, oldest first. Raises `DamageError` if the partition is gone."""
    directory = topic.partition_directory(partition)
    found = []
    for base in _bases(topic, directory):
        path = data_path(directory, base)
        sizes = [_size(name) for name in (path, index_path(directory, base), meta_path(directory, base))]
        found.append(
            SegmentFile(
                partition=partition, base_offset=base, path=path, data_bytes=sizes[0], size_bytes=sum(sizes)
            )
        )
    return found


def lock_holders() -> dict[str, int]:
    """Who holds which file lock, as /proc/locks says: process by `device:inode`; empty without that file."""
    holders = {}
    try:
        with open("/proc/locks", encoding="ascii", errors="replace") as table:
            for row in table:
                fields = row.split()
                # A row with an arrow is somebody who waits for the lock of the row above.
                if "->" not in fields and len(fields) >= 6 and fields[1] == "FLOCK":
                    holders[fields[5]] = int(fields[4])
    except OSError:
        return {}
    return holders


def holder_among(holders: Mapping[str, int], path: str) -> int | None:
    """The process that holds the lock on the file at `path`, if any does."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return holders.get(f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}")


def _describe_partition(topic: Topic, partition: int, holders: Mapping[str, int]) -> PartitionDescription:
    directory = topic.partition_directory(partition)
    segments = segment_files(topic, partition)
    oldest = _first_entry(directory, [segment.base_offset for segment in segments])
    newest = _last_entry(directory, [segment.base_offset for segment in segments])
    start = segments[0].base_offset
    end = max(newest.last_offset + 1 if newest is not None else start, segments[-1].base_offset)
    holder = holder_among(holders, os.path.join(directory, _HEAD))
    return PartitionDescription(
        partition=partition,
        start_offset=start,
        end_offset=end,
        records=end - start,
        size_bytes=sum(segment.size_bytes for segment in segments),
        segments=len(segments),
        oldest_timestamp_ms=oldest.first_timestamp_ms if oldest is not None else None,
        newest_timestamp_ms=newest.max_timestamp_ms if newest is not None else None,
        oldest_append_time_ms=oldest.append_time_ms if oldest is not None else None,
        newest_append_time_ms=newest.append_time_ms if newest is not None else None,
        lock_holder=describe_process(holder) if holder is not None else None,
    )


def _bases(topic: Topic, directory: str) -> list[int]:
    try:
        bases = segment_bases(directory)
    except (FileNotFoundError, NotADirectoryError):
        if not os.path.isdir(topic.directory):
            raise TopicChangedError(topic.name) from None
        raise DamageError(directory, "the partition is missing") from None
    if not bases:
        raise DamageError(directory, "it holds no segment")
    return bases


def _first_entry(directory: str, bases: list[int]) -> Entry | None:
    for base in bases[:_LOOKS_MAX]:
        segment = _open(directory, base)
        entry = segment.entry(1) if segment is not None else None
        if entry is not None:
            return entry
    return None


def _last_entry(directory: str, bases: list[int]) -> Entry | None:
    # The newest segment is empty just after a roll; then the one before it has the newest message.
    for base in reversed(bases[-_LOOKS_MAX:]):
        segment = _open(directory, base)
        entry = segment.last_entry() if segment is not None else None
        if entry is not None:
            return entry
    return None


def _open(directory: str, base: int) -> ReadSegment | None:
    try:
        return ReadSegment(directory, base)
    except FileNotFoundError:
        return None


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0
