"""Lines of a file, or of stdin, as what a pipeline reads.

A file's position is in bytes, so a run goes on behind the lines that were committed, also when the file has
grown since. What stands before it is remembered, so that a file that took the place of the one that was read
is not gone on with in its middle. Stdin has no position: what was read of it and not committed is lost with
the process, and the next run begins with what it is given.
"""

from __future__ import annotations

import os
import select
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn, overload
from zlib import crc32

from msgspec.json import encode

from aegis_cli.pipeline.definition import Source
from aegis_cli.pipeline.errors import PipelineError
from aegis_cli.pipeline.inputs import Chunk
from storage.errors import NotFoundError
from storage.lines import LineChecker
from storage.store import Store

_BLOCK_BYTES = 1 << 18
_LINE_BYTES_MAX = 64 << 20
# So much of what was read last tells whether a file is the one that was read.
_TAIL_BYTES = 4096


class SourceFileError(PipelineError):
    """The file that a pipeline reads is not there, or shorter than what was read of it."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"source file {path}: {reason}")


class SourceFileNotFoundError(SourceFileError, NotFoundError):
    """There is no file at this path."""

    def __init__(self, path: str) -> None:
        super().__init__(path, "no such file")


class LineInputs:
    """The lines of the source, from `positions` on, of which `tails` was so. Raises `SourceFileError`."""

    def __init__(
        self,
        store: Store,
        source: Source,
        positions: dict[str, int],
        tails: Mapping[str, int],
        *,
        once: bool,
        records_max: int,
        stdin_fd: int,
    ) -> None:
        self._store = store
        self._source = source
        self._is_file = source.kind == "file"
        self._positions = positions
        self._records_max = records_max
        self._place = f"{source.name}|{source.kind}|0"
        self._own = self._is_file
        self._fd = self._open(source.name) if self._is_file else stdin_fd
        self._position = positions.setdefault(self._place, 0) if self._is_file else 0
        self._size: int | None = None
        if self._is_file:
            size = os.fstat(self._fd).st_size
            if size < self._position:
                reason = f"it has {size} bytes, and {self._position} were read before; reset the pipeline"
                self._fail(reason)
            self._size = size if once else None
            if self.tails() != {place: tails.get(place, tail) for place, tail in self.tails().items()}:
                self._fail(
                    "it is not the one that was read before, as when it was rotated; put that one back, "
                    "or reset the pipeline"
                )
        self._read = self._position
        self._rest = b""
        self._eof = False

    def _open(self, path: str) -> int:
        try:
            # A pipe would wait here for somebody who writes, and no signal could end that.
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            raise SourceFileNotFoundError(path) from None
        except OSError as error:
            raise SourceFileError(path, (error.strerror or str(error)).lower()) from None
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise SourceFileError(path, "it is no regular file; read '-', and lead it to stdin")
        return fd

    def _fail(self, reason: str) -> NoReturn:
        self.close()
        raise SourceFileError(self._source.name, reason)

    def tails(self) -> dict[str, int]:
        """A checksum of what stands in the file before the position up to which it was processed."""
        if not self._is_file:
            return {}
        position = self._positions[self._place]
        size = min(_TAIL_BYTES, position)
        return {self._place: crc32(os.pread(self._fd, size, position - size))}

    @property
    def comes_again(self) -> bool:
        """Whether what was taken can be taken once more."""
        return self._is_file

    @property
    def ended(self) -> bool:
        return self._eof if not self._is_file else self._size is not None

    def take(self) -> Chunk | None:
        """The next lines, whole ones; the last line of stdin counts without a newline too."""
        while True:
            cut = self._cut()
            if cut is not None:
                taken, self._rest = cut
                lines, starts = self._checked(taken)
                chunk = Chunk(
                    self._source.name,
                    0,
                    self._place,
                    lines,
                    LineStarts(taken, self._position) if starts is None else starts,
                    self._store.clock_ms(),
                    self._position + len(taken),
                )
                self._position += len(taken)
                return chunk
            if not self._fill():
                return None

    def _checked(self, lines: bytes) -> tuple[bytes, list[int] | None]:
        """The lines as messages could be, one value each, and where they begin if not all of them were.

        Blank ones are left out. One that is no JSON becomes a text of what it holds: a topic for records that
        cannot be processed takes nothing else, and as it is no object, it is refused.
        """
        if _as_messages(lines) == lines:
            return lines, None
        kept: list[bytes] = []
        starts: list[int] = []
        for start, line in zip(LineStarts(lines, self._position), lines.split(b"\n"), strict=False):
            if line.strip():
                kept.append(_as_messages(line + b"\n") or encode(line.decode(errors="replace")) + b"\n")
                starts.append(start)
        return b"".join(kept), starts

    def _cut(self) -> tuple[bytes, bytes] | None:
        """Whole lines of what was read, at most so many, and what is left."""
        rest = self._rest
        if self._records_max < 1 << 20:
            end = -1
            for _ in range(self._records_max):
                following = rest.find(b"\n", end + 1)
                if following < 0:
                    break
                end = following
        else:
            end = rest.rfind(b"\n")
        if end >= 0:
            return rest[: end + 1], rest[end + 1 :]
        if self._eof and rest:
            return rest + b"\n", b""
        if len(rest) > _LINE_BYTES_MAX:
            raise SourceFileError(self._source.name, f"a line has more than {_LINE_BYTES_MAX} bytes")
        return None

    def _fill(self) -> bool:
        """Read on; says whether there was anything."""
        if self._is_file:
            left = _BLOCK_BYTES if self._size is None else min(_BLOCK_BYTES, self._size - self._read)
            data = self._read_from(left, self._read) if left > 0 else b""
            self._read += len(data)
        elif self._eof or not select.select([self._fd], [], [], 0)[0]:
            return False
        else:
            data = self._read_from(_BLOCK_BYTES)
            if not data:
                self._eof = True
                return bool(self._rest)
        self._rest += data
        return bool(data)

    def _read_from(self, size: int, position: int | None = None) -> bytes:
        try:
            return os.read(self._fd, size) if position is None else os.pread(self._fd, size, position)
        except OSError as error:
            raise SourceFileError(self._source.name, (error.strerror or str(error)).lower()) from error

    def wait(self, timeout_seconds: float) -> bool:
        """Wait until something may be there."""
        if self._is_file:
            # A file on any file system: looked at again, like a topic on one that notifies nobody.
            select.select([], [], [], min(timeout_seconds, 0.05))
            return os.fstat(self._fd).st_size > self._read
        return bool(select.select([self._fd], [], [], timeout_seconds)[0])

    def look_around(self) -> None:
        """See whether the file is still the one that has the name, once all of it was processed."""
        if not self._is_file:
            return
        own = os.fstat(self._fd)
        if own.st_size < self._read:
            reason = f"it has {own.st_size} bytes, and {self._read} were read; reset the pipeline"
            raise SourceFileError(self._source.name, reason)
        if self._positions[self._place] + len(self._rest) < own.st_size:
            return
        try:
            is_same = os.path.samestat(own, Path(self._source.name).stat())
        except OSError:
            is_same = False
        if not is_same:
            reason = (
                "it was removed or replaced, and all that it had was read; put it back, or reset the pipeline"
            )
            raise SourceFileError(self._source.name, reason)

    def lag(self) -> int:
        """How many bytes are there that were not taken yet; 0 where nobody knows."""
        return max(0, os.fstat(self._fd).st_size - self._position) if self._is_file else 0

    def close(self) -> None:
        if self._own:
            self._own = False
            os.close(self._fd)


def _as_messages(lines: bytes) -> bytes:
    """What of the lines a topic would take."""
    return LineChecker(max_record_bytes=_LINE_BYTES_MAX, on_error="skip").check(lines).lines.data


class LineStarts(Sequence[int]):
    """Where the lines of a chunk begin, in bytes; looked for when somebody asks."""

    def __init__(self, lines: bytes, position: int) -> None:
        self._lines = lines
        self._position = position
        self._starts: list[int] | None = None

    def _all(self) -> list[int]:
        if self._starts is None:
            self._starts, at = [], self._position
            for line in self._lines.split(b"\n")[:-1]:
                self._starts.append(at)
                at += len(line) + 1
        return self._starts

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> list[int]: ...
    def __getitem__(self, index: int | slice) -> int | list[int]:
        return self._all()[index]

    def __len__(self) -> int:
        return len(self._all())
