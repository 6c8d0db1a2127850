"""What windows have in common that time does not end: there is one group of a key at a time."""

from __future__ import annotations

from collections.abc import Iterable

from aegis_cli.pipeline.aggregate import Layout
from aegis_cli.pipeline.definition import GROUPS_MAX
from aegis_cli.pipeline.windows.group import Group
from aegis_cli.pipeline.windows.key import Key
from aegis_cli.pipeline.windows.store import WindowStore
from aegis_cli.pipeline.windows.windows import Closed


class KeyedGroups(WindowStore):
    """Groups by key. Start and end are the least and the greatest event time of their records."""

    def __init__(self, layout: Layout, *, pipeline: str, groups_max: int = GROUPS_MAX) -> None:
        super().__init__(layout, pipeline=pipeline, groups_max=groups_max)
        self._by_key: dict[Key, Group] = {}
        self._before = (0, 0, 0)
        self._last: Group | None = None
        # Whether the last record can still be taken back.
        self._is_open = False

    def _take(self, time_ms: int, key: Key) -> Group:
        """The group of a record, with one more record in it."""
        group = self._by_key.get(key)
        if group is None:
            self._create(time_ms, time_ms, key, 0)
            group = self._recent.pop()
        self._last = group
        self._before = (group.start_ms, group.end_ms, group.mark)
        self._is_open = group.is_clean = True
        group.mark += 1
        if time_ms < group.start_ms:
            group.start_ms = time_ms
        elif time_ms > group.end_ms:
            group.end_ms = time_ms
        return group

    def touch(self, group: Group) -> None:
        self._is_open = False
        super().touch(group)

    def undo(self) -> None:
        group = self._last
        if group is None or not self._is_open:
            return
        self._last = None
        self._is_open = False
        group.start_ms, group.end_ms, group.mark = self._before
        if not group.mark:
            self._drop(group)

    def close(self, watermark_ms: int) -> list[Closed]:
        """Nothing: no time ends these groups."""
        return []

    def _file(self, group: Group, due_ms: int) -> None:
        """No time ends these groups."""

    def _name_ms(self, group: Group) -> int:
        return 0

    def _enter(self, group: Group) -> None:
        self._by_key[group.key] = group

    def _leave(self, group: Group) -> None:
        del self._by_key[group.key]

    def _at(self, start_ms: int, key: Key) -> Group | None:
        return self._by_key.get(key)

    def _groups(self) -> Iterable[Group]:
        return list(self._by_key.values())
