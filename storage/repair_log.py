"""Repairing one partition: what can be made whole is, the rest is set aside in quarantine and stays a gap.

Promises: nothing that is valid is changed or removed; bytes are copied into quarantine before anything near
them is written; slots are written in place, so that writers and readers that have the index open see them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace

from storage import files
from storage.entry import ENTRY_BYTES, Entry, IndexHeader, decode_entry, decode_header
from storage.files import Sync
from storage.finding import Finding, Kind
from storage.head import read_head, salt_of
from storage.log import Log, LogPlace
from storage.quarantine import place_for, set_aside
from storage.quarantine_note import Note, write_note
from storage.replay import trim
from storage.segment import Segment, create_segment, data_path, index_path, segment_bases
from storage.verify_segment import SegmentFiles, lines_problem, meta_problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """What was done about one finding: `restored`, `quarantined`, `removed`, or `left` to a person.

    `copy` is where the damaged bytes are kept. Offsets are those that the finding names, the end excluded.
    """

    action: str
    kind: Kind
    path: str
    detail: str
    topic: str | None = None
    partition: int | None = None
    first_offset: int | None = None
    end_offset: int | None = None
    copy: str | None = None


def repair_of(finding: Finding, action: str, *, detail: str | None = None, copy: str | None = None) -> Repair:
    """The repair that an action was for a finding."""
    return Repair(
        action=action,
        kind=finding.kind,
        path=finding.path,
        detail=detail if detail is not None else finding.detail,
        topic=finding.topic,
        partition=finding.partition,
        first_offset=finding.first_offset,
        end_offset=finding.end_offset,
        copy=copy,
    )


def repair_log(store_path: str, log: Log, finding: Finding, *, now_ms: int) -> Repair:
    """Do what can be done about one finding. The caller holds the partition's lock."""
    place = log.place
    if finding.kind is Kind.INDEX_HEADER:
        return _restore_header(place, finding)
    if finding.kind is Kind.INDEX_ENTRY and _mend_slots(place, finding):
        return repair_of(finding, "restored", detail=f"{finding.detail}; mended")
    if finding.kind is Kind.LEFTOVER:
        return _finish_removal(place, finding)
    if finding.kind is Kind.SEGMENT_MISSING:
        return _set_file_aside(store_path, log, finding, now_ms=now_ms)
    if finding.kind is Kind.MESSAGES and finding.position is None:
        return _make_messages_anew(log, finding, now_ms=now_ms)
    if finding.kind in (Kind.INDEX_ENTRY, Kind.MESSAGES, Kind.META, Kind.INDEX_END):
        copy = _copy_bytes(store_path, place, finding)
        if finding.kind is Kind.INDEX_END:
            finding = _go_on_behind(log, finding, now_ms=now_ms)
        _write_note(store_path, place, finding, copy, now_ms=now_ms)
        return repair_of(finding, "quarantined", copy=copy)
    return repair_of(finding, "left", detail=f"{finding.detail}; {finding.remedy}")


# -- making whole -------------------------------------------------------------------------------------------


def _restore_header(place: LogPlace, finding: Finding) -> Repair:
    assert finding.segment is not None
    segment = Segment(place.directory, finding.segment)
    raw = os.pread(segment.index_fd, ENTRY_BYTES, 0)
    mended = _mended(raw, lambda changed: decode_header(changed) is not None)
    header = decode_header(mended) if mended is not None else None
    if header is None or header.log_id != place.log_id or header.base_offset != finding.segment:
        first = segment.read_entry(1)
        created_ms = first.append_time_ms if first is not None else 0
        header = IndexHeader(place.log_id, finding.segment, 0, created_ms)
    files.write_at(segment.index_fd, header.encode(), 0)
    return repair_of(finding, "restored")


def _mend_slots(place: LogPlace, finding: Finding) -> bool:
    """Turn back the one bit that was flipped in each damaged slot, if what comes out fits into its place."""
    assert finding.segment is not None and finding.position is not None and finding.size_bytes is not None
    checked = SegmentFiles(place, finding.segment)
    mended: list[tuple[int, bytes]] = []
    try:
        before = decode_entry(os.pread(checked.index_fd, ENTRY_BYTES, finding.position - ENTRY_BYTES))
        for position in range(finding.position, finding.position + finding.size_bytes, ENTRY_BYTES):
            raw = os.pread(checked.index_fd, ENTRY_BYTES, position)
            whole = _mended(raw, lambda changed: decode_entry(changed) is not None)
            entry = decode_entry(whole) if whole is not None else None
            if whole is None or entry is None or not _fits(checked, before, entry):
                return False
            mended.append((position, whole))
            before = entry
        after = decode_entry(os.pread(checked.index_fd, ENTRY_BYTES, finding.position + finding.size_bytes))
        if after is not None and before is not None and after.base_offset != before.last_offset + 1:
            return False
    finally:
        checked.close()
    segment = Segment(place.directory, finding.segment)
    for position, whole in mended:
        files.write_at(segment.index_fd, whole, position)
    return bool(mended)


def _fits(checked: SegmentFiles, before: Entry | None, entry: Entry) -> bool:
    if before is None:
        follows = entry.base_offset == checked.base_offset and entry.data_position == 0
    else:
        follows = entry.base_offset == before.last_offset + 1 and entry.data_position == before.data_end
    return follows and lines_problem(checked.data_fd, entry) is None and meta_problem(checked, entry) is None


