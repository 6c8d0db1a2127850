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
    """Reads `fd` to its end. `linger_ms` is how long a live source's data may wait for more."""

    def __init__(self, fd: int, *, linger_ms: int) -> None:
        self._fd = fd
        self._linger_seconds = linger_ms / 1000
        mode = os.fstat(fd).st_mode
        self._is_file = stat.S_ISREG(mode)
        if stat.S_ISFIFO(mode):
            _widen(fd)

    def blocks(self, pending: Callable[[], int]) -> Iterator[Block]:
        """The blocks. `pending` says how many bytes of earlier blocks nobody has begun to publish."""
        return self._file_blocks() if self._is_file else self._live_blocks(pending)

    def _file_blocks(self) -> Iterator[Block]:
        rest = b""
        while piece := os.read(self._fd, BLOCK_BYTES):
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
                # Reading the unfinished line again is cheaper than copying the next block behind it.
                os.lseek(self._fd, end - len(piece), os.SEEK_CUR)
                yield Block(piece[:end])
        if rest:
            yield Block(rest, cut=True)

    def _live_blocks(self, pending: Callable[[], int]) -> Iterator[Block]:
        pieces: list[bytes] = []
        size = 0
        began = time.monotonic()
        while True:
            waiting = size or pending()
            if not waiting:
                began = time.monotonic()
            left = began + self._linger_seconds - time.monotonic() if waiting else _SLICE_SECONDS
            if not self._ready(max(left, 0.0)) or (waiting and left <= 0):
                if not waiting:
                    continue
                block, pieces = _split(pieces)
                size = sum(map(len, pieces))
                yield Block(block, rest_bytes=size, pause=True, quiet=not self._ready(0.0))
                began = time.monotonic()
                if not block and not pending() and not self._ready(_SLICE_SECONDS):
                    continue
            piece = os.read(self._fd, BLOCK_BYTES)
            if not piece:
                break
            pieces.append(piece)
            size += len(piece)
            if size >= BLOCK_BYTES:
                block, pieces = _split(pieces)
                size = sum(map(len, pieces))
                yield Block(block, rest_bytes=size)
        rest = b"".join(pieces)
        if rest:
            yield Block(rest, cut=not rest.endswith(b"\n"))

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
