"""top_n(n, x) gives the n greatest x, top_n(n, x, by) the x of the n records with the greatest `by`.

The greatest comes first; equal ones are all kept, in the order in which they arrived.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import Any

from aegis_cli.pipeline.aggregates.comparison import check_ordered
from aegis_cli.pipeline.aggregates.function import Accumulator, Place
from aegis_cli.pipeline.aggregates.holder import check_lines, update_lines
from aegis_cli.pipeline.aggregates.limit import VALUES_MAX


@dataclass(frozen=True, slots=True)
class Top:
    """The top n, a list. Slots: what they are ordered by, ascending, or `None`; their values.

    Of what is equal, the later stands before the earlier, so that the reverse is the result.
    ValueError unless `count` is from 1 to the limit of values of a group.
    """

    count: int
    slots: int = 2

    def __post_init__(self) -> None:
        if type(self.count) is not int or not 1 <= self.count <= VALUES_MAX:
            raise ValueError(f"n is a whole number from 1 to {VALUES_MAX}")

    def start(self) -> list[Any]:
        return [None, None]

    def check(self, place: Place) -> list[str]:
        return check_lines(self, place)

    def update(self, place: Place) -> list[str]:
        return update_lines(self, place)

    def prepare(self, state: list[Any] | None, time_ms: int, value: Any, *by: Any) -> tuple[Any, ...] | None:
        order = by[0] if by else value
        if state is None:
            check_ordered("top_n", order, None)
            return 0, order, value
        check_ordered("top_n", order, state[0])
        position = bisect_left(state, order)
        if position == 0 and len(state) >= self.count:
            return None
        return position, order, value

    def enter(self, acc: Accumulator, first: int, prepared: tuple[Any, ...]) -> None:
        position, order, value = prepared
        if acc[first] is None:
            acc[first : first + 2] = [], []
        orders, values = acc[first], acc[first + 1]
        orders.insert(position, order)
        values.insert(position, value)
        if len(orders) > self.count:
            del orders[0], values[0]

    def merge(self, into: Accumulator, other: Accumulator, first: int) -> None:
        if other[first] is None:
            return
        if into[first] is None:
            into[first : first + 2] = list(other[first]), list(other[first + 1])
            return
        check_ordered("top_n", other[first][0], into[first][0])
        # Sorting keeps the order of equal ones: the later session's come first, as later records do.
        pairs = [
            *zip(other[first], other[first + 1], strict=True),
            *zip(*into[first : first + 2], strict=True),
        ]
        pairs.sort(key=_order)
        kept = pairs[-self.count :]
        into[first : first + 2] = [order for order, _ in kept], [value for _, value in kept]

    def result(self, acc: Accumulator, first: int) -> list[Any] | None:
        values = acc[first + 1]
        return None if values is None else values[::-1]


def _order(pair: tuple[Any, Any]) -> Any:
    return pair[0]
