"""What the consumers of a subscription do while the power is cut: claim, acknowledge, put aside, die.

Everything that they append is held against the promises, the records of the subscription's log too: what goes
to the dead-letter topic and the change that takes it out of the subscription are one append, all or nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from storage import Store
from storage.dead_letter import dead_letter
from storage.delivery import Delivery
from storage.subscription import Subscription, open_subscription
from storage.subscription_changes import Buried
from tests.power_cut import promises
from tests.power_cut.observed import ObservedStore, lines_of, observed
from tests.power_cut.promises import Line
from tests.power_cut.recorder import die
from tests.power_cut.stage import Stage
from tests.power_cut.workloads import Workload


def _subscribed(store: Store) -> Subscription:
    return open_subscription(store, "s", topics=["t"], max_deliveries=1, dead_letter="dead")


def _prepared(stage: Stage) -> ObservedStore:
    store = observed(stage)
    for name in ("t", "dead"):
        store.create_topic(name)
    for number in range(4):
        store.publish("t", {"n": number}, key=f"key{number}", headers={"h": "v"})
    return store


def _fail(stage: Stage, store: Store, deliveries: Sequence[Delivery]) -> None:
    """Give messages back after their last delivery. They are dead letters if, and only if, buried."""
    letters = [dead_letter(one.message, subscription="s", deliveries=1) for one in deliveries]
    change = msgspec.json.encode(Buried(keys=[one.key for one in deliveries]))
    parts = {
        "dead": [line for letter in letters for line in lines_of(letter)],
        "subscriptions/s": [Line(change, None, None)],
    }
    ids = {name: store.catalog.topic(name).topic_id.hex() for name in parts}
    stage.recorder.mark(promises.Attempted({(ids[name], 0): lines for name, lines in parts.items()}))
    deliveries[0].subscription.nack(deliveries)


def subscribing(stage: Stage) -> None:
    """A subscription comes into being; messages are claimed, acknowledged and parked."""
    store = _prepared(stage)
    stage.begin()
    with open_subscription(store, "s", topics=["t"], max_deliveries=1) as subscription:
        first, second, third = subscription.claim(3)
        first.ack()
        second.nack()
        subscription.replay()
        third.release()
        subscription.claim(1)


def putting_aside(stage: Stage) -> None:
    """Messages go to the dead-letter topic in the transaction that takes them out of the subscription."""
    store = _prepared(stage)
    subscription = _subscribed(store)
    stage.begin()
    _fail(stage, store, subscription.claim(3))
    other_store = observed(stage)
    with _subscribed(other_store) as other:
        _fail(stage, other_store, other.claim(1))
    subscription.close()


def _dies_putting_aside(step: str) -> Workload:
    def work(stage: Stage) -> None:
        """A consumer dies while it puts messages aside; another finishes that, and puts none aside twice."""
        store = _prepared(stage)
        subscription = _subscribed(store)
        deliveries = subscription.claim(2)
        stage.begin()
        # The first append takes the messages back, the second one puts them aside.
        stage.recorder.at("dying", step, die, skip=1)
        with stage.recorder.actor("dying"):
            _fail(stage, store, deliveries)
        assert subscription._presence is not None
        subscription._presence._lock.close()
        stage.bury(store)
        other_store = observed(stage)
        with _subscribed(other_store) as other:
            assert [2, 3] == [delivery.message.offset for delivery in other.claim(9)]
        # A reader that follows shows what a dead writer committed.
        other_store.show_committed("dead", 0, beyond_offset=0)
        dead = [message.value for message in other_store.read("dead")]
        assert [b'{"n":0}', b'{"n":1}'] == dead

    return work


SUBSCRIPTIONS: dict[str, Workload] = {work.__name__: work for work in (subscribing, putting_aside)}
SUBSCRIPTIONS |= {
    f"dies_putting_aside_at_{step}": _dies_putting_aside(step)
    for step in ("head.marked", "journal.written", "apply.index")
}
