"""A store that marks by itself what is attempted and acknowledged, for workloads that go through engines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from storage import Store
from storage.batch import Receipt, RecordBatch
from storage.store import Append
from storage.topic import Topic, TopicSettings
from tests.power_cut import promises
from tests.power_cut.promises import Line
from tests.power_cut.stage import Stage


class ObservedStore(Store):
    """A store that marks what is attempted and acknowledged through it."""

    stage: Stage

    def append(self, appends: Sequence[Append]) -> list[Receipt]:
        places = [(self.catalog.topic(one.topic).topic_id.hex(), one.partition) for one in appends]
        lines = [[line for batch in one.batches for line in lines_of(batch)] for one in appends]
        mark = self.stage.recorder.mark
        mark(promises.Attempted(dict(zip(places, lines, strict=True))))
        receipts = super().append(appends)
        acknowledged = {
            place: dict(zip(range(receipt.base_offset, receipt.last_offset + 1), some, strict=True))
            for place, receipt, some in zip(places, receipts, lines, strict=True)
        }
        mark(promises.Acknowledged(acknowledged))
        return receipts

    def publish(self, topic: str, value: object, **options: Any) -> Receipt:
        number, batch = self.message(topic, value, **options)
        return self.append([Append(topic=topic, partition=number, batches=[batch])])[0]

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


def lines_of(batch: RecordBatch) -> list[Line]:
    """The records of a batch one by one."""
    absent = [b"null"] * batch.count
    return [
        Line(value, None if key == b"null" else key, None if headers == b"null" else headers)
        for value, key, headers in zip(
            batch.lines.splitlines(), batch.keys or absent, batch.headers or absent, strict=True
        )
    ]


def observed(stage: Stage) -> ObservedStore:
    """Another process opens the store; what it appends is marked."""
    store = stage.open()
    store.__class__ = ObservedStore
    assert isinstance(store, ObservedStore)
    store.stage = stage
    return store
