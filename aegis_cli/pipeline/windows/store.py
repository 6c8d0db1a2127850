"""What stores of windows have in common: which groups there are, when each is due, and what changed.

Groups are filed under the time at which something is to be done with them. A group that has moved meanwhile
is filed anew when it comes up, so a session that grows costs nothing until then.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heappop, heappush
from typing import Any

from aegis_cli.pipeline.aggregate import Layout
from aegis_cli.pipeline.aggregates.function import Accumulator
from aegis_cli.pipeline.definition import GROUPS_MAX
from aegis_cli.pipeline.errors import StateTooLargeError
from aegis_cli.pipeline.windows.group import Group
from aegis_cli.pipeline.windows.key import Key, key_of, rank_of, values_of
from aegis_cli.pipeline.windows.windows import FOREVER_MS, NEVER_MS, Closed

# The list of what changed is cleared of what is no more when it is longer than this and twice the groups.
_TOUCHED_MAX = 10_000


class WindowStore:
    """Base of the stores. A kind adds how groups are found again: `_enter`, `_leave`, `_at`, `_groups`."""

    # How far beyond a window's end the watermark must be to close it.
    _beyond_ms = 0

    def __init__(
        self, layout: Layout, *, pipeline: str, groups_max: int = GROUPS_MAX, allow_late_ms: int = 0
    ) -> None:
        self.next_end_ms = FOREVER_MS
        self.open = 0
        self._layout = layout
        self._start = layout.start
        self._pipeline = pipeline
        self._groups_max = groups_max
        self._allow_late_ms = allow_late_ms
        self.closed_ms = NEVER_MS
        self._filed: dict[int, list[Group]] = {}
        self._dues: list[int] = []
        self._touched: list[Group] = []
        self._dropped: list[Group] = []
        # What the last `find` made, or opened again.
        self._recent: list[Group] = []

    # -- of each kind ---------------------------------------------------------------------------------

    def _enter(self, group: Group) -> None:
        """Let a group be found."""
        raise AssertionError("a kind of window says how groups are found")

    def _leave(self, group: Group) -> None:
        """Let a group not be found any more."""
        raise AssertionError("a kind of window says how groups are found")

    def _at(self, start_ms: int, key: Key) -> Group | None:
        """The group that rows of changes call so."""
        raise AssertionError("a kind of window says how groups are found")

    def _groups(self) -> Iterable[Group]:
        """All groups."""
        raise AssertionError("a kind of window says how groups are found")

    def _name_ms(self, group: Group) -> int:
        """What rows of changes call the group, beside its key."""
        return group.start_ms

    # -- groups ---------------------------------------------------------------------------------------

    def _create(self, start_ms: int, end_ms: int, key: Key, mark: int) -> Accumulator:
        """The accumulator of a new group, due at its end. Raises `StateTooLargeError`."""
        if self.open >= self._groups_max:
            raise StateTooLargeError(self._pipeline, "groups", self._groups_max)
        acc = self._start()
        group = Group(start_ms, end_ms, key, mark, acc)
        self.open += 1
        self._enter(group)
        self._file_end(group)
        self._recent.append(group)
        return acc

    def _reopen(self, group: Group) -> None:
        """Have a group given out once more."""
        group.is_given = False
        self._file_end(group)
        self._recent.append(group)

    def _drop(self, group: Group) -> None:
        """Forget a group."""
        self._leave(group)
        group.is_kept = False
        # Without this the two would hold each other in memory until the garbage collector comes round.
        group.acc[0] = None
        self.open -= 1
        if group.stored_ms is not None:
            self._dropped.append(group)

    def undo(self) -> None:
        for group in self._recent:
            if group.revision:
                if not group.is_given:
                    group.is_given = True
                    self._unfile(group)
            elif not group.is_noted and group.stored_ms is None:
                self._unfile(group)
                self._drop(group)
        self._recent.clear()

    def touch(self, group: Group) -> None:
        group.is_clean = False
        # What `_note` does, without a call: it is done for each group between two commits.
        if not group.is_noted:
            group.is_noted = True
            self._touched.append(group)

    def _note(self, group: Group) -> None:
        """Have `changes` tell of a group."""
        if not group.is_noted:
            group.is_noted = True
            self._touched.append(group)

    # -- when they are due ----------------------------------------------------------------------------

    def _file(self, group: Group, due_ms: int) -> None:
        groups = self._filed.get(due_ms)
        if groups is not None:
            groups.append(group)
            return
        self._filed[due_ms] = [group]
        heappush(self._dues, due_ms)
        if due_ms < self.next_end_ms:
            self.next_end_ms = due_ms

    def _file_end(self, group: Group) -> None:
        """Have a group come up when it closes."""
        self._file(group, group.end_ms + self._beyond_ms)

    def _unfile(self, group: Group) -> None:
        """Take back that a group was filed under its end, just now."""
        groups = self._filed.get(group.end_ms + self._beyond_ms)
        if groups and groups[-1] is group:
            groups.pop()

    def revised(self) -> list[Closed]:
        return self.close(self.closed_ms) if self.next_end_ms <= self.closed_ms else []

    def close(self, watermark_ms: int) -> list[Closed]:
        if watermark_ms > self.closed_ms:
            self.closed_ms = watermark_ms
        if watermark_ms < self.next_end_ms:
            return []
        given: list[Group] = []
        dues = self._dues
        while dues and dues[0] <= watermark_ms:
            for group in self._filed.pop(heappop(dues)):
                if group.is_kept:
                    self._come_up(group, watermark_ms, given)
        self.next_end_ms = dues[0] if dues else FOREVER_MS
        if len(self._touched) > max(_TOUCHED_MAX, 2 * self.open):
            self._touched[:] = [group for group in self._touched if group.is_kept]
        return give_out(given)

    def _come_up(self, group: Group, watermark_ms: int, given: list[Group]) -> None:
        """Do with a group what is due; file it again if it is not."""
        due_ms = group.end_ms + self._beyond_ms
        if group.is_given:
            due_ms += self._allow_late_ms
        if due_ms > watermark_ms:
            self._file(group, due_ms)
        elif group.is_given:
            self._drop(group)
        else:
            given.append(group)
            group.is_given = True
            group.revision += 1
            if not self._allow_late_ms:
                self._drop(group)
                return
            self._note(group)
            # One that was given out before is filed for its end already.
            if group.revision == 1:
                self._file(group, due_ms + self._allow_late_ms)

    def flush(self) -> list[Closed]:
        ends = [group.end_ms for group in self._groups() if not group.is_given]
        return self.close(max(ends) + self._beyond_ms) if ends else []

    # -- the state ------------------------------------------------------------------------------------

    def changes(self) -> list[Any]:
        removed = [group.row(_stored(group), None) for group in self._dropped if not group.is_kept]
        rows: list[Any] = []
        for group in self._touched:
            if not group.is_kept or not group.is_noted:
                continue
            group.is_noted = False
            group.is_clean = True
            name_ms = self._name_ms(group)
            if group.stored_ms is not None and group.stored_ms != name_ms:
                removed.append(group.row(group.stored_ms, None))
            group.stored_ms = name_ms
            rows.append(group.row(name_ms, group.state()))
        self._touched.clear()
        self._dropped.clear()
        return removed + rows

    def snapshot(self) -> list[Any]:
        return [group.row(self._name_ms(group), group.state()) for group in self._groups()]

    def apply(self, changes: list[Any]) -> None:
        for name_ms, values, state in changes:
            key = key_of(values)
            group = self._at(name_ms, key)
            if state is None:
                if group is not None:
                    group.stored_ms = None
                    self._drop(group)
                continue
            before = None if group is None else (group.end_ms, group.is_given, group.revision > 0)
            if group is None:
                group = Group(name_ms, name_ms, key, 0, self._start())
                group.become(state)
                self.open += 1
                self._enter(group)
            else:
                group.become(state)
            group.stored_ms = name_ms
            if before != (group.end_ms, group.is_given, group.revision > 0):
                self._file_restored(group)

    def _file_restored(self, group: Group) -> None:
        if not group.is_given:
            self._file_end(group)
        if group.revision:
            self._file_kept(group)

    def _file_kept(self, group: Group) -> None:
        """Have a group that was given out come up when it is to be forgotten."""
        self._file(group, group.end_ms + self._beyond_ms + self._allow_late_ms)


def _stored(group: Group) -> int:
    assert group.stored_ms is not None
    return group.stored_ms


def give_out(groups: list[Group]) -> list[Closed]:
    """Groups as they are given out, in order. Their revisions are counted already."""
    try:
        groups.sort(key=_order)
    except TypeError:
        # Python has no order between text and numbers, and most keys do not need one.
        groups.sort(key=_rank)
    return [
        Closed(group.start_ms, group.end_ms, values_of(group.key), group.acc, group.revision - 1)
        for group in groups
    ]


def _order(group: Group) -> tuple[int, int, Key]:
    return group.end_ms, group.start_ms, group.key


def _rank(group: Group) -> tuple[int, int, Any]:
    return group.end_ms, group.start_ms, rank_of(group.key)
