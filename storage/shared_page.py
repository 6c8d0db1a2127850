"""The page that all processes of a store map: the journal's tail, how far it is synced, a place to sleep.

It is a cache in memory, never a promise: a power cut may leave anything in it, and a page whose salt is not
the current epoch's is made anew by recovery. Within one boot it survives the death of any process at any
instruction: the tail is kept twice, the copy that is not current is written first, and one aligned store of
the version switches to it. Layout in FORMAT.md section 3.4.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from typing import TYPE_CHECKING, NamedTuple

from storage import files

if TYPE_CHECKING:
    from storage.libc import Futex

PAGE_BYTES = 4096
LANES = 2

# Words of 64 bits, in the machine's byte order: the page never leaves the machine.
_SALT = 0
_TAIL_VERSION = 1
_TAIL = 2  # two copies of four words: sequence, file, position, crc of the last record
_SYNCED = 16  # a word a lane
_INTENT = 18  # a word a lane: the file that is being synced, plus one
_SYNC_MICROSECONDS = 20  # a word a lane: how long its last sync took
_SLEEPERS = 24
_FAILED = 25
_FUTEX_BYTE = 26 * 8

_FOUR_WORDS = struct.Struct("@4Q")


class Tail(NamedTuple):
    """Where the journal ends: the next record's sequence, file and position; the last record's CRC."""

    sequence: int
    file: int
    position: int
    previous_crc: int


_UNKNOWN = -1, Tail(0, 0, 0, 0)


# Makes a tail out of a tuple: what calling the class does costs an append three times as much.
new_tail = tuple.__new__


class PageState(NamedTuple):
    """What a page said at one moment: `synced` is the sequence below which every record is durable."""

    salt: int
    tail: Tail
    synced: int
    failed: bool


def peek(path: str) -> PageState | None:
    """The page read as a file, by one who must not write; `None` where there is no whole page."""
    try:
        with open(path, "rb", buffering=0) as file:
            words = memoryview(file.read(PAGE_BYTES)).cast("Q")
    except FileNotFoundError:
        return None
    except TypeError:
        return None  # not a multiple of a word long
    if len(words) * 8 < PAGE_BYTES:
        return None
    at = _TAIL + 4 * (words[_TAIL_VERSION] & 1)
    return PageState(
        words[_SALT],
        Tail(words[at], words[at + 1], words[at + 2], words[at + 3]),
        max(words[_SYNCED], words[_SYNCED + 1]),
        bool(words[_FAILED]),
    )


def create_page(path: str) -> None:
    """Make the page where it is missing or short; the caller is alone in the store.

    Its block is written, not left as a hole: a hole that finds no room on a full disk ends the process that
    stores into the mapping.
    """
    fd = files.open_file(path, create=True)
    try:
        if os.fstat(fd).st_size < PAGE_BYTES:
            files.write_at(fd, bytes(PAGE_BYTES), 0)
    finally:
        files.close_file(fd)


def open_page(path: str) -> SharedPage | None:
    """The page, mapped; `None` where it has to be made first."""
    try:
        fd = files.open_file(path)
    except FileNotFoundError:
        return None
    try:
        return SharedPage(fd) if os.fstat(fd).st_size >= PAGE_BYTES else None
    finally:
        files.close_file(fd)


class SharedPage:
    """The page, mapped from an open file; the descriptor may be closed afterwards."""

    def __init__(self, fd: int) -> None:
        self._map = mmap.mmap(fd, PAGE_BYTES)
        self._words = memoryview(self._map).cast("Q")
        self._futex: Futex | None = None
        # The tail as it was at some version, since who appends alone finds the one that it wrote.
        self._known = _UNKNOWN

    @property
    def salt(self) -> int:
        return self._words[_SALT]

    def reset(self, *, salt: int, tail: Tail) -> None:
        """Begin an epoch: all below `tail` is durable. Only recovery, alone in the store, does this."""
        words = self._words
        words[_SALT] = 0
        for index in range(_TAIL_VERSION, _FUTEX_BYTE // 8):
            words[index] = 0
        self.tail = tail
        for lane in range(LANES):
            words[_SYNCED + lane] = tail.sequence
        words[_SALT] = salt
        # Versions are counted anew.
        self._known = _UNKNOWN

    def read_tail(self) -> Tail:
        """Where the journal ends now. A method, as `read_synced` is: an append asks for them too often for
        properties, which take the interpreter several times as long."""
        words = self._words
        while True:
            version = words[_TAIL_VERSION]
            known = self._known
            if known[0] == version:
                return known[1]
            at = _TAIL + 4 * (version & 1)
            tail = Tail(words[at], words[at + 1], words[at + 2], words[at + 3])
            # A copy is only ever rewritten after the version has moved on.
            if words[_TAIL_VERSION] == version:
                self._known = version, tail
                return tail

    def move_tail(self, tail: Tail) -> None:
        """Say that the journal ends there. Only the holder of the append lock may."""
        words = self._words
        version = words[_TAIL_VERSION] + 1
        at = _TAIL + 4 * (version & 1)
        _FOUR_WORDS.pack_into(self._map, at * 8, *tail)
        # One store of an aligned word, which packing it would not be.
        words[_TAIL_VERSION] = version
        self._known = version, tail

    tail = property(read_tail, move_tail)

    def read_synced(self) -> int:
        """The sequence below which every record is durable."""
        words = self._words
        first, second = words[_SYNCED], words[_SYNCED + 1]
        return first if first > second else second

    synced = property(read_synced)

    def end_sync(self, lane: int, sequence: int, seconds: float) -> None:
        """Say that all below `sequence` is durable, after a sync that took so long. As the lane's holder."""
        words = self._words
        words[_SYNC_MICROSECONDS + lane] = int(seconds * 1e6)
        # How far is synced only ever grows, whatever a process that was stopped for long still believes.
        if sequence > words[_SYNCED + lane]:
            words[_SYNCED + lane] = sequence
        words[_INTENT + lane] = 0

    def intent(self, lane: int) -> int | None:
        """The journal file that the lane's last holder was about to sync and did not finish."""
        word = self._words[_INTENT + lane]
        return word - 1 if word else None

    def set_intent(self, lane: int, file: int | None) -> None:
        self._words[_INTENT + lane] = 0 if file is None else file + 1

    @property
    def sync_seconds(self) -> float:
        """How long a sync takes on this disk, as the lanes saw it last."""
        return max(self._words[_SYNC_MICROSECONDS], self._words[_SYNC_MICROSECONDS + 1]) / 1e6

    def has_failed(self) -> bool:
        """Whether some process saw a sync fail."""
        return bool(self._words[_FAILED])

    failed = property(has_failed)

    def set_failed(self, failed: bool) -> None:
        self._words[_FAILED] = int(failed)

    def sleep(self, until_sequence: int, *, timeout_seconds: float) -> None:
        """Sleep until somebody says that more is durable, at most this long."""
        futex = self._open_futex()
        seen = futex.word[0]
        self._words[_SLEEPERS] = 1
        if self.synced < until_sequence:
            futex.wait(seen, until_seconds=time.monotonic() + timeout_seconds)

    def wake(self) -> None:
        """Wake all who sleep; costs nothing when nobody does."""
        if self._words[_SLEEPERS]:
            self._words[_SLEEPERS] = 0
            self._open_futex().wake()

    def _open_futex(self) -> Futex:
        if self._futex is None:
            from storage.libc import Futex

            self._futex = Futex(self._map, _FUTEX_BYTE)
        return self._futex

    def close(self) -> None:
        """Unmap the page."""
        if self._futex is not None:
            self._futex.close()
            self._futex = None
        self._words.release()
        self._map.close()
