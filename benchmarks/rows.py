"""A row of the result: what was measured, how often, and whether it is what it has to be."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How much to measure. `directory` is where it happens; `seconds` is how long a timed round takes."""

    directory: Path
    lines: int
    rounds: int
    seconds: float
    writers: int
    stored_messages: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What was measured: a figure of each round, in `unit`.

    `must` and `aim` are bounds on the median, in the unit, from below or (`better="less"`) from above.
    """

    what: str
    figures: Sequence[float]
    unit: str
    must: float | None = None
    aim: float | None = None
    better: Literal["more", "less"] = "more"

    @property
    def median(self) -> float:
        return statistics.median(self.figures)

    @property
    def verdict(self) -> str:
        """`aim` or `must` for the best bound that holds, `MISSED` for none, nothing without bounds."""
        if self.must is not None and not self._holds(self.must):
            return "MISSED"
        if self.aim is not None and self._holds(self.aim):
            return "aim"
        return "" if self.must is None else "must"

    def _holds(self, bound: float) -> bool:
        return self.median >= bound if self.better == "more" else self.median <= bound


def in_turn(rounds: int, works: Mapping[str, Callable[[], T]]) -> dict[str, list[T]]:
    """The results of all works, done in turn, A B A B: what slows the machine down slows all of them."""
    results: dict[str, list[T]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            results[name].append(work())
    return results


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> list[float]:
    """The ratio of each round: within one the machine is the same."""
    return [one / other for one, other in zip(numerators, denominators, strict=True)]


def table(rows: Sequence[Row]) -> str:
    """The rows as one table for a person."""
    sign = {"more": "≥", "less": "≤"}
    cells = [["what", "measured: median (min to max)", "must", "aim", "verdict"]]
    for row in rows:
        low, high = _number(min(row.figures)), _number(max(row.figures))
        measured = f"{_number(row.median)} {row.unit} ({low} to {high})"
        bounds = ["" if b is None else f"{sign[row.better]} {_number(b)}" for b in (row.must, row.aim)]
        cells.append([row.what, measured, *bounds, row.verdict])
    widths = [max(len(line[column]) for line in cells) for column in range(5)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    ]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def _number(value: float) -> str:
    """Three figures, and never an exponent."""
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 0.001 else f"{value:.4f}"
