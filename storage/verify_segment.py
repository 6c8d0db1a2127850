"""Checking one segment: every slot of its index, every batch's lines and metadata.

Promises: memory is bounded by a few pieces, whatever a batch claims its length to be; only what lies behind a
valid entry is read; a segment that is being written at the same time gives no false finding.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from storage import checksum
from storage.checksum import Check
from storage.entry import ENTRY_BYTES, HAS_META, SPARSE_OFFSETS, Entry, decode_entry, decode_header
from storage.finding import Finding, Kind, Severity
from storage.log import LogPlace
from storage.meta import decode_columns
from storage.segment import data_path, index_path, meta_path

REPAIR = "run 'aegis store repair'; what lies around it can be read"
_BLOCK_SLOTS = 1024
_PIECE_BYTES = 1 << 20
# A line of metadata is decoded whole; one for the largest batch that an append makes is below this.
_META_BYTES_MAX = 256 << 20

_decode_lines = msgspec.json.Decoder(msgspec.Raw).decode_lines


@dataclass(slots=True)
class Walk:
    """How far the entries of a segment were walked: what the next one has to begin with."""

    offset: int
    slot: int = 1
    data_end: int = 0
    meta_end: int = 0
    last: Entry | None = None
    bad_slot: int | None = None


class SegmentFiles:
    """The files of a segment, open for checking. `data_fd` and `meta_fd` are -1 where the file is missing."""

    def __init__(self, place: LogPlace, base_offset: int) -> None:
        self.place = place
        self.base_offset = base_offset
        directory = place.directory
        self.data_path = data_path(directory, base_offset)
        self.index_path = index_path(directory, base_offset)
        self.meta_path = meta_path(directory, base_offset)
        self._fds: list[int] = []
        self.index_fd = self._open(self.index_path)
        self.data_fd = self._open(self.data_path)
        self.meta_fd = self._open(self.meta_path)

    def _open(self, path: str) -> int:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return -1
        self._fds.append(fd)
        return fd

    def close(self) -> None:
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()

    def slot_count(self) -> int:
        return os.fstat(self.index_fd).st_size // ENTRY_BYTES

    def data_size(self) -> int:
        return os.fstat(self.data_fd).st_size if self.data_fd >= 0 else 0

    def meta_size(self) -> int:
        if self.meta_fd < 0:
            self.meta_fd = self._open(self.meta_path)
        return os.fstat(self.meta_fd).st_size if self.meta_fd >= 0 else 0

    def damage(
        self,
        kind: Kind,
        path: str,
        detail: str,
        *,
        first_offset: int | None = None,
        end_offset: int | None = None,
        position: int | None = None,
        size_bytes: int | None = None,
        remedy: str = REPAIR,
    ) -> Finding:
        return Finding(
            kind=kind,
            severity=Severity.DAMAGE,
            path=path,
            detail=detail,
            remedy=remedy,
            topic=self.place.topic,
            partition=self.place.partition,
            segment=self.base_offset,
            first_offset=first_offset,
            end_offset=end_offset,
            position=position,
            size_bytes=size_bytes,
        )


def check_header(files: SegmentFiles) -> Iterator[Finding]:
    """Check slot 0 of the index."""
    header = decode_header(os.pread(files.index_fd, ENTRY_BYTES, 0))
    if header is None:
        detail = "the header of the index does not match its checksum"
    elif header.log_id != files.place.log_id:
        detail = "the index is another partition's"
    elif header.base_offset != files.base_offset:
        detail = f"the index is that of the segment at offset {header.base_offset}"
    else:
        return
    yield files.damage(Kind.INDEX_HEADER, files.index_path, detail, position=0, size_bytes=ENTRY_BYTES)


def walk_entries(files: SegmentFiles, walk: Walk, end_slot: int) -> Iterator[Finding]:
    """Check the slots from the walk's to before `end_slot`, and the batches that they name."""
    while walk.slot < end_slot:
        count = min(_BLOCK_SLOTS, end_slot - walk.slot)
        block = os.pread(files.index_fd, count * ENTRY_BYTES, walk.slot * ENTRY_BYTES)
        if len(block) < ENTRY_BYTES:
            return
        for at in range(0, len(block) - ENTRY_BYTES + 1, ENTRY_BYTES):
            entry = decode_entry(block[at : at + ENTRY_BYTES])
            if entry is not None:
                yield from _check_entry(files, walk, entry)
            elif walk.bad_slot is None:
                walk.bad_slot = walk.slot
            walk.slot += 1


def bad_entries(files: SegmentFiles, walk: Walk, end_offset: int) -> Iterator[Finding]:
    """The finding for the damaged slots right before the walk's, and forget them."""
    if walk.bad_slot is not None:
        first, walk.bad_slot = walk.bad_slot, None
        slots = f"slot {first}" if walk.slot == first + 1 else f"slots {first} to {walk.slot - 1}"
        yield files.damage(
            Kind.INDEX_ENTRY,
            files.index_path,
            f"{slots} of the index: the checksum does not match",
            first_offset=walk.offset,
            end_offset=end_offset,
            position=first * ENTRY_BYTES,
            size_bytes=(walk.slot - first) * ENTRY_BYTES,
        )


