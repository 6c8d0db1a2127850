"""A table that a topic tells: of each key the newest row, held in memory and stored as changes.

With `ttl_ms` a row that was not told again for that long goes, by
the times of the rows themselves, so that no clock is asked: a field that says since when a row holds, or the
append.
"""

from __future__ import annotations

from typing import Any

from aegis_cli.pipeline.errors import StateTooLargeError

Key = Any


class TableStore:
    """The rows of a table by key. Raises `StateTooLargeError` beyond `rows_max`."""

    def __init__(self, pipeline: str, name: str, *, rows_max: int, ttl_ms: int | None = None) -> None:
        self._pipeline = pipeline
        self._name = name
        self._rows_max = rows_max
        self._ttl_ms = ttl_ms
        self._rows: dict[Key, tuple[int, Any]] = {}
        self._changed: dict[Key, None] = {}

    @property
    def open(self) -> int:
        """How many rows it has."""
        return len(self._rows)

    def put(self, key: Key, row: object, time_ms: int) -> None:
        """Take a row in, unless the one that is there is of a later time; `None` removes that."""
        held = self._rows.get(key)
        if held is not None and held[0] > time_ms:
            return
        # The newest row stands at the end, so that those that expire are found at the beginning.
        self._rows.pop(key, None)
        self._changed.pop(key, None)
        self._changed[key] = None
        if row is not None:
            if len(self._rows) >= self._rows_max:
                raise StateTooLargeError(self._pipeline, f"rows of table '{self._name}'", self._rows_max)
            self._rows[key] = (time_ms, row)
        if self._ttl_ms is not None:
            self._expire(time_ms - self._ttl_ms)

    def _expire(self, before_ms: int) -> None:
        while self._rows:
            key = next(iter(self._rows))
            if self._rows[key][0] >= before_ms:
                return
            del self._rows[key]
            self._changed[key] = None

    def get(self, key: Key) -> Any:
        """The row of a key, or `None`."""
        found = self._rows.get(key)
        return None if found is None else found[1]

    def changes(self) -> list[Any]:
        """What changed since the last call, as JSON can say it."""
        changed, self._changed = self._changed, {}
        return [[key, *self._rows.get(key, (None, None))] for key in changed]

    def apply(self, changes: list[Any]) -> None:
        """Take over what `changes` or `snapshot` gave."""
        for key, time_ms, row in changes:
            # JSON has no tuples; see `aegis_cli.pipeline.windows.key`.
            key = tuple(key) if isinstance(key, list) else key
            self._rows.pop(key, None)
            if time_ms is not None:
                self._rows[key] = (time_ms, row)

    def snapshot(self) -> list[Any]:
        """All rows, in the form of changes."""
        return [[key, time_ms, row] for key, (time_ms, row) in self._rows.items()]
