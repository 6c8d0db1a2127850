"""How a subscription is made, opened again with its settings, and refused."""

from __future__ import annotations

import threading
from typing import Any

import msgspec
import pytest

from storage import state_log
from storage.errors import InvalidNameError, SettingError, TopicNotFoundError
from storage.store import Store
from storage.subscription import open_subscription
from storage.subscription_admin import describe_subscription, subscription_names
from storage.subscription_errors import SubscriptionNotFoundError, SubscriptionTopicsError
from tests.storage.subscription.consumers import (
    DEADLINE_SECONDS,
    at_once,
    end_of,
    offsets,
    publish,
    subscribed,
)


@pytest.mark.parametrize(("start", "expected"), [("earliest", [0, 1]), ("latest", [2]), ("-1", [1, 2])])
def test_a_new_subscription_begins_where_it_is_told(store: Store, start: str, expected: list[int]) -> None:
    publish(store, 2)
    with subscribed(store, start=start) as subscription:
        publish(store, 1)
        assert expected == offsets(subscription.claim(2))


def test_what_exists_keeps_its_settings_unless_they_are_given(store: Store) -> None:
    subscribed(store, max_deliveries=3, ack_timeout_seconds=1.5)
    kept = subscribed(store).settings
    assert (3, 1500, 1000) == (kept.max_deliveries, kept.ack_timeout_ms, kept.max_in_flight)
    assert (3, 7) == (
        subscribed(store, max_in_flight=7).settings.max_deliveries,
        open_subscription(store, "s", create=False).settings.max_in_flight,
    )
    store.create_topic("dead")
    assert "dead" == subscribed(store, dead_letter="dead").settings.dead_letter
    assert None is subscribed(store, dead_letter="").settings.dead_letter


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"max_deliveries": 0}, SettingError),
        ({"max_in_flight": 0}, SettingError),
        ({"ack_timeout_seconds": 0.0}, SettingError),
        ({"dead_letter": "t"}, SettingError),
        ({"start": "soon"}, SettingError),
        ({"dead_letter": "nothing"}, TopicNotFoundError),
        ({"topics": ["nothing"]}, TopicNotFoundError),
        ({"topics": []}, SettingError),
    ],
)
def test_what_cannot_be_makes_no_subscription(
    store: Store, options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        open_subscription(store, "s", **{"topics": ["t"], **options})
    assert [] == subscription_names(store)


def test_a_subscription_that_is_not_there_is_named_with_its_neighbour(store: Store) -> None:
    subscribed(store, "mailer")
    with pytest.raises(
        SubscriptionNotFoundError, match="subscription 'mailr' not found; did you mean 'mailer'"
    ):
        open_subscription(store, "mailr", create=False)
    with pytest.raises(SubscriptionNotFoundError, match="'aegis subscription list' shows all"):
        describe_subscription(store, "nothing")
    with pytest.raises(InvalidNameError):
        subscribed(store, "../s")


def test_a_subscription_is_not_opened_for_other_topics(store: Store) -> None:
    store.create_topic("u")
    subscribed(store)
    with pytest.raises(SubscriptionTopicsError, match="delivers 't', not 't', 'u'"):
        open_subscription(store, "s", topics=["t", "u"])


def test_a_making_that_was_cut_short_is_finished_by_the_next(store: Store) -> None:
    state_log.create_log(store, "subscriptions/s")
    with pytest.raises(SubscriptionNotFoundError):
        open_subscription(store, "s", create=False)
    publish(store, 1)
    assert [0] == offsets(subscribed(store).claim(1))


def test_many_that_make_it_at_once_make_one(store: Store) -> None:
    publish(store, 40)
    taken: list[int] = []
    barrier = threading.Barrier(4)

    def work(_number: int) -> None:
        barrier.wait(timeout=DEADLINE_SECONDS)
        with subscribed(store) as subscription:
            subscription.stop_at_end()
            for delivery in subscription:
                taken.append(delivery.message.offset)
                delivery.ack()

    end_of(*at_once(work, 4))
    assert list(range(40)) == sorted(taken)
    assert ["s"] == subscription_names(store)
    # Only one of them said how it delivers and from where: another would have begun anew.
    changes = [msgspec.json.decode(message.value)["do"] for message in store.read("subscriptions/s")]
    assert (1, 1) == (changes.count("configure"), changes.count("place"))
