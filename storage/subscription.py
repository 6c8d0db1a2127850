"""Persistent subscriptions: consumers share the messages of topics, also those of a single partition.

    with open_subscription(store, "mailer", topics=["orders"]) as subscription:
        for delivery in subscription:
            send(delivery.message)
            delivery.ack()

Promises:

- Each message is delivered until a consumer acknowledges it; only then is it done with, durably.
- While one consumer has a message no other gets it: until the acknowledgement timeout, or until the process
  of the consumer is dead, which the kernel tells at once.
- A consumer that was away for too long is told so by `ClaimLostError`; nothing that it says then counts.
- A message that was delivered `max_deliveries` times in vain is put aside: into the dead-letter topic, in the
  transaction that takes it out of the subscription, or without such a topic into what `parked` shows.
- No lock is held while a message is in work.

All that a subscription knows is in its log, `subscriptions/NAME`; see `storage.subscription_state`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType

from storage.delivery import Delivery
from storage.members import Watcher, now_ns
from storage.reader import Gap
from storage.state_log import StateLog
from storage.store import Store
from storage.subscription_changes import (
    Acked,
    Claimed,
    Extended,
    Held,
    Jumped,
    Replayed,
    Returned,
    SubscriptionSettings,
)
from storage.subscription_errors import ClaimLostError, SubscriptionNotFoundError
from storage.subscription_log import SubscriptionLog
from storage.subscription_member import Presence, members_path
from storage.subscription_opening import Wanted, opened
from storage.subscription_parking import ParkedMessage, Parking
from storage.subscription_places import Places, watch_newest
from storage.subscription_state import SubscriptionState
from storage.watch import Watch, open_watch

CLAIM_MAX = 10_000
# Partitions that only have messages nobody can read are passed this often in one claim.
_ROUNDS_MAX = 1000
# Whoever waits looks this often by itself; sooner while others hold messages, since their processes may die.
_LOOK_SECONDS = 1.0
_DEATH_SECONDS = 0.05
_PARKED_AT_ONCE = 100
# Others at work wake those who wait with each of their changes: not more often than this.
_REST_SECONDS = 0.002


class Subscription:
    """One consumer of a subscription, made by `open_subscription`. May be used by many threads.

    It counts as a consumer from its first claim on. Every method raises `SubscriptionNotFoundError` when the
    subscription was deleted, and what `Store.append` raises.
    """

    def __init__(
        self,
        name: str,
        log: StateLog,
        state: SubscriptionState,
        *,
        on_gap: Callable[[Gap], None] | None = None,
        on_notice: Callable[[str], None] | None = None,
    ) -> None:
        self.name = name
        self.store: Store = log.store
        self._log = SubscriptionLog(name, log, state)
        self._state = state
        self._mutex = self._log.mutex
        self._on_gap = on_gap
        self._places = Places(self.store, state, on_notice=on_notice)
        self._parking = Parking(name, log, state, self._places)
        self._presence: Presence | None = None
        self._name = state.own = Presence.new_name()
        self._watcher = Watcher(members_path(self._log.directory))
        self._watched: set[str] = set()
        self._next_help = 0.0

    # -- what it is -------------------------------------------------------------------------------------

    @property
    def settings(self) -> SubscriptionSettings:
        """How it delivers, as last read."""
        assert self._state.settings is not None, "an open subscription was configured"
        return self._state.settings

    @property
    def member_fd(self) -> int:
        """The descriptor whose lock says that this consumer lives; joins if it is none yet.

        A child process that inherits it keeps the claims of its parent alive until it ends.
        """
        with self._mutex:
            return self._join().fd

    def _join(self) -> Presence:
        if self._presence is None:
            self._log.refresh()
            try:
                self._presence = Presence(self._log.directory, self._name)
            except FileNotFoundError:
                raise self._log.deleted() from None
        return self._presence

    def close(self) -> None:
        """Stop consuming. What was not acknowledged is delivered to others at once, as if by `nack`."""
        with self._mutex:
            presence, self._presence = self._presence, None
            if presence is None:
                return
            try:
                own = self._own_claims()
                if own:
                    self._log.append([Returned(by=self._name, held=own, wall_ms=self.store.clock_ms())])
            except SubscriptionNotFoundError:
                pass
            finally:
                presence.leave()
                self._name = self._state.own = Presence.new_name()
                self._watcher.close()

    def _own_claims(self) -> list[Held]:
        self._log.refresh()
        claims = self._state.claims.items()
        return [(*key, claim.number) for key, claim in claims if claim.member == self._name]

    def __enter__(self) -> Subscription:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- claiming ---------------------------------------------------------------------------------------

    def claim(self, limit: int = 1, *, timeout_seconds: float = 0.0) -> list[Delivery]:
        """Take at most `limit` messages, waiting for the first at most this long; empty if none came.

        They are this consumer's for the acknowledgement timeout. After `stop_at_end` it does not wait once
        nothing is left. Raises `ParkedFullError`, and `DamageError` for a partition that cannot be read.
        """
        deadline = time.monotonic() + timeout_seconds
        watch: Watch | None = None
        try:
            while True:
                with self._mutex:
                    deliveries = self._claim_now(min(limit, CLAIM_MAX))
                    pause = self._pause_seconds()
                    drained = self.drained
                left = deadline - time.monotonic()
                if deliveries or left <= 0 or drained:
                    return deliveries
                if watch is None:
                    # The watch stands before the next look, so nothing that comes after that is missed.
                    watch = open_watch()
                    self.watch(watch)
                    continue
                if watch.wait(max(0.001, min(left, pause))):
                    self.watch(watch)
                time.sleep(min(_REST_SECONDS, max(0.0, left)))
        finally:
            if watch is not None:
                watch.close()

    def watch(self, watch: Watch) -> None:
        """Have `watch` wake when there may be something to claim; again after each wait that says so."""
        with self._mutex:
            self._places.watch(watch)
            watch_newest(watch, self._log.log.directory)
            watch.add_closing(members_path(self._log.directory))

    def __iter__(self) -> Iterator[Delivery]:
        """One message after another, for ever; after `stop_at_end` until nothing is left."""
        while True:
            deliveries = self.claim(1, timeout_seconds=_LOOK_SECONDS)
            if not deliveries and self.drained:
                return
            yield from deliveries

    def stop_at_end(self) -> None:
        """Claim nothing for the first time that is published from now on."""
        with self._mutex:
            self._look()
            self._places.stop_here()

    @property
    def drained(self) -> bool:
        """Whether, after `stop_at_end`, nothing is left to claim but what consumers have in work."""
        with self._mutex:
            return self._places.exhausted and not self._state.awaited()

    def _claim_now(self, limit: int) -> list[Delivery]:
        self._join()
        for _ in range(_ROUNDS_MAX):
            self._look()
            self._parking.bury()
            ends = self._places.ends(limit)
            now_ms, wall_ms, dead = now_ns() // 1_000_000, self.store.clock_ms(), self._dead()
            if not self._state.is_due(ends, now_ms=now_ms, wall_ms=wall_ms, dead=dead):
                self._parking.check_room()
                return []
            asked = Claimed(
                by=self._name,
                limit=limit,
                now_ms=now_ms,
                until_ms=now_ms + self.settings.ack_timeout_ms,
                wall_ms=wall_ms,
                ends=ends,
                dead=sorted(dead),
            )
            number = self._log.append([asked])
            deliveries = self._read(number)
            self._parking.bury()
            if deliveries:
                return deliveries
        return []

    def _look(self) -> None:
        """Take over what others did, and what became of the topics."""
        self._log.refresh()
        changes = self._places.look()
        if changes:
            self._log.append(changes)
        if time.monotonic() >= self._next_help:
            self._next_help = time.monotonic() + _LOOK_SECONDS
            self._places.help_the_dead()
            self.store.show_committed(self._log.log.name, 0, beyond_offset=self._log.log.next_offset)

    def _dead(self) -> set[str]:
        """The consumers that hold messages and are dead."""
        holders = {claim.member for claim in self._state.claims.values()}
        holders.discard(self._name)
        for former in self._watched - holders:
            self._watcher.forget(former)
        self._watched = holders
        return {holder for holder in holders if self._watcher.is_dead(holder)}

    def _pause_seconds(self) -> float:
        pause_ms = self._state.pause_ms(now_ms=now_ns() // 1_000_000, wall_ms=self.store.clock_ms())
        longest = _DEATH_SECONDS if self._watched else _LOOK_SECONDS
        return longest if pause_ms is None else min(longest, pause_ms / 1000)

    def _read(self, number: int) -> list[Delivery]:
        """The messages of this consumer's claim; those that cannot be read are settled."""
        offsets: dict[int, list[int]] = {}
        for (place, offset), claim in self._state.claims.items():
            if claim.number == number:
                offsets.setdefault(place, []).append(offset)
        deliveries: list[Delivery] = []
        missing: list[Held] = []
        jumps: list[Jumped] = []
        for place in sorted(offsets):
            found = self._places.read(place, sorted(offsets[place]))
            missing += [(place, offset, number) for offset in found.missing]
            for gap in found.gaps:
                jumps.append(Jumped(place=place, next_offset=gap.end_offset))
                if self._on_gap is not None:
                    self._on_gap(gap)
            for batch in found.batches:
                for message in batch.messages():
                    held = place, message.offset, number
                    count = self._state.claims[place, message.offset].deliveries
                    delivery = Delivery(self, message, batch, held=held, delivery_count=count)
                    deliveries.append(delivery)
        if missing:
            self._log.append([Acked(by=self._name, held=missing, gone=True), *jumps])
        return deliveries

    # -- what was put aside -----------------------------------------------------------------------------

    def parked(self) -> Iterator[ParkedMessage]:
        """The messages that were delivered in vain and put aside, partition after partition."""
        with self._mutex:
            self._log.refresh()
            self._places.look()
            keys = sorted(self._state.parked)
        for first in range(0, len(keys), _PARKED_AT_ONCE):
            with self._mutex:
                messages = self._parking.parked(keys[first : first + _PARKED_AT_ONCE])
            yield from messages

    def replay(self, messages: Iterable[tuple[str, int, int]] | None = None) -> int:
        """Deliver parked messages again, from their first delivery on; returns how many.

        `messages` are topics, partitions and offsets; without it, all that are parked when this happens.
        Raises `MessageNotParkedError`, with nothing replayed.
        """
        keys = None
        if messages is not None:
            with self._mutex:
                self._log.refresh()
                keys = self._parking.keys(messages)
        if keys is not None and not keys:
            return 0
        accepted = self._log.submit(Replayed(by=self._name, keys=keys))
        return len([key for key in accepted if len(key) == 2])

    # -- settling ---------------------------------------------------------------------------------------

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """These are done with, durably, in one record.

        Raises `ClaimLostError` for those that are not this consumer's any more; the others are settled.
        """
        held = [delivery.held for delivery in deliveries]
        self._say(Acked(by=self._name, held=held), deliveries)

    def nack(self, deliveries: Sequence[Delivery], *, delay_seconds: float = 0.0) -> None:
        """These failed: they are delivered again after the delay, or put aside after their last delivery."""
        held = [delivery.held for delivery in deliveries]
        delay_ms = int(delay_seconds * 1000)
        wall_ms = self.store.clock_ms()
        try:
            self._say(Returned(by=self._name, held=held, wall_ms=wall_ms, delay_ms=delay_ms), deliveries)
        finally:
            with self._mutex:
                self._parking.bury()

    def release(self, deliveries: Sequence[Delivery]) -> None:
        """These were not tried: they are delivered to others, and this delivery is not counted."""
        held = [delivery.held for delivery in deliveries]
        wall_ms = self.store.clock_ms()
        self._say(Returned(by=self._name, held=held, wall_ms=wall_ms, uncounted=True), deliveries)

    def extend(self, deliveries: Sequence[Delivery]) -> None:
        """These take longer: their acknowledgement timeout begins anew."""
        held = [delivery.held for delivery in deliveries]
        until_ms = now_ns() // 1_000_000 + self.settings.ack_timeout_ms
        self._say(Extended(by=self._name, held=held, until_ms=until_ms), deliveries)

    def lost(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Those that are settled or not this consumer's any more."""
        with self._mutex:
            self._log.refresh()
            claims = self._state.claims
            return [one for one in deliveries if one.key not in claims or claims[one.key].number != one.claim]

    def _say(self, change: Acked | Returned | Extended, deliveries: Sequence[Delivery]) -> None:
        if not deliveries:
            return
        accepted = self._log.submit(change)
        lost = [delivery.message for delivery in deliveries if delivery.held not in accepted]
        if lost:
            raise ClaimLostError(self.name, [(one.topic, one.partition, one.offset) for one in lost])


def open_subscription(
    store: Store,
    name: str,
    *,
    topics: Sequence[str] = (),
    create: bool = True,
    start: str = "earliest",
    ack_timeout_seconds: float | None = None,
    max_deliveries: int | None = None,
    dead_letter: str | None = None,
    max_in_flight: int | None = None,
    on_gap: Callable[[Gap], None] | None = None,
    on_notice: Callable[[str], None] | None = None,
) -> Subscription:
    """Open the subscription of this name; with `create`, make it when there is none.

    A new one delivers `topics` from `start` (an offset spec, see `storage.offsets`) with an acknowledgement
    timeout of 30 s, 5 deliveries, no dead-letter topic and at most 1000 messages in flight. Whatever is given
    for one that exists changes it for all its consumers; "" takes the dead-letter topic away. `on_gap` is
    told of offsets that cannot be read, `on_notice` of topics that came and went.

    Raises `SubscriptionNotFoundError`, `SubscriptionTopicsError`, `TopicNotFoundError`, `SettingError`.
    """
    state, log = opened(
        store,
        name,
        Wanted(
            topics=tuple(dict.fromkeys(topics)),
            start=start,
            ack_timeout_seconds=ack_timeout_seconds,
            max_deliveries=max_deliveries,
            dead_letter=dead_letter,
            max_in_flight=max_in_flight,
        ),
        create=create,
    )
    return Subscription(name, log, state, on_gap=on_gap, on_notice=on_notice)
