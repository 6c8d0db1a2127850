"""A source of input: a file or a pipe, read in blocks of whole lines.

A regular file is read in large blocks. A live source (a pipe, a terminal, a socket) is read as it comes: what
was read is handed over after `linger_ms` at the latest, whether or not more follows.
"""

from __future__ import annotations

import os
import select
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

BLOCK_BYTES = 1024 * 1024
_PIPE_BYTES = 1024 * 1024
# Where the last line end of a block is looked for before the block is read.
_TAIL_BYTES = 4096
_F_SETPIPE_SZ = 1031  # from linux/fcntl.h; Python names it on Linux only
# Waits for input are cut into slices, so that a signal or an error elsewhere is noticed.
_SLICE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Block:
    """Whole lines of input, perhaps none. `rest_bytes` of an unfinished line were read behind them.

    `pause`: what was read has waited long enough. `quiet`: and the source has nothing more just now. `cut`:
    this is the end, and no newline ended the last line.
    """

    data: bytes
    rest_bytes: int = 0
    pause: bool = False
    quiet: bool = False
    cut: bool = False


class Source:
    """Reads `fd` to its end. `linger_ms` is how long a live source's data may wait for more.

    `name` is what errors call it.
    """

    def __init__(self, fd: int, *, linger_ms: int, name: str) -> None:
        self._fd = fd
        self._name = name
        self._linger_seconds = linger_ms / 1000
        self._skipping = False
        mode = os.fstat(fd).st_mode
        self._is_file = stat.S_ISREG(mode)
        if stat.S_ISFIFO(mode):
            _widen(fd)

    def blocks(self, pending: Callable[[], int]) -> Iterator[Block]:
        """The blocks. `pending` says how many bytes of earlier blocks nobody has begun to publish."""
        return self._file_blocks() if self._is_file else self._live_blocks(pending)

    def skip_line(self) -> None:
        """Leave out the unfinished line that the last block came before, however long it is."""
        self._skipping = True

    def _file_blocks(self) -> Iterator[Block]:
        rest = b""
        while piece := self._read(self._size_of_lines()):
            if self._skipping:
                rest, piece = b"", self._behind_skipped(piece)
                if not piece:
                    continue
            end = piece.rfind(b"\n") + 1
            if rest or not end:
                # A line longer than a block: put it together.
                piece = rest + piece
                end = piece.rfind(b"\n") + 1
                rest = piece[end:]
                yield Block(piece[:end], rest_bytes=len(rest))
            elif end == len(piece):
                yield Block(piece)
            else:
                # No line end in the tail, or the end of the file. Reading the unfinished line again is
                # cheaper than copying the next block behind it.
                os.lseek(self._fd, end - len(piece), os.SEEK_CUR)
                yield Block(piece[:end])
        if rest and not self._skipping:
            yield Block(rest, cut=True)

    def _live_blocks(self, pending: Callable[[], int]) -> Iterator[Block]:
        pieces: list[bytes] = []
        size = 0
        has_lines = False
        began = time.monotonic()
        while True:
            # An unfinished line waits for its end; whole lines, and what was not handed on yet, do not.
            waiting = has_lines or pending()
            if not waiting:
                began = time.monotonic()
            left = began + self._linger_seconds - time.monotonic() if waiting else _SLICE_SECONDS
            if not self._ready(max(left, 0.0)) or (waiting and left <= 0):
                block, pieces = _split(pieces)
                size = sum(map(len, pieces))
                has_lines = False
                quiet = not self._ready(0.0)
                # An empty block lets the reader of the blocks notice what went wrong elsewhere meanwhile.
                yield Block(block, rest_bytes=size, pause=True, quiet=quiet)
                if self._skipping:
                    pieces, size = [], 0
                began = time.monotonic()
                if quiet:
                    continue
            piece = self._read()
            if not piece:
                break
            if self._skipping:
                piece = self._behind_skipped(piece)
            pieces.append(piece)
            size += len(piece)
            has_lines = has_lines or b"\n" in piece
            if size >= BLOCK_BYTES:
                block, pieces = _split(pieces)
                size = sum(map(len, pieces))
                has_lines = False
                yield Block(block, rest_bytes=size)
                if self._skipping:
                    pieces, size = [], 0
        block, pieces = _split(pieces)
        if block:
            yield Block(block)
        if pieces and not self._skipping:
            yield Block(pieces[0], cut=True)

    def _behind_skipped(self, piece: bytes) -> bytes:
        """What of `piece` lies behind the line that is skipped."""
        end = piece.find(b"\n") + 1
        if not end:
            return b""
        self._skipping = False
        return piece[end:]

    def _size_of_lines(self) -> int:
        """How much of a file to read, so that a block ends with a line and need not be copied to cut it."""
        before_tail = BLOCK_BYTES - _TAIL_BYTES
        try:
            tail = os.pread(self._fd, _TAIL_BYTES, os.lseek(self._fd, 0, os.SEEK_CUR) + before_tail)
        except OSError as error:
            error.filename = error.filename or self._name
            raise
        end = tail.rfind(b"\n") + 1
        return before_tail + end if end else BLOCK_BYTES

    def _read(self, size_bytes: int = BLOCK_BYTES) -> bytes:
        while True:
            try:
                return os.read(self._fd, size_bytes)
            except BlockingIOError:
                # Somebody with whom we share it made it non-blocking.
                self._ready(_SLICE_SECONDS)
            except OSError as error:
                error.filename = error.filename or self._name
                raise

    def _ready(self, timeout_seconds: float) -> bool:
        return bool(select.select([self._fd], [], [], timeout_seconds)[0])


def _split(pieces: list[bytes]) -> tuple[bytes, list[bytes]]:
    """Everything up to the last line end, and the unfinished line behind it."""
    data = b"".join(pieces)
    end = data.rfind(b"\n") + 1
    return data[:end], [data[end:]] if end < len(data) else []


def _widen(fd: int) -> None:
    """A wider pipe means fewer switches between its two ends; not being allowed to is fine."""
    import fcntl

    try:
        fcntl.fcntl(fd, _F_SETPIPE_SZ, _PIPE_BYTES)
    except OSError:
        return
