"""A partition's head: the writer's lock, and its cache of where the partition ends. FORMAT.md section 5.

Losing it loses nothing: the tail is then found again from the index and the journal. It is believed only if
its checksum and the epoch's salt fit and no append was under way when it was written.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass

from storage import checksum, files
from storage.checksum import Check
from storage.journal_record import NOWHERE, Location

HEAD_FILE = "head"
_CRC = struct.Struct("<I")
# version, flags, salt, process, next offset, segment, next slot, data end, meta end, max timestamp,
# append time, segment created, data/index/meta allocated, last record, mark
_BODY = struct.Struct("<BB2xQI4xQQQQQqqqQQQIIQIIQ")
HEAD_BYTES = _CRC.size + _BODY.size
_VERSION = 1
_DIRTY = 1
_BULK = 2
_STUCK = 4


@dataclass(slots=True)
class Tail:
    """Where a partition ends. Mutable: it is the working state of the process that holds the lock.

    `next_slot`, `data_end` and `meta_end` belong to the segment of base `segment`; `*_allocated` is how far
    its blocks are reserved; `last` is where the partition's newest record lies in the journal.
    """

    next_offset: int
    segment: int
    next_slot: int = 1
    data_end: int = 0
    meta_end: int = 0
    max_timestamp_ms: int = 0
    append_time_ms: int = 0
    segment_created_ms: int = 0
    data_allocated: int = 0
    index_allocated: int = 0
    meta_allocated: int = 0
    last: Location = NOWHERE
    stuck: bool = False

    def begin_segment(self, base_offset: int, *, created_ms: int) -> None:
        """Go into an empty segment. `base_offset` may be above the next offset: those between are skipped."""
        self.next_offset = self.segment = base_offset
        self.next_slot = 1
        self.data_end = self.meta_end = 0
        self.data_allocated = self.index_allocated = self.meta_allocated = 0
        self.segment_created_ms = created_ms


@dataclass(frozen=True, slots=True)
class Head:
    """The head as read: its tail, and whether an append was under way, from where in the journal."""

    tail: Tail
    dirty: bool
    bulk: bool
    mark: Location
    process: int


def write_head(fd: int, tail: Tail, *, salt: int, mark: Location | None = None, bulk: bool = False) -> None:
    """Write the head: clean, or dirty with the place in the journal behind which the append will be."""
    flags = (_DIRTY if mark is not None else 0) | (_BULK if bulk else 0) | (_STUCK if tail.stuck else 0)
    body = _BODY.pack(
        _VERSION,
        flags,
        salt,
        os.getpid(),
        tail.next_offset,
        tail.segment,
        tail.next_slot,
        tail.data_end,
        tail.meta_end,
        tail.max_timestamp_ms,
        tail.append_time_ms,
        tail.segment_created_ms,
        tail.data_allocated,
        tail.index_allocated,
        tail.meta_allocated,
        *tail.last,
        *(mark or NOWHERE),
    )
    files.write_at(fd, _CRC.pack(checksum.value(body)) + body, 0)


def salt_of(fd: int) -> int:
    """The salt that the head says it is of, damaged or not; 0 where there is none."""
    return int.from_bytes(os.pread(fd, HEAD_BYTES, 0)[8:16], "little")


def read_head(fd: int, *, salt: int) -> Head | None:
    """The head, or `None` if it is missing, damaged, torn or of another epoch."""
    raw = os.pread(fd, HEAD_BYTES, 0)
    if len(raw) != HEAD_BYTES or raw[4] != _VERSION:
        return None
    if not checksum.matches(Check.HEAD, _CRC.unpack_from(raw)[0], raw[_CRC.size :]):
        return None
    f = _BODY.unpack_from(raw, _CRC.size)
    if f[2] != salt:
        return None
    flags = f[1]
    tail = Tail(*f[4:15])
    tail.last = Location(*f[15:18])
    tail.stuck = bool(flags & _STUCK)
    return Head(tail, bool(flags & _DIRTY), bool(flags & _BULK), Location(*f[18:21]), f[3])
