"""The index entry: 128 bytes that make the lines of one batch part of a topic. Layout in FORMAT.md section 4.

An entry is checked whole by its own CRC-32C: a torn or damaged one decodes to `None`, never to half a truth.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from storage import checksum
from storage.checksum import Check

ENTRY_BYTES = 128
ENTRY_VERSION = 1
HEADER_MAGIC = b"AEGISIDX"

COMPRESSED = 1
HAS_META = 2
SPARSE_OFFSETS = 4

# version, flags, reserved, base, last, count, data crc, data position, data length, meta position,
# meta length, meta crc, first timestamp, max timestamp, append time, sequence, fence, reserved
BODY = struct.Struct("<BBHQQIIQQQIIqqqQQQ16x")
_CRC = struct.Struct("<I")
# magic, version, reserved, log id, base offset, generation, created
_HEADER = struct.Struct("<8sB3x16sQIq76x")


class Entry(NamedTuple):
    """One batch: where its lines and its metadata lie and what they hold. Times are milliseconds UTC.

    `fence` is the number under which it was appended, see `storage.append.Write`; in topics it is 0.

    A named tuple, not a dataclass, since readers decode thousands at a time straight from the file.
    """

    flags: int
    base_offset: int
    last_offset: int
    record_count: int
    data_crc: int
    data_position: int
    data_length: int
    meta_position: int
    meta_length: int
    meta_crc: int
    first_timestamp_ms: int
    max_timestamp_ms: int
    append_time_ms: int
    sequence: int
    fence: int
    reserved: int

    @property
    def data_end(self) -> int:
        return self.data_position + self.data_length

    @property
    def meta_end(self) -> int:
        return self.meta_position + self.meta_length

    def encode(self) -> bytes:
        body = BODY.pack(ENTRY_VERSION, self[0], 0, *self[1:])
        return _CRC.pack(checksum.value(body)) + body


def decode_entry(raw: bytes) -> Entry | None:
    """The entry in these 128 bytes, or `None` where there is none (yet, or any more)."""
    if len(raw) != ENTRY_BYTES:
        return None
    fields = BODY.unpack_from(raw, 4)
    if fields[0] != ENTRY_VERSION:
        return None
    if not checksum.matches(Check.INDEX_ENTRY, _CRC.unpack_from(raw)[0], raw[4:]):
        return None
    return Entry._make((fields[1], *fields[3:]))


class IndexHeader(NamedTuple):
    """Slot 0 of an index: whose segment it is. `generation` counts the rewrites of its data file."""

    log_id: bytes
    base_offset: int
    generation: int
    created_ms: int

    def encode(self) -> bytes:
        body = _HEADER.pack(HEADER_MAGIC, ENTRY_VERSION, *self)
        return _CRC.pack(checksum.value(body)) + body


def decode_header(raw: bytes) -> IndexHeader | None:
    """The header in these 128 bytes, or `None` where they hold none."""
    if len(raw) != ENTRY_BYTES:
        return None
    magic, version, log_id, base, generation, created = _HEADER.unpack_from(raw, 4)
    if magic != HEADER_MAGIC or version != ENTRY_VERSION:
        return None
    if not checksum.matches(Check.INDEX_HEADER, _CRC.unpack_from(raw)[0], raw[4:]):
        return None
    return IndexHeader(log_id, base, generation, created)
