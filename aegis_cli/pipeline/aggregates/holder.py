"""The source that aggregates share which keep values: `check` asks where one goes, `update` puts it there."""

from __future__ import annotations

from typing import Any, Protocol

from aegis_cli.pipeline.aggregates.function import Accumulator, Place


class Holder(Protocol):
    """An aggregate that keeps values in lists."""

    def prepare(self, state: Any, time_ms: int, *values: Any) -> tuple[Any, ...] | None:
        """What `enter` needs, or `None` if the record changes nothing; `state` is the first slot.

        Raises `RecordError` if the record cannot be taken in.
        """
        ...

    def enter(self, acc: Accumulator, first: int, prepared: tuple[Any, ...]) -> None:
        """Take the record in."""
        ...


def check_lines(holder: Holder, place: Place) -> list[str]:
    """The source of `check`: a record with a null among its values is passed over."""
    prepare = place.constants.name_of(holder.prepare)
    nulls = " or ".join(f"{value} is None" for value in place.arguments)
    call = f"{prepare}({place.slot()}, {place.time}, {', '.join(place.arguments)})"
    return [f"{place.local} = None if {nulls} else {call}"]


def update_lines(holder: Holder, place: Place) -> list[str]:
    """The source of `update`."""
    enter = place.constants.name_of(holder.enter)
    return [f"if {place.local} is not None:", f"    {enter}({place.acc}, {place.first}, {place.local})"]
