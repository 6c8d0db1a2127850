"""One file of the journal: preallocated, reused, read by sequence. Layout in FORMAT.md section 3.2.

    file := header (4096 bytes) record* rest

`rest` is whatever an earlier use left behind; it never counts, since its records are of an older sequence or
another epoch. A file is *live* from its first record until a checkpoint marks it *free*.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

from storage import checksum, files
from storage.checksum import Check
from storage.errors import DiskFullError
from storage.files import Sync
from storage.journal_record import ALIGNMENT, SALT_OFFSET, Record, decode_record

HEADER_BYTES = 4096
SEQUENCE_MAX = 1 << 63
FILES_MAX = 64

_MAGIC = b"AEGISJNL"
_VERSION = 1
_CRC = struct.Struct("<I")
_BODY = struct.Struct("<I8sQQQ28x")


class FileHeader(NamedTuple):
    """Whose records follow: the epoch's salt and the first record's sequence.

    A salt of 0 means free: `first_sequence` is then where the records that it held ended, and `previous` the
    salt that they had, so that their sequences are not given again when nothing else remembers them.
    """

    salt: int
    first_sequence: int
    previous: int

    @property
    def live(self) -> bool:
        return self.salt != 0

    def encode(self) -> bytes:
        body = _BODY.pack(_VERSION, _MAGIC, *self)
        return _CRC.pack(checksum.value(body)) + body


FREE = FileHeader(0, 0, 0)


def file_path(journal_path: str, number: int) -> str:
    return os.path.join(journal_path, f"{number:04d}.wal")


def existing_files(journal_path: str) -> list[int]:
    """The numbers of all journal files, in order."""
    return sorted(
        int(name[:-4]) for name in os.listdir(journal_path) if name.endswith(".wal") and name[:-4].isdigit()
    )


def decode_file_header(raw: bytes) -> FileHeader | None:
    """The header at the start of a file, or `None` where it is damaged."""
    if len(raw) < _CRC.size + _BODY.size:
        return None
    version, magic, salt, first, previous = _BODY.unpack_from(raw, _CRC.size)
    body = raw[_CRC.size : _CRC.size + _BODY.size]
    if version != _VERSION or magic != _MAGIC:
        return None
    if not checksum.matches(Check.JOURNAL_HEADER, _CRC.unpack_from(raw)[0], body):
        return None
    return FileHeader(salt, first, previous)


def create_file(journal_path: str, number: int, *, size_bytes: int) -> None:
    """Make a free journal file with all its blocks written, so that syncing a record syncs no metadata."""
    path = file_path(journal_path, number)
    fd = files.open_file(path, create=True)
    try:
        try:
            # What the kernel is given at once it keeps as one large piece, and goes through all its blocks
            # whenever a record is written into it or synced.
            files.write_in_pieces(fd, FREE.encode().ljust(size_bytes, b"\0"))
        except DiskFullError:
            # Half a file would be taken for a whole free one later.
            files.unlink(path)
            raise
        # The blocks and the size must be down before the first commit relies on syncing bytes alone.
        files.sync(fd, Sync.JOURNAL_CREATE, path)
    finally:
        files.close_file(fd)
    files.sync_directory(journal_path, Sync.JOURNAL_CREATE)


def read_header(journal_path: str, number: int) -> FileHeader | None:
    with open(file_path(journal_path, number), "rb", buffering=0) as file:
        return decode_file_header(file.read(_CRC.size + _BODY.size))


def mark_free(journal_path: str, number: int, *, salt: int, end_sequence: int) -> None:
    """Say that nothing in this file is needed any more: its records, below `end_sequence`, are checkpointed.

    It is not synced, since replaying the file once more changes nothing. Whoever rewrites a segment below the
    checkpoint has to sync this first.
    """
    fd = files.open_file(file_path(journal_path, number))
    try:
        files.write_at(fd, FileHeader(0, end_sequence, salt).encode(), 0)
    finally:
        files.close_file(fd)


class Gap(NamedTuple):
    """Damage: records of these sequences (the last excluded) were durable and cannot be read."""

    file: int
    position: int
    first_sequence: int
    end_sequence: int


class LiveFile(NamedTuple):
    number: int
    first_sequence: int


def live_files(journal_path: str, *, salt: int) -> list[LiveFile]:
    """The files that hold records of this epoch and are not checkpointed, oldest first.

    A file whose header is damaged counts as live if a record of the epoch stands first in it: whether its
    records still count is decided by their sequence.
    """
    found = []
    for number in existing_files(journal_path):
        header = read_header(journal_path, number)
        if header is None:
            first = decode_record(read_file(journal_path, number), HEADER_BYTES, salt=salt)
            if first is not None:
                found.append(LiveFile(number, first.sequence))
        elif header.salt == salt:
            found.append(LiveFile(number, header.first_sequence))
    return sorted(found, key=lambda file: file.first_sequence)


def read_file(journal_path: str, number: int) -> bytes:
    """A whole journal file; its size is bounded by how it was made."""
    with open(file_path(journal_path, number), "rb", buffering=0) as file:
        return file.read()


class Replayed(NamedTuple):
    """A record with the place it was read from."""

    file: int
    position: int
    record: Record


def read_records(
    journal_path: str,
    number: int,
    *,
    salt: int,
    first_sequence: int,
    end_sequence: int = SEQUENCE_MAX,
    position: int = HEADER_BYTES,
) -> Iterator[Replayed | Gap]:
    """The file's records from `first_sequence` at `position` on, with gaps where damage lies between.

    `end_sequence` is the first sequence of the file that follows: a record of it or above that stands here
    was left by a process that died before it counted, or came when the file was used again.

    The first invalid record ends the journal, unless a later valid record of the epoch proves that what is
    missing had been durable: then it was damaged afterwards.
    """
    buffer = read_file(journal_path, number)
    expected = first_sequence
    while True:
        if expected >= end_sequence:
            return
        record = decode_record(buffer, position, salt=salt)
        if record is None or record.sequence != expected:
            found = _next_proof(buffer, position, salt=salt, expected=expected)
            if found is None or found[1].sequence >= end_sequence:
                return
            yield Gap(number, position, expected, found[1].sequence)
            position, record = found
        yield Replayed(number, position, record)
        expected = record.sequence + 1
        position += record.length


def _next_proof(buffer: bytes, position: int, *, salt: int, expected: int) -> tuple[int, Record] | None:
    """The next record behind a bad one that proves it was durable: it says so, in `synced`."""
    needle = salt.to_bytes(8, "little")
    at = position + SALT_OFFSET
    while (at := buffer.find(needle, at + 1)) >= 0:
        start = at - SALT_OFFSET
        if start % ALIGNMENT:
            continue
        record = decode_record(buffer, start, salt=salt)
        if record is not None and record.sequence > expected:
            # Records that follow on one another prove more the further they reach: look at each of them.
            return (start, record) if _proves(buffer, start, record, salt=salt, expected=expected) else None
    return None


def _proves(buffer: bytes, position: int, record: Record, *, salt: int, expected: int) -> bool:
    following: Record | None = record
    while following is not None:
        if following.synced > expected:
            return True
        position += following.length
        after = decode_record(buffer, position, salt=salt)
        following = after if after is not None and after.sequence == following.sequence + 1 else None
    return False
