"""Checking one partition: which files it has, each segment, and whether its end is where it should be.

The end is the hard part. Entries that are missing at the end look like entries that were never there, so the
end is compared with the head, with the journal and with the messages themselves.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from storage.ceiling import CEILING_FILE
from storage.describe import holder_among, lock_holders
from storage.entry import ENTRY_BYTES
from storage.epoch import Epoch
from storage.finding import Finding, Kind, Severity
from storage.head import HEAD_BYTES, HEAD_FILE, Head, read_head, salt_of
from storage.lock import describe_process
from storage.log import LogPlace
from storage.posts_file import POSTS_FILE
from storage.segment import segment_bases
from storage.verify_segment import SegmentFiles, Walk, bad_entries, check_header, walk_entries

_SUFFIXES = (".jsonl", ".index", ".meta")
# An append that is under way is over after this long, unless its process was stopped.
_LOOKS = 20
_PAUSE_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a partition's end is compared with. `epoch` is `None` where it is not the present one.

    `journal_end` says for a log and a segment which slot is behind the last entry that the journal holds.
    `is_trimmed`: whether messages may be missing because they were removed.
    """

    epoch: Epoch | None
    journal_end: Callable[[bytes, int], int]
    is_trimmed: bool


def verify_partition(place: LogPlace, around: Surroundings) -> Iterator[Finding]:
    """Every finding of one partition."""
    try:
        names = sorted(os.listdir(place.directory))
        bases = segment_bases(place.directory)
    except (FileNotFoundError, NotADirectoryError):
        yield _finding(
            place,
            Kind.PARTITION_MISSING,
            place.directory,
            "the directory of the partition is missing",
            remedy="restore it from a copy of the store; 'aegis store repair' makes an empty one",
        )
        return
    yield from _strange_files(place, names, bases)
    if not bases:
        yield _finding(
            place,
            Kind.SEGMENT_MISSING,
            place.directory,
            "it holds no segment",
            remedy="run 'aegis store repair'",
        )
        return
    while bases:
        for base, following in zip(bases, [*bases[1:], None], strict=True):
            files = SegmentFiles(place, base)
            try:
                if files.index_fd < 0:
                    continue  # removed by retention meanwhile
                oldest = base == bases[0] and following is not None
                if files.data_fd < 0 and oldest and around.is_trimmed:
                    yield from _half_removed(files)
                else:
                    yield from _verify_segment(files, following, around)
            finally:
                files.close()
        # Others may have been begun while these were read.
        bases = _later_bases(place, bases[-1])


def _later_bases(place: LogPlace, base: int) -> list[int]:
    try:
        return [later for later in segment_bases(place.directory) if later > base]
    except FileNotFoundError:
        return []


def _strange_files(place: LogPlace, names: list[str], bases: list[int]) -> Iterator[Finding]:
    """Files that no segment has, and messages whose index is gone."""
    known = {f"{base:020d}" for base in bases}
    for name in names:
        stem, suffix = os.path.splitext(name)
        path = os.path.join(place.directory, name)
        if name in (HEAD_FILE, CEILING_FILE, POSTS_FILE) or (suffix in _SUFFIXES and stem in known):
            continue
        if not os.path.exists(path):
            continue  # removed meanwhile
        numbered = suffix in _SUFFIXES and len(stem) == 20 and stem.isdigit()
        if not numbered:
            yield _finding(
                place,
                Kind.UNKNOWN_FILE,
                path,
                "no file of a store",
                remedy="move it elsewhere",
                severity=Severity.NOTICE,
            )
        elif _size(path):
            yield _finding(
                place,
                Kind.SEGMENT_MISSING,
                path,
                "messages without an index",
                remedy="restore the index from a copy; 'aegis store repair' sets the file aside",
                first_offset=int(stem),
            )
        else:
            yield _finding(
                place,
                Kind.LEFTOVER,
                path,
                "an empty file of a segment that was not begun",
                remedy="nothing has to be done; the next segment uses it",
                severity=Severity.NOTICE,
            )


def _half_removed(files: SegmentFiles) -> Iterator[Finding]:
    """Retention unlinks the messages before the index: what is left of a process that died in between."""
    if os.path.exists(files.index_path):
        yield _finding(
            files.place,
            Kind.LEFTOVER,
            files.index_path,
            "the index of a segment that retention has removed",
            remedy="run 'aegis store repair'",
            severity=Severity.NOTICE,
            segment=files.base_offset,
        )


