"""A request: a small batch as it waits in a slot of a partition's posts for whoever appends next.

Promises: what is read is whole, of the number that was posted, and what its poster wrote; anything else is
nothing. FORMAT.md section 5.1 says how it looks.
"""

from __future__ import annotations

import mmap
import struct
from typing import NamedTuple

import msgspec

from storage.batch import RecordBatch
from storage.checksum import value as crc_of
from storage.posts_file import SLOT_BYTES

_CRC = struct.Struct("<I")
# Number of the request, stamp of the topic's settings, records, length of the lines, length of the columns.
_POST = struct.Struct("<QQIII")
_LINES_AT = _CRC.size + _POST.size
_PAYLOAD_BYTES_MAX = SLOT_BYTES - _LINES_AT
_WORD = (1 << 64) - 1

_Columns = tuple[list[bytes] | None, list[bytes] | None, list[int] | None]
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Columns).decode


class Request(NamedTuple):
    """A request that was gathered: its slot, its number, its records and about how many bytes they take."""

    slot: int
    number: int
    batch: RecordBatch
    size_bytes: int


def short_stamp(stamp: tuple[int, int]) -> int:
    """The stamp of a topic's settings as a request carries it."""
    # Integers are hashed as they are, so that equal stamps are equal in every process.
    return hash(stamp) & _WORD


def encode_request(number: int, stamp: tuple[int, int], batch: RecordBatch) -> bytes | None:
    """The bytes of a request; `None` if they do not fit into a slot."""
    lines, columns = batch.lines, b""
    if batch.keys is not None or batch.headers is not None or batch.timestamps_ms is not None:
        columns = _encode((batch.keys, batch.headers, batch.timestamps_ms))
    size = len(lines)
    if size + len(columns) > _PAYLOAD_BYTES_MAX:
        return None
    body = _POST.pack(number, short_stamp(stamp), batch.count, size, len(columns)) + lines + columns
    # The checksum tells a leader that still reads what the slot held before.
    return _CRC.pack(crc_of(body)) + body


def decode_request(mapped: mmap.mmap, at: int, slot: int, posted: int) -> tuple[Request, int] | None:
    """The request of that number in the slot that begins at `at`, and the stamp that it carries."""
    number, stamp, count, lines_bytes, columns_bytes = _POST.unpack_from(mapped, at + _CRC.size)
    end = at + _LINES_AT + lines_bytes + columns_bytes
    if number != posted or end > at + SLOT_BYTES:
        return None
    raw = mapped[at:end]
    if crc_of(raw[_CRC.size :]) != _CRC.unpack_from(raw)[0]:
        return None
    lines = raw[_LINES_AT : _LINES_AT + lines_bytes]
    if columns_bytes:
        keys, headers, times = _decode(raw[_LINES_AT + lines_bytes :])
        batch = RecordBatch(lines=lines, count=count, keys=keys, headers=headers, timestamps_ms=times)
    else:
        batch = RecordBatch(lines=lines, count=count)
    return Request(slot, number, batch, lines_bytes + columns_bytes), stamp
