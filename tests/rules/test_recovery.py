"""Recovery: another identity means replay before the first append, and a crash before its end repeats it."""

from __future__ import annotations

import pytest

from storage.epoch import read_epoch
from tests.rules.rig import Rig, Worker

BULK = '"' + "b" * 100_000 + '"'
POINTS = [
    "sync:RECOVERY_JOURNAL=kill",
    "apply.index=kill",
    "sync:RECOVERY_FILE=kill",
    "recovery.applied=kill",
    "write:.wal=kill",
    "write:.wal=torn",
    "sync:EPOCH=kill",
    "rename:/epoch=kill",
    "recovery.done=kill",
]


@pytest.fixture
def expected(rig: Rig, writer: Worker) -> list[str]:
    """A store with messages of every kind: applied, committed only, in bulk, and one never committed."""
    writer.do("publish", "t", "0")
    writer.do("publish", "t", BULK, key="k")
    rig.worker("append.durable=kill").dies_in("publish", "t", "1")
    rig.worker("append.released=kill").dies_in("publish", "t", "2")
    rig.worker("bulk.synced=kill").dies_in("publish", "t", '"' + "c" * 100_000 + '"')
    return ["0", BULK, "1", "2"]


@pytest.mark.parametrize("points", POINTS)
def test_a_recovery_that_was_cut_short_is_repeated(rig: Rig, expected: list[str], points: str) -> None:
    copy = rig.copy()
    rig.starting(points, store=copy).dies_in("open")
    recovered = rig.worker(store=copy)
    assert expected == rig.read("t", store=copy)
    assert [[4, 4]] == recovered.do("publish", "t", "3")
    assert [*expected, "3"] == rig.read("t", store=copy)


def test_a_recovery_that_is_cut_short_again_and_again_loses_nothing(rig: Rig, expected: list[str]) -> None:
    copy = rig.copy()
    for points in (*POINTS, *reversed(POINTS)):
        if points != "recovery.done=kill":
            rig.starting(points, store=copy).dies_in("open")
    rig.worker(store=copy)
    assert expected == rig.read("t", store=copy)


def test_a_new_epoch_begins_with_another_identity_only(rig: Rig, expected: list[str]) -> None:
    salt = rig.innards.salt
    rig.worker()
    assert salt == rig.innards.salt
    copy = rig.copy()
    rig.worker(store=copy)
    epoch = read_epoch(str(copy / "journal"))
    assert epoch is not None
    assert salt != epoch.salt
    assert (copy / "journal").stat().st_ino == epoch.identity.inode


def test_recovery_is_alone_and_all_who_open_meanwhile_wait_for_it(rig: Rig, expected: list[str]) -> None:
    copy = rig.copy()
    recovering = rig.starting("recovery.applied=stop", store=copy)
    recovering.wait_stopped()
    waiting = [rig.starting(store=copy) for _ in range(3)]
    epoch = read_epoch(str(copy / "journal"))
    recovering.go_on()
    for worker in (recovering, *waiting):
        worker.ready()
    assert epoch != read_epoch(str(copy / "journal"))
    for number, worker in enumerate(waiting):
        assert [[4 + number, 4 + number]] == worker.do("publish", "t", "3")
    assert [*expected, "3", "3", "3"] == rig.read("t", store=copy)


def test_a_stopped_recovery_is_named_and_given_up(rig: Rig, expected: list[str]) -> None:
    copy = rig.copy()
    recovering = rig.starting("recovery.applied=stop", store=copy)
    recovering.wait_stopped()
    code, _, err = rig.run("publish", "t", "3", "--lock-wait", "300ms", "--store", str(copy))
    assert 6 == code
    assert f"is locked by process {recovering.pid} (" in err


def test_what_lies_behind_the_last_entry_is_put_aside(rig: Rig, expected: list[str]) -> None:
    copy = rig.copy()
    rig.worker(store=copy)
    data = (copy / "topics" / "t" / "0" / f"{0:020d}.jsonl").read_bytes()
    assert "".join(f"{value}\n" for value in expected).encode() == data
    kept = [path.read_bytes() for path in (copy / "quarantine").rglob("*") if path.is_file()]
    assert any(b"ccc" in raw for raw in kept)


def test_opening_a_store_that_is_in_use_recovers_nothing(rig: Rig, writer: Worker) -> None:
    # A process would be killed if it began to recover.
    watching = rig.worker("sync:RECOVERY_JOURNAL=kill;recovery.applied=kill")
    writer.do("publish", "t", "0")
    assert [[1, 1]] == watching.do("publish", "t", "1")
    writer.kill()
    watching.kill()
    assert [[2, 2]] == rig.worker("recovery.applied=kill").do("publish", "t", "2")
