"""Records that wait for a row of a table, kept until it comes or until they have waited long enough.

A record waits until the watermark is more than `wait_ms` past it. Records that are let go come out in the
order of their times, then of their arrival. When commits fall changes nothing of that.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Any

from aegis_cli.pipeline.errors import StateTooLargeError
from aegis_cli.pipeline.table import Key, restored
from aegis_cli.pipeline.windows.windows import FOREVER_MS


class Kept:
    """A record that waits: its time, what was closed for it when it came, and all that the steps after need.

    `line` and `place` are those of its message, `partition` that of the source, `values` what steps before
    made of it.
    """

    __slots__ = ("closed_ms", "is_stored", "key", "line", "number", "partition", "place", "time_ms", "values")

    def __init__(
        self,
        number: int,
        key: Key,
        time_ms: int,
        closed_ms: int,
        partition: int,
        line: str,
        place: str,
        values: list[Any],
    ) -> None:
        self.number = number
        self.key = key
        self.time_ms = time_ms
        self.closed_ms = closed_ms
        self.partition = partition
        self.line = line
        self.place = place
        self.values = values
        self.is_stored = False

    def __lt__(self, other: Kept) -> bool:
        return (self.time_ms, self.number) < (other.time_ms, other.number)

    def state(self) -> list[Any]:
        return [
            self.number,
            [self.key, self.time_ms, self.closed_ms, self.partition, self.line, self.place, self.values],
        ]


class Waiting:
    """The records that wait for rows of one table. `due_ms` is what the watermark must pass to let one go."""

    def __init__(self, pipeline: str, table: str, *, wait_ms: int, rows_max: int) -> None:
        self.due_ms = FOREVER_MS
        self.by_key: dict[Key, dict[int, Kept]] = {}
        self._pipeline = pipeline
        self._table = table
        self._wait_ms = wait_ms
        self._rows_max = rows_max
        self._by_number: dict[int, Kept] = {}
        # In order of time, then of arrival; a heap, in which those that found their row are still.
        self._heap: list[Kept] = []
        self._next_number = 0
        self._new: dict[int, Kept] = {}
        self._removed: list[int] = []

    @property
    def open(self) -> int:
        """How many records wait."""
        return len(self._by_number)

    def add(
        self,
        key: Key,
        time_ms: int,
        closed_ms: int,
        partition: int,
        line: bytes,
        place: str,
        values: tuple[Any, ...],
    ) -> None:
        """Let a record wait. Raises `StateTooLargeError`."""
        if len(self._by_number) >= self._rows_max:
            raise StateTooLargeError(
                self._pipeline, f"records that wait for table '{self._table}'", self._rows_max
            )
        kept = Kept(self._next_number, key, time_ms, closed_ms, partition, line.decode(), place, list(values))
        self._enter(kept)
        self._new[kept.number] = kept

    def _enter(self, kept: Kept) -> None:
        self._next_number = max(self._next_number, kept.number + 1)
        self._by_number[kept.number] = kept
        self.by_key.setdefault(kept.key, {})[kept.number] = kept
        heappush(self._heap, kept)
        self.due_ms = self._heap[0].time_ms + self._wait_ms

    def take(self, key: Key, row_at: Callable[[int], Any]) -> list[tuple[Kept, Any]]:
        """Let those of a key go that have a row now; `row_at` tells the row by a record's time."""
        found = []
        for kept in sorted(self.by_key.get(key, {}).values()):
            row = row_at(kept.time_ms)
            if row is not None:
                self._remove(kept)
                found.append((kept, row))
        self._tidy()
        return found

    def expire(self, watermark_ms: int) -> list[tuple[Kept, Any]]:
        """Let those go that have waited long enough, without a row."""
        found = []
        while self.due_ms < watermark_ms:
            found.append((self._heap[0], None))
            self._remove(self._heap[0])
            self._tidy()
        return found

    def flush(self) -> list[tuple[Kept, Any]]:
        """Let all go."""
        return self.expire(FOREVER_MS)

    def _remove(self, kept: Kept) -> None:
        del self._by_number[kept.number]
        of_key = self.by_key[kept.key]
        del of_key[kept.number]
        if not of_key:
            del self.by_key[kept.key]
        if kept.is_stored:
            self._removed.append(kept.number)
        else:
            del self._new[kept.number]

    def _tidy(self) -> None:
        """Forget what waits no more."""
        heap, known = self._heap, self._by_number
        if len(heap) > 2 * len(known) + 64:
            heap[:] = known.values()
            heapify(heap)
        while heap and heap[0].number not in known:
            heappop(heap)
        self.due_ms = heap[0].time_ms + self._wait_ms if heap else FOREVER_MS

    # -- the state ------------------------------------------------------------------------------------

    def changes(self) -> list[Any]:
        """What changed since the last call, as rows [number, state or null]."""
        rows: list[Any] = [[number, None] for number in self._removed]
        for kept in self._new.values():
            kept.is_stored = True
            rows.append(kept.state())
        self._removed.clear()
        self._new.clear()
        return rows

    def snapshot(self) -> list[Any]:
        """All of it, in the form of changes."""
        return [kept.state() for kept in self._by_number.values()]

    def apply(self, changes: list[Any]) -> None:
        """Take over what `changes` or `snapshot` gave."""
        for number, state in changes:
            if state is None:
                self._remove(self._by_number[number])
                continue
            key, *others = state
            kept = Kept(number, restored(key), *others)
            kept.is_stored = True
            self._enter(kept)
        self._removed.clear()
        self._tidy()
