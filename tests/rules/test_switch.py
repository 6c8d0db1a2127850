"""A switch to the next journal file happens only after the old one is synced, and nobody waits for room."""

from __future__ import annotations

import pytest

from storage.journal_file import existing_files, live_files, read_header
from tests.rules.rig import RefusedError, Rig, Worker

JOURNAL_BYTES = 256 * 1024
# Six of these fill a file.
LARGE = '"' + "x" * 40_000 + '"'


@pytest.fixture
def writer(rig: Rig) -> Worker:
    rig.journal_bytes = JOURNAL_BYTES
    worker = rig.worker()
    worker.do("create", "t")
    worker.do("publish", "t", LARGE, times=6)
    assert JOURNAL_BYTES == (rig.path / "journal" / f"{rig.innards.journal_file:04d}.wal").stat().st_size
    return worker


@pytest.mark.parametrize("action", ["stop", "kill"])
def test_a_switch_happens_only_after_the_old_file_is_synced(rig: Rig, writer: Worker, action: str) -> None:
    number, files = rig.innards.journal_file, existing_files(str(rig.path / "journal"))
    switching = rig.worker(f"sync:JOURNAL_SWITCH={action}")
    if action == "kill":
        switching.dies_in("publish", "t", LARGE)
    else:
        switching.stops_in("publish", "t", LARGE)
    assert (number, files) == (rig.innards.journal_file, existing_files(str(rig.path / "journal")))
    switching.kill()
    assert [[6, 6]] == writer.do("publish", "t", LARGE)
    assert number != rig.innards.journal_file
    assert [LARGE] * 7 == rig.read("t")


@pytest.mark.parametrize("points", ["create:.wal=kill", "sync:JOURNAL_CREATE=kill", "journal.switched=kill"])
def test_a_switch_that_was_cut_short_is_made_again(rig: Rig, writer: Worker, points: str) -> None:
    rig.worker(points).dies_in("publish", "t", LARGE)
    # A small record still fits in the old file; a large one switches again.
    assert [[6, 6], [7, 7], [8, 8]] == [
        *writer.do("publish", "t", "1"),  # type: ignore[misc]
        *writer.do("publish", "t", LARGE),  # type: ignore[misc]
        *writer.do("publish", "t", "2"),  # type: ignore[misc]
    ]
    assert [*[LARGE] * 6, "1", LARGE, "2"] == rig.read("t")
    copy = rig.copy()
    rig.worker(store=copy)
    assert [*[LARGE] * 6, "1", LARGE, "2"] == rig.read("t", store=copy)


def test_a_failed_sync_before_a_switch_fails_the_store(rig: Rig, writer: Worker) -> None:
    number = rig.innards.journal_file
    with pytest.raises(RefusedError, match="SyncFailedError"):
        rig.worker("sync:JOURNAL_SWITCH=eio").do("publish", "t", LARGE)
    assert number == rig.innards.journal_file
    with pytest.raises(RefusedError, match="StoreFailedError"):
        writer.do("publish", "t", "1")


def test_a_stopped_checkpoint_makes_nobody_wait_for_a_free_file(rig: Rig, writer: Worker) -> None:
    stopped = rig.worker("checkpoint.applied=stop")
    stopped.stops_in("publish", "t", LARGE)
    # Its own record is acknowledged only behind the checkpoint, but others find room in new files.
    other = rig.worker(lock_wait=0.5)
    other.do("publish", "t", LARGE, times=12)
    assert [LARGE] * 19 == rig.read("t")
    stopped.go_on()
    assert [[6, 6]] == stopped.reply()


@pytest.mark.parametrize("points", ["checkpoint.applied=kill", "checkpoint.synced=kill"])
def test_a_checkpoint_that_was_cut_short_is_done_again(rig: Rig, writer: Worker, points: str) -> None:
    rig.worker(points).dies_in("publish", "t", LARGE)
    writer.do("publish", "t", LARGE, times=40)
    journal = str(rig.path / "journal")
    assert 1 == len(live_files(journal, salt=rig.innards.salt))
    # Space is flat: files are used again, so a few are enough for ever.
    assert 3 >= len(existing_files(journal))
    assert [LARGE] * 47 == rig.read("t")


def test_a_file_is_free_only_after_all_that_it_holds_is_synced(rig: Rig, writer: Worker) -> None:
    number = rig.innards.journal_file
    checkpointing = rig.worker("sync:CHECKPOINT_FILE=stop;checkpoint.synced=stop")
    checkpointing.stops_in("publish", "t", LARGE)
    # Its data and its index: two files are synced before the step that lies behind them is reached.
    for _ in range(2):
        assert number in [
            file.number for file in live_files(str(rig.path / "journal"), salt=rig.innards.salt)
        ]
        checkpointing.go_on_to_the_next_stop()
    header = read_header(str(rig.path / "journal"), number)
    assert header is not None
    assert header.live
    checkpointing.go_on()
    assert [[6, 6]] == checkpointing.reply()


def test_a_free_file_holds_nothing_that_counts(rig: Rig, writer: Worker) -> None:
    number = rig.innards.journal_file
    writer.do("publish", "t", LARGE)
    header = read_header(str(rig.path / "journal"), number)
    assert header is not None
    assert not header.live
    copy = rig.copy()
    rig.worker(store=copy)
    assert [LARGE] * 7 == rig.read("t", store=copy)
