"""Workloads in which what a dead process left, or what a checkpoint has passed, is met much later."""

from __future__ import annotations

from storage.topic import TopicSettings
from tests.power_cut.deaths import kill
from tests.power_cut.stage import Stage
from tests.power_cut.workloads import Workload


def dies_before_switch(stage: Stage) -> None:
    """A record of a dead writer stands at the end of a file, whole, not counted, and the next is larger."""
    store = stage.open()
    stage.create(store, settings=TopicSettings(partitions=2))
    stage.begin()
    for _ in range(3):
        stage.publish(store, size=3000)
    stage.publish(store, size=1000)
    kill(stage, "journal.written", lambda dying: stage.publish(dying))
    stage.publish(store, size=3000)
    stage.publish(store)


def dies_dirty(stage: Stage) -> None:
    """A writer dies with its record in the journal, and the journal goes round before anyone looks."""
    store = stage.open()
    stage.create(store)
    stage.create(store, "u")
    stage.publish(store)
    stage.begin()
    kill(stage, "journal.moved", lambda dying: stage.publish(dying))
    stage.fill_journal(store, "u", times=2)
    stage.publish(stage.open())


def unsynced_checkpointed(stage: Stage) -> None:
    """Of a topic that does not wait, what a checkpoint has long since made durable."""
    store = stage.open()
    stage.create(store, settings=TopicSettings(durability="os"))
    stage.create(store, "u")
    stage.begin()
    stage.publish(store)
    stage.publish(store, "u")
    stage.fill_journal(store)
    stage.publish(store)


LEFTOVERS: dict[str, Workload] = {
    work.__name__: work for work in (dies_before_switch, dies_dirty, unsynced_checkpointed)
}
