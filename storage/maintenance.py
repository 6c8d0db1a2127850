"""Maintenance: checkpoints and retention, under a lock of their own that never stops a publisher.

Promises: only one process maintains at a time; retention removes whole segments, never the newest, and only
what the checkpoint has passed; the start is raised in the journal, durably, before a file goes.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from storage.checkpoint import PRESSURE_FILES, checkpoint, full_files
from storage.entry import Entry
from storage.errors import StorageError, SyncFailedError
from storage.journal_record import Kind, Part
from storage.lock import FileLock
from storage.read_segment import ReadSegment
from storage.replay import finish_trim, trim
from storage.segment import data_path, index_path, meta_path, segment_bases

if TYPE_CHECKING:
    from storage.log import Log, LogPlace
    from storage.store import Store
    from storage.topic import Topic


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """What retention removes, or would: segments of one partition below `new_start_offset`."""

    topic: str
    partition: int
    old_start_offset: int
    new_start_offset: int
    segments: int
    size_bytes: int
    reason: str


def maintain_after(store: Store, rolled: list[Log]) -> None:
    """Upkeep after an acknowledged append to logs that may have begun a segment.

    What fails here must not make the append look undone.
    """
    for log in rolled:
        log.rolled = False
    try:
        store.maintenance.run_if_idle({log.place.topic for log in rolled})
    except (StorageError, OSError):
        # It is tried again by the next append, and fails that one before it begins once it matters.
        store.journal.wants_checkpoint = True


class Maintenance:
    """The upkeep of one open store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        path = os.path.join(store.path, "journal", "maintenance.lock")
        self._lock = FileLock(path, what="the store's maintenance")

    def close(self) -> None:
        self._lock.close()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep checkpoints and retention away, for who takes a topic's files from under them."""
        self._lock.acquire(timeout_seconds=self._store.lock_wait_seconds)
        try:
            yield
        finally:
            self._lock.release()

    def run_if_idle(self, rolled_topics: Iterable[str] = ()) -> None:
        """Checkpoint what is full and clean the topics that began a segment, unless somebody is at it."""
        if not self._lock.try_acquire():
            return
        try:
            self._checkpoint()
            for name in rolled_topics:
                self._clean(self._store.log_topic(name), now_ms=self._store.clock_ms())
        finally:
            self._lock.release()

    def relieve_pressure(self) -> None:
        """Before an append takes any lock: checkpoint when too much of the journal is full."""
        journal = self._store.journal
        if not journal.wants_checkpoint or len(full_files(journal)) < PRESSURE_FILES:
            return
        self._lock.acquire(timeout_seconds=self._store.lock_wait_seconds)
        try:
            self._checkpoint()
        finally:
            self._lock.release()

    def clean(self, topic_name: str | None = None, *, dry_run: bool = False) -> list[Removal]:
        """Remove what retention no longer keeps, in one topic or in all; returns what went, or would go."""
        names = [topic_name] if topic_name is not None else self._store.topics()
        topics = [self._store.topic(name) for name in names]
        now_ms = self._store.clock_ms()
        if dry_run:
            return [removal for topic in topics for removal in overdue(topic, now_ms=now_ms)]
        self._lock.acquire(timeout_seconds=self._store.lock_wait_seconds)
        try:
            self._checkpoint()
            return [removal for topic in topics for removal in self._clean(topic, now_ms=now_ms)]
        finally:
            self._lock.release()

    def trim_if_idle(self, topic: Topic, partition: int, *, before_offset: int) -> None:
        """Remove the segments that hold nothing from `before_offset` on, unless somebody is at it."""
        if not self._lock.try_acquire():
            return
        try:
            place = topic.place(partition)
            finish_trim(place.directory)
            bases = segment_bases(place.directory)
            start = max((base for base in bases if base <= before_offset), default=bases[0])
            if start > bases[0]:
                self._trim(place, start, now_ms=self._store.clock_ms())
        finally:
            self._lock.release()

    def _trim(self, place: LogPlace, new_start_offset: int, *, now_ms: int) -> None:
        journal = self._store.journal
        part = Part(Kind.TRIM, place.log_id, segment=new_start_offset)
        committed = journal.append([part], now_ms=now_ms)
        # A power cut may undo some removals and not others: only the record says where the log starts.
        journal.wait_durable(committed.location.sequence)
        trim(place.directory, new_start_offset)

    def _checkpoint(self) -> None:
        try:
            checkpoint(self._store.journal, self._store.catalog.find)
        except SyncFailedError as error:
            self._store.journal.fail(error.reason)
            raise

    def _clean(self, topic: Topic, *, now_ms: int) -> list[Removal]:
        for partition in range(topic.partitions) if topic.is_trimmed else ():
            # Elsewhere nobody removed messages: they are lost, and their index says which.
            finish_trim(topic.partition_directory(partition))
        removals = overdue(topic, now_ms=now_ms)
        for removal in removals:
            self._trim(topic.place(removal.partition), removal.new_start_offset, now_ms=now_ms)
        return removals


def overdue(topic: Topic, *, now_ms: int) -> list[Removal]:
    """What the topic's retention no longer keeps, a removal a partition."""
    if not topic.settings.has_retention:
        return []
    removals = []
    for partition in range(topic.partitions):
        removal = _overdue_in(topic, partition, now_ms=now_ms)
        if removal is not None:
            removals.append(removal)
    return removals


def _overdue_in(topic: Topic, partition: int, *, now_ms: int) -> Removal | None:
    directory = topic.partition_directory(partition)
    bases = segment_bases(directory)
    sizes = [_size(directory, base) for base in bases]
    kept_bytes = sum(sizes)
    limit_ms, limit_bytes = topic.settings.retention_ms, topic.settings.retention_bytes
    gone, reason = 0, ""
    for base, size in zip(bases[:-1], sizes, strict=False):
        last = _last_entry(directory, base)
        # Ages count from the append: a timestamp that a publisher chose could keep a segment for ever.
        if limit_ms is not None and last is not None and now_ms - last.append_time_ms > limit_ms:
            reason = "age"
        elif limit_bytes is not None and kept_bytes > limit_bytes:
            reason = "size"
        else:
            break
        gone += 1
        kept_bytes -= size
    if not gone:
        return None
    return Removal(
        topic=topic.name,
        partition=partition,
        old_start_offset=bases[0],
        new_start_offset=bases[gone],
        segments=gone,
        size_bytes=sum(sizes[:gone]),
        reason=reason,
    )


def _size(directory: str, base: int) -> int:
    total = 0
    for path in (data_path(directory, base), index_path(directory, base), meta_path(directory, base)):
        try:
            total += os.stat(path).st_size
        except FileNotFoundError:
            continue
    return total


def _last_entry(directory: str, base: int) -> Entry | None:
    try:
        return ReadSegment(directory, base).last_entry()
    except FileNotFoundError:
        return None
