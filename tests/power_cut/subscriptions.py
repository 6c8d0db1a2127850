"""What the consumers of a subscription do while the power is cut: claim, acknowledge, put aside, die.

Everything that they append is held against the promises, the records of the subscription's log too: what goes
to the dead-letter topic and the change that takes it out of the subscription are one append, all or nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from storage import Store
from storage.batch import Receipt, RecordBatch
from storage.dead_letter import dead_letter
from storage.delivery import Delivery
from storage.store import Append
from storage.subscription import Subscription, open_subscription
from storage.subscription_changes import Buried
from storage.topic import Topic, TopicSettings
from tests.power_cut import promises
from tests.power_cut.promises import Line
from tests.power_cut.recorder import die
from tests.power_cut.stage import Stage
from tests.power_cut.workloads import Workload


class ObservedStore(Store):
    """A store that marks what is attempted and acknowledged through it."""

    stage: Stage

    def append(self, appends: Sequence[Append]) -> list[Receipt]:
        places = [(self.catalog.topic(one.topic).topic_id.hex(), one.partition) for one in appends]
        lines = [[line for batch in one.batches for line in _lines_of(batch)] for one in appends]
        mark = self.stage.recorder.mark
        mark(promises.Attempted(dict(zip(places, lines, strict=True))))
        receipts = super().append(appends)
        acknowledged = {
            place: dict(zip(range(receipt.base_offset, receipt.last_offset + 1), some, strict=True))
            for place, receipt, some in zip(places, receipts, lines, strict=True)
        }
        mark(promises.Acknowledged(acknowledged))
        return receipts

    def create_topic(
        self, name: str, settings: TopicSettings | None = None, *, if_not_exists: bool = False
    ) -> Topic:
        self.stage.recorder.mark(promises.Creating(name))
        return self._marked(name, super().create_topic(name, settings, if_not_exists=if_not_exists))

    def create_log(self, name: str, settings: TopicSettings) -> Topic:
        self.stage.recorder.mark(promises.Creating(name))
        return self._marked(name, super().create_log(name, settings))

    def _marked(self, name: str, topic: Topic) -> Topic:
        self.stage.recorder.mark(promises.Created(name, topic.topic_id.hex(), topic.settings))
        return topic


def _lines_of(batch: RecordBatch) -> list[Line]:
    absent = [b"null"] * batch.count
    return [
        Line(value, None if key == b"null" else key, None if headers == b"null" else headers)
        for value, key, headers in zip(
            batch.lines.splitlines(), batch.keys or absent, batch.headers or absent, strict=True
        )
    ]


def _opened(stage: Stage) -> ObservedStore:
    """Another process opens the store."""
    store = stage.open()
    store.__class__ = ObservedStore
    assert isinstance(store, ObservedStore)
    store.stage = stage
    return store


def _subscribed(store: Store) -> Subscription:
    return open_subscription(store, "s", topics=["t"], max_deliveries=1, dead_letter="dead")


def _prepared(stage: Stage) -> ObservedStore:
    store = _opened(stage)
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
        "dead": [line for letter in letters for line in _lines_of(letter)],
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
    other_store = _opened(stage)
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
        other_store = _opened(stage)
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
