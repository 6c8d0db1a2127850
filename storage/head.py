"""A partition's head: the writer's lock, and its cache of where the partition ends. FORMAT.md section 5.

Losing it loses nothing: the tail is then found again from the index and the journal. It is believed only if
its checksum and the epoch's salt fit and no append was under way when it was written.
"""

from __future__ import annotations

import mmap
import os
import struct
import weakref
from typing import NamedTuple

import msgspec

from storage import checksum, files
from storage.checksum import Check
from storage.journal_record import NOWHERE, Location

HEAD_FILE = "head"
_CRC = struct.Struct("<I")
# version, flags, salt, process, next offset, segment, next slot, data end, meta end, max timestamp,
# append time, segment created, data/index/meta allocated, last record, mark, fence
BODY = struct.Struct("<BB2xQI4xQQQQQqqqQQQIIQIIQQ")
HEAD_BYTES = _CRC.size + BODY.size
Fields = tuple[int, ...]
# What a process maps. The rest of the file is zeros.
PAGE_BYTES = 4096
HEAD_VERSION = 2
DIRTY = 1
_BULK = 2
_STUCK = 4


class Tail(msgspec.Struct):
    """Where a partition ends. Mutable: it is the working state of the process that holds the lock.

    `next_slot`, `data_end` and `meta_end` belong to the segment of base `segment`; `*_allocated` is how far
    its blocks are reserved; `last` is where the partition's newest record lies in the journal; `fence` is
    that of the newest batch.
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
    fence: int = 0

    def begin_segment(self, base_offset: int, *, created_ms: int) -> None:
        """Go into an empty segment. `base_offset` may be above the next offset: those between are skipped."""
        self.next_offset = self.segment = base_offset
        self.next_slot = 1
        self.data_end = self.meta_end = 0
        self.data_allocated = self.index_allocated = self.meta_allocated = 0
        self.segment_created_ms = created_ms


class Head(NamedTuple):
    """The head as read: its tail, and whether an append was under way, from where in the journal."""

    tail: Tail
    dirty: bool
    bulk: bool
    mark: Location
    process: int


def encode_head(tail: Tail, *, salt: int, mark: Location | None = None, bulk: bool = False) -> bytes:
    """The bytes of a head: clean, or dirty with the place in the journal behind which the append will be."""
    flags = (DIRTY if mark is not None else 0) | (_BULK if bulk else 0) | (_STUCK if tail.stuck else 0)
    body = BODY.pack(
        HEAD_VERSION,
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
        tail.fence,
    )
    return _CRC.pack(checksum.value(body)) + body


def decode_head(raw: bytes, *, salt: int) -> Head | None:
    """The head in these bytes, or `None` if it is missing, damaged, torn or of another epoch."""
    if len(raw) != HEAD_BYTES or raw[4] != HEAD_VERSION:
        return None
    if not checksum.matches(Check.HEAD, _CRC.unpack_from(raw)[0], raw[_CRC.size :]):
        return None
    f = BODY.unpack_from(raw, _CRC.size)
    if f[2] != salt:
        return None
    flags = f[1]
    tail = Tail(*f[4:15])
    tail.last = Location(*f[15:18])
    tail.stuck = bool(flags & _STUCK)
    tail.fence = f[21]
    return Head(tail, bool(flags & DIRTY), bool(flags & _BULK), Location(*f[18:21]), f[3])


def clean_fields(raw: bytes, *, salt: int) -> Fields | None:
    """What a head says, in the order of `BODY`; `None` unless it is whole, of the epoch and clean."""
    if raw[4] != HEAD_VERSION or raw[5]:
        return None
    if not checksum.matches(Check.HEAD, _CRC.unpack_from(raw)[0], raw[_CRC.size :]):
        return None
    fields: Fields = BODY.unpack_from(raw, _CRC.size)
    return fields if fields[2] == salt else None


def write_head(fd: int, tail: Tail, *, salt: int) -> None:
    """Write a clean head into a file that nobody has mapped."""
    files.write_at(fd, encode_head(tail, salt=salt), 0)


def salt_of(fd: int) -> int:
    """The salt that the head says it is of, damaged or not; 0 where there is none."""
    return int.from_bytes(os.pread(fd, HEAD_BYTES, 0)[8:16], "little")


def read_head(fd: int, *, salt: int) -> Head | None:
    """The head as it is in the file, or `None` if it is missing, damaged, torn or of another epoch."""
    return decode_head(os.pread(fd, HEAD_BYTES, 0), salt=salt)


def may_hide(directory: str, end_offset: int) -> bool:
    """Whether a partition may hold something committed that is not visible at `end_offset` yet."""
    try:
        with open(os.path.join(directory, HEAD_FILE), "rb", buffering=0) as file:
            raw = file.read(HEAD_BYTES)
    except OSError:
        return False
    # Of whatever epoch it is: who acts on this looks again.
    head = decode_head(raw, salt=int.from_bytes(raw[8:16], "little"))
    return head is not None and (head.dirty or head.tail.next_offset > end_offset)


class MappedHead:
    """The head of a partition whose lock is held, mapped: an append reads it once and writes it twice.

    No promise rests on the file, so no system call need be paid for it. Within one boot the memory survives
    the death of any process, and half a write is found out by the checksum.
    """

    def __init__(self, path: str, *, fd: int) -> None:
        self.fd = fd
        # A mapping keeps a copy of its descriptor, and a lock lives in every copy: it has to be another one.
        own = files.open_file(path)
        try:
            size_bytes = os.fstat(own).st_size
            if size_bytes < PAGE_BYTES:
                # Not left as a hole: one that finds no room on a full disk ends the process that stores.
                files.write_at(own, bytes(PAGE_BYTES - size_bytes), size_bytes)
            self.page = mmap.mmap(own, PAGE_BYTES)
        finally:
            files.close_file(own)
        _open_heads.add(self)

    def read(self, *, salt: int) -> Head | None:
        return decode_head(self.page[:HEAD_BYTES], salt=salt)

    def write(self, tail: Tail, *, salt: int, mark: Location | None = None, bulk: bool = False) -> None:
        """Write the head: clean, or dirty with the place in the journal behind which the append will be."""
        files.write_mapped(self.fd, self.page, encode_head(tail, salt=salt, mark=mark, bulk=bulk))

    def close(self) -> None:
        self.page.close()


_open_heads: weakref.WeakSet[MappedHead] = weakref.WeakSet()


def _close_in_child() -> None:
    for head in list(_open_heads):
        head.close()


os.register_at_fork(after_in_child=_close_in_child)
