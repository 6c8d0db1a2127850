"""The journal record: one change of the store, all or nothing. Layout in FORMAT.md section 3.

    record := header part*
    part   := part-header entry* data meta

A record is checked whole by its CRC-32C and belongs to the journal only if its epoch's salt and its sequence
are the expected ones, so that what an earlier use of the file left behind never counts.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

from storage import checksum
from storage.checksum import Check
from storage.entry import ENTRY_BYTES, Entry, decode_entry

RECORD_VERSION = 1
# What one part may carry inline; larger payloads go straight to the segment before the record is written.
PAYLOAD_BYTES_MAX = 64 * 1024
ALIGNMENT = 8

_CRC = struct.Struct("<I")
# length, salt, sequence, previous crc, version, part count, synced sequence, written at, process
HEADER = struct.Struct("<IQQIB3xIQqI8x")
# kind, generation, entry count, log id, segment, first slot, previous file, previous position, previous
# sequence, data length, meta length
PART = struct.Struct("<BxHI16sQQIIQII")
HEADER_BYTES = _CRC.size + HEADER.size


class Kind(IntEnum):
    """What a part does when it is applied."""

    BATCHES = 1  # makes entries, and the payload they name, part of a segment
    TRIM = 2  # raises a log's start: segments wholly below `segment` go
    NOTHING = 3  # takes a place in the sequence, so that an abandoned record there is gone


class Location(NamedTuple):
    """Where a record lies: the number of its file, its position there in bytes, its sequence."""

    file: int
    position: int
    sequence: int


NOWHERE = Location(0, 0, 0)


class Part(NamedTuple):
    """What a record does to one log. `previous` is where that log's part before this one lies, `generation`
    is that of the segment's files: a segment that was rewritten since is another one.

    While a record is being made its entries have no sequence yet: `seal` gives it to them, and keeps them as
    they will lie in the index, since each is written to the journal and then there.
    """

    kind: Kind
    log_id: bytes
    segment: int = 0
    first_slot: int = 0
    previous: Location = NOWHERE
    entries: tuple[Entry, ...] = ()
    data: bytes = b""
    meta: bytes = b""
    generation: int = 0
    sealed: bytes = b""

    @property
    def encoded_bytes(self) -> int:
        return PART.size + ENTRY_BYTES * len(self.entries) + len(self.data) + len(self.meta)

    @property
    def index_bytes(self) -> bytes:
        """The entries as they lie in the index."""
        return self.sealed or b"".join([entry.encode() for entry in self.entries])


class Record(NamedTuple):
    """A record as read: `synced` is the sequence below which all was durable when it was written."""

    sequence: int
    previous_crc: int
    synced: int
    written_ms: int
    process: int
    crc: int
    length: int
    parts: tuple[Part, ...]


def record_bytes(parts: list[Part]) -> int:
    """How many bytes of a journal file a record of these parts takes."""
    length = HEADER_BYTES
    for part in parts:
        length += part.encoded_bytes
    return -(-length // ALIGNMENT) * ALIGNMENT


def seal(parts: list[Part], sequence: int) -> list[Part]:
    """The parts with `sequence` in their entries."""
    sealed = []
    for part in parts:
        # Building anew from slices costs a third of `_replace`, which asks for every field by name.
        entries = [Entry(*entry[:13], sequence, *entry[14:]) for entry in part.entries]
        index = b"".join([entry.encode() for entry in entries])
        sealed.append(Part(*part[:5], tuple(entries), *part[6:9], index))
    return sealed


def encode_record(
    parts: list[Part],
    *,
    length: int,
    salt: int,
    sequence: int,
    previous_crc: int,
    synced: int,
    written_ms: int,
    process: int,
) -> tuple[bytes, int]:
    """The bytes of a record of sealed parts, padded to `length`, its `record_bytes`, and its CRC."""
    pieces = [
        HEADER.pack(
            length, salt, sequence, previous_crc, RECORD_VERSION, len(parts), synced, written_ms, process
        )
    ]
    for part in parts:
        header = PART.pack(
            part.kind,
            part.generation,
            len(part.entries),
            part.log_id,
            part.segment,
            part.first_slot,
            *part.previous,
            len(part.data),
            len(part.meta),
        )
        pieces += (header, part.index_bytes, part.data, part.meta)
    body = b"".join(pieces).ljust(length - _CRC.size, b"\0")
    crc = checksum.value(body)
    return _CRC.pack(crc) + body, crc


# From a record's start to its salt, for finding later records behind a damaged one.
SALT_OFFSET = _CRC.size + 4


def decode_record(buffer: bytes, position: int, *, salt: int) -> Record | None:
    """The record at `position`, or `None` where no whole record of this epoch lies."""
    if position < 0 or position + HEADER_BYTES > len(buffer):
        return None
    length, found_salt, sequence, previous_crc, version, count, synced, written_ms, process = (
        HEADER.unpack_from(buffer, position + _CRC.size)
    )
    if found_salt != salt or version != RECORD_VERSION:
        return None
    if length < HEADER_BYTES or length % ALIGNMENT or position + length > len(buffer):
        return None
    (crc,) = _CRC.unpack_from(buffer, position)
    if not checksum.matches(Check.JOURNAL_RECORD, crc, buffer[position + _CRC.size : position + length]):
        return None
    parts = _decode_parts(buffer, position + HEADER_BYTES, position + length, count)
    if parts is None:
        return None
    return Record(sequence, previous_crc, synced, written_ms, process, crc, length, parts)


def _decode_parts(buffer: bytes, position: int, end: int, count: int) -> tuple[Part, ...] | None:
    parts = []
    for _ in range(count):
        if position + PART.size > end:
            return None
        (
            kind,
            generation,
            entry_count,
            log_id,
            segment,
            slot,
            file,
            place,
            sequence,
            data_length,
            meta_length,
        ) = PART.unpack_from(buffer, position)
        position += PART.size
        data_start = position + entry_count * ENTRY_BYTES
        meta_start = data_start + data_length
        if meta_start + meta_length > end or kind not in _KINDS:
            return None
        index = buffer[position:data_start]
        entries = []
        for start in range(0, len(index), ENTRY_BYTES):
            entry = decode_entry(index[start : start + ENTRY_BYTES])
            if entry is None:
                return None
            entries.append(entry)
        position = meta_start + meta_length
        parts.append(
            Part(
                _KINDS[kind],
                log_id,
                segment,
                slot,
                Location(file, place, sequence),
                tuple(entries),
                buffer[data_start:meta_start],
                buffer[meta_start:position],
                generation,
                index,
            )
        )
    return tuple(parts)


# Asking the class would take several times as long.
_KINDS = {int(kind): kind for kind in Kind}
