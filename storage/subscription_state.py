"""What a subscription knows of its messages: which are settled, claimed, waiting or parked. A fold; pure.

A change is decided where it is folded, not where it is written: a consumer asks for messages and learns from
the fold which it was given, an acknowledgement names the claim that it relies on and counts only while that
is the newest. So consumers append without conditions, share their syncs, and never have to try again.

Promises: no message is claimed by two consumers at once; a claim's number, the offset of the change that made
it, is never used again; at most `max_in_flight` messages are claimed, and below the one that was handed out
last in a partition at most that many are unsettled, but for those that were replayed.

Two clocks: a claim ends by the time since the machine started, which no one can set, and which a claim does
not outlive, since its consumer does not; a message that waits does so by the clock on the wall.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

import msgspec

from storage.state_log import Change
from storage.subscription_changes import (
    CHANGES,
    Acked,
    Buried,
    Claim,
    Claimed,
    Configured,
    Counts,
    Dropped,
    Extended,
    Held,
    Jumped,
    Key,
    Parked,
    Place,
    Placed,
    Replayed,
    Returned,
    SubscriptionSettings,
    Waiting,
)

# Of messages that wait for somebody to look at them; more stop the subscription.
PARKED_MAX = 100_000


class _Snapshot(msgspec.Struct):
    settings: SubscriptionSettings | None
    numbers: int
    counts: Counts
    places: list[tuple[int, Place]]
    claims: list[tuple[int, int, Claim]]
    waiting: list[tuple[int, int, Waiting]]
    parked: list[tuple[int, int, Parked]]


class SubscriptionState:
    """The fold. `accepted` collects what was accepted of the changes made by the consumer `own`."""

    def __init__(self) -> None:
        self.settings: SubscriptionSettings | None = None
        self.places: dict[int, Place] = {}
        self.claims: dict[Key, Claim] = {}
        self.waiting: dict[Key, Waiting] = {}
        self.parked: dict[Key, Parked] = {}
        self.counts = Counts()
        self.own: str | None = None
        self.accepted: set[Key | Held] = set()
        self._numbers = 0
        self._known: dict[tuple[str, int], int] = {}
        # No claim ends before this; it saves looking at all of them.
        self._soonest_ms = 0

    # -- looking ----------------------------------------------------------------------------------------

    def number_of(self, topic_id: str, partition: int) -> int | None:
        """The number of a place, `None` where it is unknown."""
        return self._known.get((topic_id, partition))

    def is_exhausted(self, deliveries: int) -> bool:
        """Whether a message that was delivered so often is not to be delivered again."""
        assert self.settings is not None
        return deliveries >= self.settings.max_deliveries

    def exhausted(self, *, limit: int) -> list[Key]:
        """Messages that wait, not to be delivered again but to be put aside."""
        return list(
            islice((key for key, item in self.waiting.items() if self.is_exhausted(item.deliveries)), limit)
        )

    def awaited(self) -> bool:
        """Whether some message waits for another delivery."""
        return any(not self.is_exhausted(item.deliveries) for item in self.waiting.values())

    def room(self) -> tuple[int, int]:
        """How many messages may be claimed: again, and for the first time."""
        assert self.settings is not None
        again = self.settings.max_in_flight - len(self.claims)
        return max(0, again), max(0, again - len(self.waiting))

    def is_due(
        self, ends: Iterable[tuple[int, int, int]], *, now_ms: int, wall_ms: int, dead: set[str]
    ) -> bool:
        """Whether a claim would be given something, or find a claim that has ended."""
        if any(claim.until_ms <= now_ms or claim.member in dead for claim in self.claims.values()):
            return True
        again, first = self.room()
        if again and any(
            item.is_ready(wall_ms) and not self.is_exhausted(item.deliveries)
            for item in self.waiting.values()
        ):
            return True
        return bool(first) and any(
            end > max(start, self.places[number].next_offset) for number, start, end in ends
        )

    def pause_ms(self, *, now_ms: int, wall_ms: int) -> int | None:
        """How long until a claim ends or a message is ready again; `None` where nothing is awaited."""
        pauses = [claim.until_ms - now_ms for claim in self.claims.values()]
        if self.room()[0]:
            pauses += [
                item.ready_ms - wall_ms for item in self.waiting.values() if not item.is_ready(wall_ms)
            ]
        return max(0, min(pauses)) if pauses else None

    def floor(self, number: int) -> int:
        """All messages of a place below this offset are settled or parked."""
        unsettled = [key[1] for source in (self.claims, self.waiting) for key in source if key[0] == number]
        return min(unsettled, default=self.places[number].next_offset)

    # -- changing ---------------------------------------------------------------------------------------

    def apply(self, change: Change, offset: int) -> None:
        match msgspec.convert(change, CHANGES[change["do"]]):
            case Configured(settings=settings):
                self.settings = settings
            case Placed(places=places):
                self._place(places)
            case Dropped(places=gone):
                self._drop(gone)
            case Claimed() as asked:
                self._claim(asked, number=offset)
            case Acked() as acked:
                self._ack(acked)
            case Returned() as returned:
                self._return(returned)
            case Extended() as extended:
                self._extend(extended)
            case Jumped(place=number, next_offset=next_offset):
                if number in self.places:
                    self.places[number].next_offset = max(next_offset, self.places[number].next_offset)
            case Buried(keys=keys, gone=missing):
                self.counts.dead_lettered += sum(self.waiting.pop(key, None) is not None for key in keys)
                self.counts.gone += sum(self.waiting.pop(key, None) is not None for key in missing)
            case Replayed() as replayed:
                self._replay(replayed)

    def _place(self, places: list[Place]) -> None:
        for place in places:
            identity = place.topic_id, place.partition
            if identity not in self._known:
                self._known[identity] = self._numbers
                self.places[self._numbers] = place
                self._numbers += 1

    def _drop(self, gone: list[tuple[str, int]]) -> None:
        numbers = {self._known.pop(identity) for identity in gone if identity in self._known}
        for number in numbers:
            del self.places[number]
        self.claims = {key: item for key, item in self.claims.items() if key[0] not in numbers}
        self.waiting = {key: item for key, item in self.waiting.items() if key[0] not in numbers}
        self.parked = {key: item for key, item in self.parked.items() if key[0] not in numbers}

    def _claim(self, asked: Claimed, *, number: int) -> None:
        self._end_claims(asked)
        granted = self._claim_again(asked, number)
        for place_number, start, end in asked.ends:
            place = self.places.get(place_number)
            if place is None:
                continue
            first = max(start, place.next_offset)
            room = min(asked.limit - granted, self.room()[1])
            place.next_offset = max(place.next_offset, min(first + max(0, room), max(first, end)))
            for offset in range(first, place.next_offset):
                self.claims[place_number, offset] = Claim(asked.by, number, asked.until_ms, 1)
                granted += 1
        self._soonest_ms = min(self._soonest_ms, asked.until_ms) if self.claims else 0

    def _end_claims(self, asked: Claimed) -> None:
        """Take back what nobody acknowledged in time, and what dead consumers held."""
        dead = set(asked.dead)
        if asked.now_ms < self._soonest_ms and not dead:
            return
        over = [
            key
            for key, claim in self.claims.items()
            if claim.until_ms <= asked.now_ms or claim.member in dead
        ]
        for key in over:
            self._wait(key, Waiting(self.claims.pop(key).deliveries), asked.wall_ms)
        self._soonest_ms = min((claim.until_ms for claim in self.claims.values()), default=asked.until_ms)

    def _claim_again(self, asked: Claimed, number: int) -> int:
        granted = 0
        for key, item in list(self.waiting.items()):
            if granted >= asked.limit or not self.room()[0]:
                break
            if self.is_exhausted(item.deliveries):
                self._wait(key, self.waiting.pop(key), asked.wall_ms)
            elif item.is_ready(asked.wall_ms):
                del self.waiting[key]
                self.claims[key] = Claim(asked.by, number, asked.until_ms, item.deliveries + 1)
                granted += 1
        return granted

    def _wait(self, key: Key, item: Waiting, wall_ms: int) -> None:
        """Let a message wait for its next delivery, or put it aside if it had the last one."""
        assert self.settings is not None
        aside = self.is_exhausted(item.deliveries) and self.settings.dead_letter is None
        if aside and len(self.parked) < PARKED_MAX:
            self.parked[key] = Parked(item.deliveries, wall_ms)
            self.counts.parked += 1
        else:
            # What is to go to the dead-letter topic stays here until the transaction that takes it there.
            self.waiting[key] = item

    def _held(self, by: str, held: Iterable[Held]) -> list[Key]:
        """Those that are still claimed under these numbers."""
        found = []
        for place, offset, number in held:
            claim = self.claims.get((place, offset))
            if claim is not None and claim.number == number:
                found.append((place, offset))
                if by == self.own:
                    self.accepted.add((place, offset, number))
        return found

    def _ack(self, acked: Acked) -> None:
        keys = self._held(acked.by, acked.held)
        for key in keys:
            del self.claims[key]
        if acked.gone:
            self.counts.gone += len(keys)
        else:
            self.counts.acknowledged += len(keys)

    def _return(self, returned: Returned) -> None:
        for key in self._held(returned.by, returned.held):
            deliveries = self.claims.pop(key).deliveries - returned.uncounted
            ready_ms = returned.wall_ms + returned.delay_ms if returned.delay_ms else 0
            self._wait(key, Waiting(deliveries, ready_ms, returned.delay_ms), returned.wall_ms)

    def _extend(self, extended: Extended) -> None:
        for key in self._held(extended.by, extended.held):
            self.claims[key] = msgspec.structs.replace(self.claims[key], until_ms=extended.until_ms)
        self._soonest_ms = min(self._soonest_ms, extended.until_ms)

    def _replay(self, replayed: Replayed) -> None:
        for key in list(self.parked) if replayed.keys is None else replayed.keys:
            if self.parked.pop(key, None) is not None:
                self.waiting[key] = Waiting(0)
                if replayed.by == self.own:
                    self.accepted.add(key)

    # -- all of it --------------------------------------------------------------------------------------

    def snapshot(self) -> object:
        return _Snapshot(
            settings=self.settings,
            numbers=self._numbers,
            counts=self.counts,
            places=list(self.places.items()),
            claims=_listed(self.claims),
            waiting=_listed(self.waiting),
            parked=_listed(self.parked),
        )

    def restore(self, snapshot: object) -> None:
        found = msgspec.convert(snapshot, _Snapshot)
        self.settings, self.counts, self._numbers = found.settings, found.counts, found.numbers
        self.places = dict(found.places)
        self._known = {(place.topic_id, place.partition): number for number, place in found.places}
        self.claims = {(place, offset): item for place, offset, item in found.claims}
        self.waiting = {(place, offset): item for place, offset, item in found.waiting}
        self.parked = {(place, offset): item for place, offset, item in found.parked}
        self._soonest_ms = 0


def _listed(messages: Mapping[Key, object]) -> list[tuple[int, int, Any]]:
    return [(place, offset, item) for (place, offset), item in messages.items()]
