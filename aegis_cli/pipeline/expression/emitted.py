"""Pieces of generated source, and the two things that they share: temporary names and constants."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from aegis_cli.pipeline.expression.constants import Constants
from aegis_cli.pipeline.expression.tree import Literal


class Emitted(Struct, frozen=True):
    """Source of a value, and what is known of it before the first record.

    `kind` is 'any', 'bool', 'number', 'time' (a number of milliseconds), 'text', 'list' or 'object', and
    holds unless the value is null, which it can only be if `nullable`. A `simple` source may be written more
    than once.
    """

    source: str
    kind: str = "any"
    nullable: bool = True
    simple: bool = False
    literal: Literal | None = None

    @property
    def is_number(self) -> bool:
        """Whether it is known to be a number, or null."""
        return self.kind in ("number", "time")


class Once(Struct, frozen=True):
    """A value that is used several times and computed once: `first` where Python comes first, then `again`.

    `bare` is `first` for a place between brackets.
    """

    bare: str
    first: str
    again: str


class Forms:
    """What the pieces of one expression have in common."""

    def __init__(self, constants: Constants) -> None:
        self.constants = constants
        self._temporaries = 0

    def temporary(self) -> str:
        """A name that nothing else in the expression has."""
        name = f"_x{self._temporaries}"
        self._temporaries += 1
        return name

    def once(self, emitted: Emitted) -> Once:
        """The forms of a value that is used several times."""
        if emitted.simple:
            return Once(emitted.source, emitted.source, emitted.source)
        name = self.temporary()
        bare = f"{name} := {emitted.source}"
        return Once(bare, f"({bare})", name)

    def call(self, function: Callable[..., Any], *sources: str) -> str:
        """A call of one of our own functions."""
        return f"{self.constants.name_of(function)}({', '.join(sources)})"
