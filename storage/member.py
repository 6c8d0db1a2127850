"""One member of a consumer group: which partitions are its own, and how it commits what it has done.

Promises:

- A commit counts only if, under the lock of the group's log, the member's generation is the newest and the
  places are its own: who was away for too long, or was taken for dead, can commit nothing.
- A partition goes from one living member to another only when the first has given it up; from a dead one at
  once; from a stopped one after its session timeout.
- Whoever notices that something has to change makes the next generation; of two that try, one succeeds.

All that a group knows is in its log, `groups/NAME`; who lives is seen from the files of `storage.members`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from storage.assignor import Place, assign
from storage.errors import FencedError, GroupNotFoundError, MemberFencedError, TopicNotFoundError
from storage.group_state import Commit, Generation, GroupState, MemberInfo, Owned, rows_of
from storage.members import Presence, Watcher
from storage.names import check_name
from storage.reader import LogReader
from storage.segment import index_path, segment_bases
from storage.shelf import MEMBERS, directory_of
from storage.state_log import StateLog, open_state_log
from storage.store import Store
from storage.transaction import Transaction
from storage.watch import Watch

_TRIES = 100
# New partitions of a topic are looked for this often.
_LOOK_SECONDS = 1.0
# Whether the others live is asked this often; a death is mostly heard of at once, as the closing of a file.
LIVENESS_SECONDS = 0.1

StartOf = Callable[[LogReader], int]


def earliest(reader: LogReader) -> int:
    """Where a group begins that has no position: at the oldest message."""
    return reader.start_offset


def latest(reader: LogReader) -> int:
    """Where a group begins that has no position: behind the newest message."""
    return reader.end_offset


def group_log_name(group: str) -> str:
    return f"groups/{group}"


def open_group(store: Store, group: str, *, create: bool = False) -> tuple[StateLog, GroupState]:
    """The log of a group, and its state. Raises `GroupNotFoundError`, `InvalidNameError`."""
    check_name(group)
    state = GroupState()
    try:
        return open_state_log(store, group_log_name(group), state, create=create), state
    except TopicNotFoundError:
        raise GroupNotFoundError(group, store.catalog.names("groups")) from None


class Member:
    """A member of `group` that reads `topics`. `join` makes it one; `close` leaves the group.

    `start` says where a place begins for which the group has no position. Raises `TopicNotFoundError`,
    `InvalidNameError`. Not for several threads at once.
    """

    def __init__(
        self,
        store: Store,
        group: str,
        topics: Sequence[str],
        *,
        session_timeout_seconds: float = 10.0,
        start: StartOf = earliest,
    ) -> None:
        self.store = store
        self.group = group
        self.topics = sorted(set(topics))
        for topic in self.topics:
            store.topic(topic)
        self.log, self.state = open_group(store, group, create=True)
        self.member_id = f"{os.getpid()}-{os.urandom(4).hex()}"
        self._start = start
        self._info = MemberInfo(
            topics=self.topics,
            session_timeout_ms=int(session_timeout_seconds * 1000),
            process=os.getpid(),
            joined_ms=store.clock_ms(),
        )
        self._directory = os.path.join(directory_of(store.path, group_log_name(group)), MEMBERS)
        self._presence: Presence | None = None
        self._watcher = Watcher(self._directory)
        self._asked: dict[Place, tuple[int, int]] = {}
        self._next_look = 0.0
        self._next_liveness = 0.0

    # -- what is its own ------------------------------------------------------------------------------

    @property
    def owned(self) -> list[Place]:
        """The places that this member may read and commit."""
        return [place for place, owner in self.state.owners.items() if owner == self.member_id]

    @property
    def to_release(self) -> list[Place]:
        """Those of its places that another member waits for: finish what was begun, then `release` them."""
        return [place for place in self.owned if place in self.state.following]

    @property
    def joined(self) -> bool:
        return self.member_id in self.state.members

    def position(self, place: Place) -> int:
        """The offset of the next message to read in a place: from now on its commits count from there."""
        self._asked[place] = self._standing(place)
        return self.state.positions[place]

    def _standing(self, place: Place) -> tuple[int, int]:
        """What changes when a position was set by hand, or was another member's meanwhile."""
        return self.state.resets.get(place, 0), self.state.since.get(place, 0)

    def was_reset(self, place: Place) -> bool:
        """Whether somebody set the position since it was asked for: by hand, or as its owner for a while."""
        return place in self._asked and self._asked[place] != self._standing(place)

    # -- joining and leaving --------------------------------------------------------------------------

    def join(self) -> None:
        """Become a member; also again, after having been taken for dead. Raises `GroupNotFoundError`."""
        if self._presence is None:
            timeout = self._info.session_timeout_ms / 1000
            try:
                self._presence = Presence(self._directory, self.member_id, timeout_seconds=timeout)
            except FileNotFoundError:
                raise GroupNotFoundError(self.group) from None  # deleted since it was opened
        self._presence.beat()
        self._change(lambda members: {**members, self.member_id: self._info}, force=True)
        self._settle_starts()

    def close(self) -> None:
        """Leave: what it owned goes to the others at once."""
        try:
            if self._presence is not None and self.joined:
                mine = self.member_id
                self._change(lambda members: {id: info for id, info in members.items() if id != mine})
        finally:
            if self._presence is not None:
                self._presence.close()
                self._presence = None
            self._watcher.close()

    def __enter__(self) -> Member:
        self.join()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # -- keeping up -----------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Take over what changed in the group, and change what has to: call it often, it costs little.

        Raises `MemberFencedError` when the others have taken this member for dead: `join` again.
        """
        self.log.refresh()
        if not self.joined:
            raise MemberFencedError(self.group, self.member_id)
        now = time.monotonic()
        if now >= self._next_liveness:
            self._next_liveness = now + LIVENESS_SECONDS
            gone = self._gone()
            if gone:
                self._change(lambda members: {id: info for id, info in members.items() if id not in gone})
        if now >= self._next_look:
            self._next_look = now + _LOOK_SECONDS
            if set(self._places(self.state.members)) != set(self.state.owners):
                self._change(lambda members: members, force=True)
        self._settle_starts()
        self.log.shorten_if_due()

    def _gone(self) -> set[str]:
        """The other members that are dead, or silent for longer than they may."""
        gone = set()
        for other, info in self.state.members.items():
            if other == self.member_id:
                continue
            if self._watcher.is_dead(other) or (
                self._watcher.silent_seconds(other) * 1000 > info.session_timeout_ms
            ):
                gone.add(other)
        return gone

    def watch(self, watch: Watch) -> None:
        """Have `watch` wake for whatever happens in the group."""
        directory = self.log.directory
        watch.add(directory, [index_path(directory, base) for base in segment_bases(directory)[-1:]])
        watch.add_closing(self._directory)

    def may_have_died(self) -> None:
        """Look whether the others live at the next `refresh`, however short ago that was done."""
        self._next_liveness = 0.0

    # -- generations ----------------------------------------------------------------------------------

    def _places(self, members: Mapping[str, MemberInfo]) -> list[Place]:
        """All partitions of all topics that somebody wants."""
        places = []
        for name in sorted({topic for info in members.values() for topic in info.topics}):
            try:
                topic = self.store.topic(name)
            except TopicNotFoundError:
                continue
            places += [Place(name, topic.topic_id.hex(), number) for number in range(topic.partitions)]
        return places

    def _change(
        self, change: Callable[[dict[str, MemberInfo]], dict[str, MemberInfo]], *, force: bool = False
    ) -> None:
        """Make the next generation, with other members; again, until it is based on the newest one."""
        for _ in range(_TRIES):
            members = change(self.state.members)
            if members == self.state.members and not force:
                return
            if self._begin(members, self._owners(members)):
                for former in self.state.members.keys() - members.keys():
                    self._watcher.forget(former)
                return
            self.log.refresh()
        raise FencedError(self.log.name, self.log.fence, self.log.fence)

    def _owners(self, members: Mapping[str, MemberInfo]) -> list[Owned]:
        """Who is to own what: a living owner keeps a place until it has given it up."""
        wants = {id: frozenset(info.topics) for id, info in members.items()}
        target = assign(self._places(members), wants, self.state.owners)
        rows = []
        for place, wanted in target.items():
            owner = self.state.owners.get(place, wanted)
            if owner not in members:
                owner = wanted
            rows.append(Owned(*place, owner, wanted if owner != wanted else None))
        return rows

    def _begin(self, members: dict[str, MemberInfo], owners: list[Owned]) -> bool:
        """Append a generation that follows the one that was read; `False` if another came before."""
        number = self.log.fence + 1
        record = Generation(generation=number, members=members, owners=owners, at_ms=self.store.clock_ms())
        try:
            self.store.append([self.log.append([record], expect_fence=self.log.fence, fence=number)])
        except FencedError:
            return False
        self.log.refresh()
        return True

    def release(self, places: Iterable[Place]) -> set[Place]:
        """Give up places that are to go to others; nothing of them may be in work any more.

        Returns those that it gave up: for the rest nobody waits any more.
        """
        given = set(places)
        for _ in range(_TRIES):
            state = self.state
            rows = []
            going = given.intersection(self.to_release)
            if not going:
                return going
            for place, owner in state.owners.items():
                following = state.following.get(place)
                if place in going and following is not None:
                    owner, following = following, None
                rows.append(Owned(*place, owner, following))
            if self._begin(state.members, rows):
                return going
            self.log.refresh()
        return set()

    def _settle_starts(self) -> None:
        """Commit where to begin in places that have no position: a crash must not move the beginning."""
        fresh = [place for place in self.owned if place not in self.state.positions]
        if not fresh:
            return
        starts = {}
        for place in fresh:
            reader = self.store.reader(place.topic, place.partition)
            if reader.topic.topic_id.hex() == place.topic_id:
                # What is set by hand from here on counts, not what was found here.
                self._asked[place] = self._standing(place)
                starts[place] = self._start(reader)
        try:
            self.commit(starts)
        except MemberFencedError:
            return  # another member's by now, or set by hand: the next look says what is still to be done

    def catch_up(self) -> None:
        """Take over all that was committed before this, also by a process that did not live to show it."""
        record = Commit(positions=[], member=self.member_id, at_ms=self.store.clock_ms())
        self.store.append([self.log.append([record])])
        self.log.refresh()

    # -- commits --------------------------------------------------------------------------------------

    def commit(
        self,
        positions: Mapping[Place, int],
        *,
        transaction: Transaction | None = None,
        files: Mapping[str, int] | None = None,
    ) -> None:
        """Commit positions, durably; with `transaction`, all that it holds as well, or nothing.

        Raises `MemberFencedError`, with nothing committed, when one of the places is not this member's, or
        its position was set by hand since the member asked for it.
        """
        if not positions and transaction is None and not files:
            return
        for _ in range(_TRIES):
            lost = [
                place
                for place in positions
                if self.state.owners.get(place) != self.member_id or self.was_reset(place)
            ]
            if lost:
                place = lost[0]
                was_reset = self.state.owners.get(place) == self.member_id
                raise MemberFencedError(
                    self.group, self.member_id, place.topic, place.partition, was_reset=was_reset
                )
            record = Commit(
                positions=rows_of(positions.items()),
                member=self.member_id,
                at_ms=self.store.clock_ms(),
                files=dict(files or {}),
            )
            state = self.log.append([record], expect_fence=self.log.fence)
            try:
                if transaction is None:
                    self.store.append([state])
                else:
                    transaction.commit(state)
            except FencedError:
                self.log.refresh()
                continue
            self.state.positions.update(positions)
            return
        raise MemberFencedError(self.group, self.member_id)
