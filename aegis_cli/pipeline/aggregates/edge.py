"""first(x) and last(x): the value of the earliest or the latest record, by event time, then by arrival."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from aegis_cli.pipeline.aggregates.function import Accumulator, Place


@dataclass(frozen=True, slots=True)
class Edge:
    """The first or the last value that is not null. Slots: its event time, the value."""

    name: Literal["first", "last"]
    slots: int = 2

    def start(self) -> list[Any]:
        return [None, None]

    def check(self, place: Place) -> list[str]:
        return []

    def update(self, place: Place) -> list[str]:
        value, held_time = place.arguments[0], place.slot()
        # Of records of one time the first that arrived is the first, and the last that arrived the last.
        sign = "<" if self.name == "first" else ">="
        return [
            f"if {value} is not None and ({held_time} is None or {place.time} {sign} {held_time}):",
            f"    {held_time} = {place.time}",
            f"    {place.slot(1)} = {value}",
        ]

    def merge(self, into: Accumulator, other: Accumulator, first: int) -> None:
        ours, theirs = into[first], other[first]
        if theirs is None:
            return
        if ours is None or (theirs < ours if self.name == "first" else theirs >= ours):
            into[first : first + 2] = other[first : first + 2]

    def result(self, acc: Accumulator, first: int) -> Any:
        return acc[first + 1]
