"""What a subscription delivers of topics that grow, go, come again, lose messages or are damaged."""

from __future__ import annotations

from pathlib import Path

from storage.reader import Gap
from storage.store import Store
from storage.subscription import open_subscription
from storage.topic import TopicSettings
from tests.storage.subscription.consumers import offsets, publish, subscribed


def test_several_topics_and_partitions_are_delivered_and_new_partitions_too(store: Store) -> None:
    store.create_topic("u", TopicSettings(partitions=2))
    with open_subscription(store, "s", topics=["t", "u"]) as subscription:
        for topic, partition in (("t", 0), ("u", 0), ("u", 1)):
            store.publish(topic, 1, partition=partition)
        first = {(one.message.topic, one.message.partition) for one in subscription.claim(9)}
        store.alter_topic("u", TopicSettings(partitions=3))
        store.publish("u", 1, partition=2)
        (added,) = subscription.claim(9)
    assert ({("t", 0), ("u", 0), ("u", 1)}, 2) == (first, added.message.partition)


def test_a_topic_that_is_made_again_is_delivered_from_its_start(store: Store) -> None:
    publish(store, 2)
    notices: list[str] = []
    with subscribed(store, max_deliveries=1, on_notice=notices.append) as subscription:
        subscription.nack(subscription.claim(2))
        store.delete_topic("t")
        assert [] == subscription.claim(1)
        store.create_topic("t")
        store.publish("t", "new")
        assert [b'"new"'] == [one.message.value for one in subscription.claim(9)]
        assert [] == list(subscription.parked())
    assert [
        "topic 't' was deleted; waiting for a new topic of this name",
        "topic 't' was deleted and created again; delivering the new one",
    ] == notices


def test_messages_of_a_deleted_topic_that_wait_are_given_up(store: Store) -> None:
    publish(store, 2)
    with subscribed(store) as subscription:
        subscription.nack(subscription.claim(2))
        store.delete_topic("t")
        assert [] == subscription.claim(2)
        assert (2, {}) == (subscription._state.counts.gone, subscription._state.waiting)


def test_what_retention_removed_is_not_delivered(store: Store) -> None:
    store.create_topic("small", TopicSettings(segment_bytes=4096, retention_bytes=5000))
    with open_subscription(store, "s", topics=["small"]) as subscription:
        publish(store, 1, "small")
        held = subscription.claim(1)
        for _ in range(10):
            publish(store, 400, "small")
        start = store.reader("small", 0).start_offset
        subscription.nack(held)
    assert start > 1
    with open_subscription(store, "s", topics=["small"]) as other:
        assert [start] == offsets(other.claim(2))
        assert (1, start + 1) == (other._state.counts.gone, other._state.places[0].next_offset)


def test_damaged_messages_are_told_of_and_passed_over(store: Store) -> None:
    for _ in range(3):
        publish(store, 5)
    path = Path(store.topic("t").partition_directory(0), f"{0:020}.jsonl")
    raw = bytearray(path.read_bytes())
    raw[12] ^= 1  # in the second batch
    path.write_bytes(raw)
    gaps: list[Gap] = []
    with subscribed(store, on_gap=gaps.append) as subscription:
        taken = [offset for _ in range(5) for offset in offsets(subscription.claim(3))]
    assert [*range(5), *range(10, 15)] == taken
    assert [(5, 10)] == [(gap.first_offset, gap.end_offset) for gap in gaps]