def _mended(raw: bytes, is_whole: Callable[[bytes], bool]) -> bytes | None:
    """The slot with one bit turned, if that makes it match its checksum; as it is if it matches already."""
    if len(raw) != ENTRY_BYTES or is_whole(raw):
        return raw if len(raw) == ENTRY_BYTES else None
    changed = bytearray(raw)
    for bit in range(ENTRY_BYTES * 8):
        changed[bit >> 3] ^= 1 << (bit & 7)
        if is_whole(bytes(changed)):
            return bytes(changed)
        changed[bit >> 3] ^= 1 << (bit & 7)
    return None


def _make_messages_anew(log: Log, finding: Finding, *, now_ms: int) -> Repair:
    """Put an empty file where that of a segment's messages is missing; the newest segment is left then."""
    place = log.place
    files.close_file(files.open_file(finding.path, create=True))
    files.sync_directory(place.directory, Sync.RECOVERY_DIRECTORY)
    tail = log.load()
    if tail.segment == finding.segment:
        # What is appended here would lie behind a hole, which raw readers see as zeros.
        log.roll(tail, now_ms=now_ms)
    detail = f"{finding.detail}; an empty file takes its place, and its messages stay a gap"
    return repair_of(finding, "restored", detail=detail)


def _finish_removal(place: LogPlace, finding: Finding) -> Repair:
    """Remove what is left of a segment that retention was removing when its process died."""
    bases = segment_bases(place.directory)
    base = finding.segment
    removable = base is not None and len(bases) > 1 and bases[0] == base
    if base is not None and removable and not os.path.exists(data_path(place.directory, base)):
        trim(place.directory, bases[1])
        return repair_of(finding, "removed")
    return repair_of(finding, "left", detail=f"{finding.detail}; {finding.remedy}")


# -- setting aside ------------------------------------------------------------------------------------------


def _copy_bytes(store_path: str, place: LogPlace, finding: Finding) -> str | None:
    """Copy the damaged bytes; of entries that are damaged or lost, the messages that they named."""
    assert finding.segment is not None
    path, position, length = finding.path, finding.position, finding.size_bytes
    if finding.kind in (Kind.INDEX_ENTRY, Kind.INDEX_END):
        assert position is not None
        path = data_path(place.directory, finding.segment)
        end = position + length if length is not None else None
        position, length = _between(place, finding.segment, position, end)
    try:
        fd = files.open_file(path, read_only=True)
    except FileNotFoundError:
        return None
    try:
        if position is None or os.fstat(fd).st_size <= position:
            return None
        return set_aside(store_path, path, fd, position, length)
    finally:
        files.close_file(fd)


def _between(place: LogPlace, base: int, first: int, end: int | None) -> tuple[int, int | None]:
    """Where the messages of the slots between these two positions of the index lie, and how many bytes."""
    with open(index_path(place.directory, base), "rb", buffering=0) as index:
        before = decode_entry(os.pread(index.fileno(), ENTRY_BYTES, first - ENTRY_BYTES))
        after = decode_entry(os.pread(index.fileno(), ENTRY_BYTES, end)) if end is not None else None
    begin = before.data_end if before is not None else 0
    return begin, after.data_position - begin if after is not None else None


def _go_on_behind(log: Log, finding: Finding, *, now_ms: int) -> Finding:
    """Begin a new segment behind entries that are lost at the end; returns the finding as it is from then on.

    Readers see the gap then, and no offset in it is given again.
    """
    assert finding.segment is not None
    lost = _lines_behind(log.place, finding) if finding.end_offset is None else 0
    tail = log.load()
    if tail.segment == finding.segment:
        tail.next_offset += lost
        log.roll(tail, now_ms=now_ms)
    following = [base for base in segment_bases(log.place.directory) if base > finding.segment]
    return replace(finding, end_offset=following[0] if following else finding.end_offset)


def _lines_behind(place: LogPlace, finding: Finding) -> int:
    assert finding.segment is not None and finding.position is not None
    begin, _ = _between(place, finding.segment, finding.position, None)
    lines = 0
    with open(data_path(place.directory, finding.segment), "rb", buffering=0) as data:
        data.seek(begin)
        while piece := data.read(1 << 20):
            lines += piece.count(b"\n")
    return lines


def _set_file_aside(store_path: str, log: Log, finding: Finding, *, now_ms: int) -> Repair:
    """Move messages whose index is gone into quarantine; give a partition without a segment a new one."""
    place = log.place
    if finding.path == place.directory:
        head = read_head(log.lock.fd, salt=salt_of(log.lock.fd))
        if head is not None and head.tail.segment not in segment_bases(place.directory):
            tail = head.tail
            create_segment(place.directory, IndexHeader(place.log_id, tail.next_offset, 0, now_ms))
            tail.begin_segment(tail.next_offset, created_ms=now_ms)
            log.settle(tail)
            detail = f"it goes on at offset {tail.next_offset} in a new segment"
            return repair_of(finding, "restored", detail=detail)
    if not finding.path.startswith(place.directory + os.sep):
        return repair_of(finding, "left", detail=f"{finding.detail}; {finding.remedy}")
    name = f"{place.topic}-{place.partition}-{os.path.basename(finding.path)}"
    copy = place_for(store_path, name)
    files.rename(finding.path, copy)
    _write_note(store_path, place, finding, copy, now_ms=now_ms)
    return repair_of(finding, "quarantined", copy=copy)


def _write_note(store_path: str, place: LogPlace, finding: Finding, copy: str | None, *, now_ms: int) -> None:
    write_note(
        store_path,
        Note(
            kind=finding.kind.value,
            path=finding.path,
            log_id=place.log_id.hex(),
            detail=finding.detail,
            segment=finding.segment,
            first_offset=finding.first_offset,
            end_offset=finding.end_offset,
            position=finding.position,
            size_bytes=finding.size_bytes,
            copy=copy,
            set_aside_ms=now_ms,
        ),
    )
