"""Messages of a subscription that are handed to commands, whose exit statuses acknowledge them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest

from aegis_cli.delivery.child import command_of
from aegis_cli.delivery.exec import ExecOptions, Executed, consume_exec
from aegis_cli.delivery.subscription_source import SubscriptionSource
from storage.delivery import Delivery
from storage.store import Store
from storage.subscription import Subscription, open_subscription
from tests.cli.exec.commands import Commands, fill
from tests.cli.processes import DEADLINE_SECONDS

ACK_TIMEOUT_SECONDS = 0.6


def subscribed(commands: Commands, script: str, *, batch: int = 1, **options: Any) -> Executed:
    given = ExecOptions(
        command=command_of(f"cd '{commands.directory}'; {script}", shell=True),
        **{"backoff_seconds": 0.01, "batch": batch, **options},
    )
    with open_subscription(
        commands.store, "s", topics=["t"], ack_timeout_seconds=ACK_TIMEOUT_SECONDS, max_deliveries=3
    ) as subscription:
        source = SubscriptionSource(
            subscription, follow=False, batch=batch, on_notice=commands.notices.append
        )
        return consume_exec(source, given, on_notice=commands.notices.append)


def test_an_exit_status_acknowledges_messages_of_a_subscription(store: Store, commands: Commands) -> None:
    fill(store, 20)
    script = 'cat >> values; echo "$AEGIS_GROUP $AEGIS_DELIVERY_COUNT" >> told'
    assert Executed(records=20) == subscribed(commands, script, batch=4)
    assert [f'{{"n":{number}}}' for number in range(20)] == commands.lines("values")
    assert {"s 1"} == set(commands.lines("told"))
    assert 0 == subscribed(commands, "true").records


def test_what_fails_of_a_subscription_is_delivered_again_and_parked_at_last(
    store: Store, commands: Commands
) -> None:
    fill(store, 3)
    script = 'echo "$AEGIS_OFFSET $AEGIS_DELIVERY_COUNT" >> tries; [ $AEGIS_OFFSET != 1 ]'
    done = subscribed(commands, script)
    assert (2, 3) == (done.records, done.failed)
    assert ["0 1", "1 1", "1 2", "1 3", "2 1"] == sorted(commands.lines("tries"))
    assert "offset 1: exit status 1; given back after delivery 1" in commands.notices[0]
    with open_subscription(store, "s", create=False) as subscription:
        assert [1] == [parked.message.offset for parked in subscription.parked()]


def test_a_command_of_a_subscription_may_take_longer_than_the_acknowledgement_timeout(
    store: Store, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store, 2)
    began = time.monotonic()
    extend = Subscription.extend

    def noted(subscription: Subscription, deliveries: Sequence[Delivery]) -> None:
        extend(subscription, deliveries)
        if len(deliveries) == 2 and time.monotonic() > began + 1.5 * ACK_TIMEOUT_SECONDS:
            (commands.directory / "long-enough").touch()

    monkeypatch.setattr(Subscription, "extend", noted)
    script = "until [ -e long-enough ]; do sleep 0.01; done; echo x >> done"
    assert Executed(records=2) == subscribed(commands, script, parallel=2, timeout_seconds=DEADLINE_SECONDS)
    assert (["x", "x"], []) == (commands.lines("done"), commands.notices)


def test_a_limit_leaves_the_rest_of_a_claim_to_others(store: Store, commands: Commands) -> None:
    fill(store, 10)
    assert 3 == subscribed(commands, "cat >> values", batch=5, limit=3).records
    assert 7 == subscribed(commands, 'cat >> values; [ "$AEGIS_DELIVERY_COUNT" = 1 ]').records
    assert [f'{{"n":{number}}}' for number in range(10)] == commands.lines("values")
