"""The log in which a subscription keeps what became of its messages."""

from __future__ import annotations

import pytest

from storage import state_log
from storage.store import Store
from storage.verify import verify
from tests.storage.subscription.consumers import offsets, publish, subscribed


def test_a_shortened_log_gives_the_same_subscription(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_log, "_RECORDS_BETWEEN_SNAPSHOTS", 10)
    monkeypatch.setattr(state_log, "SEGMENT_BYTES", 4096)
    publish(store, 200)
    taken = []
    with subscribed(store, max_deliveries=1) as subscription:
        subscription.nack(subscription.claim(1))
        for _ in range(99):
            (delivery,) = subscription.claim(1)
            taken.append(delivery.message.offset)
            delivery.ack()
    assert store.reader("subscriptions/s", 0).start_offset > 0
    with subscribed(store) as again:
        assert (1, 99, 100) == (
            len(list(again.parked())),
            again._state.counts.acknowledged,
            offsets(again.claim(1))[0],
        )
    assert [] == [finding for finding in verify(store.path) if finding.is_damage]
