"""Count windows: so many records of a key are one window, whatever their times."""

from __future__ import annotations

from collections.abc import Sequence

from aegis_cli.pipeline.aggregate import Layout
from aegis_cli.pipeline.aggregates.function import Accumulator
from aegis_cli.pipeline.definition import GROUPS_MAX
from aegis_cli.pipeline.windows.group import Group
from aegis_cli.pipeline.windows.key import Key
from aegis_cli.pipeline.windows.keyed import KeyedGroups
from aegis_cli.pipeline.windows.store import give_out
from aegis_cli.pipeline.windows.windows import Closed


class CountWindows(KeyedGroups):
    """A window closes with its last record, and `revised` gives it out. No record is late."""

    def __init__(self, layout: Layout, *, count: int, pipeline: str, groups_max: int = GROUPS_MAX) -> None:
        super().__init__(layout, pipeline=pipeline, groups_max=groups_max)
        self.count = count
        self._full: list[Group] = []

    def find(self, time_ms: int, key: Key, closed_ms: int) -> Sequence[Accumulator]:
        group = self._take(time_ms, key)
        if group.mark >= self.count:
            self._full.append(group)
        return (group.acc,)

    def undo(self) -> None:
        if self._is_open:
            self._full.clear()
        super().undo()

    def revised(self) -> list[Closed]:
        if not self._full:
            return []
        full = self._full.copy()
        self._full.clear()
        return self._end(full)

    def flush(self) -> list[Closed]:
        """What is not full yet."""
        return self._end(list(self._by_key.values()))

    def _end(self, groups: list[Group]) -> list[Closed]:
        for group in groups:
            group.revision += 1
            self._drop(group)
        return give_out(groups)
