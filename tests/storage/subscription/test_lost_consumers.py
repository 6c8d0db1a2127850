"""Consumers of a subscription that are late, stopped or dead: others get what they held, and only that."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from storage.members import now_ns
from storage.store import Store
from storage.subscription_admin import describe_subscription
from storage.subscription_errors import ClaimLostError
from storage.subscription_member import members_path
from tests.storage.subscription.consumers import claim_within, end_of, offsets, publish, subscribed


def test_what_is_not_acknowledged_in_time_is_delivered_to_another_and_the_late_ack_is_refused(
    store: Store,
) -> None:
    publish(store, 1)
    with subscribed(store, ack_timeout_seconds=0.1) as first, subscribed(store) as second:
        (late,) = first.claim(1)
        (again,) = claim_within(second)
        assert (0, 2) == (again.message.offset, again.delivery_count)
        with pytest.raises(ClaimLostError):
            late.ack()
        with pytest.raises(ClaimLostError):
            late.extend()
        again.ack()


def test_what_takes_longer_is_kept_by_extending_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(store, 2)
    ahead_ns = 0
    monkeypatch.setattr("storage.subscription.now_ns", lambda: now_ns() + ahead_ns)
    with subscribed(store, ack_timeout_seconds=1000) as first, subscribed(store) as second:
        kept, let_go = first.claim(2)
        taken = []
        for _ in range(6):
            ahead_ns += 700 * 10**9
            kept.extend()
            taken += second.claim(2)
            second.extend(taken)
        assert [let_go.message.offset] == offsets(taken)
        kept.ack()
        with pytest.raises(ClaimLostError):
            let_go.ack()


def test_two_processes_get_each_message_once(store: Store, workers: Any) -> None:
    publish(store, 150)
    subscribed(store).close()
    first, second = workers(), workers()
    # Both are at it before either has emptied the topic.
    held = [[offset for offset, _ in worker("claim", 5, 0)] for worker in (first, second)]
    assert [5, 5] == [len(some) for some in held]
    first.tell("drain", 3)
    second.tell("drain", 4)
    taken = [first.answer(), second.answer()]
    for worker, some in zip((first, second), held, strict=True):
        worker("ack", *some)
    assert list(range(150)) == sorted(offset for some in held + taken for offset in some)
    assert 150 == describe_subscription(store, "s").counts.acknowledged


def test_what_a_killed_process_held_is_delivered_at_once(store: Store, workers: Any) -> None:
    publish(store, 2)
    with subscribed(store) as subscription:
        doomed = workers()
        assert [[0, 1], [1, 1]] == doomed("claim", 2, 0)
        took: list[float] = []

        def take() -> None:
            assert [0, 1] == offsets(claim_within(subscription, 2))
            took.append(time.monotonic())

        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        assert [] == workers()("claim", 2, 0)  # by now the thread waits
        os.kill(doomed.process.pid, signal.SIGKILL)
        killed = time.monotonic()
        end_of(thread)
        # Well below the 30 s that a claim lasts.
        assert took[0] - killed < 5


def test_a_stopped_process_that_comes_back_is_told_that_its_messages_are_another_s(
    store: Store, workers: Any
) -> None:
    publish(store, 2)
    with subscribed(store, ack_timeout_seconds=0.3) as subscription:
        stopped = workers()
        assert [[0, 1], [1, 1]] == stopped("claim", 2, 0)
        stopped("ack", 0)
        os.kill(stopped.process.pid, signal.SIGSTOP)
        (again,) = claim_within(subscription)
        os.kill(stopped.process.pid, signal.SIGCONT)
        assert {"lost": [1]} == stopped("ack", 1)
        again.ack()
        assert [] == stopped("claim", 1, 0)


def test_the_files_of_dead_consumers_are_removed(store: Store, workers: Any) -> None:
    publish(store, 1)
    with subscribed(store) as subscription:
        doomed = workers()
        doomed("claim", 1, 0)
        os.kill(doomed.process.pid, signal.SIGKILL)
        doomed.process.wait()
        claim_within(subscription)
        directory = Path(members_path(subscription._log.directory))
        subscription.claim(1)
        assert [subscription._name] == [file.name for file in directory.iterdir()]
