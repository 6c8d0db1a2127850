"""A group's messages in a program: acknowledged, given back, shared, and in a transaction."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.errors import MemberFencedError
from storage.store import Store
from storage.subscriber import Subscriber
from storage.topic import TopicSettings


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store", create=True) as store:
        store.create_topic("t", TopicSettings(partitions=2))
        for number in range(20):
            store.publish("t", number, partition=number % 2)
        yield store


def subscribe(store: Store, *, follow: bool = False, max_in_flight: int = 10_000) -> Subscriber:
    return store.subscribe("t", group="g", follow=follow, max_in_flight=max_in_flight)


def values(subscriber: Subscriber) -> list[int]:
    found = []
    for received in subscriber:
        found.append(int(received.value))
        received.ack()
    return found


def test_what_is_acknowledged_is_not_delivered_again(store: Store) -> None:
    assert list(range(20)) == sorted(values(subscribe(store)))
    assert [] == values(subscribe(store))


def test_what_is_not_acknowledged_is_delivered_again_and_what_came_after_it(store: Store) -> None:
    with subscribe(store) as subscriber:
        for received in subscriber:
            if int(received.value) != 6:
                received.ack()
    assert [6, 8, 10, 12, 14, 16, 18] == values(subscribe(store))


def test_a_message_that_is_given_back_comes_again(store: Store) -> None:
    seen: list[int] = []
    with subscribe(store) as subscriber:
        for received in subscriber:
            seen.append(int(received.value))
            if seen.count(6) == 1 and seen[-1] == 6:
                received.nack()
            else:
                received.ack()
    assert (2, 20) == (seen.count(6), len(set(seen)))
    assert [] == values(subscribe(store))


def test_a_message_counts_with_what_comes_of_it_or_not_at_all(store: Store) -> None:
    store.create_topic("doubled")
    with subscribe(store) as subscriber:
        for received in subscriber:
            with store.transaction() as transaction:
                transaction.publish("doubled", 2 * int(received.value))
                received.ack_in(transaction)
            if int(received.value) == 8:
                break
    for received in subscribe(store):
        with store.transaction() as transaction:
            transaction.publish("doubled", 2 * int(received.value))
            received.ack_in(transaction)
    assert [2 * n for n in range(20)] == sorted(int(message.value) for message in store.read("doubled"))


def test_two_subscribers_share_and_one_that_joins_waits_for_what_is_in_work(store: Store) -> None:
    first = subscribe(store, follow=True)
    held = [next(first) for _ in range(20)]
    second = subscribe(store, follow=True)
    first._round()
    assert [] == second._member.owned
    for received in held:
        received.ack()
    first._round()
    second._round()
    assert (1, 1) == (len(first._member.owned), len(second._member.owned))
    store.publish("t", 100, partition=second._member.owned[0].partition)
    assert b"100" == next(second).value
    first.close()
    second.close()


def test_an_acknowledgement_that_comes_too_late_is_refused(store: Store) -> None:
    first = subscribe(store, follow=True)
    held = next(first)
    first._reader.member._change(lambda members: {})  # what the others do with one that is silent
    first._round()
    with pytest.raises(MemberFencedError):
        held.ack()
    assert held.value in {next(first).value, next(first).value}
    first.close()


def test_no_more_than_the_limit_is_in_flight(store: Store) -> None:
    with subscribe(store, max_in_flight=3) as subscriber:
        held = [next(subscriber) for _ in range(3)]
        assert subscriber._next() is None
        held[0].ack()
        assert subscriber._next() is not None
