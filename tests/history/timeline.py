"""What a group's log says happened: who held which partition from where, and how far each was committed.

It also checks what must hold in the log by itself: generations follow one another; only who owns a place
commits it, and never backwards; a place leaves a living member only when that was announced.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from storage.assignor import Place
from storage.group_state import Commit, Generation, PositionRow

At = tuple[str, int]  # topic and partition


@dataclass(slots=True)
class Holding:
    """A time in which a member held a place and nobody else set its position.

    Messages from `start` to before `committed` are committed in it. `released` says that the member gave the
    place up by itself; else it died, was taken for dead, left, or the position was set by hand.
    """

    member: str
    at: At
    start: int | None
    committed: int
    released: bool = False
    ended: bool = False

    def may_deliver(self, offset: int) -> bool:
        """Whether the message at `offset` may have been handed out in this time."""
        if self.start is None or offset < self.start:
            return False
        return offset < self.committed or not self.released


def process_of(member: str) -> int:
    """The number of a member's process."""
    return int(member.partition("-")[0])


class Timeline:
    """The records of a group's log, folded."""

    def __init__(self, group: str, changes: Sequence[Generation | Commit]) -> None:
        self.group = group
        self.problems: list[str] = []
        self.holdings: dict[int, dict[At, list[Holding]]] = defaultdict(lambda: defaultdict(list))
        # How often the positions passed over each message, and which messages a reset passed over.
        self.passed: dict[At, Counter[int]] = defaultdict(Counter)
        self.skipped: dict[At, set[int]] = defaultdict(set)
        self.positions: dict[At, int] = {}
        self.files: dict[str, int] = {}
        self.expelled: list[str] = []
        self.resets = 0
        self._generation = Generation(generation=0, members={}, owners=[])
        self._held: dict[Place, Holding] = {}
        for change in changes:
            if isinstance(change, Generation):
                self._begin(change)
            elif change.reset:
                self._reset(change)
            else:
                self._commit(change)

    # -- generations ----------------------------------------------------------------------------------

    def _begin(self, new: Generation) -> None:
        old = self._generation
        if new.generation != old.generation + 1:
            self._problem(f"generation {new.generation} follows {old.generation}")
        announced = {row.place: row.following for row in old.owners}
        owners = {row.place: row.owner for row in new.owners}
        for place, holding in list(self._held.items()):
            if owners.get(place) != holding.member:
                alive = holding.member in new.members
                if alive and place in owners and announced.get(place) != owners[place]:
                    self._problem(f"{_at(place)} was taken from {holding.member}, which had not been told")
                self._end(place, released=alive)
        for place, owner in owners.items():
            if place not in self._held:
                self._hold(place, owner)
        self.expelled += old.members.keys() - new.members.keys()
        self._generation = new

    def _hold(self, place: Place, owner: str) -> None:
        start = self.positions.get(_at(place))
        holding = Holding(owner, _at(place), start, start or 0)
        self._held[place] = holding
        self.holdings[process_of(owner)][holding.at].append(holding)

    def _end(self, place: Place, *, released: bool) -> None:
        holding = self._held.pop(place)
        holding.released = released
        holding.ended = True

    # -- positions ------------------------------------------------------------------------------------

    def _commit(self, commit: Commit) -> None:
        for row in commit.positions:
            self._advance(row, commit.member)
        for path, size_bytes in commit.files.items():
            if size_bytes < self.files.get(path, 0):
                self._problem(f"{path} went back from {self.files[path]} to {size_bytes} bytes")
            self.files[path] = size_bytes

    def _advance(self, row: PositionRow, member: str) -> None:
        at = _at(row.place)
        holding = self._held.get(row.place)
        if holding is None or holding.member != member:
            self._problem(f"{member} committed {at}, which it did not own")
            return
        if holding.start is None:
            holding.start = holding.committed = self.positions[at] = row.offset
            return
        before = self.positions[at]
        if row.offset < before:
            self._problem(f"{member} committed {at} from {before} back to {row.offset}")
        self.passed[at].update(range(before, row.offset))
        holding.committed = self.positions[at] = row.offset

    def _reset(self, commit: Commit) -> None:
        self.resets += 1
        for row in commit.positions:
            at = _at(row.place)
            self.skipped[at].update(range(self.positions.get(at, row.offset), row.offset))
            self.positions[at] = row.offset
            holding = self._held.get(row.place)
            if holding is not None:
                self._end(row.place, released=False)
                self._hold(row.place, holding.member)

    def _problem(self, text: str) -> None:
        self.problems.append(f"{self.group}: {text}")


def _at(place: Place) -> At:
    return place.topic, place.partition
