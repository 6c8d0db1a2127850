"""A syncer leaves its intent before it syncs; who finds a dead one's rewrites that range, then syncs."""

from __future__ import annotations

import pytest

from storage.journal_file import Replayed
from storage.journal_scan import scan
from tests.rules.rig import Rig, Worker

LARGE = '"' + "x" * 40_000 + '"'


@pytest.mark.parametrize("step", ["journal.sync", "journal.synced"])
def test_a_dead_syncers_range_is_written_again_and_then_synced(rig: Rig, writer: Worker, step: str) -> None:
    writer.do("publish", "t", "0")
    rig.worker(f"{step}=kill").dies_in("publish", "t", "1")
    assert [rig.innards.journal_file, None] == rig.innards.intents
    # The first write to the journal is its own record, the second the range of the dead.
    heir = rig.worker("write:.wal=stop@2")
    heir.stops_in("publish", "t", "2")
    assert rig.innards.synced < rig.innards.next_sequence
    assert ["0"] == rig.read("t")
    heir.go_on()
    assert [[2, 2]] == heir.reply()
    assert [None, None] == rig.innards.intents
    assert ["0", "1", "2"] == rig.read("t")


def test_an_heir_that_dies_leaves_the_intent_to_the_next(rig: Rig, writer: Worker) -> None:
    rig.worker("journal.sync=kill").dies_in("publish", "t", "0")
    rig.worker("write:.wal=kill@2").dies_in("publish", "t", "1")
    assert [rig.innards.journal_file, None] == rig.innards.intents
    assert [[2, 2]] == writer.do("publish", "t", "2")
    assert [None, None] == rig.innards.intents
    assert ["0", "1", "2"] == rig.read("t")


@pytest.mark.xfail(
    strict=True, reason="it writes what it read before it was stopped over acknowledged records"
)
def test_an_heir_that_comes_back_late_overwrites_nothing(rig: Rig) -> None:
    rig.journal_bytes = 256 * 1024
    writer = rig.worker()
    writer.do("create", "t")
    writer.do("publish", "t", LARGE)
    number = rig.innards.journal_file
    rig.worker("journal.sync=kill").dies_in("publish", "t", "1")
    # It has read the range of the dead and stands before writing it again.
    late = rig.worker("write:.wal=stop@2", lock_wait=1.0)
    late.send("publish", "t", "2")
    late.wait_stopped()
    # Meanwhile the journal leaves the file, checkpoints it, and uses it again.
    published = 0
    while published < 100 and (published < 8 or rig.innards.journal_file != number):
        writer.do("publish", "t", LARGE)
        published += 1
    assert number == rig.innards.journal_file
    writer.do("publish", "t", "3")
    before = journalled(rig)
    late.go_on()
    late.reply()
    assert before == journalled(rig)
    assert [LARGE, "1", "2", *[LARGE] * published, "3"] == rig.read("t")


def journalled(rig: Rig) -> list[int]:
    """The sequences of the records that a recovery would find now."""
    found = scan(str(rig.path / "journal"), salt=rig.innards.salt)
    return [item.record.sequence if isinstance(item, Replayed) else -1 for item in found]
