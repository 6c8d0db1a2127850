"""What the writers do while the power is cut. Each workload is small, and about one thing."""

from __future__ import annotations

from collections.abc import Callable

from storage.topic import TopicSettings
from tests.power_cut.stage import BULK_BYTES, Stage

Workload = Callable[[Stage], None]


def create(stage: Stage) -> None:
    """A store and its first topic and message come into being."""
    store = stage.open()
    stage.create(store, settings=TopicSettings(partitions=2))
    stage.publish(store)


def small(stage: Stage) -> None:
    """Small publishes by two writers in turn."""
    store = stage.open()
    stage.create(store)
    stage.begin()
    other = stage.open()
    for _ in range(3):
        stage.publish(store)
        stage.append(other, {("t", 0): stage.lines(3)})
    stage.publish(store, size=1500)


def keyed(stage: Stage) -> None:
    """Keys and headers, in the journal and as bulk."""
    store = stage.open()
    stage.create(store, settings=TopicSettings(partitions=2))
    stage.begin()
    stage.publish(store, keyed=True)
    stage.append(store, {("t", 0): stage.lines(2, size=BULK_BYTES, keyed=True)})
    stage.append(store, {("t", 1): stage.lines(2, size=BULK_BYTES, keyed=True)})
    stage.publish(store)


def bulk(stage: Stage) -> None:
    """Bulk between small publishes."""
    store = stage.open()
    stage.create(store)
    stage.begin()
    stage.publish(store)
    stage.append(store, {("t", 0): stage.lines(2, size=BULK_BYTES)})
    stage.publish(store)
    stage.append(store, {("t", 0): stage.lines(1, size=BULK_BYTES)})


def atomic(stage: Stage) -> None:
    """Appends to several partitions at once, one of them bulk."""
    store = stage.open()
    stage.create(store, settings=TopicSettings(partitions=2))
    stage.create(store, "u")
    stage.begin()
    stage.append(store, {("t", 0): stage.lines(2), ("t", 1): stage.lines(1), ("u", 0): stage.lines(1)})
    stage.append(store, {("t", 1): stage.lines(1), ("u", 0): stage.lines(2, size=BULK_BYTES)})
    stage.append(store, {("t", 0): stage.lines(1, keyed=True), ("u", 0): stage.lines(1)})


def roll(stage: Stage) -> None:
    """Segments of a few messages."""
    store = stage.open()
    stage.create(store, settings=TopicSettings(segment_bytes=100))
    stage.begin()
    for _ in range(5):
        stage.publish(store)
    stage.append(store, {("t", 0): stage.lines(1, size=BULK_BYTES)})
    stage.append(store, {("t", 0): stage.lines(1, size=BULK_BYTES, keyed=True)})
    stage.publish(store)


def checkpoints(stage: Stage) -> None:
    """The journal goes from file to file, and each is checkpointed and used again."""
    store = stage.open()
    stage.create(store, settings=TopicSettings(partitions=2))
    stage.begin()
    stage.publish(store, "t", 1, keyed=True)
    stage.fill_journal(store, times=4)


def retention(stage: Stage) -> None:
    """Old segments go."""
    store = stage.open()
    stage.create(store, settings=TopicSettings(segment_bytes=100, retention_bytes=500))
    stage.begin()
    for _ in range(5):
        stage.publish(store)
    stage.clean(store)
    stage.publish(store)
    stage.publish(store)
    stage.publish(store, size=200)
    stage.clean(store)
    stage.publish(store)


def retention_checkpointed(stage: Stage) -> None:
    """What retention removed is checkpointed, then the journal is used again."""
    store = stage.open()
    stage.create(store, settings=TopicSettings(segment_bytes=4000, retention_bytes=8000))
    stage.create(store, "u")
    stage.fill_journal(store)
    stage.fill_journal(store)
    stage.begin()
    stage.clean(store)
    stage.fill_journal(store, "u", times=2)
    stage.publish(store)


def topics(stage: Stage) -> None:
    """Topics are made, changed, deleted and made again."""
    store = stage.open()
    stage.create(store)
    stage.publish(store)
    stage.begin()
    stage.create(store, "u")
    stage.publish(store, "u")
    stage.alter(store, "u", retention_bytes=10_000_000)
    stage.alter(store, "t", partitions=2)
    stage.publish(store, "t", 1)
    stage.delete(store, "t")
    stage.create(store, "t")
    stage.publish(stage.open(), "t")


WORKLOADS: dict[str, Workload] = {
    work.__name__: work
    for work in (
        create, small, keyed, bulk, atomic, roll, checkpoints, retention, retention_checkpointed, topics,
    )
}  # fmt: skip
