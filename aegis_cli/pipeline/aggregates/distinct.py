"""count_distinct(x): how many different values there are; exact.

1 and 1.0 are one value; true, "true" and 1 are three; lists and objects are compared by what they hold.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import Any

from aegis_cli.pipeline.aggregates.function import Accumulator, Place
from aegis_cli.pipeline.aggregates.holder import check_lines, update_lines
from aegis_cli.pipeline.aggregates.limit import VALUES_MAX, check_room
from aegis_cli.pipeline.canonical import canonical_json


def canonical(value: Any) -> str:
    """A text that two values share exactly when they are equal as JSON. Raises `RecordError` if too deep."""
    if type(value) is str:
        # The mark keeps text apart from all else, and costs less than quotes and escapes.
        return f"'{value}"
    if type(value) is int:
        return str(value)
    return canonical_json(value)


@dataclass(frozen=True, slots=True)
class CountDistinct:
    """How many different values; 0 of no records. Slot: their canonical texts, sorted, or `None`."""

    limit: int = VALUES_MAX
    slots: int = 1

    def start(self) -> list[Any]:
        return [None]

    def check(self, place: Place) -> list[str]:
        return check_lines(self, place)

    def update(self, place: Place) -> list[str]:
        return update_lines(self, place)

    def prepare(self, state: list[str] | None, time_ms: int, value: Any) -> tuple[Any, ...] | None:
        text = canonical(value)
        if state is None:
            return 0, text
        position = bisect_left(state, text)
        if position < len(state) and state[position] == text:
            return None
        check_room("count_distinct", len(state) + 1, self.limit)
        return position, text

    def enter(self, acc: Accumulator, first: int, prepared: tuple[Any, ...]) -> None:
        position, text = prepared
        if acc[first] is None:
            acc[first] = []
        acc[first].insert(position, text)

    def merge(self, into: Accumulator, other: Accumulator, first: int) -> None:
        if other[first] is not None:
            texts = sorted({*(into[first] or ()), *other[first]})
            check_room("count_distinct", len(texts), self.limit)
            into[first] = texts

    def result(self, acc: Accumulator, first: int) -> int:
        return len(acc[first] or ())
