"""What becomes of a subscription's messages, change by change, without a store."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from storage import subscription_state
from storage.subscription_changes import (
    Acked,
    Buried,
    Claimed,
    Configured,
    Dropped,
    Extended,
    Held,
    Jumped,
    Key,
    Place,
    Placed,
    Replayed,
    Returned,
    SubscriptionSettings,
)
from storage.subscription_state import SubscriptionState

END = 100


class Fold:
    """A state, and the log that it is folded from."""

    def __init__(self, *, partitions: int = 1, **settings: Any) -> None:
        self.state = SubscriptionState()
        self.state.own = "me"
        self.offset = 0
        self.say(Configured(settings=SubscriptionSettings(topics=("t",), **settings)))
        self.say(Placed(places=[Place("t", "id", number, 0) for number in range(partitions)]))

    def say(self, change: Any) -> int:
        offset, self.offset = self.offset, self.offset + 1
        self.state.accepted.clear()
        self.state.apply(msgspec.json.decode(msgspec.json.encode(change)), offset)
        return offset

    def claim(
        self,
        limit: int,
        *,
        by: str = "me",
        at_ms: int = 0,
        until_ms: int = 1000,
        wall_ms: int = 0,
        dead: tuple[str, ...] = (),
        ends: list[tuple[int, int, int]] | None = None,
    ) -> list[Held]:
        number = self.say(
            Claimed(
                by=by,
                limit=limit,
                now_ms=at_ms,
                until_ms=until_ms,
                wall_ms=wall_ms,
                ends=[(place, 0, END) for place in self.state.places] if ends is None else ends,
                dead=list(dead),
            )
        )
        return [(*key, number) for key, claim in self.state.claims.items() if claim.number == number]

    def ack(self, held: list[Held], *, by: str = "me") -> int:
        """How many of them counted."""
        self.say(Acked(by=by, held=held))
        return len(self.state.accepted)

    def nack(self, held: list[Held], *, delay_ms: int = 0, wall_ms: int = 0, uncounted: bool = False) -> None:
        self.say(Returned(by="me", held=held, wall_ms=wall_ms, delay_ms=delay_ms, uncounted=uncounted))


def offsets(held: list[Held]) -> list[int]:
    return [offset for _, offset, _ in held]


def test_each_message_is_given_to_one_consumer() -> None:
    fold = Fold()
    assert [0, 1, 2] == offsets(fold.claim(3, by="a"))
    assert [3, 4] == offsets(fold.claim(2, by="b"))
    assert 0 == fold.state.floor(0)


def test_what_is_acknowledged_out_of_order_is_settled_and_the_floor_waits() -> None:
    fold = Fold()
    held = fold.claim(3)
    assert 2 == fold.ack(held[1:])
    assert (0, {(0, 0)}) == (fold.state.floor(0), set(fold.state.claims))
    assert 1 == fold.ack(held[:1])
    assert (3, 3) == (fold.state.floor(0), fold.state.counts.acknowledged)


def test_nothing_is_acknowledged_twice() -> None:
    fold = Fold()
    held = fold.claim(1)
    assert (1, 0) == (fold.ack(held), fold.ack(held))


def test_a_claim_that_nobody_acknowledged_in_time_is_given_to_another_and_its_late_ack_does_not_count() -> (
    None
):
    fold = Fold()
    late = fold.claim(1, until_ms=1000)
    assert [1] == offsets(fold.claim(1, by="b", at_ms=999))
    again = fold.claim(1, by="b", at_ms=1000, until_ms=2000)
    assert [0] == offsets(again)
    assert 2 == fold.state.claims[0, 0].deliveries
    assert 0 == fold.ack(late)
    assert (0, 0) in fold.state.claims
    fold.ack(again, by="b")
    assert (0, 0) not in fold.state.claims


def test_what_a_dead_consumer_held_is_given_to_another_before_its_time() -> None:
    fold = Fold()
    fold.claim(2, by="a")
    assert [0, 1] == offsets(fold.claim(2, by="b", dead=("a",)))


def test_a_claim_that_was_extended_ends_later() -> None:
    fold = Fold()
    held = fold.claim(1, until_ms=1000)
    fold.say(Extended(by="me", held=held, until_ms=5000))
    assert set(held) == fold.state.accepted
    assert [1] == offsets(fold.claim(1, by="b", at_ms=4999, until_ms=9000))
    assert [0] == offsets(fold.claim(1, by="b", at_ms=5000, until_ms=9000))


def test_a_claim_that_was_shortened_ends_sooner() -> None:
    fold = Fold()
    held = fold.claim(1, until_ms=5000)
    fold.say(Extended(by="me", held=held, until_ms=100))
    assert [0] == offsets(fold.claim(1, by="b", at_ms=100))


def test_what_is_given_back_comes_again_before_what_is_new() -> None:
    fold = Fold()
    held = fold.claim(2)
    fold.nack(held[1:])
    assert [1, 2] == offsets(fold.claim(2, by="b"))


def test_a_delay_is_kept() -> None:
    fold = Fold()
    fold.nack(fold.claim(1, ends=[(0, 0, 1)]), delay_ms=500, wall_ms=10_000)
    assert [] == fold.claim(1, wall_ms=10_499, ends=[])
    assert 500 == fold.state.pause_ms(now_ms=0, wall_ms=10_000)
    assert [0] == offsets(fold.claim(1, wall_ms=10_500, ends=[]))


def test_a_clock_that_was_set_back_does_not_make_a_delay_longer() -> None:
    fold = Fold()
    fold.nack(fold.claim(1, ends=[(0, 0, 1)]), delay_ms=500, wall_ms=10_000)
    assert [0] == offsets(fold.claim(1, wall_ms=5_000, ends=[]))


def test_what_was_released_does_not_count_as_delivered() -> None:
    fold = Fold(max_deliveries=1)
    for _ in range(3):
        fold.nack(fold.claim(1, ends=[(0, 0, 1)]), uncounted=True)
    assert {} == fold.state.parked
    assert 1 == fold.state.claims[fold.claim(1, ends=[])[0][:2]].deliveries


def test_a_message_is_parked_after_its_last_delivery() -> None:
    fold = Fold(max_deliveries=2)
    only = [(0, 0, 1)]
    fold.nack(fold.claim(1, ends=only))
    fold.nack(fold.claim(1, ends=only), wall_ms=77)
    assert {(0, 0): (2, 77)} == {
        key: (item.deliveries, item.parked_ms) for key, item in fold.state.parked.items()
    }
    assert [] == fold.claim(1, ends=only)
    assert (1, 1) == (fold.state.floor(0), fold.state.counts.parked)


def test_a_message_whose_last_claim_ended_is_parked() -> None:
    fold = Fold(max_deliveries=1)
    fold.claim(1, ends=[(0, 0, 1)], until_ms=10)
    fold.claim(1, ends=[], at_ms=10)
    assert [(0, 0)] == list(fold.state.parked)


def test_with_a_dead_letter_topic_a_message_waits_until_it_was_taken_there() -> None:
    fold = Fold(max_deliveries=1, dead_letter="dead")
    fold.nack(fold.claim(2, ends=[(0, 0, 2)]))
    assert ([], [(0, 0), (0, 1)]) == (fold.claim(2, ends=[]), fold.state.exhausted(limit=10))
    assert not fold.state.is_due([], now_ms=0, wall_ms=0, dead=set())
    assert not fold.state.awaited()
    fold.say(Buried(keys=[(0, 0)], gone=[(0, 1)]))
    assert ({}, {}) == (fold.state.waiting, fold.state.parked)
    assert (1, 1) == (fold.state.counts.dead_lettered, fold.state.counts.gone)


def test_without_its_dead_letter_topic_it_is_parked() -> None:
    fold = Fold(max_deliveries=1, dead_letter="dead")
    fold.nack(fold.claim(1, ends=[(0, 0, 1)]))
    fold.say(Configured(settings=SubscriptionSettings(topics=("t",), max_deliveries=1)))
    fold.claim(1, ends=[])
    assert [(0, 0)] == list(fold.state.parked)


def test_with_more_deliveries_allowed_it_is_delivered_again() -> None:
    fold = Fold(max_deliveries=1, dead_letter="dead")
    fold.nack(fold.claim(1, ends=[(0, 0, 1)]))
    fold.say(Configured(settings=SubscriptionSettings(topics=("t",), max_deliveries=2, dead_letter="dead")))
    assert [0] == offsets(fold.claim(1, ends=[]))


def test_what_was_parked_is_replayed_from_its_first_delivery_on() -> None:
    fold = Fold(max_deliveries=1)
    fold.nack(fold.claim(3, ends=[(0, 0, 3)]))
    fold.say(Replayed(by="me", keys=[(0, 1), (0, 9)]))
    assert {(0, 1)} == fold.state.accepted
    assert [1] == offsets(fold.claim(9, ends=[]))
    assert 1 == fold.state.claims[0, 1].deliveries
    fold.say(Replayed(by="me"))
    assert [0, 2] == offsets(fold.claim(9, ends=[]))


def test_no_more_is_parked_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscription_state, "PARKED_MAX", 2)
    fold = Fold(max_deliveries=1)
    fold.nack(fold.claim(3, ends=[(0, 0, 3)]))
    assert (2, [(0, 2)]) == (len(fold.state.parked), fold.state.exhausted(limit=10))
    fold.say(Replayed(by="me", keys=[(0, 0)]))
    fold.claim(1, ends=[])
    assert [] == fold.state.exhausted(limit=10)


def test_no_more_are_in_flight_than_allowed() -> None:
    fold = Fold(max_in_flight=3)
    held = fold.claim(10)
    assert [0, 1, 2] == offsets(held)
    assert [] == fold.claim(10)
    assert not fold.state.is_due([(0, 0, END)], now_ms=0, wall_ms=0, dead=set())
    fold.nack(held[:1], delay_ms=1000)
    assert [] == fold.claim(10)
    fold.ack(held[1:2])
    assert [3] == offsets(fold.claim(10))


def test_messages_that_retention_removed_are_not_delivered() -> None:
    fold = Fold()
    assert [7, 8] == offsets(fold.claim(2, ends=[(0, 7, END)]))
    assert [] == fold.claim(1, ends=[(0, 20, 20)])
    assert 20 == fold.state.places[0].next_offset


def test_an_older_view_of_a_partition_takes_nothing_back() -> None:
    fold = Fold()
    fold.claim(5)
    assert [] == fold.claim(5, by="b", ends=[(0, 0, 3)])
    assert 5 == fold.state.places[0].next_offset


def test_a_gap_is_jumped_over_but_never_back() -> None:
    fold = Fold()
    fold.say(Jumped(place=0, next_offset=50))
    fold.say(Jumped(place=0, next_offset=10))
    fold.say(Jumped(place=9, next_offset=10))
    assert [50] == offsets(fold.claim(1))


def test_partitions_are_delivered_in_the_order_that_the_asker_names() -> None:
    fold = Fold(partitions=2)
    held = fold.claim(3, ends=[(1, 0, 2), (0, 0, 2)])
    assert [(1, 0), (1, 1), (0, 0)] == [(place, offset) for place, offset, _ in held]


def test_partitions_are_placed_once_and_their_numbers_are_never_used_again() -> None:
    fold = Fold(partitions=2)
    fold.say(Placed(places=[Place("t", "id", 1, 55), Place("t", "id", 2, 0)]))
    assert (0, 2) == (fold.state.places[1].next_offset, fold.state.number_of("id", 2))
    fold.nack(fold.claim(1, ends=[(2, 0, 1)]))
    fold.say(Dropped(places=[("id", 2), ("other", 0)]))
    assert {} == fold.state.waiting
    fold.say(Placed(places=[Place("t", "new", 0, 0)]))
    assert (3, None) == (fold.state.number_of("new", 0), fold.state.number_of("id", 2))


def test_what_others_said_is_not_reported_as_ones_own() -> None:
    fold = Fold()
    held = fold.claim(1)
    assert 0 == fold.ack(held, by="another")
    assert {} == fold.state.claims


def test_a_pause_lasts_until_the_first_claim_ends() -> None:
    fold = Fold()
    assert None is fold.state.pause_ms(now_ms=0, wall_ms=0)
    fold.claim(1, until_ms=300)
    fold.claim(1, until_ms=200)
    assert 150 == fold.state.pause_ms(now_ms=50, wall_ms=0)


def copy_of(state: SubscriptionState) -> SubscriptionState:
    again = SubscriptionState()
    again.restore(msgspec.json.decode(msgspec.json.encode(state.snapshot())))
    again.own = "me"
    return again


@pytest.mark.parametrize("seed", range(20))
def test_no_message_is_lost_or_in_two_hands_whatever_happens(seed: int) -> None:
    rng = random.Random(seed)
    fold = Fold(partitions=2, max_in_flight=10, max_deliveries=2, dead_letter="dead" if seed % 2 else None)
    settled: set[Key] = set()
    held: list[Held] = []
    now_ms = 0
    for _ in range(400):
        now_ms += rng.choice([0, 0, 5, 40])
        match rng.choice(["claim", "claim", "ack", "nack", "extend", "bury", "replay", "restore"]):
            case "claim":
                dead = ("a",) if rng.random() < 0.1 else ()
                limit = rng.randint(1, 6)
                held += fold.claim(limit, by=rng.choice("abc"), at_ms=now_ms, until_ms=now_ms + 50, dead=dead)
            case "ack":
                some = [held.pop(rng.randrange(len(held))) for _ in range(min(len(held), rng.randint(0, 4)))]
                fold.ack(some)
                accepted = {(place, offset) for place, offset, _ in fold.state.accepted}
                assert settled.isdisjoint(accepted)
                settled |= accepted
            case "nack":
                some = held[: rng.randint(0, 4)]
                fold.nack(some, delay_ms=rng.choice([0, 30]), wall_ms=now_ms, uncounted=rng.random() < 0.2)
            case "extend":
                fold.say(Extended(by="me", held=held[-3:], until_ms=now_ms + 100))
            case "bury":
                keys = fold.state.exhausted(limit=3)
                fold.say(Buried(keys=keys))
                settled |= set(keys)
            case "replay":
                fold.say(Replayed(by="me"))
            case "restore":
                fold.state = copy_of(fold.state)
        state = fold.state
        kinds = [set(state.claims), set(state.waiting), set(state.parked), settled]
        delivered = {(n, offset) for n, place in state.places.items() for offset in range(place.next_offset)}
        assert delivered == set().union(*kinds)
        assert len(delivered) == sum(map(len, kinds))
        assert len(state.claims) <= 10


def test_a_state_that_was_restored_goes_on_alike() -> None:
    first = Fold(partitions=2, max_deliveries=1)
    held = first.claim(6, until_ms=500)
    first.nack(held[:2], wall_ms=3)
    first.ack(held[2:3])
    second = Fold(partitions=2, max_deliveries=1)
    second.state, second.offset = copy_of(first.state), first.offset
    for fold in (first, second):
        fold.claim(4, by="b", at_ms=500, until_ms=900)
        fold.say(Replayed(by="me"))
        fold.claim(4, by="b", at_ms=600, until_ms=900)
    assert first.state.snapshot() == second.state.snapshot()
