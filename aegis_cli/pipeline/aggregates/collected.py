"""collect(x) and collect(x, limit): the values that are not null, by event time, then by arrival.

With a limit these are the earliest ones; without, a group takes no more than `VALUES_MAX`.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import Any

from aegis_cli.pipeline.aggregates.function import Accumulator, Place
from aegis_cli.pipeline.aggregates.holder import check_lines, update_lines
from aegis_cli.pipeline.aggregates.limit import VALUES_MAX, check_room


@dataclass(frozen=True, slots=True)
class Collect:
    """A list. Slots: the event times, ascending, or `None`; the values. ValueError for a senseless limit."""

    limit: int | None = None
    slots: int = 2

    def __post_init__(self) -> None:
        if self.limit is not None and (type(self.limit) is not int or not 1 <= self.limit <= VALUES_MAX):
            raise ValueError(f"limit is a whole number from 1 to {VALUES_MAX}")

    def start(self) -> list[Any]:
        return [None, None]

    def check(self, place: Place) -> list[str]:
        return check_lines(self, place)

    def update(self, place: Place) -> list[str]:
        return update_lines(self, place)

    def prepare(self, state: list[int] | None, time_ms: int, value: Any) -> tuple[Any, ...] | None:
        if state is None:
            return 0, time_ms, value
        position = bisect_right(state, time_ms)
        if self.limit is None:
            check_room("collect", len(state) + 1)
        elif position >= self.limit:
            return None
        return position, time_ms, value

    def enter(self, acc: Accumulator, first: int, prepared: tuple[Any, ...]) -> None:
        position, time_ms, value = prepared
        if acc[first] is None:
            acc[first : first + 2] = [], []
        times, values = acc[first], acc[first + 1]
        times.insert(position, time_ms)
        values.insert(position, value)
        if self.limit is not None and len(times) > self.limit:
            del times[-1], values[-1]

    def merge(self, into: Accumulator, other: Accumulator, first: int) -> None:
        if other[first] is None:
            return
        pairs = [
            pair for acc in (into, other) for pair in zip(acc[first] or (), acc[first + 1] or (), strict=True)
        ]
        pairs.sort(key=_time)
        if self.limit is None:
            check_room("collect", len(pairs))
        kept = pairs[: self.limit]
        into[first : first + 2] = [time for time, _ in kept], [value for _, value in kept]

    def result(self, acc: Accumulator, first: int) -> list[Any] | None:
        values = acc[first + 1]
        return None if values is None else list(values)


def _time(pair: tuple[int, Any]) -> int:
    return pair[0]
