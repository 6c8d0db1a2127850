"""What writers do that die, or that act between two steps of one another, before the power is cut."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

from storage import Store
from storage.errors import LockTimeoutError, OffsetConflictError
from storage.store import Append
from storage.topic import TopicSettings
from tests.power_cut.recorder import die
from tests.power_cut.stage import BULK_BYTES, Stage, batch_of
from tests.power_cut.workloads import Workload

_STEPS = (
    "head.marked", "journal.append", "journal.written", "journal.moved", "append.released",
    "journal.sync", "journal.synced", "append.durable", "apply.index", "applied",
)  # fmt: skip
_BULK_STEPS = (
    "head.marked",
    "bulk.written",
    "bulk.synced",
    "journal.written",
    "journal.moved",
    "append.durable",
)


def kill(stage: Stage, step: str, work: Callable[[Store], None], *, skip: int = 0) -> None:
    """A writer opens the store, and dies at a step of its work."""
    store = stage.open()
    stage.recorder.at("dying", step, die, skip=skip)
    with stage.recorder.actor("dying"):
        work(store)
    stage.bury(store)


def _dies_at(step: str, size: int) -> Workload:
    def work(stage: Stage) -> None:
        """A writer dies in the middle of an append to two partitions; others go on."""
        store = stage.open()
        stage.create(store, settings=TopicSettings(partitions=2))
        stage.begin()
        stage.publish(store)
        lines = stage.lines(1, size=size, keyed=True)
        kill(stage, step, lambda dying: _ignore(stage.append(dying, {("t", 0): lines, ("t", 1): lines})))
        stage.publish(store, "t", 1)
        stage.append(store, {("t", 0): stage.lines(1, size=30)})

    return work


def _dies_small_at(step: str) -> Workload:
    def work(stage: Stage) -> None:
        """A writer dies in its second append, which is a small one as most are; others go on."""
        store = stage.open()
        stage.create(store)
        stage.begin()
        stage.publish(store)

        def publish(dying: Store) -> None:
            for _ in range(2):
                stage.publish(dying, keyed=True)

        kill(stage, step, publish, skip=1)
        stage.publish(store)
        stage.publish(store, keyed=True)

    return work


def _ignore(_: object) -> None: ...


def dies_in_roll(stage: Stage) -> None:
    """A writer dies between making a segment and using it; the next one's message would fit the old one."""
    store = stage.open()
    stage.create(store, settings=TopicSettings(segment_bytes=200))
    stage.publish(store)
    stage.begin()
    kill(stage, "sync_directory.SEGMENT_CREATE", lambda dying: stage.publish(dying, size=400))
    stage.publish(store, size=4)
    stage.publish(store, size=4)


def refused_after_roll(stage: Stage) -> None:
    """An append to two partitions begins a segment in the first and is refused by the second."""
    store = stage.open()
    stage.create(store, settings=TopicSettings(partitions=2, segment_bytes=200))
    stage.publish(store)
    stage.begin()
    lines = stage.lines(1, size=400)
    with contextlib.suppress(OffsetConflictError):
        store.append(
            [
                Append(topic="t", partition=0, batches=[batch_of(lines)]),
                Append(topic="t", partition=1, batches=[batch_of(lines)], expect_offset=7),
            ]
        )
    stage.publish(store, size=4)
    stage.publish(store, size=4)


def checkpoint_before_commit(stage: Stage) -> None:
    """The file that the journal has left is recycled before the first commit in the next one is durable."""
    store, other = stage.open(), stage.open()
    stage.create(store)
    stage.begin()
    recorder = stage.recorder

    def switched() -> None:
        recorder.at("writer", "append.released", lambda: stage.clean(other))

    recorder.at("writer", "journal.switched", switched)
    with recorder.actor("writer"):
        stage.fill_journal(store)


def dies_after_switch(stage: Stage) -> None:
    """A writer dies right behind the switch to another file; its successors check-point and go on."""
    store = stage.open()
    stage.create(store)
    stage.begin()
    kill(stage, "journal.switched", lambda dying: stage.fill_journal(dying))
    stage.clean(store)
    stage.publish(store)


def moved(stage: Stage) -> None:
    """A store is recovered while its newest records are in memory only: what that shows must last."""
    store = stage.open()
    stage.create(store)
    stage.begin()
    stage.publish(store, keyed=True)
    kill(stage, "append.released", lambda dying: stage.publish(dying))
    stage.bury(store)
    with stage.moved():
        stage.publish(stage.open(), keyed=True)


def moved_bulk(stage: Stage) -> None:
    """The same, with an append that was not committed, which recovery lays aside."""
    store = stage.open()
    stage.create(store, settings=TopicSettings(segment_bytes=5000))
    stage.begin()
    stage.publish(store)
    kill(stage, "bulk.written", lambda dying: stage.publish(dying, size=BULK_BYTES, keyed=True))
    stage.bury(store)
    with stage.moved():
        stage.publish(stage.open(), size=4500)


def moved_after_trim(stage: Stage) -> None:
    """The same, with segments whose removal is not durable."""
    store = stage.open()
    stage.create(store, settings=TopicSettings(segment_bytes=100, retention_bytes=500))
    for _ in range(4):
        stage.publish(store)
    stage.begin()
    stage.clean(store)
    stage.bury(store)
    with stage.moved():
        stage.publish(stage.open())
        stage.fill_journal(stage.open())