def _check_entry(files: SegmentFiles, walk: Walk, entry: Entry) -> Iterator[Finding]:
    skipped = walk.bad_slot is not None
    yield from bad_entries(files, walk, entry.base_offset)
    wrong = _contradiction(walk, entry, skipped=skipped)
    if wrong is not None:
        yield files.damage(
            Kind.INDEX_ENTRY,
            files.index_path,
            f"slot {walk.slot} contradicts the one before: {wrong}",
            first_offset=entry.base_offset,
            end_offset=entry.last_offset + 1,
            position=walk.slot * ENTRY_BYTES,
            size_bytes=ENTRY_BYTES,
        )
    reason = lines_problem(files.data_fd, entry)
    if reason is not None:
        yield files.damage(
            Kind.MESSAGES,
            files.data_path,
            reason,
            first_offset=entry.base_offset,
            end_offset=entry.last_offset + 1,
            position=entry.data_position,
            size_bytes=entry.data_length,
        )
    reason = meta_problem(files, entry)
    if reason is not None:
        yield files.damage(
            Kind.META,
            files.meta_path,
            reason,
            first_offset=entry.base_offset,
            end_offset=entry.last_offset + 1,
            position=entry.meta_position,
            size_bytes=entry.meta_length,
        )
    walk.offset = entry.last_offset + 1
    walk.data_end, walk.meta_end = entry.data_end, max(walk.meta_end, entry.meta_end)
    walk.last = entry


def _contradiction(walk: Walk, entry: Entry, *, skipped: bool) -> str | None:
    """What of an entry cannot follow on the one before it; behind damaged slots there may be a gap."""
    sparse = bool(entry.flags & SPARSE_OFFSETS)
    span = entry.last_offset - entry.base_offset + 1
    if span < 1 or not 1 <= entry.record_count <= span or (entry.record_count != span and not sparse):
        return f"{entry.record_count} records from offset {entry.base_offset} to {entry.last_offset}"
    if entry.base_offset < walk.offset or (entry.base_offset > walk.offset and not (skipped or sparse)):
        return f"it begins at offset {entry.base_offset}, not {walk.offset}"
    if entry.data_length < 1 or not _follows(entry.data_position, walk.data_end, skipped):
        return f"its messages begin at {entry.data_position}, not {walk.data_end}"
    if bool(entry.flags & HAS_META) != bool(entry.meta_length):
        return f"it has {entry.meta_length} bytes of metadata and says otherwise"
    if entry.meta_length and not _follows(entry.meta_position, walk.meta_end, skipped):
        return f"its metadata begins at {entry.meta_position}, not {walk.meta_end}"
    last = walk.last
    if last is not None:
        if entry.sequence < last.sequence:
            return f"its journal record is {entry.sequence}, after {last.sequence}"
        if entry.append_time_ms < last.append_time_ms or entry.max_timestamp_ms < last.max_timestamp_ms:
            return "its time runs backwards"
    return None


def _follows(position: int, end: int, skipped: bool) -> bool:
    return position == end or (skipped and position > end)


def lines_problem(fd: int, entry: Entry) -> str | None:
    """What is wrong with the lines of a batch: their checksum, their number, or that they are not JSON."""
    if fd < 0:
        return "the file of the messages is missing"
    position, end = entry.data_position, entry.data_end
    crc, count, rest, not_json = 0, 0, b"", False
    while position < end:
        piece = os.pread(fd, min(_PIECE_BYTES, end - position), position)
        if not piece:
            return f"{end - position} bytes of messages are missing"
        position += len(piece)
        crc = checksum.extend(crc, piece)
        count += piece.count(b"\n")
        cut = piece.rfind(b"\n") + 1
        if cut and not not_json:
            not_json = not are_json_lines(rest + piece[:cut])
            rest = piece[cut:]
        elif not not_json:
            rest += piece
    if crc != entry.data_crc and checksum.switched_off is not Check.BATCH_DATA:
        return "messages do not match their checksum"
    if count != entry.record_count or rest:
        return f"{count} lines for {entry.record_count} records"
    return "lines that are no JSON values" if not_json else None


def are_json_lines(lines: bytes) -> bool:
    """Whether every line is exactly one JSON value in UTF-8."""
    try:
        lines.decode()
        values = _decode_lines(lines)
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError):
        return False
    # A value over two lines and two values on one line would make up for each other in the count.
    return len(values) == lines.count(b"\n") and b"\n".join(values).count(b"\n") == len(values) - 1


def meta_problem(files: SegmentFiles, entry: Entry) -> str | None:
    """What is wrong with the metadata of a batch."""
    if not entry.flags & HAS_META:
        return None
    files.meta_size()
    if files.meta_fd < 0:
        return "the metadata file is missing"
    if entry.meta_length > _META_BYTES_MAX:
        return f"{entry.meta_length} bytes of metadata are more than any batch has"
    line = os.pread(files.meta_fd, entry.meta_length, entry.meta_position)
    if len(line) != entry.meta_length or not checksum.matches(Check.BATCH_META, entry.meta_crc, line):
        return "the metadata does not match its checksum"
    try:
        columns = decode_columns(line)
    except ValueError as error:
        return str(error)
    if columns.base_offset != entry.base_offset or columns.count != entry.record_count:
        return "the metadata is another batch's"
    return None
