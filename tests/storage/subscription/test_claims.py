"""Messages of a subscription that are claimed, and then acknowledged, given back or released."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from storage.store import Store
from storage.subscription_admin import describe_subscription
from storage.subscription_errors import ClaimLostError
from storage.subscription_member import members_path
from storage.watch import Watch, open_watch
from tests.cli.processes import wait_for
from tests.storage.subscription.consumers import at_once, claim_within, end_of, offsets, publish, subscribed


def test_messages_are_claimed_in_order_and_come_with_all_that_belongs_to_them(store: Store) -> None:
    store.publish("t", {"id": 1}, key="k", headers={"h": "v"}, timestamp_ms=7)
    store.publish("t", {"id": 2})
    with subscribed(store) as subscription:
        first, second = subscription.claim(5)
        message = first.message
        assert (b'{"id":1}', b'"k"', 7, 1) == (
            message.value,
            message.key,
            message.timestamp_ms,
            first.delivery_count,
        )
        assert (1, b'{"id":2}') == (second.message.offset, second.message.value)
        first.ack()
        second.ack()
        assert [] == subscription.claim(5)


def test_two_consumers_share_one_partition(store: Store) -> None:
    publish(store, 6)
    with subscribed(store) as first, subscribed(store) as second:
        assert [0, 1] == offsets(first.claim(2))
        assert [2, 3, 4] == offsets(second.claim(3))
        assert [5] == offsets(first.claim(2))


def test_a_batch_is_acknowledged_in_one_record(store: Store) -> None:
    publish(store, 100)
    with subscribed(store) as subscription:
        deliveries = subscription.claim(100)
        before = store.reader("subscriptions/s", 0).end_offset
        subscription.ack(deliveries)
        assert before + 1 == store.reader("subscriptions/s", 0).end_offset
    assert 100 == describe_subscription(store, "s").counts.acknowledged


def test_acknowledgements_of_many_threads_share_their_records(store: Store) -> None:
    publish(store, 400)
    with subscribed(store) as subscription:
        deliveries = subscription.claim(400)
        before = store.journal.end.sequence
        with subscription._mutex:
            threads = at_once(lambda number: deliveries[number].ack(), 8)
            wait_for(lambda: len(subscription._log._queue) == 8)
        end_of(*threads)
        assert before + 1 == store.journal.end.sequence

        def work(number: int) -> None:
            for delivery in deliveries[8 + number :: 8]:
                delivery.ack()

        end_of(*at_once(work, 8))
    found = describe_subscription(store, "s")
    assert (400, 0, 400) == (found.counts.acknowledged, found.in_flight, found.partitions[0].floor)


def test_what_was_nacked_comes_again_first_and_is_counted(store: Store) -> None:
    publish(store, 3)
    with subscribed(store) as subscription:
        first, _ = subscription.claim(2)
        first.nack()
        again = subscription.claim(5)
        assert [(0, 2), (2, 1)] == [(one.message.offset, one.delivery_count) for one in again]
        with pytest.raises(ClaimLostError):
            first.ack()


def test_a_nack_with_a_delay_comes_again_after_it(store: Store) -> None:
    publish(store, 1)
    with subscribed(store) as subscription:
        began = time.monotonic()
        subscription.claim(1)[0].nack(delay_seconds=0.2)
        assert [] == subscription.claim(1)
        assert [0] == offsets(claim_within(subscription))
        assert time.monotonic() - began >= 0.19


def test_what_was_released_was_not_delivered(store: Store) -> None:
    publish(store, 1)
    with subscribed(store, max_deliveries=1) as subscription:
        for _ in range(3):
            subscription.claim(1)[0].release()
        assert [1] == [delivery.delivery_count for delivery in subscription.claim(1)]


def test_some_of_a_batch_may_be_lost_and_the_rest_counts(store: Store) -> None:
    publish(store, 3)
    with subscribed(store) as subscription:
        deliveries = subscription.claim(3)
        deliveries[1].nack()
        with pytest.raises(
            ClaimLostError, match="offset 1 of topic 't' partition 0 is not claimed"
        ) as caught:
            subscription.ack(deliveries)
        assert (("t", 0, 1),) == caught.value.messages
        assert {(0, 1)} == set(subscription._state.waiting)


def waits_of(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """For how many seconds, at most, each wait of a consumer was begun."""
    waits: list[float] = []

    def opened() -> Watch:
        watch = open_watch()
        wait = watch.wait

        def noted(seconds: float) -> bool:
            waits.append(seconds)
            return wait(seconds)

        watch.wait = noted  # type: ignore[method-assign]
        return watch

    monkeypatch.setattr("storage.subscription.open_watch", opened)
    return waits


def test_a_claim_waits_for_a_message(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with subscribed(store) as subscription:
        waits = waits_of(monkeypatch)

        def publish_then() -> None:
            wait_for(lambda: waits)
            store.publish("t", 1)

        thread = threading.Thread(target=publish_then, daemon=True)
        thread.start()
        assert [0] == offsets(claim_within(subscription))
        end_of(thread)


def test_a_claim_that_nothing_came_for_ends_at_its_time(store: Store) -> None:
    with subscribed(store) as subscription:
        began = time.monotonic()
        assert [] == subscription.claim(1, timeout_seconds=0.05)
        assert 0.05 <= time.monotonic() - began < 5


def test_a_consumer_that_closes_gives_back_what_it_held(store: Store) -> None:
    publish(store, 2)
    with subscribed(store) as other:
        with subscribed(store) as subscription:
            subscription.claim(2)
        assert [(0, 2), (1, 2)] == [(one.message.offset, one.delivery_count) for one in other.claim(2)]
        (file,) = Path(members_path(other._log.directory)).iterdir()
        assert other._name == file.name


def test_iterating_ends_after_what_was_there(store: Store) -> None:
    publish(store, 3)
    with subscribed(store) as subscription:
        subscription.stop_at_end()
        publish(store, 2)
        seen = []
        for delivery in subscription:
            seen.append(delivery.message.offset)
            if seen == [0]:
                delivery.nack(delay_seconds=0.05)
            else:
                delivery.ack()
        assert ([0, 1, 2, 0], True) == (seen, subscription.drained)
    with subscribed(store) as again:
        assert [3, 4] == offsets(again.claim(9))


def test_no_more_are_in_flight_than_allowed(store: Store) -> None:
    publish(store, 10)
    with subscribed(store, max_in_flight=4) as first, subscribed(store) as second:
        held = first.claim(3)
        assert [3] == offsets(second.claim(9))
        assert [] == second.claim(9)
        first.ack(held)
        assert [4, 5, 6] == offsets(second.claim(9))
