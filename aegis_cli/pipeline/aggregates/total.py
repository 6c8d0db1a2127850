"""sum(x) and avg(x): integers add up exactly within 64 bits, and with a floating-point number become one."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import Any

from aegis_cli.pipeline.aggregates.comparison import kind_of
from aegis_cli.pipeline.aggregates.function import Accumulator, Place
from aegis_cli.pipeline.errors import RecordError

_INT_MAX = (1 << 63) - 1
_INT_MIN = -(1 << 63)
# Within these a total needs no closer look, whatever its type; comparing with floats is the cheapest.
_SURE = "-9e18 < {0} < 9e18"

Number = int | float


def bounded(total: Number) -> Number:
    """`total`, if 64 bits can hold it. Raises `RecordError`."""
    if isinstance(total, int):
        if not _INT_MIN <= total <= _INT_MAX:
            raise RecordError("the sum of integers does not fit into 64 bits")
    elif not isfinite(total):
        raise RecordError("the sum is larger than a floating-point number can be")
    return total


def added(total: Number | None, value: Any) -> Number:
    """`total` and `value`. Raises `RecordError` for what is no number, and for what is too large."""
    if type(value) is not int and type(value) is not float:
        raise RecordError(f"sum and avg take numbers, not {kind_of(value)}")
    return bounded(value if total is None else total + value)


def _check_total(place: Place) -> list[str]:
    """Lines that leave the new total in the local variable; what has the type of the old is added inline."""
    total, value, constants = place.local, place.arguments[0], place.constants
    kind = constants.name_of(type)
    return [
        f"{total} = {place.slot()}",
        f"if {value} is not None:",
        f"    if {kind}({value}) is {kind}({total}):",
        f"        {total} += {value}",
        f"        if not {_SURE.format(total)}:",
        f"            {total} = {constants.name_of(bounded)}({total})",
        "    else:",
        f"        {total} = {constants.name_of(added)}({total}, {value})",
    ]


def _merged(total: Number | None, other: Number | None) -> Number | None:
    return total if other is None else added(total, other)


@dataclass(frozen=True, slots=True)
class Sum:
    """The sum."""

    slots: int = 1

    def start(self) -> list[Any]:
        return [None]

    def check(self, place: Place) -> list[str]:
        return _check_total(place)

    def update(self, place: Place) -> list[str]:
        return [f"{place.slot()} = {place.local}"]

    def merge(self, into: Accumulator, other: Accumulator, first: int) -> None:
        into[first] = _merged(into[first], other[first])

    def result(self, acc: Accumulator, first: int) -> Number | None:
        total: Number | None = acc[first]
        return total


@dataclass(frozen=True, slots=True)
class Average:
    """The arithmetic mean, a floating-point number. Slots: the total, the count."""

    slots: int = 2

    def start(self) -> list[Any]:
        return [None, 0]

    def check(self, place: Place) -> list[str]:
        return _check_total(place)

    def update(self, place: Place) -> list[str]:
        return [
            f"if {place.arguments[0]} is not None:",
            f"    {place.slot()} = {place.local}",
            f"    {place.slot(1)} += 1",
        ]

    def merge(self, into: Accumulator, other: Accumulator, first: int) -> None:
        into[first] = _merged(into[first], other[first])
        into[first + 1] += other[first + 1]

    def result(self, acc: Accumulator, first: int) -> float | None:
        total, count = acc[first], acc[first + 1]
        return total / count if count else None
