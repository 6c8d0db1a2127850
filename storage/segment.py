"""One segment: the messages, their index, and the metadata of those that have any. FORMAT.md section 4.

Promises: an entry is written after the lines that it names, in ascending slots, so that a reader that sees
an entry finds its lines; applying a part twice writes the same bytes to the same places, so anyone may do it
again, also at the same time.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from storage import files
from storage.entry import ENTRY_BYTES, Entry, IndexHeader, decode_entry, decode_header
from storage.errors import FileMissingError
from storage.files import Sync
from storage.journal_record import Part

# Blocks are reserved ahead in these steps, so that most appends need not ask.
DATA_STEP_BYTES = 256 * 1024
INDEX_STEP_BYTES = 16 * 1024
META_STEP_BYTES = 64 * 1024


def data_path(directory: str, base_offset: int) -> str:
    return os.path.join(directory, f"{base_offset:020d}.jsonl")


def index_path(directory: str, base_offset: int) -> str:
    return os.path.join(directory, f"{base_offset:020d}.index")


def meta_path(directory: str, base_offset: int) -> str:
    return os.path.join(directory, f"{base_offset:020d}.meta")


def segment_bases(directory: str) -> list[int]:
    """The base offsets of all segments in a partition's directory, ascending."""
    bases = [
        int(name[:20])
        for name in os.listdir(directory)
        if len(name) == 26 and name.endswith(".index") and name[:20].isdigit()
    ]
    bases.sort()
    return bases


def create_segment(directory: str, header: IndexHeader) -> None:
    """Make an empty segment that can be found again. One that a dead process left unfinished is completed."""
    base = header.base_offset
    files.close_file(files.open_file(data_path(directory, base), create=True))
    # Whoever finds the index relies on finding the messages: a directory's entries are durable in any order.
    files.sync_directory(directory, Sync.SEGMENT_CREATE)
    fd = files.open_file(index_path(directory, base), create=True)
    try:
        if decode_header(os.pread(fd, ENTRY_BYTES, 0)) is None:
            files.write_at(fd, header.encode(), 0)
        # Bulk data that is synced below must not hang from a directory or a header that can still vanish.
        files.sync(fd, Sync.SEGMENT_CREATE, index_path(directory, base))
    finally:
        files.close_file(fd)
    files.sync_directory(directory, Sync.SEGMENT_CREATE)


def _open(path: str) -> int:
    try:
        return files.open_file(path)
    except FileNotFoundError as error:
        raise FileMissingError(path) from error


class Segment:
    """The open files of one segment, for writing. Closed when nobody refers to it any more.

    Raises `FileMissingError` where the messages or their index are not there.
    """

    def __init__(self, directory: str, base_offset: int) -> None:
        self.directory = directory
        self.base_offset = base_offset
        self.data_fd = _open(data_path(directory, base_offset))
        self.index_fd = _open(index_path(directory, base_offset))
        self._meta_fd = -1
        # All slots below this one are known to hold their entries; 0 as long as nothing is known.
        self.applied_slot = 0
        self._meta_is_findable = False

    def __del__(self, close: Callable[[int], None] = files.close_file) -> None:
        # Bound as a default, since modules are taken apart before the last objects at the end of a process.
        for name in ("data_fd", "index_fd", "_meta_fd"):
            fd = getattr(self, name, -1)
            if fd >= 0:
                close(fd)

    @property
    def meta_fd(self) -> int:
        """The metadata file, made on first use."""
        if self._meta_fd < 0:
            self._meta_fd = files.open_file(meta_path(self.directory, self.base_offset), create=True)
        return self._meta_fd

    @property
    def has_meta_file(self) -> bool:
        return self._meta_fd >= 0 or os.path.exists(meta_path(self.directory, self.base_offset))

    def make_meta_findable(self) -> None:
        """Make the metadata file's entry in its directory durable, whoever made it."""
        if not self._meta_is_findable:
            files.sync_directory(self.directory, Sync.SEGMENT_CREATE)
            self._meta_is_findable = True

    def read_header(self) -> IndexHeader | None:
        return decode_header(os.pread(self.index_fd, ENTRY_BYTES, 0))

    def read_entry(self, slot: int) -> Entry | None:
        """The entry in a slot, or `None` if none is there yet. Slot 0 is the header."""
        return decode_entry(os.pread(self.index_fd, ENTRY_BYTES, slot * ENTRY_BYTES))

    def slot_count(self) -> int:
        """How many slots the index file reaches over, the header's included."""
        return os.fstat(self.index_fd).st_size // ENTRY_BYTES

    def last_entry(self) -> tuple[int, Entry] | None:
        """The last valid entry and its slot."""
        for slot in range(self.slot_count() - 1, 0, -1):
            entry = self.read_entry(slot)
            if entry is not None:
                return slot, entry
        return None

    def apply(self, part: Part) -> None:
        """Write what the part holds to the places that it names: data, then meta, then index slots."""
        meta_position = 0
        if part.meta:
            meta_position = next(entry for entry in part.entries if entry.meta_length).meta_position
        self.write(
            part.first_slot,
            part.index_bytes,
            part.data,
            part.entries[0].data_position,
            part.meta,
            meta_position,
        )

    def write(
        self, slot: int, index: bytes, data: bytes, data_position: int, meta: bytes, meta_position: int
    ) -> None:
        """Write these entries from `slot` on, after what they name."""
        files.step("apply")
        if data:
            files.write_at(self.data_fd, data, data_position)
        if meta:
            files.write_at(self.meta_fd, meta, meta_position)
        files.step("apply.index")
        files.write_at(self.index_fd, index, slot * ENTRY_BYTES)
        self.applied_slot = slot + len(index) // ENTRY_BYTES
        files.step("applied")

    def holds(self, part: Part) -> bool:
        """Whether the part's entries are in the index already."""
        expected = part.index_bytes
        return os.pread(self.index_fd, len(expected), part.first_slot * ENTRY_BYTES) == expected

    def sync(self, promise: Sync) -> None:
        """Make all that was written to this segment durable."""
        files.sync(self.data_fd, promise, data_path(self.directory, self.base_offset))
        if self.has_meta_file:
            files.sync(self.meta_fd, promise, meta_path(self.directory, self.base_offset))
        files.sync(self.index_fd, promise, index_path(self.directory, self.base_offset))
