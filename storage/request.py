"""A request: a small batch as it waits in a slot of a partition's posts for whoever appends next.

Promises: what is read is what its poster wrote for the number that it was posted under; anything else is
nothing. FORMAT.md section 5.1 says how it looks.

Its head is written and read word by word, and its lines are copied once: a poster is awake for so short a
time, between many others, that each function and each library it calls has left the processor's cache.
"""

from __future__ import annotations

from operator import attrgetter
from typing import NamedTuple

import msgspec

from storage.batch import RecordBatch, merged
from storage.posts_file import FIRST_SLOT_BYTE, SLOT_BYTES

# Three words: the number, the stamp of the topic's settings, and the shape: how many records there are, how
# many bytes their lines take, and how many their columns.
_HEAD_BYTES = 32
COUNT_BITS, LINES_BITS = 32, 16
_LENGTH = (1 << LINES_BITS) - 1
_WORD = (1 << 64) - 1
PAYLOAD_BYTES_MAX = SLOT_BYTES - _HEAD_BYTES

_Columns = tuple[list[bytes] | None, list[bytes] | None, list[int] | None]
_NO_COLUMNS: _Columns = (None, None, None)
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Columns).decode


class Request(NamedTuple):
    """A request that was gathered: its slot, its number, and its records, `size_bytes` with their columns.

    `stamp` is the short stamp of the settings that it rests on.
    """

    slot: int
    number: int
    records: int
    lines: bytes
    columns: _Columns | None
    size_bytes: int
    stamp: int

    @property
    def batch(self) -> RecordBatch:
        keys, headers, times = self.columns or _NO_COLUMNS
        return RecordBatch(
            lines=self.lines, count=self.records, keys=keys, headers=headers, timestamps_ms=times
        )


_new_request = tuple.__new__
_columns_of, _lines_of, _records_of = attrgetter("columns"), attrgetter("lines"), attrgetter("records")


def together(group: list[Request]) -> RecordBatch:
    """The records of a group as one batch."""
    if any(map(_columns_of, group)):
        return merged([request.batch for request in group])[0]
    return RecordBatch(lines=b"".join(map(_lines_of, group)), count=sum(map(_records_of, group)))


def head_word(slot: int) -> int:
    """Where a slot's request begins, in words."""
    return (FIRST_SLOT_BYTE + slot * SLOT_BYTES) // 8


def payload_byte(slot: int) -> int:
    """Where the lines of a slot's request begin, in bytes; its columns follow them."""
    return FIRST_SLOT_BYTE + slot * SLOT_BYTES + _HEAD_BYTES


def short_stamp(stamp: tuple[int, int]) -> int:
    """The stamp of a topic's settings as a request carries it."""
    # Integers are hashed as they are, so that equal stamps are equal in every process.
    return hash(stamp) & _WORD


def write_request(
    words: memoryview, data: memoryview, slot: int, number: int, stamp: int, batch: RecordBatch
) -> bool:
    """Write a request that carries this short stamp into a slot; `False`, with nothing written, if it is
    too large. `words` and `data` are the same memory.
    """
    lines, columns = batch.lines, b""
    if batch.keys is not None or batch.headers is not None or batch.timestamps_ms is not None:
        columns = _encode((batch.keys, batch.headers, batch.timestamps_ms))
    size, rest = len(lines), len(columns)
    if size + rest > PAYLOAD_BYTES_MAX:
        return False
    head, at = head_word(slot), payload_byte(slot)
    words[head] = number
    words[head + 1] = stamp
    words[head + 2] = batch.count << COUNT_BITS | size << LINES_BITS | rest
    data[at : at + size] = lines
    if rest:
        at += size
        data[at : at + rest] = columns
    return True


def read_request(words: memoryview, data: memoryview, slot: int, posted: int) -> Request | None:
    """The request of that number in a slot; `None` if there is none, or not yet."""
    at = FIRST_SLOT_BYTE + slot * SLOT_BYTES
    number, stamp, shape = words[at // 8 : at // 8 + 3].tolist()
    size, rest = shape >> LINES_BITS & _LENGTH, shape & _LENGTH
    if number != posted or size + rest > PAYLOAD_BYTES_MAX:
        return None
    at += _HEAD_BYTES
    columns = None
    if rest:
        try:
            columns = _decode(data[at + size : at + size + rest])
        except msgspec.DecodeError:
            return None
    lines = bytes(data[at : at + size])
    return _new_request(Request, (slot, number, shape >> COUNT_BITS, lines, columns, size + rest, stamp))
