"""Subscriptions seen from outside: describing, listing and deleting them.

Promises: describing takes no lock and writes nothing; a subscription that somebody consumes is not deleted.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable

import msgspec

from storage.describe import holder_among, lock_holders
from storage.errors import NotFoundError, TopicChangedError, TopicNotFoundError
from storage.shelf import check_log_name, directory_of
from storage.store import Store
from storage.subscription_changes import Counts, Key, Place, SubscriptionSettings
from storage.subscription_errors import SubscriptionInUseError, SubscriptionNotFoundError
from storage.subscription_log import KIND
from storage.subscription_member import living, members_path
from storage.subscription_opening import find, log_name
from storage.subscription_state import SubscriptionState


class PlaceDescription(msgspec.Struct, frozen=True, kw_only=True):
    """One partition.

    Below `floor` all messages are settled or parked; from `next_offset` on none was delivered: `lag` is how
    many those are. `waiting` are to be delivered again. `end_offset` is `None` where the topic is gone.
    """

    topic: str
    partition: int
    floor: int
    next_offset: int
    end_offset: int | None
    lag: int
    in_flight: int
    waiting: int
    parked: int


class ConsumerDescription(msgspec.Struct, frozen=True, kw_only=True):
    """A consumer that lives; `process` is its process, where that can be known."""

    name: str
    process: int | None
    in_flight: int


class SubscriptionDescription(msgspec.Struct, frozen=True, kw_only=True):
    """One subscription."""

    name: str
    settings: SubscriptionSettings
    lag: int
    in_flight: int
    waiting: int
    parked: int
    counts: Counts
    partitions: list[PlaceDescription]
    consumers: list[ConsumerDescription]


def subscription_names(store: Store) -> list[str]:
    """The names of all subscriptions, sorted; also of one that is just being made."""
    return store.catalog.names(KIND)


def describe_subscription(store: Store, name: str) -> SubscriptionDescription:
    """Describe the subscription of this name. Raises `SubscriptionNotFoundError`, `DamageError`."""
    check_log_name(log_name(name))
    state = SubscriptionState()
    try:
        log = find(store, name, state)
    except TopicChangedError:
        log = None
    if log is None or state.settings is None:
        raise SubscriptionNotFoundError(name, subscription_names(store))
    in_flight, waiting, parked = _per_place(state.claims), _per_place(state.waiting), _per_place(state.parked)
    places = []
    for number, place in state.places.items():
        end_offset = _end_offset(store, place)
        places.append(
            PlaceDescription(
                topic=place.topic,
                partition=place.partition,
                floor=state.floor(number),
                next_offset=place.next_offset,
                end_offset=end_offset,
                lag=max(0, end_offset - place.next_offset) if end_offset is not None else 0,
                in_flight=in_flight[number],
                waiting=waiting[number],
                parked=parked[number],
            )
        )
    places.sort(key=lambda place: (place.topic, place.partition))
    return SubscriptionDescription(
        name=name,
        settings=state.settings,
        lag=sum(place.lag for place in places),
        in_flight=len(state.claims),
        waiting=len(state.waiting),
        parked=len(state.parked),
        counts=state.counts,
        partitions=places,
        consumers=_consumers(log.topic.directory, state),
    )


def _per_place(keys: Iterable[Key]) -> Counter[int]:
    return Counter(number for number, _ in keys)


def _end_offset(store: Store, place: Place) -> int | None:
    try:
        reader = store.reader(place.topic, place.partition)
        return reader.end_offset if reader.topic.topic_id.hex() == place.topic_id else None
    except (NotFoundError, TopicChangedError):
        return None


def _consumers(directory: str, state: SubscriptionState) -> list[ConsumerDescription]:
    holders = lock_holders()
    claims = Counter(claim.member for claim in state.claims.values())
    return [
        ConsumerDescription(
            name=name,
            process=holder_among(holders, os.path.join(members_path(directory), name)),
            in_flight=claims[name],
        )
        for name in living(directory)
    ]


def delete_subscription(store: Store, name: str) -> None:
    """Delete a subscription, durably. Raises `SubscriptionNotFoundError`, `SubscriptionInUseError`."""
    check_log_name(log_name(name))

    def check() -> None:
        consumers = living(directory_of(store.path, log_name(name)))
        if consumers:
            raise SubscriptionInUseError(name, len(consumers))

    try:
        store.delete_topic(log_name(name), check=check)
    except TopicNotFoundError:
        raise SubscriptionNotFoundError(name, subscription_names(store)) from None
