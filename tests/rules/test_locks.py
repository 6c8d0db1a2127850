"""Locks: their order, their holders, and what becomes of them when a process stops, dies or forks."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage import files
from tests.rules.rig import RefusedError, Rig, Worker, until


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold a lock of the store in the test itself."""
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        until(lambda: files.try_lock(fd), f"the lock {path}")
        yield
    finally:
        os.close(fd)


def is_free(path: Path) -> bool:
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        return files.try_lock(fd)
    finally:
        os.close(fd)


def head(rig: Rig, partition: int, topic: str = "w") -> Path:
    return rig.path / "topics" / topic / str(partition) / "head"


@pytest.fixture
def wide(rig: Rig, writer: Worker) -> Worker:
    """A worker, and a topic `w` of three partitions whose head files exist."""
    writer.do("create", "w", partitions=3)
    for partition in range(3):
        writer.do("publish", "w", "0", partition=partition)
    return writer


# -- order: maintenance, partitions sorted, journal -----------------------------------------------------


def test_partitions_are_locked_in_order_whatever_the_order_of_the_append(rig: Rig, wide: Worker) -> None:
    with held(head(rig, 1)):
        wide.send("atomic", ["w", 2, "1", None], ["w", 0, "1", None], ["w", 1, "1", None])
        # It waits for 1 with 0 in hand, and has not touched 2: so nobody waits for it backwards.
        until(lambda: not is_free(head(rig, 0)), "the lock of partition 0")
        assert is_free(head(rig, 2))
        assert not wide.has_answered()
    assert [[1, 1]] * 3 == wide.reply()


def test_the_journal_is_locked_last(rig: Rig, wide: Worker) -> None:
    with held(rig.path / "journal" / "append.lock"):
        wide.send("atomic", ["w", 1, "1", None], ["w", 0, "1", None])
        until(lambda: not is_free(head(rig, 0)) and not is_free(head(rig, 1)), "both partitions")
        assert is_free(head(rig, 2))
    assert [[1, 1]] * 2 == wide.reply()


def test_maintenance_is_locked_before_any_partition_and_stops_no_publisher(rig: Rig, wide: Worker) -> None:
    cleaning = rig.worker()
    cleaning.do("clean")
    with held(rig.path / "journal" / "maintenance.lock"):
        cleaning.send("clean")
        assert [[1, 1]] == wide.do("publish", "w", "1")
        assert all(is_free(head(rig, partition)) for partition in range(3))
        assert not cleaning.has_answered()
    assert 0 == cleaning.reply()


@pytest.mark.parametrize("command", ["atomic", "delete"])
def test_appends_and_deletions_lock_partitions_by_number(rig: Rig, writer: Worker, command: str) -> None:
    # More than a byte can count: the order is that of the numbers, not of their bytes.
    writer.do("create", "w", partitions=258)
    for partition in (1, 256, 257):
        writer.do("publish", "w", "0", partition=partition)
    with held(head(rig, 256)):
        if command == "atomic":
            writer.send("atomic", *[["w", partition, "1", None] for partition in (257, 256, 1)])
        else:
            writer.send("delete", "w")
        until(lambda: not is_free(head(rig, 1)), "the lock of partition 1")
        assert is_free(head(rig, 257))
        assert not writer.has_answered()
    writer.reply()


def test_two_appends_over_the_same_partitions_never_wait_for_each_other(rig: Rig, wide: Worker) -> None:
    other = rig.worker(lock_wait=2.0)
    parts = [["w", partition, "1", None] for partition in range(3)]
    for _ in range(20):
        wide.send("atomic", *parts)
        other.send("atomic", *reversed(parts))
        first, second = wide.reply(), other.reply()
        assert isinstance(first, list) and isinstance(second, list)
        # All of one comes before all of the other.
        assert first < second[::-1] or second[::-1] < first
    assert 41 == len(rig.read("w", 0))


# -- holders --------------------------------------------------------------------------------------------


