"""The groups of a store as seen from outside: which there are, who belongs to them, how far behind they are.

Promises: looking writes nothing and keeps nobody waiting, and what it costs grows with the partitions of a
group, never with the messages in them; a group that somebody is a member of is not deleted.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import TypeVar

import msgspec

from storage.assignor import Place
from storage.errors import (
    DamageError,
    GroupInUseError,
    GroupNotFoundError,
    NotFoundError,
    TopicChangedError,
    TopicNotFoundError,
)
from storage.extent import Extents
from storage.group_state import Commit, GroupState, MemberInfo
from storage.lock import describe_process
from storage.member import group_log_name
from storage.members import Watcher
from storage.names import check_name
from storage.shelf import MEMBERS, directory_of
from storage.state_log import Change, StateLog, open_state_log
from storage.store import Store

# Rates are over the last minute, or what the log still tells of it; over less than a second they say nothing.
RATE_WINDOW_MS = 60_000
_RATE_MS_MIN = 1000

_Number = TypeVar("_Number", int, float)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberDescription:
    """One member. `state` is `alive`; `silent` after its session timeout, as when its process is stopped; or
    `dead`, until the others notice. `silent_ms` is how long ago it last said that it is at work, and
    `partitions` what it owns, by topic.
    """

    member_id: str
    process: int
    state: str
    silent_ms: int | None
    joined_ms: int
    session_timeout_ms: int
    topics: tuple[str, ...]
    partitions: dict[str, list[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceDescription:
    """One partition, and how far the group is with it.

    `following` is the member that it goes to once its owner has given it up. `position` is the offset of the
    next message, `None` as long as there is none, and `lag` how many offsets lie from there to the end.
    `state` is `ok`, or `deleted` or `damaged`, which the topic is; there are no offsets and no lag then.
    """

    topic: str
    topic_id: str
    partition: int
    state: str
    owner: str | None
    following: str | None
    position: int | None
    start_offset: int | None
    end_offset: int | None
    lag: int | None
    messages_per_second: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupDescription:
    """One group. `files` says of each output file how many of its bytes count."""

    name: str
    generation: int
    members: tuple[MemberDescription, ...]
    places: tuple[PlaceDescription, ...]
    files: dict[str, int]
    damage: tuple[DamageError, ...] = ()

    @property
    def lag(self) -> int | None:
        """The lag of all partitions that have one."""
        return _sum(place.lag for place in self.places)

    @property
    def messages_per_second(self) -> float | None:
        """How many messages a second the group committed of late."""
        return _sum(place.messages_per_second for place in self.places)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSummary:
    """A row of the list of groups. `members` counts those that live."""

    name: str
    generation: int
    members: int
    topics: tuple[str, ...]
    partitions: int
    lag: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupListing:
    """All groups that can be read, and the damage of the others."""

    groups: tuple[GroupSummary, ...]
    damage: tuple[DamageError, ...]


def group_names(store: Store) -> list[str]:
    """The names of all groups, sorted."""
    return store.catalog.names("groups")


def open_group_state(store: Store, name: str, state: GroupState) -> StateLog:
    """The log of a group that exists, read into `state`. Raises `GroupNotFoundError`, `InvalidNameError`."""
    check_name(name)
    try:
        return open_state_log(store, group_log_name(name), state, create=False)
    except TopicNotFoundError:
        raise GroupNotFoundError(name, group_names(store)) from None


# -- looking ----------------------------------------------------------------------------------------------


def list_groups(store: Store) -> GroupListing:
    """All groups, each in a row."""
    extents = Extents(store)
    groups, damage = [], []
    for name in group_names(store):
        state = GroupState()
        try:
            open_group_state(store, name, state)
        except (NotFoundError, TopicChangedError):
            continue  # deleted meanwhile
        except DamageError as error:
            damage.append(error)
            continue
        members = _describe_members(store, name, state)
        places = places_of(state)
        groups.append(
            GroupSummary(
                name=name,
                generation=state.generation,
                members=sum(member.state != "dead" for member in members),
                topics=tuple(dict.fromkeys(place.topic for place in places)),
                partitions=len(places),
                lag=_sum(_lag(extents, place, state.positions.get(place)) for place in places),
            )
        )
    return GroupListing(groups=tuple(groups), damage=tuple(damage))


def describe_group(store: Store, name: str) -> GroupDescription:
    """All that is to be known of a group. Raises `GroupNotFoundError`, `InvalidNameError`, `DamageError`."""
    now_ms = store.clock_ms()
    state = _RatedState(since_ms=now_ms - RATE_WINDOW_MS)
    open_group_state(store, name, state)
    extents = Extents(store)
    places = tuple(_describe_place(extents, place, state, now_ms) for place in places_of(state))
    damage = {str(error): error for place in places_of(state) if (error := extents.of(place).damage)}
    return GroupDescription(
        name=name,
        generation=state.generation,
        members=_describe_members(store, name, state),
        places=places,
        files=state.files,
        damage=tuple(damage.values()),
    )


def places_of(state: GroupState) -> list[Place]:
    """Every place that a group has to do with, sorted."""
    return sorted(state.positions.keys() | state.owners.keys())


def _describe_place(extents: Extents, place: Place, state: _RatedState, now_ms: int) -> PlaceDescription:
    extent = extents.of(place)
    position = state.positions.get(place)
    return PlaceDescription(
        topic=place.topic,
        topic_id=place.topic_id,
        partition=place.partition,
        state=extent.state,
        owner=state.owners.get(place),
        following=state.following.get(place),
        position=position,
        start_offset=extent.start_offset,
        end_offset=extent.end_offset,
        lag=_lag(extents, place, position),
        messages_per_second=state.messages_per_second(place, now_ms),
    )


def _lag(extents: Extents, place: Place, position: int | None) -> int | None:
    start, end, *_ = extents.of(place)
    if position is None or start is None or end is None:
        return None
    # What retention removed will never be read, so nobody is behind with it.
    return max(0, end - max(start, position))


def _describe_members(store: Store, name: str, state: GroupState) -> tuple[MemberDescription, ...]:
    watcher = Watcher(members_directory(store, name))
    try:
        owned: dict[str, dict[str, list[int]]] = {}
        for place, owner in sorted(state.owners.items()):
            owned.setdefault(owner, {}).setdefault(place.topic, []).append(place.partition)
        return tuple(
            _describe_member(watcher, member_id, info, partitions=owned.get(member_id, {}))
            for member_id, info in sorted(state.members.items())
        )
    finally:
        watcher.close()


def _describe_member(
    watcher: Watcher, member_id: str, info: MemberInfo, *, partitions: dict[str, list[int]]
) -> MemberDescription:
    state, silent_ms = "dead", None
    if not watcher.is_dead(member_id):
        silent_ms = int(watcher.silent_seconds(member_id) * 1000)
        state = "silent" if silent_ms > info.session_timeout_ms else "alive"
    return MemberDescription(
        member_id=member_id,
        process=info.process,
        state=state,
        silent_ms=silent_ms,
        joined_ms=info.joined_ms,
        session_timeout_ms=info.session_timeout_ms,
        topics=tuple(info.topics),
        partitions=partitions,
    )


class _RatedState(GroupState):
    """The state of a group, and how many messages of each place were committed since a time."""

    def __init__(self, *, since_ms: int) -> None:
        super().__init__()
        self._since_ms = since_ms
        self._told_from_ms: int | None = None
        # Where each place stood at that time; `None` as long as nothing happened since.
        self._base: dict[Place, int] | None = None

    def apply(self, change: Change, offset: int) -> None:
        at_ms = change.get("at_ms")
        first = isinstance(at_ms, int) and self._told_from_ms is None
        if isinstance(at_ms, int) and first:
            self._told_from_ms = at_ms
        if self._base is None and isinstance(at_ms, int) and at_ms >= self._since_ms:
            self._base = dict(self.positions)
        if self._base is not None and change.get("reset"):
            self._shift(self._base, msgspec.convert(change, Commit))
        super().apply(change, offset)
        if first and self._base is not None:
            # The log begins with it, and does not tell how long that took which it committed.
            self._base = dict(self.positions)
        if self._base is not None and len(self._base) < len(self.positions):
            for place in self.positions.keys() - self._base.keys():
                self._base[place] = self.positions[place]

    def _shift(self, base: dict[Place, int], reset: Commit) -> None:
        """Let a jump that was made by hand count for nothing."""
        for row in reset.positions:
            if row.place in base:
                base[row.place] += row.offset - self.positions[row.place]

    def messages_per_second(self, place: Place, now_ms: int) -> float | None:
        """The rate of a place; `None` where the log tells too little to say."""
        position = self.positions.get(place)
        if self._told_from_ms is None or position is None:
            return None
        elapsed_ms = now_ms - max(self._since_ms, self._told_from_ms)
        if elapsed_ms < _RATE_MS_MIN:
            return None
        moved = 0 if self._base is None else position - self._base[place]
        return round(max(0, moved) * 1000 / elapsed_ms, 3)


def _sum(values: Iterable[_Number | None]) -> _Number | None:
    known = [value for value in values if value is not None]
    return reduce(add, known) if known else None


# -- deleting ---------------------------------------------------------------------------------------------


def delete_group(store: Store, name: str) -> None:
    """Delete a group with all its positions, durably; its topics stay.

    Raises `GroupInUseError` while it has members that live, `GroupNotFoundError`, `InvalidNameError`.
    """
    check_name(name)
    try:
        # Whoever joins holds the lock on its file before it says so in the log, and that takes the lock under
        # which this is asked: no member is overlooked.
        store.delete_topic(group_log_name(name), check=lambda: check_unused(store, name))
    except TopicNotFoundError:
        raise GroupNotFoundError(name, group_names(store)) from None


def check_unused(store: Store, name: str) -> None:
    """Raise `GroupInUseError` if somebody is a member. Raises `GroupNotFoundError`, `InvalidNameError`."""
    check_name(name)
    if name not in group_names(store):
        raise GroupNotFoundError(name, group_names(store))
    directory = members_directory(store, name)
    watcher = Watcher(directory)
    try:
        living = [member_id for member_id in _files_of(directory) if not watcher.is_dead(member_id)]
    finally:
        watcher.close()
    if living:
        raise GroupInUseError(name, living, [_process_of(member_id) for member_id in living])


def members_directory(store: Store, name: str) -> str:
    """Where the members of a group have their files."""
    return os.path.join(directory_of(store.path, group_log_name(name)), MEMBERS)


def _files_of(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except FileNotFoundError:
        return []


def _process_of(member_id: str) -> str:
    """The process of a member in words: its number begins the member's id."""
    number = member_id.partition("-")[0]
    return describe_process(int(number)) if number.isdigit() else f"member '{member_id}'"
