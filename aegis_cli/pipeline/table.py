"""A table that a topic tells: of each key the row that was read last, held in memory and stored as changes.

With `ttl_ms` a row that was not told again for that long is there no more. Its age is the time from its
append to that of what is read now, so that no clock is asked; that time never goes back.
"""

from __future__ import annotations

from typing import Any

import msgspec

from aegis_cli.pipeline.errors import RecordError, StateTooLargeError
from aegis_cli.pipeline.turn import NEVER_MS
from aegis_cli.pipeline.windows.key import part_of

Key = Any


class TableStore:
    """The rows of a table by key. Raises `StateTooLargeError` beyond `rows_max`."""

    def __init__(self, pipeline: str, name: str, *, rows_max: int, ttl_ms: int | None = None) -> None:
        self._pipeline = pipeline
        self._name = name
        self._rows_max = rows_max
        self._ttl_ms = ttl_ms
        # In the order of their times, since no row is older than one that was read before it.
        self._rows: dict[Key, tuple[int, Any]] = {}
        self._changed: dict[Key, None] = {}
        self._now_ms = self._stored_now_ms = NEVER_MS

    @property
    def open(self) -> int:
        """How many rows it has."""
        return len(self._rows)

    def put(self, key: Key, row: object, now_ms: int) -> None:
        """Take a row in that was appended at `now_ms`; `None` removes the one that is there."""
        if now_ms > self._now_ms:
            self._now_ms = now_ms
        # A row that changed stands at the end, also when it is stored, so that the oldest are found first.
        self._rows.pop(key, None)
        self._changed.pop(key, None)
        self._changed[key] = None
        if row is None:
            return
        if len(self._rows) >= self._rows_max:
            self.expire()
            if len(self._rows) >= self._rows_max:
                raise StateTooLargeError(self._pipeline, f"rows of table '{self._name}'", self._rows_max)
        self._rows[key] = (self._now_ms, row)

    def expire(self) -> None:
        """Forget rows that are too old; when this is called changes no result."""
        if self._ttl_ms is None:
            return
        before_ms = self._now_ms - self._ttl_ms
        while self._rows:
            key = next(iter(self._rows))
            if self._rows[key][0] >= before_ms:
                return
            del self._rows[key]
            self._changed[key] = None

    def get(self, key: Key) -> Any:
        """The row of a key, or `None`; for tables without `ttl_ms`."""
        found = self._rows.get(key)
        return None if found is None else found[1]

    def get_at(self, key: Key, now_ms: int) -> Any:
        """The same for a record that was appended at `now_ms`, where rows grow old."""
        if now_ms > self._now_ms:
            self._now_ms = now_ms
        found = self._rows.get(key)
        assert self._ttl_ms is not None
        return None if found is None or self._now_ms - found[0] > self._ttl_ms else found[1]

    # -- the state ------------------------------------------------------------------------------------

    def changes(self) -> list[Any]:
        """What changed since the last call: [time], [key, time, row] or, of no row, [key, null, null]."""
        changed, self._changed = self._changed, {}
        rows: list[Any] = [[key, *self._rows.get(key, (None, None))] for key in changed]
        if self._ttl_ms is not None and self._now_ms != self._stored_now_ms:
            self._stored_now_ms = self._now_ms
            rows.append([self._now_ms])
        return rows

    def apply(self, changes: list[Any]) -> None:
        """Take over what `changes` or `snapshot` gave."""
        for change in changes:
            if len(change) == 1:
                self._now_ms = self._stored_now_ms = change[0]
                continue
            key, time_ms, row = change
            key = restored(key)
            self._rows.pop(key, None)
            if time_ms is not None:
                self._rows[key] = (time_ms, row)

    def snapshot(self) -> list[Any]:
        """All of it, in the form of changes."""
        rows = [[key, time_ms, row] for key, (time_ms, row) in self._rows.items()]
        return rows if self._ttl_ms is None else [*rows, [self._now_ms]]


def restored(key: Key) -> Key:
    """A key as it was before JSON, which has no tuples; see `aegis_cli.pipeline.windows.key`."""
    return tuple(key) if isinstance(key, list) else key


def removed_keys(stored: bytes | None) -> list[Key]:
    """The keys of the rows that a message without a value removes, by the key of the message as it is stored.

    A text names the row of that text, and that of the number or truth value which it reads as, since a key
    given on a command line is always text. Raises `RecordError` for a key that names no row.
    """
    if stored is None:
        raise RecordError("a null removes the row that its message's key names, and it has no key")
    key = msgspec.json.decode(stored)
    if isinstance(key, dict | list):
        raise RecordError("a null removes the row that its message's key names, and its key is bytes")
    keys = [part_of(key)]
    if isinstance(key, str) and key == key.strip():
        try:
            meant = msgspec.json.decode(key)
        except (msgspec.DecodeError, RecursionError):
            return keys
        if isinstance(meant, bool | int | float):
            keys.append(part_of(meant))
    return keys
