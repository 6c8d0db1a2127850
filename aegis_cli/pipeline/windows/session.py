"""Session windows: the records of a key that follow on one another with no gap between them."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterable, Sequence

from aegis_cli.pipeline.aggregate import Layout
from aegis_cli.pipeline.aggregates.function import Accumulator
from aegis_cli.pipeline.definition import GROUPS_MAX
from aegis_cli.pipeline.windows.group import Group
from aegis_cli.pipeline.windows.key import Key
from aegis_cli.pipeline.windows.store import WindowStore

# A session before the last record: itself, its start, end and last time, and whether it was given out.
_Before = tuple[Group, int, int, int, bool]


class SessionWindows(WindowStore):
    """A session reaches from its first record to `gap_ms` after its last.

    A record joins the sessions that it is no further than the gap away from; exactly the gap is not too far.
    So a session closes when the watermark is past its end, not at it: a record at its end could still join
    it, and records within the bound of disorder make the same sessions in any order.

    No session is longer than `max_ms`: one that would be ends there, and a record goes into the earliest
    session that still has room for it, or begins another. A record is late if the session that it would make
    alone is closed and there is none that it can join. A session that was given out and grows is given out
    once more when it closes again, at once if it is closed still; so is what comes of joining several.
    """

    _beyond_ms = 1

    def __init__(
        self,
        layout: Layout,
        *,
        gap_ms: int,
        max_ms: int | None = None,
        allow_late_ms: int = 0,
        pipeline: str,
        groups_max: int = GROUPS_MAX,
    ) -> None:
        super().__init__(layout, pipeline=pipeline, groups_max=groups_max, allow_late_ms=allow_late_ms)
        self.gap_ms = gap_ms
        self._max_ms = max_ms
        # Of each key by start. Without a longest length they are apart, so they are in order of end also.
        self._by_key: dict[Key, list[Group]] = {}
        self._before: _Before | None = None
        self._joined: list[Group] = []

    def find(self, time_ms: int, key: Key, closed_ms: int) -> Sequence[Accumulator]:
        groups = self._by_key.get(key)
        if groups is not None and self._max_ms is None:
            group = groups[-1]
            if group.start_ms <= time_ms <= group.end_ms and not group.is_given:
                # The usual way: the newest session goes on.
                self._recent.clear()
                self._before = (group, group.start_ms, group.end_ms, group.mark, False)
                group.is_clean = True
                if time_ms > group.mark:
                    group.mark = time_ms
                    group.end_ms = time_ms + self.gap_ms
                return (group.acc,)
        self._recent.clear()
        self._before = None
        self._joined = []
        joined = self._joinable(groups, time_ms) if groups is not None else []
        if len(joined) > 1:
            return (self._join(joined, time_ms),)
        if joined:
            return (self._extend(joined[0], time_ms),)
        end_ms = self._end(time_ms, time_ms)
        if end_ms + self._allow_late_ms < closed_ms:
            return ()
        return (self._create(time_ms, end_ms, key, time_ms),)

    def _end(self, start_ms: int, last_ms: int) -> int:
        end_ms = last_ms + self.gap_ms
        return end_ms if self._max_ms is None else min(end_ms, start_ms + self._max_ms)

    def _joinable(self, groups: list[Group], time_ms: int) -> list[Group]:
        """The sessions that a record joins, from the earliest."""
        near: list[Group] = []
        for position in reversed(range(bisect_right(groups, self._end(time_ms, time_ms), key=_start))):
            group = groups[position]
            if group.end_ms >= time_ms:
                near.append(group)
            elif self._max_ms is None or group.start_ms + self._max_ms < time_ms:
                break
        if self._max_ms is None:
            return near[::-1]
        joined = []
        first_ms = last_ms = time_ms
        for group in reversed(near):
            start_ms, mark = min(first_ms, group.start_ms), max(last_ms, group.mark)
            if mark - start_ms < self._max_ms:
                joined.append(group)
                first_ms, last_ms = start_ms, mark
        return joined

    def _extend(self, group: Group, time_ms: int) -> Accumulator:
        end_ms, is_given = group.end_ms, group.is_given
        self._before = (group, group.start_ms, end_ms, group.mark, is_given)
        group.is_clean = True
        self._leave(group)
        group.start_ms = min(group.start_ms, time_ms)
        group.mark = max(group.mark, time_ms)
        group.end_ms = self._end(group.start_ms, group.mark)
        self._enter(group)
        # With a longest length an earlier start can mean an earlier end.
        if is_given or group.end_ms < end_ms:
            group.is_given = False
            self._file_end(group)
        if group.revision and group.end_ms < end_ms:
            self._file_kept(group)
        return group.acc

    def _join(self, joined: list[Group], time_ms: int) -> Accumulator:
        """One session of several and the record. Raises `RecordError` if the aggregates refuse that."""
        acc = self._layout.merged([group.acc for group in joined])
        start_ms = min(time_ms, joined[0].start_ms)
        last_ms = max(time_ms, *(group.mark for group in joined))
        for group in joined:
            self._drop(group)
        merged = Group(start_ms, self._end(start_ms, last_ms), joined[0].key, last_ms, acc)
        merged.revision = max(group.revision for group in joined)
        self.open += 1
        self._enter(merged)
        self._file_restored(merged)
        self._recent.append(merged)
        self._joined = joined
        return acc

    def touch(self, group: Group) -> None:
        # Each `find` has this called, and with it the record is in for good.
        self._before = None
        self._joined = []
        self._recent.clear()
        super().touch(group)

    def undo(self) -> None:
        if self._before is not None:
            group, start_ms, end_ms, last_ms, is_given = self._before
            if is_given:
                self._unfile(group)
            self._leave(group)
            group.start_ms, group.end_ms, group.mark, group.is_given = start_ms, end_ms, last_ms, is_given
            self._enter(group)
            self._before = None
        elif self._recent:
            self._drop(self._recent.pop())
            for group in self._joined:
                group.is_kept = True
                group.acc[0] = group
                self.open += 1
                self._enter(group)
            self._joined = []

    def _enter(self, group: Group) -> None:
        groups = self._by_key.get(group.key)
        if groups is None:
            self._by_key[group.key] = [group]
        else:
            insort(groups, group, key=_start)

    def _leave(self, group: Group) -> None:
        groups = self._by_key[group.key]
        if len(groups) == 1:
            del self._by_key[group.key]
        else:
            groups.remove(group)

    def _at(self, start_ms: int, key: Key) -> Group | None:
        for group in self._by_key.get(key, ()):
            if group.start_ms == start_ms:
                return group
        return None

    def _groups(self) -> Iterable[Group]:
        return [group for groups in self._by_key.values() for group in groups]


def _start(group: Group) -> int:
    return group.start_ms
