"""Lines of a file, or of stdin, as what a pipeline reads.

A file's position is in bytes, so a run goes on behind the lines that were committed, also when the file has
grown since. Stdin has no position: what was read of it and not committed is lost with the process, and the
next run begins with what it is given.
"""

from __future__ import annotations

import os
import select
from collections.abc import Sequence
from typing import overload

from msgspec.json import encode

from aegis_cli.pipeline.definition import Source
from aegis_cli.pipeline.errors import PipelineError
from aegis_cli.pipeline.inputs import Chunk
from storage.errors import NotFoundError
from storage.lines import LineChecker
from storage.store import Store

_BLOCK_BYTES = 1 << 20
_LINE_BYTES_MAX = 64 << 20


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
    """The lines of the source. Raises `SourceFileError`."""

    def __init__(
        self,
        store: Store,
        source: Source,
        positions: dict[str, int],
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
                raise SourceFileError(source.name, reason)
            self._size = size if once else None
        self._read = self._position
        self._rest = b""
        self._eof = False

    def _open(self, path: str) -> int:
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise SourceFileNotFoundError(path) from None
        except OSError as error:
            raise SourceFileError(path, (error.strerror or str(error)).lower()) from None

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
            data = os.pread(self._fd, left, self._read) if left > 0 else b""
            self._read += len(data)
        elif self._eof or not select.select([self._fd], [], [], 0)[0]:
            return False
        else:
            data = os.read(self._fd, _BLOCK_BYTES)
            if not data:
                self._eof = True
                return bool(self._rest)
        self._rest += data
        return bool(data)

    def wait(self, timeout_seconds: float) -> bool:
        """Wait until something may be there."""
        if self._is_file:
            # A file on any file system: looked at again, like a topic on one that notifies nobody.
            select.select([], [], [], min(timeout_seconds, 0.05))
            return os.fstat(self._fd).st_size > self._read
        return bool(select.select([self._fd], [], [], timeout_seconds)[0])

    def look_around(self) -> None:
        """Nothing can be added to a file but lines."""

    def lag(self) -> int:
        """How many bytes are there that were not taken yet; 0 where nobody knows."""
        return max(0, os.fstat(self._fd).st_size - self._position) if self._is_file else 0

    def close(self) -> None:
        if self._own:
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