def _verify_segment(files: SegmentFiles, following: int | None, around: Surroundings) -> Iterator[Finding]:
    if following is None and _is_not_begun(files):
        yield _leftover(
            files,
            Walk(offset=files.base_offset),
            0,
            "a segment that was not begun",
            "nothing has to be done; the next append finishes it",
        )
        return
    yield from check_header(files)
    walk = Walk(offset=files.base_offset)
    if files.data_fd < 0:
        yield files.damage(Kind.MESSAGES, files.data_path, "the file of the messages is missing")
    yield from walk_entries(files, walk, files.slot_count())
    if following is not None:
        yield from _sealed_end(files, walk, following)
    else:
        yield from _open_end(files, walk, around)


def _is_not_begun(files: SegmentFiles) -> bool:
    """Whether the newest segment has neither messages nor a header: who makes it died, or is at it now."""
    for look in range(_LOOKS):
        if look:
            time.sleep(_PAUSE_SECONDS)
        # Messages first, header after: what has messages got its header before them.
        if files.data_size() or files.slot_count():
            return False
    return True


def _sealed_end(files: SegmentFiles, walk: Walk, following: int) -> Iterator[Finding]:
    """A segment with a successor is whole: its entries reach up to the successor's first offset."""
    if walk.bad_slot is not None:
        yield from bad_entries(files, walk, following)
        return
    behind = files.data_size() - walk.data_end
    if walk.offset > following:
        detail = f"it reaches to offset {walk.offset}, beyond the next segment's first, {following}"
        yield files.damage(
            Kind.OFFSETS, files.index_path, detail, first_offset=following, end_offset=walk.offset
        )
    elif walk.offset < following and behind > 0:
        yield files.damage(
            Kind.INDEX_END,
            files.index_path,
            "entries are missing at the end of the index",
            first_offset=walk.offset,
            end_offset=following,
            position=walk.slot * ENTRY_BYTES,
        )
    elif behind > 0:
        yield _leftover(files, walk, behind, f"{behind} bytes that no entry names", "nothing has to be done")


def _open_end(files: SegmentFiles, walk: Walk, around: Surroundings) -> Iterator[Finding]:
    """The newest segment, to which somebody may be appending at this moment."""
    place = files.place
    pending_end = around.journal_end(place.log_id, files.base_offset)
    if walk.bad_slot is not None:
        # An entry that was being written when it was read is whole when it is read again.
        walk.slot, walk.bad_slot = walk.bad_slot, None
    for look in range(_LOOKS):
        # Sizes first, entries after: what was there before is named by an entry now, unless it is under way.
        data_size = files.data_size()
        head, head_is_whole = _read_head(place, around.epoch)
        again = replace(walk)
        found = list(walk_entries(files, again, files.slot_count()))
        expected = pending_end
        if head is not None and head.tail.segment == files.base_offset:
            expected = max(expected, head.tail.next_slot)
        ahead = head is not None and head.tail.segment > files.base_offset
        whole_end = again.bad_slot is None and expected <= again.slot and data_size <= again.data_end
        if whole_end and not ahead:
            break
        if later := _later_bases(place, files.base_offset):
            # It is sealed by now, so all of it is there.
            yield from walk_entries(files, walk, files.slot_count())
            yield from _sealed_end(files, walk, later[0])
            return
        if look + 1 < _LOOKS:
            time.sleep(_PAUSE_SECONDS)
    yield from found
    if not head_is_whole:
        yield _finding(
            place,
            Kind.HEAD,
            os.path.join(place.directory, HEAD_FILE),
            "the cache of the partition's end does not match its checksum",
            remedy="nothing has to be done; the next append makes it anew",
            severity=Severity.NOTICE,
        )
    ending = list(_missing_end(files, again, head, expected=expected, pending_end=pending_end))
    yield from ending
    if not ending and data_size > again.data_end:
        yield _bytes_behind(files, again, head, data_size - again.data_end, around)


