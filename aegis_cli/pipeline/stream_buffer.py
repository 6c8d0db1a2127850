"""The rows of one side of a join of two streams, kept until no row of the other side can match them.

Two rows match if they have one key and their times are at most `within_ms` apart. A row is kept until the
watermark is more than `within_ms` past it; a row of the other side that is later than that finds it no more.
When `expire` is called changes what is remembered and when unmatched rows are handed out, never what matches.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Any

from aegis_cli.pipeline.definition import GROUPS_MAX
from aegis_cli.pipeline.errors import StateTooLargeError
from aegis_cli.pipeline.windows.key import Key, key_of, values_of
from aegis_cli.pipeline.windows.windows import FOREVER_MS


class _Entry:
    """A row in the buffer, and its number in the order of arrival."""

    __slots__ = ("is_changed", "is_matched", "is_stored", "key", "number", "row", "time_ms")

    def __init__(self, number: int, key: Key, time_ms: int, row: Any, *, is_matched: bool) -> None:
        self.number = number
        self.key = key
        self.time_ms = time_ms
        self.row = row
        self.is_matched = is_matched
        self.is_changed = False
        self.is_stored = False

    def __lt__(self, other: _Entry) -> bool:
        return (self.time_ms, self.number) < (other.time_ms, other.number)

    def state(self) -> list[Any]:
        return [self.number, [list(values_of(self.key)), self.time_ms, self.row, self.is_matched]]


@dataclass(slots=True)
class Settled:
    """What became of rows: how many matched for the first time, and how many were forgotten unmatched.

    `waiting` is by how much there are more, or less, that may match still and did not yet.
    """

    matched: int = 0
    forgotten: int = 0
    waiting: int = 0


class StreamBuffer:
    """One side of a join. Rows are whatever JSON can say.

    With `keeps_unmatched` (the side of a left join that comes out in any case) `expire` hands out the rows
    that nothing matched, and `next_end_ms` is the watermark at which it next has one, or less.
    """

    def __init__(
        self, *, within_ms: int, pipeline: str, rows_max: int = GROUPS_MAX, keeps_unmatched: bool = False
    ) -> None:
        self.next_end_ms = FOREVER_MS
        self._within_ms = within_ms
        self._pipeline = pipeline
        self._rows_max = rows_max
        self._keeps_unmatched = keeps_unmatched
        self._by_key: dict[Key, list[_Entry]] = {}
        self._by_number: dict[int, _Entry] = {}
        # In order of time, then of arrival; a heap.
        self._entries: list[_Entry] = []
        self._next_number = 0
        self._changed: list[_Entry] = []
        self._removed: list[int] = []
        self._settled = Settled()

    @property
    def open(self) -> int:
        """How many rows are kept."""
        return len(self._by_number)

    def add(self, key: Key, time_ms: int, row: Any, *, matched: bool = False) -> None:
        """Keep a row; `matched` says that it has matched already. Raises `StateTooLargeError`."""
        if len(self._by_number) >= self._rows_max:
            raise StateTooLargeError(self._pipeline, "rows of a joined stream", self._rows_max)
        entry = _Entry(self._next_number, key, time_ms, row, is_matched=matched)
        self._enter(entry)
        self._change(entry)
        if matched:
            self._settled.matched += 1
        else:
            self._settled.waiting += 1

    def settled(self) -> Settled:
        """What became of rows since the last call."""
        settled, self._settled = self._settled, Settled()
        return settled

    def _enter(self, entry: _Entry) -> None:
        self._next_number = max(self._next_number, entry.number + 1)
        self._by_number[entry.number] = entry
        insort(self._by_key.setdefault(entry.key, []), entry)
        heappush(self._entries, entry)
        if self._keeps_unmatched:
            self.next_end_ms = min(self.next_end_ms, self._entries[0].time_ms + self._within_ms + 1)

    def _change(self, entry: _Entry) -> None:
        if not entry.is_changed:
            entry.is_changed = True
            self._changed.append(entry)

    def matches(self, key: Key, time_ms: int, closed_ms: int) -> list[Any]:
        """The rows that match one of the other side, by time, then by arrival.

        `closed_ms` is the watermark that holds for that one.
        """
        entries = self._by_key.get(key)
        if entries is None:
            return []
        # What is before the watermark by more than the distance counts as forgotten.
        first_ms = max(time_ms, closed_ms) - self._within_ms
        last_ms = time_ms + self._within_ms
        rows = []
        for position in range(bisect_left(entries, first_ms, key=_time), len(entries)):
            entry = entries[position]
            if entry.time_ms > last_ms:
                break
            rows.append(entry.row)
            if not entry.is_matched:
                entry.is_matched = True
                self._change(entry)
                self._settled.matched += 1
                self._settled.waiting -= 1
        return rows

    def expire(self, watermark_ms: int) -> list[tuple[int, tuple[Any, ...], Any]]:
        """Forget rows that nothing can match any more; the watermark is the least of all partitions.

        Returns time, key and row of those that nothing matched, by time, then by arrival, if they are kept.
        """
        unmatched = self._take(watermark_ms - self._within_ms)
        if self._keeps_unmatched:
            self.next_end_ms = self._entries[0].time_ms + self._within_ms + 1 if self._entries else FOREVER_MS
        return unmatched

    def flush(self) -> list[tuple[int, tuple[Any, ...], Any]]:
        """As `expire` at the end of time."""
        return self.expire(FOREVER_MS)

    def _take(self, before_ms: int) -> list[tuple[int, tuple[Any, ...], Any]]:
        """Forget all rows of times before this."""
        unmatched = []
        while self._entries and self._entries[0].time_ms < before_ms:
            entry = heappop(self._entries)
            if self._by_number.get(entry.number) is not entry:
                continue
            self._remove(entry)
            if entry.is_stored:
                self._removed.append(entry.number)
            if entry.is_matched:
                continue
            self._settled.waiting -= 1
            if self._keeps_unmatched:
                unmatched.append((entry.time_ms, values_of(entry.key), entry.row))
            else:
                self._settled.forgotten += 1
        return unmatched

    def _remove(self, entry: _Entry) -> None:
        del self._by_number[entry.number]
        entries = self._by_key[entry.key]
        if len(entries) == 1:
            del self._by_key[entry.key]
        else:
            entries.remove(entry)

    # -- the state ------------------------------------------------------------------------------------

    def changes(self) -> list[Any]:
        """What changed since the last call, as rows [number, state or null]."""
        rows: list[Any] = [[number, None] for number in self._removed]
        for entry in self._changed:
            entry.is_changed = False
            if self._by_number.get(entry.number) is entry:
                entry.is_stored = True
                rows.append(entry.state())
        self._removed.clear()
        self._changed.clear()
        return rows

    def snapshot(self) -> list[Any]:
        """All of it, in the form of changes."""
        return [entry.state() for entry in self._by_number.values()]

    def apply(self, changes: list[Any]) -> None:
        """Take over what `changes` or `snapshot` gave."""
        for number, state in changes:
            entry = self._by_number.get(number)
            if state is None:
                if entry is not None:
                    self._remove(entry)
                continue
            values, time_ms, row, is_matched = state
            if entry is None:
                entry = _Entry(number, key_of(values), time_ms, row, is_matched=is_matched)
                entry.is_stored = True
                self._enter(entry)
            entry.is_matched = is_matched


def _time(entry: _Entry) -> int:
    return entry.time_ms