def dies_syncing(stage: Stage) -> None:
    """A syncer dies; the file that it was at is recycled while another rewrites it."""
    store = stage.open()
    stage.create(store)
    stage.create(store, "u")
    stage.begin()
    kill(stage, "journal.sync", lambda dying: stage.publish(dying))
    recorder = stage.recorder
    rewriting, other = stage.open(), stage.open(lock_wait_seconds=0.02)

    def go_round() -> None:
        recorder.at("rewriting", "write", recycle)

    def recycle() -> None:
        # Nobody may append while the file is rewritten; where it can be done, it must do no harm.
        with contextlib.suppress(LockTimeoutError):
            stage.fill_journal(other, "u", times=2)
            stage.publish(other, "u")

    recorder.at("rewriting", "append.released", go_round)
    with recorder.actor("rewriting"):
        stage.publish(rewriting, size=3000)
    stage.publish(store)


def dies_trimming(stage: Stage) -> None:
    """A process dies between the removals of retention."""
    store = stage.open()
    stage.create(store, settings=TopicSettings(segment_bytes=100))
    for _ in range(6):
        stage.publish(store)
    stage.alter(store, "t", retention_bytes=500)
    stage.begin()
    kill(stage, "trim.unlinked", stage.clean, skip=1)
    stage.publish(store, size=4)


def dies_deleting(stage: Stage) -> None:
    """A process dies between the removals of a topic; another topic of that name is made."""
    store = stage.open()
    stage.create(store)
    stage.create(store, "u")
    stage.publish(store)
    stage.begin()
    kill(stage, "unlink", lambda dying: stage.delete(dying, "t"), skip=1)
    stage.create(store)
    stage.publish(stage.open())
    stage.delete(store, "u")


def dies_creating(stage: Stage) -> None:
    """A process dies while it makes a topic, another while it adds a partition."""
    store = stage.open()
    stage.create(store)
    stage.begin()
    kill(stage, "topic.create", lambda dying: stage.create(dying, "u"))
    kill(stage, "rename", lambda dying: stage.alter(dying, "t", partitions=2))
    stage.create(store, "u")
    stage.alter(store, "t", partitions=2)
    stage.publish(store, "t", 1)


def switches_over_another(stage: Stage) -> None:
    """A writer's record is the last of its file, and not yet durable when another goes on in the next."""
    store, other = stage.open(), stage.open()
    stage.create(store, settings=TopicSettings(partitions=2))
    stage.begin()
    for _ in range(3):
        stage.publish(store, size=3000)
    stage.recorder.at("first", "append.released", lambda: stage.publish(other, "t", 1, size=3000))
    with stage.recorder.actor("first"):
        stage.publish(store, size=1000)


def frees_two_files(stage: Stage) -> None:
    """One checkpoint recycles two files, the second full of what came after the first."""
    store, other = stage.open(), stage.open()
    stage.create(store, settings=TopicSettings(durability="os"))
    stage.create(store, "u")
    stage.begin()
    with stage.maintained(other):
        stage.fill_journal(store, "u", times=1)
        stage.publish(store)
        stage.fill_journal(store, "u", times=1)
    stage.clean(other)


def unsynced(stage: Stage) -> None:
    """A topic that does not wait for the disk, beside one that does."""
    store = stage.open()
    stage.create(store, settings=TopicSettings(durability="os", segment_bytes=300))
    stage.create(store, "u")
    stage.begin()
    for _ in range(3):
        stage.publish(store)
        stage.publish(store)
        stage.publish(store, "u")
    stage.publish(store, size=BULK_BYTES)
    stage.publish(store)


def made_to_wait(stage: Stage) -> None:
    """A topic that does not wait for the disk is made to: what it holds must then be there."""
    store = stage.open()
    stage.create(store, settings=TopicSettings(partitions=2, durability="os"))
    stage.begin()
    stage.publish(store)
    stage.append(store, {("t", 1): stage.lines(2, keyed=True)})
    stage.alter(store, "t", durability="fsync")
    stage.publish(store)


def three_writers(stage: Stage) -> None:
    """Three writers share their syncs: each sync takes as long as another write needs."""
    store = stage.open()
    stage.create(store, settings=TopicSettings(partitions=2))
    stage.begin()
    stores = [stage.open() for _ in range(3)]
    together = threading.Barrier(3)

    def write(number: int) -> None:
        together.wait(timeout=10)
        for turn in range(4):
            stage.publish(stores[number], "t", (number + turn) % 2)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert not any(thread.is_alive() for thread in threads)


def crowd(stage: Stage) -> None:
    """Three writers post what they have, and whoever leads appends it for all."""
    store = stage.open()
    stage.create(store)
    stage.begin()
    stores = [stage.open() for _ in range(3)]
    for one in stores:
        one._company.combiner(one._log("t", 0))._post_from_now_on()
    together = threading.Barrier(3)

    def write(number: int) -> None:
        together.wait(timeout=10)
        for turn in range(4):
            stage.publish(stores[number], keyed=turn % 2 == number % 2)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert not any(thread.is_alive() for thread in threads)


DEATHS: dict[str, Workload] = {
    work.__name__: work
    for work in (
        dies_in_roll, refused_after_roll, checkpoint_before_commit, dies_after_switch, moved, moved_bulk,
        moved_after_trim, dies_syncing, dies_trimming, dies_deleting, dies_creating, switches_over_another,
        frees_two_files, unsynced, made_to_wait, three_writers,
    )
}  # fmt: skip
DEATHS |= {f"dies_at_{step}": _dies_at(step, 20) for step in _STEPS}
DEATHS |= {f"small_dies_at_{step}": _dies_small_at(step) for step in _STEPS}
DEATHS |= {f"bulk_dies_at_{step}": _dies_at(step, BULK_BYTES) for step in _BULK_STEPS}
