"""One segment, open for reading: its entries, its lines, its metadata, each checked. FORMAT.md section 4."""

from __future__ import annotations

import os

from storage import checksum
from storage.checksum import Check
from storage.entry import ENTRY_BYTES, HAS_META, Entry, decode_entry
from storage.meta import Columns, decode_columns
from storage.segment import data_path, index_path, meta_path

_BLOCK_SLOTS = 1024


class ReadSegment:
    """The files of one segment, open for reading: whoever holds them can finish them, whatever happens."""

    def __init__(self, directory: str, base_offset: int, *, without_data: bool = False) -> None:
        self.base_offset = base_offset
        self.directory = directory
        self._meta_fd = -1
        self.index_fd = os.open(index_path(directory, base_offset), os.O_RDONLY | os.O_CLOEXEC)
        self.data_fd = -1
        if not without_data:
            self.data_fd = os.open(data_path(directory, base_offset), os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        for fd in (getattr(self, "index_fd", -1), getattr(self, "data_fd", -1), self._meta_fd):
            if fd >= 0:
                os.close(fd)

    def slot_count(self) -> int:
        return os.fstat(self.index_fd).st_size // ENTRY_BYTES

    def entry(self, slot: int) -> Entry | None:
        return decode_entry(os.pread(self.index_fd, ENTRY_BYTES, slot * ENTRY_BYTES))

    def block(self, slot: int) -> list[Entry | None]:
        """The entries from `slot` on, at most a block of them; `None` for one that is torn or damaged."""
        raw = os.pread(self.index_fd, _BLOCK_SLOTS * ENTRY_BYTES, slot * ENTRY_BYTES)
        return [
            decode_entry(raw[at : at + ENTRY_BYTES])
            for at in range(0, len(raw) - ENTRY_BYTES + 1, ENTRY_BYTES)
        ]

    def slot_of(self, offset: int) -> int:
        """The first slot whose batch reaches to `offset` or beyond; the slot after the last if none does."""
        low, high = 1, self.slot_count()
        while low < high:
            middle = (low + high) // 2
            # A damaged slot says nothing: the next valid one below it decides.
            probe, entry = middle, self.entry(middle)
            while entry is None and probe > low:
                probe -= 1
                entry = self.entry(probe)
            if entry is None or entry.last_offset < offset:
                low = middle + 1
            elif entry is not None:
                high = probe
        return low

    def slot_of_time(self, timestamp_ms: int) -> int:
        """The first slot up to which some record is as new as `timestamp_ms`."""
        low, high = 1, self.slot_count()
        while low < high:
            middle = (low + high) // 2
            entry = self.entry(middle)
            if entry is None or entry.max_timestamp_ms < timestamp_ms:
                low = middle + 1
            else:
                high = middle
        return low

    def last_entry(self) -> Entry | None:
        for slot in range(self.slot_count() - 1, 0, -1):
            entry = self.entry(slot)
            if entry is not None:
                return entry
        return None

    def data_size(self) -> int:
        return os.fstat(self.data_fd).st_size if self.data_fd >= 0 else 0

    def data_end(self, slot: int) -> int:
        """Where the data of the batch in this slot ends; 0 where there is none."""
        entry = self.entry(slot) if slot > 0 else None
        return entry.data_end if entry is not None else 0

    def read_lines(self, position: int, length: int) -> bytes:
        """So many bytes of the messages, or fewer where there are no more."""
        return os.pread(self.data_fd, length, position) if self.data_fd >= 0 else b""

    def read_data(self, entry: Entry) -> bytes | None:
        """The lines of a batch, or `None` if they are damaged."""
        lines = self.read_lines(entry.data_position, entry.data_length)
        if len(lines) != entry.data_length:
            return None
        return lines if checksum.matches(Check.BATCH_DATA, entry.data_crc, lines) else None

    def read_columns(self, entry: Entry) -> Columns | None:
        """The metadata of a batch. Raises ValueError if it is damaged."""
        if not entry.flags & HAS_META:
            return None
        if self._meta_fd < 0:
            try:
                path = meta_path(self.directory, self.base_offset)
                self._meta_fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                raise ValueError("the metadata file is missing") from None
        line = os.pread(self._meta_fd, entry.meta_length, entry.meta_position)
        if len(line) != entry.meta_length or not checksum.matches(Check.BATCH_META, entry.meta_crc, line):
            raise ValueError("the metadata does not match its checksum")
        columns = decode_columns(line)
        if columns.base_offset != entry.base_offset or columns.count != entry.record_count:
            raise ValueError("the metadata is another batch's")
        return columns
