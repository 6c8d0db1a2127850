"""If an owner dies between commit and apply, the next writer of the partition applies for it."""

from __future__ import annotations

import time

import pytest

from tests.rules.rig import SECONDS_MAX, Rig, Worker, until

STEPS = ["journal.moved", "append.released", "append.durable", "apply", "apply.index", "applied"]


@pytest.mark.parametrize("step", STEPS)
def test_the_next_writer_applies_and_followers_see_all_in_order(rig: Rig, writer: Worker, step: str) -> None:
    writer.do("publish", "t", "0")
    follower = rig.aegis("consume", "t", "-f", "-o", "start", "-n", "4", "-F", "%o %v\n")
    rig.worker(f"{step}=kill").dies_in("publish", "t", "1", key="k")
    rig.worker(f"{step}=kill").dies_in("publish", "t", "2")
    assert [[3, 3]] == writer.do("publish", "t", "3")
    out, _ = follower.communicate(timeout=SECONDS_MAX)
    assert ["0 0", "1 1", "2 2", "3 3"] == out.decode().splitlines()
    assert b"0\n1\n2\n3\n" == rig.raw("t")


@pytest.mark.parametrize("step", STEPS[1:])
def test_who_reads_once_is_shown_what_a_dead_owner_committed(rig: Rig, writer: Worker, step: str) -> None:
    writer.do("publish", "t", "0")
    rig.worker(f"{step}=kill").dies_in("publish", "t", "1", key="k")
    assert ["0", "1"] == rig.run("consume", "t")[1].split()


def test_a_follower_shows_what_a_dead_owner_committed_although_other_partitions_are_busy(
    rig: Rig, writer: Worker
) -> None:
    writer.do("alter", "t", partitions=2)
    follower = rig.aegis("consume", "t", "-f", "-o", "start", "-F", "%p %v\n")
    assert follower.stdout is not None
    rig.worker("append.released=kill").dies_in("publish", "t", "1", partition=1)
    deadline = time.monotonic() + SECONDS_MAX
    shown = b""
    # Nobody publishes to partition 1 again.
    while shown != b"1 1\n":
        assert time.monotonic() < deadline
        writer.do("publish", "t", "0", partition=0)
        shown = follower.stdout.readline()


def test_a_follower_that_cannot_help_goes_on_reading(rig: Rig, writer: Worker) -> None:
    writer.do("alter", "t", partitions=2)
    rig.worker("append.released=kill").dies_in("publish", "t", "1", partition=1)
    follower = rig.aegis("consume", "t", "-f", "-o", "start", "-F", "%v\n", points="write:t/1/*.jsonl=enospc")
    until(lambda: (head := rig.innards.head("t", 1)) is not None and head.tail.stuck, "it to try")
    writer.do("publish", "t", "0", partition=0)
    assert follower.stdout is not None
    assert b"0\n" == follower.stdout.readline()


@pytest.mark.parametrize("points", ["write:.index=torn", "write:.jsonl=torn", "write:.meta=torn"])
def test_what_was_applied_in_half_is_not_there_and_is_applied_again(
    rig: Rig, writer: Worker, points: str
) -> None:
    writer.do("publish", "t", "0")
    rig.worker(points).dies_in("publish", "t", '"one"', key="k")
    assert ["0"] == rig.read("t")
    assert [[2, 2]] == writer.do("publish", "t", "2")
    assert ["0", '"one"', "2"] == rig.read("t")


def test_an_owner_that_was_only_stopped_applies_the_same_bytes_again(rig: Rig, writer: Worker) -> None:
    stopped = [rig.worker("apply=stop@1"), rig.worker("apply.index=stop@1")]
    for number, worker in enumerate(stopped):
        worker.stops_in("publish", "t", str(number))
    assert [[2, 2]] == writer.do("publish", "t", "2")
    assert ["0", "1", "2"] == rig.read("t")
    for number, worker in enumerate(stopped):
        worker.go_on()
        assert [[number, number]] == worker.reply()
    assert ["0", "1", "2"] == rig.read("t")
    assert b"0\n1\n2\n" == rig.raw("t")


def test_a_whole_chain_of_dead_owners_is_applied(rig: Rig, writer: Worker) -> None:
    for number in range(5):
        rig.worker("append.durable=kill").dies_in("publish", "t", str(number))
    assert [] == rig.read("t")
    assert [[5, 5]] == writer.do("publish", "t", "5")
    assert [str(number) for number in range(6)] == rig.read("t")


def test_a_dead_owner_of_several_partitions_is_finished_in_each(rig: Rig, writer: Worker) -> None:
    writer.do("create", "w", partitions=2)
    rig.worker("applied=kill").dies_in("atomic", ["w", 0, "0", None], ["w", 1, "0", None])
    assert [["0"], []] == [rig.read("w", 0), rig.read("w", 1)]
    assert [[1, 1]] == writer.do("publish", "w", "1", partition=1)
    assert [["0"], ["0", "1"]] == [rig.read("w", 0), rig.read("w", 1)]


def test_a_dead_publisher_of_the_command_line_blocks_nobody(rig: Rig, writer: Worker) -> None:
    dead = rig.aegis("publish", "t", "0", points="journal.sync=kill")
    until(lambda: dead.poll() is not None, "its end")
    assert 0 == rig.run("publish", "t", "1")[0]
    assert (0, "0\n1\n") == rig.run("consume", "t")[:2]
