"""Reading the journal back: all live records in order, or the one at a known place."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import zip_longest

from storage.journal_file import SEQUENCE_MAX, Gap, Replayed, file_path, live_files, read_records
from storage.journal_record import HEADER_BYTES, Location, Part, Record, decode_record

_RECORD_BYTES_MAX = 8 * 1024 * 1024


def scan(
    journal_path: str, *, salt: int, end_sequence: int | None = None, after: Location | None = None
) -> Iterator[Replayed | Gap]:
    """Every record of the epoch that is not checkpointed, in sequence, up to `end_sequence` (excluded).

    `after`, a place where a record may begin, skips what lies before it if its file is still live. Damage
    between records, or a whole file of them missing, is a `Gap`.
    """
    live = live_files(journal_path, salt=salt)
    starts = {file.number: file.first_sequence for file in live}
    skip_to = None
    if after is not None and starts.get(after.file, after.sequence + 1) <= after.sequence:
        skip_to = after
    expected: int | None = None
    for file, following in zip_longest(live, live[1:]):
        end = SEQUENCE_MAX if following is None else following.first_sequence
        if expected is not None and file.first_sequence < expected:
            continue  # an older use of a file whose header was damaged
        if skip_to is not None and file.first_sequence <= skip_to.sequence and file.number != skip_to.file:
            continue
        first, position = file.first_sequence, None
        if skip_to is not None and file.number == skip_to.file:
            first, position = skip_to.sequence, skip_to.position
        elif expected is not None and file.first_sequence > expected:
            # A file is left only once it is durable, so its successor proves what is missing here.
            yield Gap(file.number, 0, expected, file.first_sequence)
        expected = first
        found = (
            read_records(journal_path, file.number, salt=salt, first_sequence=first, end_sequence=end)
            if position is None
            else read_records(
                journal_path,
                file.number,
                salt=salt,
                first_sequence=first,
                end_sequence=end,
                position=position,
            )
        )
        for item in found:
            if isinstance(item, Replayed):
                if end_sequence is not None and item.record.sequence >= end_sequence:
                    return
                expected = item.record.sequence + 1
            yield item


def parts_of(
    journal_path: str, log_id: bytes, *, salt: int, end_sequence: int, after: Location | None
) -> Iterator[tuple[Location, Part]]:
    """The parts that live records hold for one log, in order, with the place of their record."""
    for item in scan(journal_path, salt=salt, end_sequence=end_sequence, after=after):
        if isinstance(item, Replayed):
            for part in item.record.parts:
                if part.log_id == log_id:
                    yield Location(item.file, item.position, item.record.sequence), part


def read_at(journal_path: str, location: Location, *, salt: int) -> Record | None:
    """The record at this place, or `None` if the file was recycled since or the record is damaged."""
    try:
        fd = os.open(file_path(journal_path, location.file), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        head = os.pread(fd, HEADER_BYTES, location.position)
        if len(head) < HEADER_BYTES:
            return None
        length = int.from_bytes(head[4:8], "little")
        if not HEADER_BYTES <= length <= _RECORD_BYTES_MAX:
            return None
        raw = os.pread(fd, length, location.position)
    finally:
        os.close(fd)
    record = decode_record(raw, 0, salt=salt)
    return record if record is not None and record.sequence == location.sequence else None
