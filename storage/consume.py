"""Consuming: partitions of topics to one output, once or for as long as they grow.

Promises: each partition's messages come in the order of their offsets; without `follow` it ends at the end
that it saw when it began; everything is checked before it is handed out; damage is reported and stepped over.
Messages that need no rendering are moved in runs of whole batches and never looked at one by one.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from storage import checksum
from storage.batch import Batch
from storage.checksum import Check
from storage.entry import Entry
from storage.errors import StorageError, TopicChangedError, TopicNotFoundError
from storage.output import Output
from storage.read_segment import ReadSegment
from storage.reader import Cursor, Gap, LogReader, Run
from storage.segment import index_path, segment_bases
from storage.store import Store
from storage.topic import Topic
from storage.watch import Watch, open_watch

# A run that is read and checked at once; larger batches are checked in pieces that stay in the cache.
_RUN_BYTES = 1024 * 1024
_PIECE_BYTES = 256 * 1024
# Growth in partitions, deletion and re-creation are looked for at least this often.
_LOOK_SECONDS = 1.0
# A follower's share of one partition before it turns to the next: runs of up to a thousand batches each.
_RUNS_IN_TURN = 16
_PLACES_TOLD = 4

Render = Callable[[Batch], bytes]
Select = Callable[[Batch], Batch | None]


@dataclass(slots=True, kw_only=True)
class Assignment:
    """One partition to consume: from `start_offset`, to before `end_offset`, or on and on."""

    topic: str
    partition: int
    start_offset: int
    end_offset: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumeOptions:
    """How to consume. Without `render` the values go out as they lie on disk, one a line.

    `select` narrows a batch to the records that are wanted. `limit` ends after so many records,
    `idle_seconds` after so long without any, `until_ms` when the clock (ms UTC) has passed it.
    `on_gap` is told of offsets that cannot be read.
    """

    follow: bool = False
    limit: int | None = None
    idle_seconds: float | None = None
    until_ms: int | None = None
    render: Render | None = None
    select: Select | None = None
    on_gap: Callable[[Gap], None] | None = None
    on_notice: Callable[[str], None] | None = None
    all_partitions: bool = True


@dataclass(slots=True)
class Consumed:
    """What came of it. `idle` says that it ended because nothing came for `idle_seconds`."""

    records: int = 0
    gaps: int = 0
    idle: bool = False


def consume_assigned(
    store: Store, assignments: Iterable[Assignment], output: Output, options: ConsumeOptions
) -> Consumed:
    """Write the assigned messages to `output`. Raises BrokenPipeError when nobody reads any more."""
    return _Consumer(store, list(assignments), output, options).run()


class _Consumer:
    def __init__(
        self, store: Store, assignments: list[Assignment], output: Output, options: ConsumeOptions
    ) -> None:
        self._store = store
        self._output = output
        self._options = options
        self._done = Consumed()
        self._gone: set[str] = set()
        self._places = [
            (assignment, store.reader(assignment.topic, assignment.partition).cursor(assignment.start_offset))
            for assignment in assignments
        ]

    def run(self) -> Consumed:
        self._drain()
        if self._options.follow and not self._finished():
            watch = open_watch()
            try:
                self._follow(watch)
            finally:
                watch.close()
        return self._done

    def _finished(self) -> bool:
        if self._options.limit is not None and self._done.records >= self._options.limit:
            return True
        return all(
            assignment.end_offset is not None and cursor.offset >= assignment.end_offset
            for assignment, cursor in self._places
        )

    def _follow(self, watch: Watch) -> None:
        idle_seconds = self._options.idle_seconds
        last_message = last_look = time.monotonic()
        self._watch_all(watch)
        while not self._finished():
            before = self._done.records
            # The watch stands before this look, so nothing that comes after it is missed.
            moved = self._drain()
            now = time.monotonic()
            if self._done.records > before:
                last_message = now
            elif idle_seconds is not None and now - last_message >= idle_seconds:
                self._done.idle = True
                return
            if self._options.until_ms is not None and self._store.clock_ms() >= self._options.until_ms:
                self._end_here()
            if now - last_look >= _LOOK_SECONDS:
                last_look = now
                self._look_around()
                self._watch_all(watch)
                self._help_the_dead()
            if not moved:
                left = _LOOK_SECONDS if idle_seconds is None else last_message + idle_seconds - now
                if watch.wait(max(0.001, min(_LOOK_SECONDS, left))):
                    self._watch_all(watch)
                # In a pipe into head there may never be another message whose writing would tell.
                self._output.check_reader()

    def _help_the_dead(self) -> None:
        """Show what a publisher committed and did not live to show: it may be a part of something whole."""
        for assignment, cursor in self._places:
            if assignment.topic in self._gone:
                continue
            try:
                self._store.show_committed(
                    assignment.topic, assignment.partition, beyond_offset=cursor.offset
                )
            except (StorageError, OSError):
                # Deleted, as the next look finds; or damaged, or on a disk that takes nothing: the next
                # publisher is told that, and what can be read still can be.
                continue

    def _end_here(self) -> None:
        """What comes from now on is not wanted any more."""
        for assignment, cursor in self._places:
            if assignment.end_offset is None:
                try:
                    assignment.end_offset = cursor.reader.end_offset
                except TopicChangedError:
                    assignment.end_offset = cursor.offset

    def _watch_all(self, watch: Watch) -> None:
        for _, cursor in self._places:
            directory = cursor.reader.directory
            try:
                newest = segment_bases(directory)[-1:]
            except FileNotFoundError:
                continue
            watch.add(directory, [index_path(directory, base) for base in newest])

    def _look_around(self) -> None:
        """Find partitions that were added, and topics that are gone or were created again."""
        for name in {assignment.topic for assignment, _ in self._places}:
            try:
                topic = self._store.topic(name)
            except TopicNotFoundError:
                continue
            self._find_partitions(topic)

    def _find_partitions(self, topic: Topic) -> None:
        places = [place for place in self._places if place[0].topic == topic.name]
        numbers: Iterable[int] = range(topic.partitions)
        if topic.topic_id == places[0][1].reader.topic.topic_id:
            known = {assignment.partition for assignment, _ in places}
            numbers = [number for number in numbers if number not in known]
            if not self._options.all_partitions:
                return
        else:
            if not self._options.all_partitions:
                numbers = [place.partition for place, _ in places if place.partition < topic.partitions]
            if not numbers:
                return
            self._notice(f"topic '{topic.name}' was deleted and created again; following the new one")
            self._gone.discard(topic.name)
            self._places = [place for place in self._places if place[0].topic != topic.name]
        for number in numbers:
            assignment = Assignment(topic=topic.name, partition=number, start_offset=0, end_offset=None)
            self._places.append((assignment, LogReader(topic, number).cursor(0)))

    def _notice(self, text: str) -> None:
        if self._options.on_notice is not None:
            self._options.on_notice(text)

    def _drain(self) -> bool:
        """Hand out what is there now, partition after partition; says whether anything was.

        A follower takes a limited share of each in turn: a busy partition does not hold up the others.
        """
        moved = False
        for assignment, cursor in list(self._places):
            if assignment.topic in self._gone:
                continue
            try:
                moved = self._drain_one(assignment, cursor) or moved
            except TopicChangedError:
                if not self._options.follow:
                    raise
                self._lose(assignment.topic)
            if self._options.limit is not None and self._done.records >= self._options.limit:
                break
        return moved

    def _lose(self, topic: str) -> None:
        """The topic was deleted: say how far it was read, and wait for a new one of the name."""
        self._gone.add(topic)
        read = [
            f"{cursor.offset} in partition {assignment.partition}"
            for assignment, cursor in self._places
            if assignment.topic == topic
        ]
        if len(read) > _PLACES_TOLD:
            read[_PLACES_TOLD:] = ["..."]
        self._notice(
            f"topic '{topic}' was deleted; it was read up to offset {', '.join(read)}, what came behind "
            "is lost; waiting for a new topic of this name"
        )

    def _drain_one(self, assignment: Assignment, cursor: Cursor) -> bool:
        end = assignment.end_offset
        if end is None and not self._options.follow:
            end = cursor.reader.end_offset
        for turn in itertools.count():
            if self._options.follow and turn == _RUNS_IN_TURN:
                return True
            start = cursor.offset
            taken = cursor.take(end)
            if taken is None:
                damaged = None if self._options.follow else cursor.damage_at_end()
                if damaged is not None:
                    self._gap(damaged)
                return turn > 0
            if isinstance(taken, Gap):
                self._gap(taken)
            else:
                self._hand_out(cursor.reader, taken, start, end)
            if self._options.limit is not None and self._done.records >= self._options.limit:
                break
        return True

    def _gap(self, gap: Gap) -> None:
        self._done.gaps += gap.damage
        if self._options.on_gap is not None:
            self._options.on_gap(gap)

    def _hand_out(self, reader: LogReader, run: Run, start: int, end: int | None) -> None:
        plain = self._options.render is None and self._options.select is None
        position = 0
        while position < len(run.entries):
            left = None if self._options.limit is None else self._options.limit - self._done.records
            if left is not None and left <= 0:
                return
            entries = _group(run.entries, position, start, end, left) if plain else []
            if entries:
                self._copy(reader, run.segment, entries)
                position += len(entries)
            else:
                self._render(reader, run.segment, run.entries[position], start, end, left)
                position += 1

    def _render(
        self,
        reader: LogReader,
        segment: ReadSegment,
        entry: Entry,
        start: int,
        end: int | None,
        left: int | None,
    ) -> None:
        """Hand out one batch, cut to what is wanted of it."""
        batch = reader.batch(segment, entry)
        if isinstance(batch, Gap):
            self._gap(batch)
            return
        wanted = batch.between(start, batch.last_offset + 1 if end is None else end)
        if wanted is not None and self._options.select is not None:
            wanted = self._options.select(wanted)
        if wanted is None:
            return
        if left is not None and wanted.count > left:
            wanted = wanted.select(range(left))
        render = self._options.render
        self._output.write(wanted.lines if render is None else render(wanted))
        self._done.records += wanted.count

    def _copy(self, reader: LogReader, segment: ReadSegment, entries: list[Entry]) -> None:
        """Check whole batches that lie together, and move the bytes of those that are good."""
        origin = entries[0].data_position
        large = len(entries) == 1 and entries[0].data_length > _RUN_BYTES
        raw = b"" if large else segment.read_lines(origin, entries[-1].data_end - origin)
        good: list[Entry] = []
        for entry in entries:
            at = entry.data_position - origin
            if large:
                whole = self._check_large(segment, entry)
            else:
                lines = raw if len(entries) == 1 else raw[at : at + entry.data_length]
                whole = len(lines) == entry.data_length and checksum.matches(
                    Check.BATCH_DATA, entry.data_crc, lines
                )
            if whole:
                good.append(entry)
                continue
            self._move(segment, good, raw, origin)
            good = []
            self._gap(reader.unreadable(segment, entry))
        self._move(segment, good, raw, origin)

    def _move(self, segment: ReadSegment, entries: list[Entry], raw: bytes, origin: int) -> None:
        """Hand out batches that lie together and were checked. `raw` holds them, but for a large one."""
        if not entries:
            return
        position = entries[0].data_position
        length = entries[-1].data_end - position
        if not self._output.send(segment.data_fd, position, length):
            if raw:
                at = position - origin
                self._output.write(raw if len(raw) == length else raw[at : at + length])
            else:
                self._write_large(segment, entries[0])
        self._done.records += sum(entry.record_count for entry in entries)

    def _check_large(self, segment: ReadSegment, entry: Entry) -> bool:
        crc = 0
        for position in range(entry.data_position, entry.data_end, _PIECE_BYTES):
            length = min(_PIECE_BYTES, entry.data_end - position)
            crc = checksum.extend(crc, segment.read_lines(position, length))
        return checksum.agrees(Check.BATCH_DATA, entry.data_crc, crc)

    def _write_large(self, segment: ReadSegment, entry: Entry) -> None:
        for position in range(entry.data_position, entry.data_end, _PIECE_BYTES):
            length = min(_PIECE_BYTES, entry.data_end - position)
            self._output.write(os.pread(segment.data_fd, length, position))


def _group(entries: list[Entry], position: int, start: int, end: int | None, left: int | None) -> list[Entry]:
    """The entries from `position` on that are wanted whole and lie together, up to a run's size."""
    group: list[Entry] = []
    size = records = 0
    for index in range(position, len(entries)):
        entry = entries[index]
        if entry.base_offset < start or (end is not None and entry.last_offset >= end):
            break
        if left is not None and records + entry.record_count > left:
            break
        if group and (size + entry.data_length > _RUN_BYTES or entry.data_position != group[-1].data_end):
            break
        group.append(entry)
        size += entry.data_length
        records += entry.record_count
    return group
