"""Python source that is being written: lines, and how deep they stand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

# What Python itself allows in nested blocks is 20 loops and 100 levels.
_DEPTH_MAX = 40


class Code:
    """Lines of source. `block` opens a block that the lines within it belong to."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._depth = 0

    def add(self, *lines: str) -> None:
        indent = "    " * self._depth
        self._lines += [indent + line for line in lines]

    def open(self, line: str) -> None:
        """Begin a block that goes on until `close`."""
        self.add(line)
        self._depth += 1
        assert self._depth <= _DEPTH_MAX

    def close(self, levels: int = 1) -> None:
        self._depth -= levels

    @contextmanager
    def block(self, line: str) -> Iterator[None]:
        self.open(line)
        yield
        self.close()

    @property
    def depth(self) -> int:
        return self._depth

    def close_to(self, depth: int) -> None:
        self._depth = depth

    def text(self) -> str:
        return "\n".join(self._lines) + "\n"
