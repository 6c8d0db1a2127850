"""percentile(x, p): the value of nearest rank, exact: the least that the share p of all do not exceed.

It is one of the values, never one between two, so it is the same everywhere and exists for text also; p is
taken as the decimal number that was written, so that 0.07 of 100 values is the 7th and not the 8th.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from aegis_cli.pipeline.aggregates.comparison import check_ordered
from aegis_cli.pipeline.aggregates.function import Accumulator, Place
from aegis_cli.pipeline.aggregates.holder import check_lines, update_lines
from aegis_cli.pipeline.aggregates.limit import VALUES_MAX, check_room


@dataclass(frozen=True, slots=True)
class Percentile:
    """A percentile. Slot: all values, sorted, or `None`. `share` is from 0 to 1; ValueError for any other."""

    share: int | float
    limit: int = VALUES_MAX
    slots: int = 1
    _exact: Fraction = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError("p is from 0 to 1; 0.95 is the 95th percentile")
        object.__setattr__(self, "_exact", Fraction(repr(self.share)))

    def start(self) -> list[Any]:
        return [None]

    def check(self, place: Place) -> list[str]:
        return check_lines(self, place)

    def update(self, place: Place) -> list[str]:
        return update_lines(self, place)

    def prepare(self, state: list[Any] | None, time_ms: int, value: Any) -> tuple[Any, ...]:
        if state is None:
            check_ordered("percentile", value, None)
            return 0, value
        check_ordered("percentile", value, state[0])
        check_room("percentile", len(state) + 1, self.limit)
        return bisect_right(state, value), value

    def enter(self, acc: Accumulator, first: int, prepared: tuple[Any, ...]) -> None:
        position, value = prepared
        if acc[first] is None:
            acc[first] = []
        acc[first].insert(position, value)

    def merge(self, into: Accumulator, other: Accumulator, first: int) -> None:
        ours, theirs = into[first], other[first]
        if theirs is None:
            return
        if ours is not None:
            check_ordered("percentile", theirs[0], ours[0])
        values = sorted([*(ours or ()), *theirs])
        check_room("percentile", len(values), self.limit)
        into[first] = values

    def result(self, acc: Accumulator, first: int) -> Any:
        values = acc[first]
        if values is None:
            return None
        share = self._exact
        rank = -(-share.numerator * len(values) // share.denominator)
        return values[max(rank, 1) - 1]
