"""Opening a subscription: finding or making its log, and settling how it delivers.

Promises: of two processes that make the same subscription at the same moment one does, and the other opens
what that made; a subscription that is found has its settings and its partitions, whenever the power failed.
"""

from __future__ import annotations

import msgspec

from storage.assign import assign
from storage.errors import FencedError, OffsetConflictError, SettingError, TopicNotFoundError
from storage.shelf import check_log_name
from storage.state_log import StateLog, create_log
from storage.store import Store
from storage.subscription_changes import Configured, Place, Placed, SubscriptionSettings
from storage.subscription_errors import SubscriptionNotFoundError, SubscriptionTopicsError
from storage.subscription_log import KIND
from storage.subscription_state import SubscriptionState

_TRIES = 100
_IN_FLIGHT_MAX = 100_000


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What the opener asks for; `None` is what the subscription has, or the default of a new one."""

    topics: tuple[str, ...] = ()
    start: str = "earliest"
    ack_timeout_seconds: float | None = None
    max_deliveries: int | None = None
    dead_letter: str | None = None
    max_in_flight: int | None = None


def log_name(name: str) -> str:
    """The full name of a subscription's log."""
    return f"{KIND}/{name}"


def opened(store: Store, name: str, wanted: Wanted, *, create: bool) -> tuple[SubscriptionState, StateLog]:
    """The state and the log of a subscription that has settings; see `storage.subscription`."""
    check_log_name(log_name(name))
    state = SubscriptionState()
    log = find(store, name, state)
    if state.settings is None:
        if not create:
            raise SubscriptionNotFoundError(name, store.catalog.names(KIND))
        log = _make(store, name, wanted, state, log)
    _configure(store, name, wanted, state, log)
    assert log is not None
    return state, log


def find(store: Store, name: str, state: SubscriptionState) -> StateLog | None:
    """The log of a subscription, read into `state`; `None` where there is none."""
    try:
        return StateLog(store, log_name(name), state)
    except TopicNotFoundError:
        return None


def _make(
    store: Store, name: str, wanted: Wanted, state: SubscriptionState, log: StateLog | None
) -> StateLog:
    if not wanted.topics:
        raise SettingError("topics", "are missing", remedy=f"name the topics that '{name}' is to deliver")
    settings = _changed(store, SubscriptionSettings(topics=wanted.topics), wanted)
    try:
        places = [
            Place(one.topic, store.topic(one.topic).topic_id.hex(), one.partition, one.start_offset)
            for one in assign(store, wanted.topics, offsets=[wanted.start])
        ]
    except ValueError as error:
        raise SettingError("start", f"cannot be {wanted.start!r}", remedy=str(error)) from error
    if log is None:
        # Whoever dies behind this leaves an empty log, which is no subscription until somebody goes on here.
        create_log(store, log_name(name))
        log = StateLog(store, log_name(name), state)
    try:
        changes = [Configured(settings=settings), Placed(places=places)]
        store.append([log.append(changes, expect_offset=0)])
    except OffsetConflictError:
        pass  # somebody else made it
    log.refresh()
    return log


def _configure(
    store: Store, name: str, wanted: Wanted, state: SubscriptionState, log: StateLog | None
) -> None:
    """Change what is wanted otherwise than it is. Raises `SubscriptionTopicsError`."""
    assert log is not None
    for _ in range(_TRIES):
        settings = state.settings
        assert settings is not None
        if wanted.topics and set(wanted.topics) != set(settings.topics):
            raise SubscriptionTopicsError(name, settings.topics, wanted.topics)
        changed = _changed(store, settings, wanted)
        if changed == settings:
            return
        try:
            # The fence: nobody may put a message aside by settings that were replaced before it.
            change = log.append([Configured(settings=changed)], expect_fence=log.fence, fence=log.fence + 1)
            store.append([change])
        except FencedError:
            pass
        log.refresh()


def _changed(store: Store, settings: SubscriptionSettings, wanted: Wanted) -> SubscriptionSettings:
    """The settings with what is wanted otherwise. Raises `SettingError`, `TopicNotFoundError`."""
    changes: dict[str, object] = {}
    if wanted.ack_timeout_seconds is not None:
        if not 0.001 <= wanted.ack_timeout_seconds <= 1e9:
            raise SettingError(
                "ack-timeout", f"is {wanted.ack_timeout_seconds:g} s", remedy="use 1ms or more"
            )
        changes["ack_timeout_ms"] = int(wanted.ack_timeout_seconds * 1000)
    for name, value, most in (
        ("max_deliveries", wanted.max_deliveries, 1_000_000),
        ("max_in_flight", wanted.max_in_flight, _IN_FLIGHT_MAX),
    ):
        if value is not None:
            if not 1 <= value <= most:
                raise SettingError(name.replace("_", "-"), f"is {value}", remedy=f"use 1 to {most}")
            changes[name] = value
    if wanted.dead_letter is not None:
        if wanted.dead_letter:
            store.topic(wanted.dead_letter)
        if wanted.dead_letter in settings.topics:
            raise SettingError(
                "dead-letter",
                f"is '{wanted.dead_letter}', which the subscription itself delivers",
                remedy="use another topic",
            )
        changes["dead_letter"] = wanted.dead_letter or None
    return msgspec.structs.replace(settings, **changes)
