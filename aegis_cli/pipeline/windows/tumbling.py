"""Tumbling windows: each begins where the one before ends."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from aegis_cli.pipeline.aggregate import Layout
from aegis_cli.pipeline.aggregates.function import Accumulator
from aegis_cli.pipeline.definition import GROUPS_MAX
from aegis_cli.pipeline.windows.group import Group
from aegis_cli.pipeline.windows.key import Key
from aegis_cli.pipeline.windows.store import WindowStore


class TumblingWindows(WindowStore):
    """A record of time t is in the window that begins at `t - (t - offset_ms) % size_ms`.

    `groups` holds the accumulators by start and the parts of the key, in one tuple, and `make(start, key)`
    adds one, for an engine that asks by itself; it does so for windows only that are not closed. Both stay
    the same objects.
    """

    def __init__(
        self,
        layout: Layout,
        *,
        size_ms: int,
        offset_ms: int = 0,
        allow_late_ms: int = 0,
        pipeline: str,
        groups_max: int = GROUPS_MAX,
    ) -> None:
        super().__init__(layout, pipeline=pipeline, groups_max=groups_max, allow_late_ms=allow_late_ms)
        self.size_ms = size_ms
        self.offset_ms = offset_ms
        self.groups: dict[Key, Accumulator] = {}

    def make(self, start_ms: int, key: Key) -> Accumulator:
        """The accumulator of a group that is not there yet. Raises `StateTooLargeError`."""
        self._recent.clear()
        return self._create(start_ms, start_ms + self.size_ms, key, 0)

    def find(self, time_ms: int, key: Key, closed_ms: int) -> Sequence[Accumulator]:
        start_ms = time_ms - (time_ms - self.offset_ms) % self.size_ms
        if start_ms + self.size_ms + self._allow_late_ms <= closed_ms:
            return ()
        acc = self.groups.get((start_ms, *key))
        if acc is None:
            return (self.make(start_ms, key),)
        self._recent.clear()
        if acc[0].is_given:
            self._reopen(acc[0])
        return (acc,)

    def _enter(self, group: Group) -> None:
        self.groups[group.start_ms, *group.key] = group.acc

    def _leave(self, group: Group) -> None:
        del self.groups[group.start_ms, *group.key]

    def _at(self, start_ms: int, key: Key) -> Group | None:
        acc = self.groups.get((start_ms, *key))
        return None if acc is None else acc[0]

    def _groups(self) -> Iterable[Group]:
        return [acc[0] for acc in self.groups.values()]