def test_a_stopped_holder_is_named_and_given_up_after_the_wait(rig: Rig, writer: Worker) -> None:
    stopped = rig.worker("append.locked=stop")
    stopped.stops_in("publish", "t", "0")
    code, _, err = rig.run("publish", "t", "1", "--lock-wait", "200ms")
    assert 6 == code
    assert f"topic 't' partition 0 is locked by process {stopped.pid} (" in err
    assert "tests.rules.worker" in err
    assert "waited 0.2 s" in err
    assert 1 == len(err.splitlines())
    stopped.go_on()
    assert [[0, 0]] == stopped.reply()
    assert [[1, 1]] == writer.do("publish", "t", "2")
    assert ["0", "2"] == rig.read("t")


def test_a_stopped_holder_of_the_journal_is_named_and_nothing_is_left_behind(
    rig: Rig, writer: Worker
) -> None:
    writer.do("create", "u")
    stopped = rig.worker("journal.append=stop")
    stopped.stops_in("publish", "t", "0")
    waiting = rig.worker(lock_wait=0.1)
    with pytest.raises(RefusedError, match=f"the journal is locked by process {stopped.pid} "):
        waiting.do("publish", "u", "1")
    stopped.go_on()
    assert [[0, 0]] == stopped.reply()
    assert [[0, 0]] == waiting.do("publish", "u", "2")
    assert ["2"] == rig.read("u")


def test_a_stopped_holder_delays_only_those_who_need_its_lock(rig: Rig, wide: Worker) -> None:
    stopped = rig.worker("append.locked=stop")
    stopped.stops_in("publish", "w", "1", partition=0)
    assert [[1, 1]] == wide.do("publish", "w", "1", partition=1)
    assert [[0, 0]] == wide.do("publish", "t", "1")
    assert ["0"] == rig.read("w", 0)


def test_a_stopped_bulk_append_delays_its_partition_only(rig: Rig, wide: Worker) -> None:
    stopped = rig.worker("bulk.written=stop")
    stopped.stops_in("publish", "w", '"' + "b" * 100_000 + '"', partition=0)
    assert [[1, 1]] == wide.do("publish", "w", "1", partition=1)
    # What is not committed is not visible.
    assert ["0"] == rig.read("w", 0)
    stopped.go_on()
    assert [[1, 1]] == stopped.reply()


@pytest.mark.parametrize("step", ["append.locked", "journal.append", "bulk.written", "journal.sync"])
def test_the_locks_of_a_killed_process_are_free_at_once(rig: Rig, writer: Worker, step: str) -> None:
    value = '"' + "b" * 100_000 + '"' if step == "bulk.written" else "0"
    stopped = rig.worker(f"{step}=stop")
    stopped.stops_in("publish", "t", value)
    stopped.kill()
    impatient = rig.worker(lock_wait=0.0)
    impatient.do("publish", "t", "1")
    assert "1" == rig.read("t")[-1]


def test_a_fork_keeps_no_lock(rig: Rig, writer: Worker) -> None:
    parent = rig.worker()
    parent.do("publish", "t", "0")
    parent.do("clean")
    child = parent.do("fork")
    assert isinstance(child, int)
    try:
        # Its parent's death then frees all of them.
        until(lambda: not locks_of(child), "the child to close its parent's locks")
    finally:
        os.kill(child, 9)


def locks_of(pid: int) -> list[str]:
    names = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        # A process that closes files as they are listed is what is waited for here.
        with contextlib.suppress(FileNotFoundError):
            names.append(str(link.readlink()))
    return [name for name in names if name.endswith((".lock", "/head"))]


def test_no_lock_reaches_a_program_that_a_process_starts(rig: Rig) -> None:
    fd = files.open_file(str(rig.directory / "x"), create=True)
    assert not os.get_inheritable(fd)
    files.close_file(fd)


def test_lock_files_are_never_replaced(rig: Rig, writer: Worker) -> None:
    def inodes() -> dict[str, int]:
        return {
            str(path): path.stat().st_ino for path in (*rig.path.rglob("*.lock"), *rig.path.rglob("head"))
        }

    writer.do("publish", "t", "0")
    before = inodes()
    rig.worker("append.locked=kill").dies_in("publish", "t", "1")
    writer.do("publish", "t", "2")
    writer.do("clean")
    writer.kill()
    rig.worker().do("publish", "t", "3")
    assert before.items() <= inodes().items()
