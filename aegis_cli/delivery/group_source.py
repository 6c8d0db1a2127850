"""A consumer group as a source of messages for commands.

Promises: a position is committed only when all messages before it are done; a message that was given up goes
to the dead-letter topic in the transaction that commits a position behind it, so it is there once or, if this
process dies before, is tried again; what is done is committed before a place is given to another member.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path

from aegis_cli.delivery.dead_letter import dead_letters
from aegis_cli.delivery.group_feed import GroupFeed
from aegis_cli.delivery.portion import Portion
from aegis_cli.delivery.source import Beat, Failure, GivenUp
from storage.assignor import Place
from storage.batch import RecordBatch
from storage.errors import MemberFencedError, SettingError
from storage.member import Member, group_log_name
from storage.reader import Gap
from storage.shelf import MEMBERS, directory_of
from storage.transaction import Transaction
from storage.watch import Watch

# One portion holds about this much at most.
_PORTION_BYTES = 8 * 1024 * 1024
# Portions that were handed out and are not committed: one that takes long holds up those behind it.
_OPEN_MAX = 1000
_TRIES = 20

_Letters = list[tuple[int, RecordBatch]]


class GroupSource:
    """The messages of a member that has joined, at most `batch` at a time."""

    retries_itself = False
    # Portions are read ahead to find other keys behind one that is busy.
    ahead_max = 256
    beats = 0

    def __init__(
        self,
        member: Member,
        *,
        follow: bool,
        batch: int = 1,
        dead_letter: str | None = None,
        on_notice: Callable[[str], None] | None = None,
        on_gap: Callable[[Gap], None] | None = None,
    ) -> None:
        self._member = member
        self._store = member.store
        self._feed = GroupFeed(
            member,
            follow=follow,
            records_max=batch,
            bytes_max=_PORTION_BYTES,
            on_notice=on_notice,
            on_gap=on_gap,
        )
        self._dead_letter = dead_letter
        if dead_letter is not None:
            self._store.topic(dead_letter)
            if dead_letter in member.topics:
                raise SettingError(
                    "dead-letter", f"cannot be '{dead_letter}', which is read", remedy="name another topic"
                )
        self._open: dict[Place, deque[Portion]] = {}
        self._letters: dict[Portion, _Letters] = {}
        self.unsaid = False

    @property
    def name(self) -> str:
        return self._member.group

    @property
    def store_path(self) -> str:
        return self._store.path

    @property
    def beat(self) -> Beat | None:
        member = self._member
        directory = directory_of(self._store.path, group_log_name(member.group))
        info = member.state.members.get(member.member_id)
        if info is None:
            return None
        return Beat(str(Path(directory, MEMBERS, member.member_id)), info.session_timeout_ms / 1000)

    @property
    def has_room(self) -> bool:
        return sum(map(len, self._open.values())) < _OPEN_MAX

    @property
    def finished(self) -> bool:
        return self._feed.finished

    def watch(self, watch: Watch) -> None:
        self._feed.watch(watch)

    def close(self) -> None:
        """Leaving the group gives everything to the others, and the member is the caller's."""

    def take(self) -> Portion | None:
        if not self.has_room:
            return None
        portion = self._feed.take()
        if portion is not None:
            self._open.setdefault(portion.place, deque()).append(portion)
        return portion

    # -- what became of it ----------------------------------------------------------------------------

    def done(self, portion: Portion) -> None:
        portion.finish()
        self.unsaid = True

    def give_up(self, portion: Portion, failure: Failure) -> GivenUp:
        topic = self._dead_letter
        if topic is None:
            return "no place"
        records = dead_letters(portion, failure, group=self.name)
        self._letters[portion] = [
            (self._store.choose_partition(topic, key), record) for key, record in records
        ]
        self.done(portion)
        return "put aside"

    def commit(self) -> list[Portion]:
        gone: list[Portion] = []
        for _ in range(_TRIES):
            passed = [portion for portions in self._open.values() for portion in _first_done(portions)]
            self.unsaid = False
            if not passed:
                return gone
            try:
                self._member.commit(
                    {portion.place: portion.next_offset for portion in passed},
                    transaction=self._transaction(passed),
                )
            except MemberFencedError:
                gone += self._void(self._feed.sync())
                continue
            for portion in passed:
                self._open[portion.place].popleft()
                self._letters.pop(portion, None)
            self._open = {place: portions for place, portions in self._open.items() if portions}
            return gone
        raise MemberFencedError(self.name, self._member.member_id)

    def _transaction(self, passed: Iterable[Portion]) -> Transaction | None:
        letters = [letter for portion in passed for letter in self._letters.get(portion, ())]
        if not letters or self._dead_letter is None:
            return None
        transaction = self._store.transaction()
        for partition, record in letters:
            transaction.add(self._dead_letter, partition, [record])
        return transaction

    # -- the group ------------------------------------------------------------------------------------

    def sync(self, *, deaths: bool) -> list[Portion]:
        gone = self._void(self._feed.sync(deaths=deaths))
        closing = self._feed.closing
        if not closing:
            return gone
        for place in closing:
            gone += self._not_begun(place)
        if any(all(portion.done for portion in self._open.get(place, ())) for place in closing):
            gone += self.commit()
            gone += self._void(self._feed.release(self._open))
        return gone

    def _void(self, places: set[Place]) -> list[Portion]:
        """Forget these places; returns what of them is still in work."""
        gone = [portion for place in places for portion in self._open.pop(place, ())]
        for portion in gone:
            self._letters.pop(portion, None)
        return [portion for portion in gone if not portion.done]

    def _not_begun(self, place: Place) -> list[Portion]:
        """Take back what is behind all that was begun: the next owner does it."""
        portions = self._open.get(place, deque())
        gone = []
        while portions and not portions[-1].begun:
            gone.append(portions.pop())
        if not portions:
            self._open.pop(place, None)
        return gone


def _first_done(portions: deque[Portion]) -> list[Portion]:
    """Those at the beginning that are done."""
    passed = []
    for portion in portions:
        if not portion.done:
            break
        passed.append(portion)
    return passed
