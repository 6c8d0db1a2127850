"""A group: the records of one key in one window, and what the store of windows must know about it."""

from __future__ import annotations

from typing import Any

from aegis_cli.pipeline.aggregates.function import Accumulator
from aegis_cli.pipeline.windows.key import Key, values_of


class Group:
    """One key in one window; `acc` is its accumulator, whose slot 0 holds the group.

    `revision` is how often it was given out, `is_given` says that it did not change since. `is_clean` asks
    for a call of `touch` before the group changes, `is_noted` says that `changes` is to tell of it, and
    `stored_ms` is the start under which that did so. `is_kept` ends when the group is forgotten. `mark` is
    what the kind of window needs beside: the time of a session's last record, or how many records there were.
    """

    __slots__ = (
        "acc",
        "end_ms",
        "is_clean",
        "is_given",
        "is_kept",
        "is_noted",
        "key",
        "mark",
        "revision",
        "start_ms",
        "stored_ms",
    )

    def __init__(self, start_ms: int, end_ms: int, key: Key, mark: int, acc: Accumulator) -> None:
        self.start_ms = start_ms
        self.end_ms = end_ms
        self.key = key
        self.mark = mark
        self.acc = acc
        self.revision = 0
        self.is_given = False
        self.is_clean = True
        self.is_kept = True
        self.is_noted = False
        self.stored_ms: int | None = None
        acc[0] = self

    def state(self) -> list[Any]:
        """All of it but the key, as JSON can say it."""
        return [self.start_ms, self.end_ms, self.mark, self.revision, self.is_given, self.acc[1:]]

    def become(self, state: list[Any]) -> None:
        """Take over what `state` gave."""
        self.start_ms, self.end_ms, self.mark, self.revision, self.is_given, slots = state
        self.acc[1:] = slots

    def row(self, start_ms: int, state: list[Any] | None) -> list[Any]:
        """A change: what the group is called, and its state, or `None` if it is no more."""
        return [start_ms, list(values_of(self.key)), state]
