"""How far the journal is synced: one process syncs for all, and says only what its sync has covered."""

from __future__ import annotations

import time

from tests.rules.rig import Rig, Worker


def test_nothing_is_visible_before_it_is_durable(rig: Rig, writer: Worker) -> None:
    writer.do("publish", "t", "0")
    stopped = rig.worker("journal.sync=stop")
    stopped.stops_in("publish", "t", "1")
    assert rig.innards.synced < rig.innards.next_sequence
    assert ["0"] == rig.read("t")
    assert b"0\n" == rig.raw("t")
    stopped.go_on()
    assert [[1, 1]] == stopped.reply()
    assert rig.innards.synced == rig.innards.next_sequence
    assert ["0", "1"] == rig.read("t")


def test_a_syncer_reads_its_target_before_the_sync(rig: Rig, writer: Worker) -> None:
    writer.do("create", "o", durability="os")
    stopped = rig.worker("journal.sync=stop")
    stopped.stops_in("publish", "t", "0")
    covered = rig.innards.next_sequence
    # What is appended now, by somebody who waits for no sync, is not covered by the sync that comes after it.
    writer.do("publish", "o", "1")
    stopped.go_on()
    assert [[0, 0]] == stopped.reply()
    assert (covered, covered + 1) == (rig.innards.synced, rig.innards.next_sequence)


def test_how_far_is_synced_only_ever_grows(rig: Rig, writer: Worker) -> None:
    stopped = rig.worker("journal.synced=stop")
    stopped.stops_in("publish", "t", "0")
    writer.do("publish", "t", "1", times=5)
    synced = rig.innards.synced
    assert synced == rig.innards.next_sequence
    # It comes back believing that everything before the five is all there is.
    stopped.go_on()
    assert [[0, 0]] == stopped.reply()
    assert synced == rig.innards.synced
    assert ["0", *["1"] * 5] == rig.read("t")


def test_a_stopped_syncer_stalls_nobody(rig: Rig, writer: Worker) -> None:
    usual = max(publish_seconds(writer))
    first = rig.worker("journal.sync=stop")
    first.stops_in("publish", "t", "0")
    # A busy machine may delay some of them, a stopped syncer would delay each, for as long as it is stopped.
    assert min(publish_seconds(writer)) < 0.1 + 10 * usual
    # The second lane's syncer is stopped as well: everyone then syncs alone.
    second = rig.worker("journal.sync=stop")
    second.stops_in("publish", "t", "2")
    assert [0, 1] != rig.innards.intents
    assert all(intent is not None for intent in rig.innards.intents)
    assert min(publish_seconds(writer)) < 0.1 + 10 * usual
    for worker in (first, second):
        worker.go_on()
        worker.reply()
    assert 17 == len(rig.read("t"))


def publish_seconds(worker: Worker) -> list[float]:
    """How long each of five publishes takes."""
    seconds = []
    for _ in range(5):
        began = time.monotonic()
        worker.do("publish", "t", "1")
        seconds.append(time.monotonic() - began)
    return seconds


def test_one_sync_serves_all_who_wait(rig: Rig, writer: Worker) -> None:
    gate = rig.gate()
    syncer = rig.worker(f"journal.sync=wait:{gate.path}@1")
    syncer.send("publish", "t", "0")
    gate.wait_reached()
    # These never sync themselves: they would be killed.
    others = [rig.worker("append.released=stop;sync:JOURNAL_COMMIT=kill") for _ in range(3)]
    for other in others:
        other.stops_in("publish", "t", "1")
    gate.open()
    syncer.reply()
    writer.do("publish", "t", "2")
    for other in others:
        other.go_on()
    assert [[1, 1], [2, 2], [3, 3]] == sorted(receipt for other in others for receipt in other.reply())  # type: ignore[attr-defined]
    assert ["0", "1", "1", "1", "2"] == rig.read("t")
