"""Create, delete and widen: topics appear and disappear at once, and writers notice under their lock."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest

from tests.rules.rig import SECONDS_MAX, RefusedError, Rig, Worker, until


@pytest.mark.parametrize(
    "points", ["mkdir=kill@3", "sync:TOPIC_CREATE=kill", "topic.create=kill", "rename:/u=kill"]
)
def test_a_topic_whose_creation_was_cut_short_is_not_there(rig: Rig, writer: Worker, points: str) -> None:
    rig.worker(points).dies_in("create", "u", partitions=4)
    assert ["t"] == [json.loads(row)["name"] for row in rig.run("topic", "list", "--json")[1].splitlines()]
    writer.do("create", "u", partitions=2)
    assert [[0, 0]] == writer.do("publish", "u", "0", partition=1)
    # What the one that died had begun is gone.
    assert ["t", "u"] == sorted(path.name for path in (rig.path / "topics").iterdir() if path.name != ".lock")


@pytest.mark.parametrize("points", ["rename:trash/*=kill", "sync:TOPIC_DELETE=kill", "topic.deleted=kill"])
def test_a_deletion_renames_to_the_trash_first(rig: Rig, writer: Worker, points: str) -> None:
    writer.do("publish", "t", "0")
    rig.worker(points).dies_in("delete", "t")
    if points.startswith("rename"):
        assert ["0"] == rig.read("t")
        assert [[1, 1]] == writer.do("publish", "t", "1")
        return
    # Whole, or gone: no file of it was removed before its name was.
    assert not (rig.path / "topics" / "t").exists()
    trashed = list((rig.path / "trash").iterdir())
    assert 1 == len(trashed)
    assert b"0\n" == (trashed[0] / "0" / f"{0:020d}.jsonl").read_bytes()
    writer.do("create", "t")
    assert [] == rig.read("t")
    writer.do("create", "u")
    writer.do("delete", "u")
    assert [] == list((rig.path / "trash").iterdir())


def test_a_deleted_and_recreated_topic_is_refused_to_stale_writers(rig: Rig, writer: Worker) -> None:
    stale = rig.worker()
    stale.do("publish", "t", "0")
    writer.do("delete", "t")
    with pytest.raises(RefusedError, match=r"TopicNotFoundError|TopicChangedError"):
        stale.do("publish", "t", "1")
    other = rig.worker()
    writer.do("create", "t")
    other.do("publish", "t", "2")
    writer.do("delete", "t")
    writer.do("create", "t")
    with pytest.raises(RefusedError, match="TopicChangedError"):
        other.do("publish", "t", "3")
    assert [] == rig.read("t")


def test_a_writer_that_waited_for_the_lock_while_the_topic_was_deleted_is_refused(
    rig: Rig, writer: Worker
) -> None:
    waiting = rig.worker()
    waiting.do("publish", "t", "0")
    deleting = rig.worker("topic.deleted=stop")
    deleting.stops_in("delete", "t")
    waiting.send("publish", "t", "1")
    deleting.go_on()
    deleting.reply()
    with pytest.raises(RefusedError, match=r"TopicNotFoundError|TopicChangedError"):
        waiting.reply()


def test_what_a_stopped_owner_committed_before_the_deletion_reaches_no_new_topic(
    rig: Rig, writer: Worker
) -> None:
    stopped = rig.worker("append.released=stop")
    stopped.stops_in("publish", "t", "0")
    writer.do("delete", "t")
    writer.do("create", "t")
    stopped.go_on()
    # It was committed, to a topic that is gone; nobody can see it.
    assert [[0, 0]] == stopped.reply()
    assert [] == rig.read("t")
    copy = rig.copy()
    rig.worker(store=copy)
    assert [] == rig.read("t", store=copy)


def test_a_topic_gets_more_partitions_while_a_writer_works(rig: Rig, writer: Worker) -> None:
    working = rig.worker()
    assert [[0, 0]] == working.do("publish", "t", "0")
    writer.do("alter", "t", partitions=4)
    assert [[1, 1]] == working.do("publish", "t", "1")
    assert [[0, 0]] == working.do("publish", "t", "2", partition=3)
    assert [["0", "1"], [], [], ["2"]] == [rig.read("t", partition) for partition in range(4)]


@pytest.mark.parametrize("points", ["mkdir=kill@2", "sync:SEGMENT_CREATE=kill", "rename:topic.toml=kill"])
def test_a_widening_that_was_cut_short_changes_nothing_and_can_be_repeated(
    rig: Rig, writer: Worker, points: str
) -> None:
    writer.do("publish", "t", "0")
    rig.worker(points).dies_in("alter", "t", partitions=4)
    assert [[1, 1]] == writer.do("publish", "t", "1")
    with pytest.raises(RefusedError, match="PartitionNotFoundError"):
        writer.do("publish", "t", "2", partition=1)
    writer.do("alter", "t", partitions=4)
    assert [[0, 0]] == writer.do("publish", "t", "2", partition=1)


def test_two_alterations_at_once_are_both_made(rig: Rig, writer: Worker) -> None:
    gate = rig.gate()
    points = f"rename:topic.toml=wait:{gate.path}"
    first = rig.aegis("topic", "alter", "t", "--retention", "1d", points=points)
    gate.wait_reached()
    # It finds the settings that the first one is about to replace, and has to wait for its turn.
    second = rig.aegis("topic", "alter", "t", "--partitions", "3")
    until(lambda: waits_for_a_lock(second.pid, rig.path / "topics" / ".lock"), "the second to wait")
    gate.open()
    for process in (first, second):
        process.communicate(timeout=SECONDS_MAX)
        assert 0 == process.returncode
    settings = json.loads(rig.run("topic", "describe", "t", "--json")[1])["settings"]
    assert (24 * 3600 * 1000, 3) == (settings["retention_ms"], settings["partitions"])


def waits_for_a_lock(pid: int, path: Path) -> bool:
    """Whether a process has the file of a lock open that another one holds: it tries again and again."""
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if fd.readlink() == path:
                return True
    return False


def test_an_alteration_waits_for_appends_that_go_by_the_earlier_settings(rig: Rig, writer: Worker) -> None:
    stopped = rig.worker("append.locked=stop")
    stopped.stops_in("publish", "t", "0")
    with pytest.raises(RefusedError, match=r"LockTimeoutError: topic 't' partition 0"):
        rig.worker(lock_wait=0.1).do("alter", "t", partitions=2)
    with pytest.raises(RefusedError, match="PartitionNotFoundError"):
        writer.do("publish", "t", "1", partition=1)
    stopped.go_on()
    assert [[0, 0]] == stopped.reply()
    writer.do("alter", "t", partitions=2)
    assert [[0, 0]] == writer.do("publish", "t", "1", partition=1)


def test_who_creates_a_topic_again_can_publish_to_it(rig: Rig, writer: Worker) -> None:
    writer.do("publish", "t", "0")
    writer.do("delete", "t")
    writer.do("create", "t")
    assert [[0, 0]] == writer.do("publish", "t", "1")


def test_a_follower_finds_new_partitions_and_a_recreated_topic(rig: Rig, writer: Worker) -> None:
    writer.do("publish", "t", "0")
    follower = rig.aegis("consume", "t", "-f", "-o", "start", "-n", "3")
    assert follower.stdout is not None
    assert b"0\n" == follower.stdout.readline()
    writer.do("alter", "t", partitions=2)
    writer.do("publish", "t", "1", partition=1)
    assert b"1\n" == follower.stdout.readline()
    writer.do("delete", "t")
    writer.do("create", "t")
    rig.worker().do("publish", "t", "2")
    assert b"2\n" == follower.stdout.readline()
    _, err = follower.communicate(timeout=SECONDS_MAX)
    assert "topic 't' was deleted" in err.decode()
