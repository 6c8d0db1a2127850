"""Messages of a group, one by one, for a program: `for message in store.subscribe("orders", group="g")`.

Promises: a message that was not acknowledged is delivered again, after the program ended or the partition
moved; the position of a partition never passes a message that was not acknowledged; what is acknowledged is
committed at the latest after `interval_seconds`, when the subscriber is closed, and before a partition goes
to another member. A program that works on one message for long stays a member.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence

from storage.assignor import Place
from storage.batch import Message
from storage.errors import MemberFencedError
from storage.group_reader import GroupReader
from storage.member import LIVENESS_SECONDS, Member, StartOf, earliest
from storage.store import Store
from storage.transaction import Transaction
from storage.watch import open_watch


class Received:
    """A message in the hands of the program, to be acknowledged with `ack`, or given back with `nack`."""

    __slots__ = ("_subscriber", "is_acknowledged", "is_void", "message", "place")

    def __init__(self, subscriber: Subscriber, place: Place, message: Message) -> None:
        self._subscriber = subscriber
        self.place = place
        self.message = message
        self.is_acknowledged = False
        self.is_void = False

    @property
    def topic(self) -> str:
        return self.message.topic

    @property
    def partition(self) -> int:
        return self.message.partition

    @property
    def offset(self) -> int:
        return self.message.offset

    @property
    def key(self) -> bytes | None:
        """The key as raw JSON text."""
        return self.message.key

    @property
    def value(self) -> bytes:
        """The value as raw JSON text."""
        return self.message.value

    @property
    def timestamp_ms(self) -> int:
        return self.message.timestamp_ms

    def ack(self) -> None:
        """The work on this message is done.

        Raises `MemberFencedError` when the message is another member's by now: it will be delivered again.
        """
        self._subscriber._check(self)
        self.is_acknowledged = True
        self._subscriber._advance(self.place)

    def ack_in(self, transaction: Transaction) -> None:
        """Commit what the transaction holds and this acknowledgement, both or neither: exactly once.

        All earlier messages of the partition must have been acknowledged. Raises `MemberFencedError`.
        """
        self._subscriber._commit_in(self, transaction)

    def nack(self) -> None:
        """Have this message, and what was delivered of its partition after it, delivered again."""
        self._subscriber._rewind(self.place)


class Subscriber:
    """An iterator over a group's messages, as one of its members. Made by `Store.subscribe`.

    With `follow` it goes on with what comes; else it ends at the end that it saw when it began. At most
    `max_in_flight` messages are delivered and not acknowledged: the next one is waited for until some are.
    """

    def __init__(
        self,
        store: Store,
        topics: Sequence[str],
        *,
        group: str,
        follow: bool = True,
        start: StartOf = earliest,
        session_timeout_seconds: float = 10.0,
        max_in_flight: int = 10_000,
        interval_seconds: float = 0.1,
    ) -> None:
        self._member = Member(
            store, group, topics, session_timeout_seconds=session_timeout_seconds, start=start
        )
        self._member.join()
        self._reader = GroupReader(self._member, follow=follow, pieces=500)
        self._watch = open_watch()
        self._max_in_flight = max_in_flight
        self._interval_seconds = interval_seconds
        self._next_round = 0.0
        self._open: dict[Place, deque[Received]] = {}
        self._ready: deque[Received] = deque()
        self._held_back: list[Received] = []
        self._done: dict[Place, int] = {}
        self._is_closed = False

    # -- iterating ------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Received]:
        return self

    def __next__(self) -> Received:
        while not self._is_closed:
            if time.monotonic() >= self._next_round:
                self._round()
            received = self._next()
            if received is not None:
                return received
            if self._reader.finished and not self._ready and not self._held_back:
                self.close()
                break
            self._round()
            self._reader.watch(self._watch)
            if self._watch.wait(LIVENESS_SECONDS):
                self._member.may_have_died()
        raise StopIteration

    def _next(self) -> Received | None:
        if sum(map(len, self._open.values())) >= self._max_in_flight:
            return None
        while not self._ready:
            taken = self._reader.take()
            if taken is None:
                return None
            place, batch = taken
            self._ready.extend(Received(self, place, message) for message in batch.messages())
        received = self._ready.popleft()
        self._open.setdefault(received.place, deque()).append(received)
        return received

    def _round(self) -> None:
        """Commit, and see what changed in the group."""
        self._next_round = time.monotonic() + self._interval_seconds
        self._commit()
        self._sync()
        self._release()

    def _sync(self) -> None:
        try:
            self._drop(self._reader.sync())
        except MemberFencedError:
            self._drop(set(self._open) | {received.place for received in (*self._ready, *self._held_back)})
            self._reader.join_again()

    def _release(self) -> None:
        """Give up what others wait for, as soon as all that was delivered of it is acknowledged."""
        wanted = set(self._member.to_release)
        # What was not delivered yet is the next owner's, or is gone on with when nobody waits any more.
        both = [*self._held_back, *self._ready]
        self._held_back = [received for received in both if received.place in wanted]
        self._ready = deque(received for received in both if received.place not in wanted)
        free = {place for place in wanted if not self._open.get(place)}
        if free:
            self._commit()
            self._member.release(free)
            self._sync()

    # -- acknowledgements -----------------------------------------------------------------------------

    def _check(self, received: Received) -> None:
        if received.is_void:
            raise MemberFencedError(
                self._member.group, self._member.member_id, received.topic, received.partition
            )

    def _advance(self, place: Place) -> None:
        opened = self._open[place]
        while opened and opened[0].is_acknowledged:
            self._done[place] = opened.popleft().offset + 1

    def _commit(self) -> None:
        done, self._done = self._done, {}
        try:
            self._member.commit(done)
        except MemberFencedError:
            for place in done:
                self._rewind(place)

    def _commit_in(self, received: Received, transaction: Transaction) -> None:
        self._check(received)
        place = received.place
        assert self._open[place][0] is received, "earlier messages of the partition are not acknowledged yet"
        try:
            self._member.commit({place: received.offset + 1}, transaction=transaction)
        except MemberFencedError:
            self._rewind(place)
            raise
        self._done.pop(place, None)
        self._open[place].popleft()

    def _rewind(self, place: Place) -> None:
        done = self._done.pop(place, None)
        if done is not None and place in self._member.owned and not self._member.was_reset(place):
            self._member.commit({place: done})
        self._drop({place})
        self._reader.rewind(place)

    def _drop(self, void: set[Place]) -> None:
        for place in void:
            for received in self._open.pop(place, ()):
                received.is_void = True
            self._done.pop(place, None)
        if void:
            self._ready = deque(received for received in self._ready if received.place not in void)
            self._held_back = [received for received in self._held_back if received.place not in void]

    # -- closing --------------------------------------------------------------------------------------

    def close(self) -> None:
        """Commit what was acknowledged and leave the group."""
        if self._is_closed:
            return
        self._is_closed = True
        try:
            self._commit()
        finally:
            self._member.close()
            self._watch.close()

    def __enter__(self) -> Subscriber:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
