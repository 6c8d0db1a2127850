"""What a file holds against what it should: its committed end, line by line.

What stood in the file before the pipeline wrote to it is not the pipeline's, nor is what lies behind its last
commit, which the next run cuts off.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import BinaryIO

from aegis_cli.pipeline.errors import SinkError
from aegis_cli.pipeline.outgoing import Outgoing, pieces
from aegis_cli.pipeline.sinks.sink import Rows
from aegis_cli.pipeline.state import Facts


class FileComparison:
    """Takes the lines that a file should end with; `differences` then says where it has others.

    Raises `SinkError`.
    """

    def __init__(self, path: str, facts: Facts, *, pipeline: str) -> None:
        self._path = path
        self._pipeline = pipeline
        self._committed_bytes = facts.files.get(str(Path(path).resolve()), 0)
        self._size_bytes = self._lines = 0
        self._expected: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 - `differences` closes it

    def prepare(self, rows: Rows, outgoing: Outgoing, facts: Facts) -> int:
        """Take lines."""
        count = 0
        for _, some in rows:
            for lines, size in pieces(some):
                self._expected.write(lines)
                self._size_bytes += len(lines)
                count += size
        self._lines += count
        return count

    def differences(self, shown_max: int) -> tuple[int, list[str]]:
        """How many lines were compared, and the first differences in words."""
        with self._expected:
            self._expected.seek(0)
            try:
                with Path(self._path).open("rb") as held:
                    return self._compare(held, shown_max)
            except FileNotFoundError:
                return self._lines, [f"{self._path}: there is no such file"] if self._lines else []
            except OSError as error:
                reason = (error.strerror or str(error)).lower()
                raise SinkError(self._pipeline, f"file {self._path}", reason) from error

    def _compare(self, held: BinaryIO, shown_max: int) -> tuple[int, list[str]]:
        start = max(0, self._committed_bytes - self._size_bytes)
        size = min(os.fstat(held.fileno()).st_size, self._committed_bytes) - start
        held.seek(start)
        compared = 0
        differences: list[str] = []
        for want, have in zip_longest(self._expected, _first(held, size)):
            compared += 1
            if want != have and len(differences) < shown_max:
                line = f"{self._path}, line {compared} of the pipeline"
                differences.append(f"{line}: {_shown(have)}, expected {_shown(want)}")
        return compared, differences


def _first(held: BinaryIO, size_bytes: int) -> Iterator[bytes]:
    """The lines of the next so many bytes."""
    while size_bytes > 0 and (line := held.readline(size_bytes)):
        size_bytes -= len(line)
        yield line


def _shown(line: bytes | None) -> str:
    return "nothing" if line is None else line.decode("utf-8", "replace").rstrip("\n")[:200]
