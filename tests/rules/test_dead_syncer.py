"""A syncer leaves its intent before it syncs; who finds a dead one's rewrites that range, then syncs."""

from __future__ import annotations

import pytest

from storage.journal_file import Replayed
from storage.journal_scan import scan
from tests.rules.rig import RefusedError, Rig, Worker

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


def test_an_heir_holds_the_journal_while_it_writes_again_what_the_dead_left(rig: Rig) -> None:
    writer = rig.worker(lock_wait=0.3)
    writer.do("create", "t")
    writer.do("publish", "t", LARGE)
    rig.worker("journal.sync=kill").dies_in("publish", "t", "1")
    # It has read the range of the dead and stands before writing it again.
    late = rig.worker("write:.wal=stop@2")
    late.send("publish", "t", "2")
    late.wait_stopped()
    # The file cannot be filled, left or used again meanwhile: what was read still belongs there.
    before = journalled(rig)
    with pytest.raises(RefusedError, match="the journal is locked by"):
        writer.do("publish", "t", "3")
    assert before == journalled(rig)
    late.go_on()
    late.reply()
    writer.do("publish", "t", "4")
    assert [LARGE, "1", "2", "4"] == rig.read("t")


def test_who_leaves_a_file_first_writes_again_what_a_dead_syncer_left(rig: Rig) -> None:
    rig.journal_bytes = 256 * 1024
    writer = rig.worker()
    writer.do("create", "t")
    number = rig.innards.journal_file
    rig.worker("journal.sync=kill").dies_in("publish", "t", "1")
    filler = rig.worker("sync:JOURNAL_COMMIT=stall:1")
    published = 0
    while published < 100 and rig.innards.journal_file == number:
        filler.do("publish", "t", LARGE)
        published += 1
    assert [None, None] == rig.innards.intents
    assert ["1", *[LARGE] * published] == rig.read("t")


def journalled(rig: Rig) -> list[int]:
    """The sequences of the records that a recovery would find now."""
    found = scan(str(rig.path / "journal"), salt=rig.innards.salt)
    return [item.record.sequence if isinstance(item, Replayed) else -1 for item in found]
