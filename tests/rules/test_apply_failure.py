"""If apply fails: "committed, not yet visible", and the partition refuses appends until applying succeeds."""

from __future__ import annotations

import pytest

from tests.rules.rig import RefusedError, Rig, Worker

FAILING = "write:.index=eio"


@pytest.mark.parametrize(
    "failing", [FAILING, "write:.jsonl=eio", "write:.jsonl=enospc", "write:.index=short"]
)
def test_a_failed_apply_is_committed_and_not_yet_visible(rig: Rig, writer: Worker, failing: str) -> None:
    writer.do("publish", "t", "0")
    code, _, err = rig.run("publish", "t", "1", points=failing)
    assert 10 == code
    assert "aegis: error: topic 't' partition 0: committed, not yet visible (" in err
    assert "do not publish it again" in err
    assert ["0"] == rig.read("t")


def test_the_partition_refuses_appends_until_applying_succeeds(rig: Rig, writer: Worker) -> None:
    writer.do("create", "u")
    broken = rig.worker("write:t/0/*.index=eio")
    for _ in range(2):
        with pytest.raises(RefusedError, match="NotYetVisibleError"):
            broken.do("publish", "t", "0")
    # Refused, not committed: the next one shows only what was committed.
    assert [[0, 0]] == broken.do("publish", "u", "1")
    assert [[1, 1]] == writer.do("publish", "t", "2")
    assert ["0", "2"] == rig.read("t")
    assert ["1"] == rig.read("u")


def test_a_failed_apply_for_a_dead_owner_is_told_as_such(rig: Rig, writer: Worker) -> None:
    rig.worker("journal.moved=kill").dies_in("publish", "t", "0")
    with pytest.raises(RefusedError, match="NotYetVisibleError"):
        rig.worker(FAILING, lock_wait=0.5).do("publish", "t", "1")
    assert [[1, 1]] == writer.do("publish", "t", "2")
    assert ["0", "2"] == rig.read("t")


def test_a_failed_apply_is_told_as_such_also_while_somebody_holds_the_lock(rig: Rig, writer: Worker) -> None:
    gate = rig.gate()
    failing = rig.worker(f"apply=wait:{gate.path};{FAILING}")
    failing.send("publish", "t", "0")
    gate.wait_reached()
    holder = rig.worker("append.locked=stop")
    holder.stops_in("publish", "t", "1")
    gate.open()
    with pytest.raises(RefusedError, match="NotYetVisibleError"):
        failing.reply()
    holder.go_on()
    assert [[1, 1]] == holder.reply()
    assert ["0", "1"] == rig.read("t")


def test_what_was_committed_after_a_failed_apply_leaves_no_hole(rig: Rig, writer: Worker) -> None:
    gate = rig.gate()
    failing = rig.worker(f"apply=wait:{gate.path};{FAILING}")
    failing.send("publish", "t", "0")
    gate.wait_reached()
    # Committed behind it, and nobody is left to apply this one.
    rig.worker("append.durable=kill").dies_in("publish", "t", "1")
    gate.open()
    with pytest.raises(RefusedError, match="NotYetVisibleError"):
        failing.reply()
    assert [[2, 2]] == writer.do("publish", "t", "2")
    assert ["0", "1", "2"] == rig.read("t")


def test_what_was_committed_after_a_failed_apply_is_shown_only_when_it_is_durable(
    rig: Rig, writer: Worker
) -> None:
    gate = rig.gate()
    failing = rig.worker(f"apply=wait:{gate.path};{FAILING}")
    failing.send("publish", "t", "0")
    gate.wait_reached()
    rig.worker("append.released=kill").dies_in("publish", "t", "1")
    gate.open()
    with pytest.raises(RefusedError, match="NotYetVisibleError"):
        failing.reply()
    committed = rig.innards.next_sequence
    stopped = rig.worker("applied=stop@1")
    stopped.stops_in("publish", "t", "2")
    assert "1" not in rig.read("t") or committed <= rig.innards.synced
    stopped.go_on()
    assert [[2, 2]] == stopped.reply()
    assert ["0", "1", "2"] == rig.read("t")


def test_a_failed_apply_in_one_partition_of_several_is_shown_by_the_next_append_there(
    rig: Rig, writer: Worker
) -> None:
    writer.do("create", "w", partitions=2)
    with pytest.raises(RefusedError, match="NotYetVisibleError"):
        rig.worker("write:w/1/*.index=eio").do("atomic", ["w", 0, "0", None], ["w", 1, "0", None])
    assert [[1, 1], [1, 1]] == writer.do("atomic", ["w", 0, "1", None], ["w", 1, "1", None])
    assert [["0", "1"], ["0", "1"]] == [rig.read("w", 0), rig.read("w", 1)]


def test_a_failed_apply_is_repaired_by_recovery(rig: Rig, writer: Worker) -> None:
    with pytest.raises(RefusedError, match="NotYetVisibleError"):
        rig.worker(FAILING).do("publish", "t", "0")
    copy = rig.copy()
    rig.worker(store=copy)
    assert ["0"] == rig.read("t", store=copy)
