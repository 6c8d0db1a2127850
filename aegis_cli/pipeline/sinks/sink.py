"""What the engine asks of a sink.

A sink inside of the store adds its rows to the commit. One outside is brought up to date around it: a file is
written and synced before the commit, which says how long it is; what a table gets is in the commit, and
brought there after it, together with the number of the commit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from aegis_cli.pipeline.outgoing import Outgoing
from aegis_cli.pipeline.state import Facts

# Rows in the order in which they were made: runs of one partition of the source, with its number.
Rows = Sequence[tuple[int, list[Any]]]


class Sink(Protocol):
    """One way out of a pipeline.

    `slot` is what its rows are kept under until they are there, which is the same in each run; "" for a sink
    that has none to come after a commit.
    """

    @property
    def slot(self) -> str: ...

    def open(self, facts: Facts) -> None:
        """Begin where the last commit left off: bring there what is missing, cut off what is too much."""

    def prepare(self, rows: Rows, outgoing: Outgoing, facts: Facts) -> int:
        """Before the commit: take the rows, and say in `facts` what it shall remember; returns how many."""

    def finish(self, facts: Facts) -> None:
        """After the commit."""

    def close(self) -> None:
        """Give back what is open."""


class Comparison(Protocol):
    """What a sink outside of the store should hold; it is only read."""

    def prepare(self, rows: Rows, outgoing: Outgoing, facts: Facts) -> int:
        """Take what goes there; returns how many."""

    def differences(self, shown_max: int) -> tuple[int, list[str]]:
        """How many were compared in the end, and the first differences in words. Nothing follows."""
