"""An `os` topic skips the wait for the disk, and no offset of it ever names two messages."""

from __future__ import annotations

from storage.head import HEAD_BYTES
from tests.rules.rig import Rig, Worker


def test_an_append_to_an_os_topic_waits_for_no_sync(rig: Rig, writer: Worker) -> None:
    writer.do("create", "o", durability="os")
    # It would be killed if it synced the journal.
    quick = rig.worker("sync:JOURNAL_COMMIT=kill")
    assert [[number, number] for number in range(10)] == quick.do("publish", "o", "0", times=10)
    assert rig.innards.synced < rig.innards.next_sequence
    assert ["0"] * 10 == rig.read("o")


def test_an_append_to_both_kinds_waits(rig: Rig, writer: Worker) -> None:
    writer.do("create", "o", durability="os")
    stopped = rig.worker("sync:JOURNAL_COMMIT=stop")
    stopped.stops_in("atomic", ["o", 0, "0", None], ["t", 0, "0", None])
    assert [[], []] == [rig.read("o"), rig.read("t")]
    stopped.go_on()
    assert [[0, 0], [0, 0]] == stopped.reply()
    assert [["0"], ["0"]] == [rig.read("o"), rig.read("t")]


def test_a_durable_append_makes_the_os_appends_before_it_durable(rig: Rig, writer: Worker) -> None:
    writer.do("create", "o", durability="os")
    writer.do("publish", "o", "0")
    writer.do("publish", "t", "1")
    assert rig.innards.synced == rig.innards.next_sequence


def test_after_a_power_cut_no_offset_names_another_message(rig: Rig, writer: Worker) -> None:
    writer.do("create", "o", durability="os")
    writer.do("publish", "o", "0")
    writer.do("publish", "t", "1")
    writer.kill()
    lost = rig.copy()
    rig.worker().do("publish", "o", "2", times=3)
    assert ["0", "2", "2", "2"] == rig.read("o")
    # Offsets 1 to 3 were read, and a power cut took them: what lies on the disk is the state before.
    recovered = rig.worker(store=lost)
    receipt = recovered.do("publish", "o", "3")
    assert isinstance(receipt, list)
    assert 4 <= receipt[0][0]
    assert HEAD_BYTES <= (lost / "topics" / "o" / "0" / "head").stat().st_size


def test_who_makes_a_topic_wait_for_the_disk_waits_for_what_it_holds(rig: Rig, writer: Worker) -> None:
    writer.do("create", "o", durability="os")
    writer.do("publish", "o", "0")
    assert rig.innards.synced < rig.innards.next_sequence
    # Recovery trusts every entry of a topic that waits: one without a record on disk too.
    assert 0 == rig.run("topic", "alter", "o", "--durability", "fsync")[0]
    assert rig.innards.synced == rig.innards.next_sequence
