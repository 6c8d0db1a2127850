"""What an aggregate function is: slots of an accumulator, and the source that takes a record into them.

The source is inlined into the engine's loop over records, in two halves. The lines of `check` compute and
compare, may raise `RecordError`, and change nothing but local variables; the lines of `update` store what
`check` computed, and cannot fail. A record that any aggregate refuses is thus in none of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

# A flat list. Slot 0 belongs to the store of windows; what is in the others can be written as JSON.
Accumulator = list[Any]


class Constants(Protocol):
    """Gives names to the objects that generated source refers to."""

    def name_of(self, value: object) -> str:
        """The name under which the source finds `value`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the source of one aggregate stands.

    `acc` is the name of the variable with the accumulator, `first` the number of the aggregate's first slot,
    `arguments` are the names of variables with its arguments, `time` is the source of the record's event time
    in milliseconds.
    """

    acc: str
    first: int
    arguments: tuple[str, ...]
    time: str
    constants: Constants

    def slot(self, number: int = 0) -> str:
        """The source of a slot."""
        return f"{self.acc}[{self.first + number}]"

    @property
    def local(self) -> str:
        """The variable that is this aggregate's own: `check` leaves a value in it for `update`."""
        return f"a{self.first}"


class AggregateFunction(Protocol):
    """One aggregate. `slots` is how many slots it has, each `None` or a number in the beginning."""

    @property
    def slots(self) -> int: ...

    def start(self) -> list[Any]:
        """The slots of no records."""
        ...

    def check(self, place: Place) -> list[str]:
        """Source lines that raise `RecordError` if the record cannot be taken in, and change no slot."""
        ...

    def update(self, place: Place) -> list[str]:
        """Source lines that take the record in; they stand after those of `check`, and cannot fail."""
        ...

    def merge(self, into: Accumulator, other: Accumulator, first: int) -> None:
        """Add the slots of `other`, which is of the later of two sessions.

        Slots of `into` get new values; no list in them is changed. Raises `RecordError` before any change.
        """
        ...

    def result(self, acc: Accumulator, first: int) -> Any:
        """The value; `None` for no records, except where a function says otherwise."""
        ...
