"""A table whose rows hold from a time of their own on: of each key all that a record could still ask for.

A record gets the row that held at its event time: of all rows of that time and before, the latest; a removal
is one of them. Of rows of one time the one that was read last counts.

What no record on time can ask for is forgotten: `floor_ms` is the time before which all records are late,
and below it only the newest row of a key is kept, unless it is a removal. So a late record gets a row only if
that is still the one at `floor_ms`. When `expire` is called changes what is remembered, never a result.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from heapq import heappop, heappush
from operator import itemgetter
from typing import Any

from aegis_cli.pipeline.errors import StateTooLargeError
from aegis_cli.pipeline.table import Key, restored
from aegis_cli.pipeline.turn import NEVER_MS

_time = itemgetter(0)


class VersionedTable:
    """The rows of a table by key and time. Raises `StateTooLargeError` beyond `rows_max`, removals included.

    With `ttl_ms` a row holds for that long at most.
    """

    def __init__(self, pipeline: str, name: str, *, rows_max: int, ttl_ms: int | None = None) -> None:
        self.floor_ms = NEVER_MS
        self._pipeline = pipeline
        self._name = name
        self._rows_max = rows_max
        self._ttl_ms = ttl_ms
        # By key: times and rows, ascending; a row that is `None` is a removal.
        self._versions: dict[Key, list[tuple[int, Any]]] = {}
        self._size = 0
        # When a key may have something to forget; a heap. Keys have no order, so a number stands before them.
        self._due: list[tuple[int, int, Key]] = []
        self._filed = 0
        # What the next commit writes, by key and time; whether an earlier commit has written it.
        self._changed: dict[tuple[Key, int], bool] = {}
        self._stored_floor_ms = NEVER_MS

    @property
    def open(self) -> int:
        """How many rows it has, with older ones and removals."""
        return self._size

    def put(self, key: Key, row: object, time_ms: int) -> None:
        """Take a row in that holds from `time_ms` on; `None` says that there is none from then on."""
        self._trim(key)
        versions = self._versions.get(key, [])
        position = bisect_left(versions, time_ms, key=_time)
        following = versions[position][0] if position < len(versions) else None
        if following == time_ms:
            versions[position] = (time_ms, row)
            self._changed.setdefault((key, time_ms), True)
        elif following is None or following > self.floor_ms:
            if self._size >= self._rows_max:
                self.expire()
                if self._size >= self._rows_max:
                    raise StateTooLargeError(self._pipeline, f"rows of table '{self._name}'", self._rows_max)
            self._insert(key, position, (time_ms, row))
            self._changed.setdefault((key, time_ms), False)
        self._trim(key)

    def _insert(self, key: Key, position: int, version: tuple[int, Any]) -> None:
        self._versions.setdefault(key, []).insert(position, version)
        self._size += 1
        self._file(key, version[0])
        if self._ttl_ms is not None:
            self._file(key, version[0] + self._ttl_ms + 1)

    def _file(self, key: Key, time_ms: int) -> None:
        """There may be something to forget once `floor_ms` is there: what a row of that time replaces."""
        heappush(self._due, (time_ms, self._filed, key))
        self._filed += 1

    def get_as_of(self, key: Key, time_ms: int) -> Any:
        """The row that held at a time, or `None`."""
        versions = self._versions.get(key)
        if versions is None:
            return None
        asked_ms = time_ms if time_ms > self.floor_ms else self.floor_ms
        found = versions[-1]
        if found[0] > asked_ms:
            position = bisect_right(versions, asked_ms, key=_time)
            if not position:
                return None
            found = versions[position - 1]
        if found[0] > time_ms or (self._ttl_ms is not None and asked_ms - found[0] > self._ttl_ms):
            return None
        return found[1]

    def expire(self) -> None:
        """Forget what no record can ask for any more."""
        while self._due and self._due[0][0] <= self.floor_ms:
            self._trim(heappop(self._due)[2])

    def _trim(self, key: Key) -> None:
        """The same for one key."""
        versions = self._versions.get(key)
        if versions is None:
            return
        # The newest one of these is what late records ask for, unless it is a removal or too old.
        count = bisect_right(versions, self.floor_ms, key=_time)
        if count and versions[count - 1][1] is not None and not self._is_over(versions[count - 1][0]):
            count -= 1
        for time_ms, _ in versions[:count]:
            if self._changed.get((key, time_ms)) is False:
                del self._changed[key, time_ms]
            else:
                self._changed[key, time_ms] = True
        self._drop(key, 0, count)

    def _is_over(self, time_ms: int) -> bool:
        return self._ttl_ms is not None and time_ms + self._ttl_ms < self.floor_ms

    def _drop(self, key: Key, first: int, end: int) -> None:
        versions = self._versions[key]
        del versions[first:end]
        self._size -= end - first
        if not versions:
            del self._versions[key]

    # -- the state ------------------------------------------------------------------------------------

    def changes(self) -> list[Any]:
        """What changed since the last call: [floor], [key, time, row] or, if it is gone, [key, time]."""
        rows: list[Any] = []
        for key, time_ms in self._changed:
            position = self._position(key, time_ms)
            rows.append([key, time_ms] if position is None else [key, *self._versions[key][position]])
        self._changed.clear()
        if self.floor_ms != self._stored_floor_ms:
            self._stored_floor_ms = self.floor_ms
            rows.append([self.floor_ms])
        return rows

    def _position(self, key: Key, time_ms: int) -> int | None:
        versions = self._versions.get(key, [])
        position = bisect_left(versions, time_ms, key=_time)
        return position if position < len(versions) and versions[position][0] == time_ms else None

    def apply(self, changes: list[Any]) -> None:
        """Take over what `changes` or `snapshot` gave."""
        for change in changes:
            if len(change) == 1:
                self.floor_ms = self._stored_floor_ms = change[0]
                continue
            key, time_ms = restored(change[0]), change[1]
            position = self._position(key, time_ms)
            if position is not None:
                self._drop(key, position, position + 1)
            if len(change) == 3:
                versions = self._versions.get(key, [])
                self._insert(key, bisect_left(versions, time_ms, key=_time), (time_ms, change[2]))

    def snapshot(self) -> list[Any]:
        """All of it, in the form of changes."""
        rows = [[key, *version] for key, versions in self._versions.items() for version in versions]
        return [*rows, [self.floor_ms]]
