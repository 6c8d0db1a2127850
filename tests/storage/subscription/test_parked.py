"""Messages that were delivered too often: they are parked and replayed, or go to the dead-letter topic."""

from __future__ import annotations

import json

import pytest

from storage.store import Store
from storage.subscription_admin import describe_subscription
from storage.subscription_errors import MessageNotParkedError, ParkedFullError
from storage.topic import TopicSettings
from tests.storage.subscription.consumers import at_once, end_of, fail, offsets, publish, subscribed


def test_a_message_is_parked_after_its_last_delivery_and_replayed(store: Store) -> None:
    publish(store, 3)
    with subscribed(store, max_deliveries=2) as subscription:
        fail(subscription)
        parked = list(subscription.parked())
        assert [(0, 2, b"0"), (1, 2, b"1"), (2, 2, b"2")] == [
            (one.offset, one.deliveries, one.message and one.message.value) for one in parked
        ]
        assert 1 == subscription.replay([("t", 0, 1)])
        assert [(1, 1)] == [(one.message.offset, one.delivery_count) for one in subscription.claim(9)]
        assert (2, 0) == (subscription.replay(), subscription.replay())
        assert [0, 2] == offsets(subscription.claim(9))


def test_a_message_that_is_not_parked_cannot_be_replayed(store: Store) -> None:
    publish(store, 3)
    with subscribed(store, max_deliveries=1) as subscription:
        subscription.nack(subscription.claim(1))
        for wrong in (("t", 0, 2), ("t", 1, 0), ("u", 0, 0)):
            with pytest.raises(MessageNotParkedError):
                subscription.replay([("t", 0, 0), wrong])
        assert 0 == subscription.replay([])
        assert [0] == [one.offset for one in subscription.parked()]


def test_a_message_goes_to_the_dead_letter_topic_with_its_key_and_where_it_came_from(store: Store) -> None:
    store.create_topic("dead", TopicSettings(partitions=2))
    store.publish("t", {"id": 1}, key="k", headers={"h": "v"})
    store.publish("t", {"id": 2})
    with subscribed(store, max_deliveries=2, dead_letter="dead") as subscription:
        fail(subscription)
        assert [] == list(subscription.parked())
    dead = sorted(store.read("dead"), key=lambda message: message.value)
    assert [(b'{"id":1}', b'"k"'), (b'{"id":2}', None)] == [(one.value, one.key) for one in dead]
    headers = [[(item["key"], item["value"]) for item in json.loads(one.headers or b"")] for one in dead]
    assert ("h", "v") == headers[0][0]
    assert {
        "aegis-subscription": "s",
        "aegis-topic": "t",
        "aegis-partition": "0",
        "aegis-offset": "1",
        "aegis-timestamp": str(list(store.read("t"))[1].timestamp_ms),
        "aegis-deliveries": "2",
    } == dict(headers[1])
    found = describe_subscription(store, "s")
    assert (2, 0, 2) == (found.counts.dead_lettered, found.waiting, found.partitions[0].floor)


def test_many_consumers_take_each_message_to_the_dead_letter_topic_once(store: Store) -> None:
    store.create_topic("dead")
    publish(store, 100)
    subscribed(store, max_deliveries=2, dead_letter="dead").close()

    def work(_number: int) -> None:
        with subscribed(store) as subscription:
            subscription.stop_at_end()
            for delivery in subscription:
                delivery.nack()

    end_of(*at_once(work, 4))
    with subscribed(store) as subscription:
        fail(subscription)
    assert list(range(100)) == sorted(int(message.value) for message in store.read("dead"))
    assert 100 == describe_subscription(store, "s").counts.dead_lettered


def test_a_subscription_that_parked_too_much_says_so(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.subscription_state.PARKED_MAX", 2)
    monkeypatch.setattr("storage.subscription_parking.PARKED_MAX", 2)
    publish(store, 4)
    with subscribed(store, max_deliveries=1, max_in_flight=1) as subscription:
        with pytest.raises(ParkedFullError):
            fail(subscription)
        subscription.replay([("t", 0, 0)])
        assert [0] == offsets(subscription.claim(9))
