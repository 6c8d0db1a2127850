"""Subscriptions from outside: describing and deleting."""

from __future__ import annotations

import os

import pytest

from storage.store import Store
from storage.subscription_admin import delete_subscription, describe_subscription, subscription_names
from storage.subscription_errors import SubscriptionInUseError, SubscriptionNotFoundError
from tests.storage.subscription.consumers import publish, subscribed


def test_describing_says_who_has_what(store: Store) -> None:
    publish(store, 10)
    with subscribed(store, max_deliveries=1) as subscription, subscribed(store) as other:
        held = subscription.claim(4)
        held[0].nack()
        other.claim(1)[0].nack(delay_seconds=60)
        found = describe_subscription(store, "s")
        assert {(subscription._name, os.getpid(), 3), (other._name, os.getpid(), 0)} == {
            (one.name, one.process, one.in_flight) for one in found.consumers
        }
    assert (5, 3, 0, 2) == (found.lag, found.in_flight, found.waiting, found.parked)
    (place,) = found.partitions
    assert (1, 5, 10) == (place.floor, place.next_offset, place.end_offset)
    assert [] == describe_subscription(store, "s").consumers


def test_deleting_waits_for_nobody_but_refuses_while_somebody_consumes(store: Store) -> None:
    publish(store, 1)
    with subscribed(store) as subscription:
        subscription.claim(1)
        with pytest.raises(SubscriptionInUseError, match="has a consumer; stop what consumes it first"):
            delete_subscription(store, "s")
    idle = subscribed(store)
    delete_subscription(store, "s")
    assert [] == subscription_names(store)
    with pytest.raises(SubscriptionNotFoundError):
        idle.claim(1)
    with pytest.raises(SubscriptionNotFoundError):
        delete_subscription(store, "s")
    subscribed(store)
    with pytest.raises(SubscriptionNotFoundError):
        idle.claim(1)
