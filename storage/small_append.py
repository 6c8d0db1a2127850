"""The small append: one small batch to one log, which is what most appends are. FORMAT.md section 6.

It does what `storage.append` does, step by step, and writes the same bytes, but as one straight line: a disk
that syncs in a tenth of a millisecond leaves no time for twenty values and a hundred calls. The head is read
and written as bare fields, and is known again by its bytes where this process wrote it last; entry, record
and head are packed where they are made. Tests hold both ways against each other.

Promises: what can go through at once goes through as in the ordinary way. Where something has to be found
out, made or waited for first (somebody holds the lock, the head is dirty, stuck or damaged, a segment or a
journal file is full, blocks are to be reserved, the payload is large) nothing was changed, and the answer is
to go the ordinary way.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable

from storage import append as appending
from storage import files
from storage.batch import Receipt, RecordBatch
from storage.checksum import value as crc_of
from storage.entry import BODY as ENTRY_BODY
from storage.entry import ENTRY_BYTES, ENTRY_VERSION, HAS_META, decode_entry
from storage.errors import DiskFullError
from storage.head import BODY as HEAD_BODY
from storage.head import DIRTY, HEAD_BYTES, HEAD_VERSION, Fields, clean_fields
from storage.journal_record import (
    ALIGNMENT,
    HEADER,
    HEADER_BYTES,
    PART,
    RECORD_VERSION,
    Kind,
    Location,
    Part,
)
from storage.log import Log

_pack_crc = struct.Struct("<I").pack
_pack_entry = ENTRY_BODY.pack
_pack_head = HEAD_BODY.pack
# The headers of a record and of its only part, behind the record's checksum.
_pack_headers = struct.Struct(HEADER.format + PART.format[1:]).pack
_BEFORE_PAYLOAD_BYTES = HEADER_BYTES + PART.size + ENTRY_BYTES
_BATCHES = int(Kind.BATCHES)
_PADDING = [bytes(count) for count in range(ALIGNMENT)]


class SmallAppend:
    """Appends small batches to one log. What it keeps belongs to the holder of the log's lock."""

    def __init__(self, log: Log, clock_ms: Callable[[], int]) -> None:
        self._log = log
        self._clock_ms = clock_ms
        self._process = os.getpid()
        # The head as it was written here last, and what it says.
        self._known: tuple[bytes, Fields | None] = (b"", None)

    def append(self, batch: RecordBatch, durable: bool) -> Receipt | None:
        """Append a batch; `None`, with nothing changed, where the ordinary way has to be gone.

        Raises what `storage.append.append` does, and `Retracted`.
        """
        log = self._log
        journal, lock, group, page = log.journal, log.lock, log.group, log.journal.page
        lines, count = batch.lines, batch.count
        if page.has_failed() or not lock.try_acquire():
            return None
        try:
            # The plan. Nothing is changed before all is known to fit.
            log.check_current()
            place, segment, head = log.place, log.open_segment, log.mapped_head()
            raw = head.page[:HEAD_BYTES]
            known, fields = self._known
            if raw != known:
                fields = clean_fields(raw, salt=journal.salt)
            if fields is None or segment is None:
                return None
            (
                _, _, salt, _, offset, base, slot, data_end, meta_end, newest_ms, before_ms, created_ms,
                data_room, index_room, meta_room, file, position, sequence, _, _, _, fence,
            ) = fields  # fmt: skip
            now_ms = self._clock_ms()
            append_ms = first_ms = last_ms = now_ms if now_ms > before_ms else before_ms
            flags, meta, meta_crc, payload = 0, b"", 0, lines
            if batch.keys is not None or batch.headers is not None or batch.timestamps_ms is not None:
                first_ms, last_ms = appending.timestamps_of(batch, append_ms)
                meta = appending.encode_meta(batch, offset)
                if meta:
                    flags, meta_crc, payload = HAS_META, crc_of(meta), lines + meta
            max_ms = last_ms if last_ms > newest_ms else newest_ms
            lines_bytes, meta_bytes, size = len(lines), len(meta), len(payload)
            padding = -size % ALIGNMENT
            length = _BEFORE_PAYLOAD_BYTES + size + padding
            end_sequence, end_file, end_position, _ = page.read_tail()
            if (
                segment.base_offset != base
                or data_end + lines_bytes > data_room
                or (slot + 1) * ENTRY_BYTES > index_room
                or (meta and meta_end + meta_bytes > meta_room)
                or end_position + length > journal.file_bytes
                or size > appending.INLINE_BYTES_MAX
                or (slot > 1 and data_end + lines_bytes > place.segment_bytes)
                or (slot > 1 and created_ms and now_ms - created_ms > place.segment_age_ms)
                or not (durable or offset + count <= log.ceiling_offset)
            ):
                return None
            files.step("append.locked")
            # The commit: the head dirty, the record, the head clean.
            body = _pack_head(
                HEAD_VERSION, DIRTY, salt, self._process, offset, base, slot, data_end, meta_end, newest_ms,
                before_ms, created_ms, data_room, index_room, meta_room, file, position, sequence,
                end_file, end_position, end_sequence, fence,
            )  # fmt: skip
            files.write_mapped(head.fd, head.page, _pack_crc(crc_of(body)) + body)
            files.step("head.marked")
            if group is not None:
                group.take(offset)
            lines_crc = crc_of(lines)
            # Another log's writer may have filled the file meanwhile: then it is left here.
            end = journal.begin(length)
            end_sequence, end_file, end_position, previous_crc = end
            try:
                body = _pack_entry(
                    ENTRY_VERSION, flags, 0, offset, offset + count - 1, count, lines_crc, data_end,
                    lines_bytes, meta_end, meta_bytes, meta_crc, first_ms, max_ms, append_ms, end_sequence,
                    fence, 0,
                )  # fmt: skip
                entry = _pack_crc(crc_of(body)) + body
                headers = _pack_headers(
                    length, salt, end_sequence, previous_crc, RECORD_VERSION, 1, page.read_synced(),
                    now_ms, self._process, _BATCHES, 0, 1, place.log_id, base, slot,
                    file, position, sequence, lines_bytes, meta_bytes,
                )  # fmt: skip
                body = headers + entry + payload + _PADDING[padding]
                crc = crc_of(body)
                journal.add(end, _pack_crc(crc) + body, crc)
            finally:
                journal.append_lock.release()
            if durable:
                journal.start_writing(end, length)
            fields = (
                HEAD_VERSION, 0, salt, self._process, offset + count, base, slot + 1, data_end + lines_bytes,
                meta_end + meta_bytes, max_ms, append_ms, created_ms, data_room, index_room, meta_room,
                end_file, end_position, end_sequence, 0, 0, 0, fence,
            )  # fmt: skip
            if group is not None:
                group.settle(offset + count, end_sequence, append_ms)
            body = _pack_head(*fields)
            raw = _pack_crc(crc_of(body)) + body
            files.write_mapped(head.fd, head.page, raw)
            self._known = raw, fields
        finally:
            lock.release()
        files.step("append.released")
        if durable:
            journal.wait_durable(end_sequence)
        files.step("append.durable")
        # What this process showed last ends where this begins, or the log finds out what is missing.
        if log.open_segment is segment and segment.applied_slot == slot:
            try:
                segment.write(slot, entry, lines, data_end, meta, meta_end)
            except (OSError, DiskFullError) as error:
                raise log.not_shown(error) from error
        else:
            log.make_visible(_part(place.log_id, base, slot, (file, position, sequence), entry, lines, meta))
        return Receipt(
            topic=place.topic,
            partition=place.partition,
            base_offset=offset,
            last_offset=offset + count - 1,
            append_time_ms=append_ms,
        )


def _part(
    log_id: bytes,
    base_offset: int,
    slot: int,
    previous: tuple[int, int, int],
    raw_entry: bytes,
    lines: bytes,
    meta: bytes,
) -> Part:
    """What was appended, as the ordinary way has it."""
    entry = decode_entry(raw_entry)
    assert entry is not None
    return Part(
        Kind.BATCHES, log_id, base_offset, slot, Location(*previous), (entry,), lines, meta, 0, raw_entry
    )
