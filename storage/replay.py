"""Applying journal records again, for a checkpoint or a recovery. FORMAT.md section 7.

Promises: applying is idempotent; a part of a log that was deleted, or of a segment that retention removed or
a rewrite replaced, is skipped; `sync` makes durable all that was applied, in bounded groups of open files.
What was applied is written, at the latest, by `sync`.

Appends that follow one another in a segment are written as one: a journal file may hold thousands of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from storage import files
from storage.entry import IndexHeader
from storage.files import Sync
from storage.journal_record import Kind, Part, Record
from storage.segment import (
    Segment,
    create_segment,
    data_path,
    index_path,
    meta_path,
    segment_bases,
)

_OPEN_SEGMENTS_MAX = 100
_GATHERED_BYTES_MAX = 4 * 1024 * 1024


class _Run:
    """Parts that follow one another in one segment, without metadata, their lines in the journal."""

    __slots__ = ("_next_data", "_next_slot", "_part", "data", "index")

    def __init__(self, part: Part) -> None:
        self._part = part
        self.index: list[bytes] = []
        self.data: list[bytes] = []
        self.add(part)

    @staticmethod
    def can_begin(part: Part) -> bool:
        return bool(part.data) and not part.meta

    def can_take(self, part: Part) -> bool:
        first = self._part
        return (
            part.first_slot == self._next_slot
            and bool(part.data)
            and not part.meta
            and part.entries[0].data_position == self._next_data
            and part.generation == first.generation
            and part.log_id == first.log_id
        )

    def add(self, part: Part) -> None:
        self.index.append(part.index_bytes)
        self.data.append(part.data)
        self._next_slot = part.first_slot + len(part.entries)
        self._next_data = part.entries[-1].data_end

    def write(self, segment: Segment) -> None:
        first = self._part
        position = first.entries[0].data_position
        segment.write(first.first_slot, b"".join(self.index), b"".join(self.data), position, b"", 0)


class Replay:
    """One run over journal records. `find` gives the directory of a log, or `None` where it is deleted."""

    def __init__(self, find: Callable[[bytes], str | None], *, file_sync: Sync, directory_sync: Sync) -> None:
        self._find = find
        self._file_sync = file_sync
        self._directory_sync = directory_sync
        self.unknown_logs: set[bytes] = set()
        self._directories: dict[bytes, str | None] = {}
        self._segments: dict[tuple[str, int], Segment] = {}
        self._runs: dict[tuple[str, int], _Run] = {}
        self._gathered_bytes = 0
        self._changed_directories: set[str] = set()

    def apply(self, record: Record) -> None:
        """Apply all parts of a record."""
        for part in record.parts:
            if part.log_id not in self._directories:
                self._directories[part.log_id] = self._find(part.log_id)
            directory = self._directories[part.log_id]
            if directory is None:
                self.unknown_logs.add(part.log_id)
                continue
            if part.kind is Kind.BATCHES:
                self._apply_batches(directory, part)
            elif part.kind is Kind.TRIM:
                self._apply_trim(directory, part.segment)

    def _apply_batches(self, directory: str, part: Part) -> None:
        key = (directory, part.segment)
        run = self._runs.get(key)
        if run is not None and run.can_take(part):
            run.add(part)
        else:
            segment = self._open(directory, part)
            if segment is None or not self._is_of(segment, part):
                return
            if run is not None:
                self._write_run(key)
            if not _Run.can_begin(part):
                segment.apply(part)
                if part.meta:
                    # The first append with metadata made the file, perhaps in memory only.
                    self._changed_directories.add(directory)
                return
            self._runs[key] = _Run(part)
        self._gathered_bytes += part.encoded_bytes
        if self._gathered_bytes > _GATHERED_BYTES_MAX:
            self._write_runs()

    def _is_of(self, segment: Segment, part: Part) -> bool:
        """Whether the segment is still the one that the part was appended to."""
        header = segment.read_header()
        if header is None:
            # Damaged, or cut off: the record knows all of it but the moment of its making.
            created_ms = part.entries[0].append_time_ms
            header = IndexHeader(part.log_id, part.segment, part.generation, created_ms)
            files.write_at(segment.index_fd, header.encode(), 0)
        return header.generation == part.generation and header.log_id == part.log_id

    def _write_run(self, key: tuple[str, int]) -> None:
        self._runs.pop(key).write(self._segments[key])

    def _write_runs(self) -> None:
        for key in list(self._runs):
            self._write_run(key)
        self._gathered_bytes = 0

    def _open(self, directory: str, part: Part) -> Segment | None:
        key = (directory, part.segment)
        segment = self._segments.get(key)
        if segment is not None:
            return segment
        if len(self._segments) >= _OPEN_SEGMENTS_MAX:
            self._sync_segments()
        try:
            segment = Segment(directory, part.segment)
        except FileNotFoundError:
            try:
                bases = segment_bases(directory)
            except FileNotFoundError:
                return None  # deleted since
            if bases and part.segment < bases[0]:
                return None  # below the start
            entry = part.entries[0]
            header = IndexHeader(part.log_id, part.segment, part.generation, entry.append_time_ms)
            create_segment(directory, header)
            segment = Segment(directory, part.segment)
        self._segments[key] = segment
        return segment

    def _apply_trim(self, directory: str, start_offset: int) -> None:
        self._write_runs()
        trim(directory, start_offset)
        self._changed_directories.add(directory)

    def sync(self) -> None:
        """Make everything that was applied durable."""
        self._sync_segments()
        for directory in sorted(self._changed_directories):
            if os.path.isdir(directory):
                files.sync_directory(directory, self._directory_sync)
        self._changed_directories.clear()

    def _sync_segments(self) -> None:
        self._write_runs()
        for segment in self._segments.values():
            segment.sync(self._file_sync)
        self._segments.clear()


def finish_trim(directory: str) -> None:
    """Finish what a process that died while it removed segments has begun: their messages went first."""
    try:
        bases = segment_bases(directory)
    except FileNotFoundError:
        return
    # Oldest first: behind a segment that has its messages, one without them is damage and not removed.
    kept = next((base for base in bases if os.path.exists(data_path(directory, base))), None)
    if kept is not None:
        trim(directory, kept)


def trim(directory: str, start_offset: int) -> int:
    """Remove the segments wholly below `start_offset`, oldest first; returns how many bytes that freed.

    The index goes last: a segment without its messages is gone, messages without their index would not be.
    A power cut can turn that round, so whatever is left of a segment goes, with or without its index.
    """
    freed = 0
    try:
        bases = segment_bases(directory)
        found = sorted({int(name[:20]) for name in os.listdir(directory) if name[:20].isdigit()})
    except FileNotFoundError:
        return 0
    for base in found:
        if not bases or base >= min(start_offset, bases[-1]):
            break
        for path in (data_path(directory, base), meta_path(directory, base), index_path(directory, base)):
            try:
                freed += os.stat(path).st_size
            except FileNotFoundError:
                continue
            files.unlink(path)
            files.step("trim.unlinked")
    return freed
