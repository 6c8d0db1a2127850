"""min(x) and max(x), of numbers or of text; text is ordered by code points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from aegis_cli.pipeline.aggregates.comparison import check_ordered
from aegis_cli.pipeline.aggregates.function import Accumulator, Place


def lesser(held: Any, value: Any) -> Any:
    """The lesser of two values; of equal ones `held`. Raises `RecordError` where they have no order."""
    check_ordered("min", value, held)
    return value if held is None or value < held else held


def greater(held: Any, value: Any) -> Any:
    """The greater of two values; of equal ones `held`. Raises `RecordError` where they have no order."""
    check_ordered("max", value, held)
    return value if held is None or value > held else held


@dataclass(frozen=True, slots=True)
class Extreme:
    """The least or the greatest value."""

    name: Literal["min", "max"]
    slots: int = 1

    def start(self) -> list[Any]:
        return [None]

    def check(self, place: Place) -> list[str]:
        held, value, constants = place.local, place.arguments[0], place.constants
        kind = constants.name_of(type)
        sign, chosen = ("<", lesser) if self.name == "min" else (">", greater)
        return [
            f"{held} = {place.slot()}",
            f"if {value} is not None:",
            f"    if {kind}({value}) is {kind}({held}):",
            f"        if {value} {sign} {held}:",
            f"            {held} = {value}",
            "    else:",
            f"        {held} = {constants.name_of(chosen)}({held}, {value})",
        ]

    def update(self, place: Place) -> list[str]:
        return [f"{place.slot()} = {place.local}"]

    def merge(self, into: Accumulator, other: Accumulator, first: int) -> None:
        if other[first] is not None:
            into[first] = (lesser if self.name == "min" else greater)(into[first], other[first])

    def result(self, acc: Accumulator, first: int) -> Any:
        return acc[first]
