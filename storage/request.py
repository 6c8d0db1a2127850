"""A request: a small batch as it waits in a slot of a partition's posts for whoever appends next.

Promises: what is read is what its poster wrote for the number that it was posted under; anything else is
nothing. FORMAT.md section 5.1 says how it looks.

Its head is written and read word by word, and its lines are copied once: a poster is awake for so short a
time, between many others, that each function and each library it calls has left the processor's cache.
"""

from __future__ import annotations

import mmap
import struct

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
_unpack_head = struct.Struct("@QQQ").unpack_from
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Columns).decode


class Group:
    """Requests that were gathered, in this order. What each of them has stands in a list of its own, since
    that is how their leader needs it: slots, numbers, how many records, their lines and their columns.
    """

    __slots__ = ("columns", "counts", "lines", "numbers", "slots")

    def __init__(self) -> None:
        self.slots: list[int] = []
        self.numbers: list[int] = []
        self.counts: list[int] = []
        self.lines: list[bytes] = []
        self.columns: list[_Columns | None] = []

    def __len__(self) -> int:
        return len(self.slots)

    def batches(self) -> list[RecordBatch]:
        """The records of each request."""
        made = []
        for lines, count, columns in zip(self.lines, self.counts, self.columns, strict=True):
            keys, headers, times = columns or _NO_COLUMNS
            made.append(
                RecordBatch(lines=lines, count=count, keys=keys, headers=headers, timestamps_ms=times)
            )
        return made

    def together(self) -> RecordBatch:
        """The records of all of them as one batch."""
        if any(self.columns):
            return merged(self.batches())[0]
        return RecordBatch(lines=b"".join(self.lines), count=sum(self.counts))


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


def read_requests(
    data: mmap.mmap, posted: list[tuple[int, int]], stamp: int, limit_bytes: int
) -> tuple[Group, list[tuple[int, int]]]:
    """The requests in these slots that have these numbers, as far as they take so many bytes; and those of
    them that rest on settings of another short stamp. What is still being written is in neither.
    """
    group, others = Group(), []
    for slot, number in posted:
        at = FIRST_SLOT_BYTE + slot * SLOT_BYTES
        head, settings, shape = _unpack_head(data, at)
        size, rest = shape >> LINES_BITS & _LENGTH, shape & _LENGTH
        if head != number or size + rest > PAYLOAD_BYTES_MAX:
            continue
        if settings != stamp:
            others.append((slot, number))
            continue
        limit_bytes -= size + rest
        if limit_bytes < 0:
            break
        at += _HEAD_BYTES
        columns = None
        if rest:
            try:
                columns = _decode(data[at + size : at + size + rest])
            except msgspec.DecodeError:
                continue
        group.slots.append(slot)
        group.numbers.append(number)
        group.counts.append(shape >> COUNT_BITS)
        group.lines.append(data[at : at + size])
        group.columns.append(columns)
    return group, others
