"""One partition, as its writers see it: the lock, the tail, room on disk, making commits visible.

Promises (FORMAT.md sections 5 and 6):

- Under the lock, `load` gives the tail that the journal and the index agree on, whatever happened to the
  process that held the lock before.
- `make_visible` returns only when the part and every part of this log before it are in the index, also those
  whose owners died: entries of an index have no holes.
- An append that could not be applied makes the log refuse further ones until applying succeeds.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from storage import ceiling, files
from storage.entry import ENTRY_BYTES, IndexHeader
from storage.errors import DamageError, DiskFullError, LockTimeoutError, NotYetVisibleError, TopicChangedError
from storage.head import PAGE_BYTES, Head, MappedHead, Tail
from storage.journal import Journal
from storage.journal_record import NOWHERE, Kind, Location, Part
from storage.journal_scan import parts_of, read_at
from storage.lock import FileLock
from storage.segment import (
    DATA_STEP_BYTES,
    INDEX_STEP_BYTES,
    META_STEP_BYTES,
    Segment,
    create_segment,
    segment_bases,
)

if TYPE_CHECKING:
    from storage.posts import Posts

_STUCK_WAIT_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPlace:
    """Which log this is and where it lies. `settings_path` is the file whose replacement ends the place."""

    directory: str
    log_id: bytes
    topic: str
    partition: int
    settings_path: str
    settings_stamp: tuple[int, int]
    segment_bytes: int
    segment_age_ms: int
    is_durable: bool


def settings_stamp(path: str) -> tuple[int, int]:
    """What changes when a settings file is replaced. Raises FileNotFoundError when it is gone."""
    status = os.stat(path)
    return status.st_ino, status.st_mtime_ns


class Log:
    """One partition, open for appending."""

    def __init__(self, place: LogPlace, *, journal: Journal) -> None:
        self.place = place
        self.journal = journal
        what = f"topic '{place.topic}' partition {place.partition}"
        try:
            self.lock = FileLock(os.path.join(place.directory, "head"), what=what)
        except FileNotFoundError:
            if not os.path.exists(place.settings_path):
                raise TopicChangedError(place.topic) from None
            raise DamageError(place.directory, "the partition is missing") from None
        self.open_segment: Segment | None = None
        self._head: MappedHead | None = None
        self._head_opening = 0
        self.ceiling_offset = 0
        self.rolled = False
        # What is being appended for several writers, if this process does that.
        self.group: Posts | None = None

    def close(self) -> None:
        self.lock.close()
        if self._head is not None:
            self._head.close()
            self._head = None
        self.open_segment = None

    def check_current(self) -> None:
        """Under the lock: raise `TopicChangedError` if the topic was deleted, recreated or altered since."""
        inode, changed_ns = self.place.settings_stamp
        try:
            status = os.stat(self.place.settings_path)
            if status.st_ino == inode and status.st_mtime_ns == changed_ns:
                return
        except FileNotFoundError:
            pass
        raise TopicChangedError(self.place.topic)

    def segment(self, base_offset: int) -> Segment:
        """The open segment of this base; the one opened last is kept."""
        segment = self.open_segment
        if segment is None or segment.base_offset != base_offset:
            segment = self.open_segment = Segment(self.place.directory, base_offset)
        return segment

    # -- the tail -------------------------------------------------------------------------------------

    def load(self) -> Tail:
        """Under the lock: where the log ends. Finishes what a dead holder of the lock left behind."""
        head = self.mapped_head().read(salt=self.journal.salt)
        if head is not None and not head.dirty:
            if head.tail.stuck:
                self._unstick(head.tail)
            return head.tail
        return self._find_tail(head)

    def mapped_head(self) -> MappedHead:
        """Under the lock: the head of the file that the lock is on now, which somebody may have emptied."""
        lock = self.lock
        head = self._head
        if head is None or self._head_opening != lock.openings or lock.size_bytes < PAGE_BYTES:
            if head is not None:
                head.close()
            head = self._head = MappedHead(lock.path, fd=lock.fd)
            self._head_opening, lock.size_bytes = lock.openings, PAGE_BYTES
        return head

    def mark(self, tail: Tail, *, bulk: bool = False) -> None:
        """Before the journal append: whoever finds this mark looks for the record behind it."""
        self.mapped_head().write(tail, salt=self.journal.salt, mark=self.journal.end, bulk=bulk)
        files.step("head.marked")
        if self.group is not None:
            self.group.take(tail.next_offset)

    def settle(self, tail: Tail) -> None:
        """After the journal append, or instead of it: the tail is known again."""
        if self.group is not None:
            self.group.settle(tail.next_offset, tail.last.sequence, tail.append_time_ms)
        self.mapped_head().write(tail, salt=self.journal.salt)

    def _find_tail(self, head: Head | None) -> Tail:
        """The tail after a holder of the lock died, or where the head is lost."""
        # The index knows what was applied, which may be more than a dirty head does, if the record behind its
        # mark was checkpointed since; the head knows what was committed and perhaps not applied yet.
        tail = tail_of_index(self.place.directory)
        if head is not None and head.tail.next_offset >= tail.next_offset:
            tail = head.tail
        parts = parts_of(
            self.journal.path,
            self.place.log_id,
            salt=self.journal.salt,
            end_sequence=self.journal.end.sequence,
            after=head.mark if head is not None else None,
        )
        for place, part in parts:
            # What lies below the tail is in the index already, perhaps in an earlier segment.
            if part.kind is Kind.BATCHES and part.entries[-1].last_offset >= tail.next_offset:
                advance(tail, part, place)
        self._enter_newest_segment(tail)
        # Owners may be dead: nothing may build on what they committed before it is durable and visible.
        self.finish_last(tail)
        self._cut_abandoned(self.segment(tail.segment), tail)
        from storage.posts_file import resolve_left

        resolve_left(self.place.directory, tail, salt=self.journal.salt)
        self.settle(tail)
        return tail

    def _enter_newest_segment(self, tail: Tail) -> None:
        """Go into the segment that a dead process made and did not come to use, and finish making it."""
        newest = segment_bases(self.place.directory)[-1]
        if newest > tail.segment and newest >= tail.next_offset:
            self.finish_last(tail)
            tail.begin_segment(newest, created_ms=0)
        segment = self.segment(tail.segment)
        header = segment.read_header()
        if header is None and tail.next_slot == 1 and not os.fstat(segment.data_fd).st_size:
            # What is empty cannot be damaged, only unfinished.
            header = IndexHeader(self.place.log_id, tail.segment, 0, tail.append_time_ms)
            create_segment(self.place.directory, header)
        if header is not None:
            tail.segment_created_ms = header.created_ms

    def _cut_abandoned(self, segment: Segment, tail: Tail) -> None:
        """Cut off what an owner that died wrote in bulk and did not commit."""
        data_size = os.fstat(segment.data_fd).st_size
        meta_size = os.fstat(segment.meta_fd).st_size if segment.has_meta_file else 0
        if data_size <= tail.data_end and meta_size <= tail.meta_end:
            return
        # The dead owner's record may stand in the journal behind the tail, whole but not counted. A power cut
        # now must not bring it back when its data is gone: another record takes its place, durably, first.
        nothing = Part(Kind.NOTHING, self.place.log_id)
        committed = self.journal.append([nothing], now_ms=tail.append_time_ms)
        self.journal.wait_durable(committed.location.sequence)
        files.step("bulk.cut")
        if data_size > tail.data_end:
            files.truncate(segment.data_fd, tail.data_end)
        if meta_size > tail.meta_end:
            files.truncate(segment.meta_fd, tail.meta_end)

    # -- room -----------------------------------------------------------------------------------------

    def reserve(self, tail: Tail, *, data_bytes: int, meta_bytes: int, slots: int) -> None:
        """Reserve blocks for what will be written. Raises `DiskFullError`; nothing was stored then."""
        segment = self.segment(tail.segment)
        try:
            tail.data_allocated = _allocate(
                segment.data_fd, tail.data_end, data_bytes, tail.data_allocated, DATA_STEP_BYTES
            )
            if meta_bytes:
                tail.meta_allocated = _allocate(
                    segment.meta_fd, tail.meta_end, meta_bytes, tail.meta_allocated, META_STEP_BYTES
                )
            tail.index_allocated = _allocate(
                segment.index_fd,
                tail.next_slot * ENTRY_BYTES,
                slots * ENTRY_BYTES,
                tail.index_allocated,
                INDEX_STEP_BYTES,
            )
        except DiskFullError as error:
            raise DiskFullError(self.place.directory) from error

    def roll_if_due(self, tail: Tail, *, adding_bytes: int, now_ms: int) -> None:
        """Begin the next segment where the current one is full or old; an empty one never rolls."""
        if tail.next_slot == 1:
            return
        full = tail.data_end + adding_bytes > self.place.segment_bytes
        old = tail.segment_created_ms and now_ms - tail.segment_created_ms > self.place.segment_age_ms
        if full or old:
            self.roll(tail, now_ms=now_ms)

    def roll(self, tail: Tail, *, now_ms: int) -> None:
        """Begin the next segment; all of the current one is durable and visible before that."""
        self.finish_last(tail)
        segment = self.segment(tail.segment)
        # Cutting a file to the size it has gives back the blocks that were reserved behind its end.
        files.truncate(segment.data_fd, os.fstat(segment.data_fd).st_size)
        files.step("roll")
        # If this process dies now, the next one finds out whether there is a new segment.
        self.mark(tail)
        create_segment(self.place.directory, IndexHeader(self.place.log_id, tail.next_offset, 0, now_ms))
        tail.begin_segment(tail.next_offset, created_ms=now_ms)
        # The append that wanted this may still be refused: the segment stays.
        self.settle(tail)
        self.rolled = True

    def raise_ceiling(self, next_offset: int) -> None:
        """Under the lock, for a log whose appends do not wait for the disk: see `storage.ceiling`."""
        if next_offset > self.ceiling_offset:
            self.ceiling_offset = ceiling.read_ceiling(self.place.directory) or 0
        if next_offset > self.ceiling_offset:
            self.ceiling_offset = next_offset + ceiling.AHEAD_OFFSETS
            ceiling.write_ceiling(self.place.directory, self.ceiling_offset)

    # -- visibility -----------------------------------------------------------------------------------

    def finish_last(self, tail: Tail) -> None:
        """Under the lock: make the log's newest record durable and visible, and with it all before."""
        if tail.last == NOWHERE:
            return
        self.journal.wait_durable(tail.last.sequence)
        part = self._part_at(tail.last)
        if part is None:
            return
        try:
            self._apply_through(part)
        except (OSError, DiskFullError) as error:
            tail.stuck = True
            self.settle(tail)
            raise self._not_yet_visible(error) from error

    def make_visible(self, part: Part) -> None:
        """Without the lock: show a durable part, after every earlier one of this log."""
        try:
            self._apply_through(part)
        except (OSError, DiskFullError) as error:
            raise self.not_shown(error) from error

    def not_shown(self, error: Exception) -> NotYetVisibleError:
        """Without the lock: let it be known that what is durable could not be shown; the error to raise."""
        self._say_stuck()
        return self._not_yet_visible(error)

    def _not_yet_visible(self, error: Exception) -> NotYetVisibleError:
        return NotYetVisibleError(self.place.topic, self.place.partition, str(error))

    def _apply_through(self, part: Part) -> None:
        """Apply a part, and before it every earlier one that nobody has applied yet."""
        try:
            segment = self.segment(part.segment)
        except FileNotFoundError:
            return  # removed by retention, or with its topic: it was visible before
        if segment.applied_slot == part.first_slot:
            # What this process applied last ends where the part begins; and applying it twice does no harm.
            segment.apply(part)
            return
        if segment.holds(part):
            segment.applied_slot = part.first_slot + len(part.entries)
            return
        missing = [part]
        while missing[-1].first_slot > 1 and segment.read_entry(missing[-1].first_slot - 1) is None:
            earlier = self._part_at(missing[-1].previous)
            if earlier is None or earlier.segment != part.segment:
                # Applied meanwhile, or damaged after it was checkpointed: readers report that as a gap.
                break
            missing.append(earlier)
        for absent in reversed(missing):
            segment.apply(absent)

    def _part_at(self, location: Location) -> Part | None:
        if location == NOWHERE:
            return None
        record = read_at(self.journal.path, location, salt=self.journal.salt)
        if record is None:
            return None
        # A record holds at most one part with entries for one log.
        for part in record.parts:
            if part.log_id == self.place.log_id and part.kind is Kind.BATCHES:
                return part
        return None

    def _say_stuck(self) -> None:
        """Let the next append find out before it adds anything; whoever holds the lock finds out anyway."""
        try:
            self.lock.acquire(timeout_seconds=_STUCK_WAIT_SECONDS)
        except LockTimeoutError:
            return
        try:
            head = self.mapped_head().read(salt=self.journal.salt)
            if head is not None and not head.dirty:
                head.tail.stuck = True
                self.settle(head.tail)
        finally:
            self.lock.release()

    def _unstick(self, tail: Tail) -> None:
        """An apply failed earlier: try again before anything is added, and refuse while it fails."""
        self.finish_last(tail)
        tail.stuck = False
        self.settle(tail)