def _read_head(place: LogPlace, epoch: Epoch | None) -> tuple[Head | None, bool]:
    """The head, if it is of this epoch, and whether the file is whole (or empty, or of another epoch)."""
    try:
        fd = os.open(os.path.join(place.directory, HEAD_FILE), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None, True
    try:
        if not any(os.pread(fd, HEAD_BYTES, 0)):
            return None, True  # not written yet, or made by an append that was refused
        own_salt = salt_of(fd)
        head = read_head(fd, salt=own_salt)
        if head is None or epoch is None or own_salt != epoch.salt:
            return None, head is not None
        return head, True
    finally:
        os.close(fd)


def _missing_end(
    files: SegmentFiles, walk: Walk, head: Head | None, *, expected: int, pending_end: int
) -> Iterator[Finding]:
    """Entries that should be there and are damaged or missing."""
    place = files.place
    tail = head.tail if head is not None and head.tail.segment >= files.base_offset else None
    end_offset = max(walk.offset, tail.next_offset) if tail is not None else walk.offset
    if tail is not None and tail.segment > files.base_offset:
        yield files.damage(
            Kind.SEGMENT_MISSING,
            place.directory,
            f"the segment at offset {tail.segment} is missing",
            first_offset=tail.segment,
            end_offset=tail.next_offset,
        )
    first_missing = walk.slot if walk.bad_slot is None else walk.bad_slot
    if walk.bad_slot is not None and _any_bytes(files, walk.bad_slot, walk.slot):
        yield from bad_entries(files, walk, max(end_offset, walk.offset + 1))
    elif expected <= first_missing:
        return
    elif pending_end >= expected:
        yield _finding(
            place,
            Kind.PENDING,
            files.index_path,
            f"committed batches that are not visible yet: {expected - first_missing}",
            remedy="nothing has to be done; the next append to the partition shows them",
            severity=Severity.NOTICE,
            segment=files.base_offset,
        )
    else:
        yield files.damage(
            Kind.INDEX_END,
            files.index_path,
            "entries are missing at the end of the index",
            first_offset=walk.offset,
            end_offset=end_offset,
            position=first_missing * ENTRY_BYTES,
        )


def _any_bytes(files: SegmentFiles, slot: int, end_slot: int) -> bool:
    """Whether anything but zeros stands in these slots."""
    position, end = slot * ENTRY_BYTES, end_slot * ENTRY_BYTES
    while position < end and (piece := os.pread(files.index_fd, min(1 << 16, end - position), position)):
        if any(piece):
            return True
        position += len(piece)
    return False


def _bytes_behind(
    files: SegmentFiles, walk: Walk, head: Head | None, size: int, around: Surroundings
) -> Finding:
    """Messages behind the last entry: an append under way, what one left behind, or entries that are lost."""
    holder = holder_among(lock_holders(), os.path.join(files.place.directory, HEAD_FILE))
    if holder is not None:
        detail = f"{size} bytes of messages are being appended by {describe_process(holder)}"
        return _leftover(files, walk, size, detail, "nothing has to be done")
    if head is not None and head.dirty:
        detail = f"{size} bytes of messages of a process that died before it committed them"
        remedy = "nothing has to be done; the next append to the partition cuts them off"
        return _leftover(files, walk, size, detail, remedy)
    if around.epoch is None:
        detail = f"{size} bytes of messages behind the last entry"
        remedy = "nothing has to be done; the next opening of the store looks for them in the journal"
        return _leftover(files, walk, size, detail, remedy)
    return files.damage(
        Kind.INDEX_END,
        files.index_path,
        f"no entry names the last {size} bytes of messages",
        first_offset=walk.offset,
        position=walk.slot * ENTRY_BYTES,
    )


def _leftover(files: SegmentFiles, walk: Walk, size_bytes: int, detail: str, remedy: str) -> Finding:
    return _finding(
        files.place,
        Kind.LEFTOVER,
        files.data_path,
        detail,
        remedy=remedy,
        severity=Severity.NOTICE,
        segment=files.base_offset,
        position=walk.data_end,
        size_bytes=size_bytes,
    )


def _finding(
    place: LogPlace,
    kind: Kind,
    path: str,
    detail: str,
    *,
    remedy: str,
    severity: Severity = Severity.DAMAGE,
    segment: int | None = None,
    first_offset: int | None = None,
    position: int | None = None,
    size_bytes: int | None = None,
) -> Finding:
    return Finding(
        kind=kind,
        severity=severity,
        path=path,
        detail=detail,
        remedy=remedy,
        topic=place.topic,
        partition=place.partition,
        segment=segment,
        first_offset=first_offset,
        position=position,
        size_bytes=size_bytes,
    )


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0
