"""count() counts records, count(x) those in which x is not null."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aegis_cli.pipeline.aggregates.function import Accumulator, Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """How many; 0 of no records."""

    of_value: bool
    slots: int = 1

    def start(self) -> list[Any]:
        return [0]

    def check(self, place: Place) -> list[str]:
        return []

    def update(self, place: Place) -> list[str]:
        if self.of_value:
            return [f"if {place.arguments[0]} is not None:", f"    {place.slot()} += 1"]
        return [f"{place.slot()} += 1"]

    def merge(self, into: Accumulator, other: Accumulator, first: int) -> None:
        into[first] += other[first]

    def result(self, acc: Accumulator, first: int) -> int:
        count: int = acc[first]
        return count
