"""What is so in a consumer group: its members, who owns which partition, and how far each was read.

Two kinds of records change it. One says a whole generation: members, owners, and which partitions are on
their way to another owner; it carries the number of the generation as its fence, so of two that are based on
the same one only the first counts. The other commits positions, and is refused unless its fence is the
newest generation's.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from storage.assignor import Place
from storage.state_log import Change


class MemberInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A member as the others know it. Times in milliseconds."""

    topics: list[str]
    session_timeout_ms: int
    process: int
    joined_ms: int


class Owned(msgspec.Struct, array_like=True):
    """A row of a generation: who owns a place, and to whom it is to go, if that is another one."""

    topic: str
    topic_id: str
    partition: int
    owner: str
    following: str | None = None

    @property
    def place(self) -> Place:
        return Place(self.topic, self.topic_id, self.partition)


class Generation(msgspec.Struct, kw_only=True):
    """A record of the first kind."""

    generation: int
    members: dict[str, MemberInfo]
    owners: list[Owned]
    at_ms: int = 0


class PositionRow(msgspec.Struct, array_like=True):
    """A row of a commit: the offset of the next message to read."""

    topic: str
    topic_id: str
    partition: int
    offset: int

    @property
    def place(self) -> Place:
        return Place(self.topic, self.topic_id, self.partition)


class Commit(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A record of the second kind. `files` says for each output file how many of its bytes count; `reset`
    that somebody set the positions by hand.
    """

    positions: list[PositionRow]
    member: str
    reset: bool = False
    at_ms: int = 0
    files: dict[str, int] = {}


class _Snapshot(msgspec.Struct, kw_only=True):
    generation: Generation
    positions: list[PositionRow]
    resets: list[PositionRow]
    files: dict[str, int]


class GroupState:
    """The state that the records of a group's log fold to: see `storage.state_log.Fold`.

    `resets` counts for each place how often its position was set by hand; `since` is the generation from
    which on its owner has had it without a break.
    """

    def __init__(self) -> None:
        self.generation = 0
        self.members: dict[str, MemberInfo] = {}
        self.owners: dict[Place, str] = {}
        self.following: dict[Place, str] = {}
        self.positions: dict[Place, int] = {}
        self.resets: dict[Place, int] = {}
        self.since: dict[Place, int] = {}
        self.files: dict[str, int] = {}

    def apply(self, change: Change, offset: int) -> None:
        if "generation" in change:
            self._begin(msgspec.convert(change, Generation))
        else:
            self._commit(msgspec.convert(change, Commit))

    def _begin(self, record: Generation) -> None:
        self.generation = record.generation
        self.members = record.members
        owners = {row.place: row.owner for row in record.owners}
        for place, owner in owners.items():
            if owner != self.owners.get(place):
                self.since[place] = record.generation
        self.owners = owners
        self.following = {row.place: row.following for row in record.owners if row.following is not None}

    def _commit(self, record: Commit) -> None:
        for row in record.positions:
            self.positions[row.place] = row.offset
            if record.reset:
                self.resets[row.place] = self.resets.get(row.place, 0) + 1
        self.files.update(record.files)

    def record(self, at_ms: int) -> Generation:
        """The present generation as a record."""
        owners = [Owned(*place, owner, self.following.get(place)) for place, owner in self.owners.items()]
        return Generation(generation=self.generation, members=self.members, owners=owners, at_ms=at_ms)

    def snapshot(self) -> object:
        return _Snapshot(
            generation=self.record(0),
            positions=rows_of(self.positions.items()),
            resets=rows_of(self.resets.items()),
            files=self.files,
        )

    def restore(self, snapshot: object) -> None:
        whole = msgspec.convert(snapshot, _Snapshot)
        self._begin(whole.generation)
        self.positions = {row.place: row.offset for row in whole.positions}
        self.resets = {row.place: row.offset for row in whole.resets}
        self.files = whole.files


def rows_of(positions: Iterable[tuple[Place, int]]) -> list[PositionRow]:
    """The rows of a commit."""
    return [PositionRow(*place, offset) for place, offset in positions]