def advance(tail: Tail, part: Part, location: Location) -> None:
    """Move the tail past a part."""
    last = part.entries[-1]
    if part.segment != tail.segment:
        tail.segment = part.segment
        tail.data_allocated = tail.index_allocated = tail.meta_allocated = 0
    tail.next_offset = last.last_offset + 1
    tail.next_slot = part.first_slot + len(part.entries)
    tail.data_end = last.data_end
    tail.meta_end = last.meta_end
    tail.max_timestamp_ms = last.max_timestamp_ms
    tail.append_time_ms = last.append_time_ms
    tail.fence = last.fence
    tail.last = location


def tail_of_index(directory: str) -> Tail:
    """The tail as the newest segment's index knows it: what is applied, and nothing else."""
    bases = segment_bases(directory)
    if not bases:
        raise DamageError(directory, "it holds no segment")
    segment = Segment(directory, bases[-1])
    header = segment.read_header()
    tail = Tail(next_offset=bases[-1], segment=bases[-1])
    tail.segment_created_ms = header.created_ms if header is not None else 0
    found = segment.last_entry()
    if found is not None:
        slot, entry = found
        tail.next_offset = entry.last_offset + 1
        tail.next_slot = slot + 1
        tail.data_end = entry.data_end
        tail.meta_end = entry.meta_end
        tail.max_timestamp_ms = entry.max_timestamp_ms
        tail.append_time_ms = entry.append_time_ms
        tail.fence = entry.fence
    elif len(bases) > 1:
        before = Segment(directory, bases[-2]).last_entry()
        if before is not None:
            tail.max_timestamp_ms = before[1].max_timestamp_ms
            tail.append_time_ms = before[1].append_time_ms
            tail.fence = before[1].fence
    return tail


def _allocate(fd: int, position: int, length: int, allocated: int, step: int) -> int:
    if position + length <= allocated:
        return allocated
    end = position + max(length, step)
    files.allocate(fd, position, end - position)
    return end
