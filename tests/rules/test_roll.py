"""A roll: a segment is durable and visible before its successor is created, and nothing falls between."""

from __future__ import annotations

import pytest

from storage.segment import segment_bases
from storage.verify import verify
from tests.rules.rig import SECONDS_MAX, RefusedError, Rig, Worker

LARGE = '"' + "x" * 3000 + '"'
# Does not fit behind a large one in a segment of 4096 bytes; a small one does.
MIDDLE = '"' + "y" * 2000 + '"'
BULK = '"' + "z" * 100_000 + '"'


def bases(rig: Rig, topic: str = "t") -> list[int]:
    return segment_bases(str(rig.path / "topics" / topic / "0"))


@pytest.fixture
def writer(rig: Rig) -> Worker:
    worker = rig.worker()
    worker.do("create", "t", segment_bytes=4096)
    worker.do("publish", "t", LARGE)
    return worker


ROLLS = ["roll", "create:.jsonl", "create:.index", "sync:SEGMENT_CREATE", "head.marked", "journal.append"]


@pytest.mark.parametrize("point", [*ROLLS, "journal.written"])
@pytest.mark.parametrize("following", ["1", MIDDLE, BULK])
def test_after_a_roll_that_was_cut_short_every_message_is_visible(
    rig: Rig, writer: Worker, point: str, following: str
) -> None:
    rig.worker(f"{point}=kill").dies_in("publish", "t", MIDDLE)
    assert [[1, 1]] == writer.do("publish", "t", following)
    assert [LARGE, following] == rig.read("t")
    assert [[2, 2]] == writer.do("publish", "t", MIDDLE)
    assert [LARGE, following, MIDDLE] == rig.read("t")
    assert [] == [finding for finding in verify(rig.path) if finding.is_damage]
    copy = rig.copy()
    assert [[3, 3]] == rig.worker(store=copy).do("publish", "t", "3")
    assert [LARGE, following, MIDDLE, "3"] == rig.read("t", store=copy)


def test_after_a_roll_whose_append_found_a_conflict_elsewhere_every_message_is_visible(
    rig: Rig, writer: Worker
) -> None:
    writer.do("create", "u")
    with pytest.raises(RefusedError, match="OffsetConflictError"):
        writer.do("atomic", ["t", 0, MIDDLE, None], ["u", 0, "1", 9])
    with pytest.raises(RefusedError, match="OffsetConflictError"):
        writer.do("atomic", ["u", 0, "1", 9], ["t", 0, MIDDLE, None])
    assert [[1, 1]] == writer.do("publish", "t", "1")
    assert [LARGE, "1"] == rig.read("t")


def test_after_a_roll_whose_append_found_the_disk_full_every_message_is_visible(
    rig: Rig, writer: Worker
) -> None:
    with pytest.raises(RefusedError, match="DiskFullError"):
        rig.worker("allocate=enospc").do("publish", "t", MIDDLE)
    assert [[1, 1]] == writer.do("publish", "t", "1")
    assert [LARGE, "1"] == rig.read("t")


@pytest.mark.parametrize("points", ["head.marked=kill", "journal.append=kill"])
def test_after_a_roll_that_was_cut_short_the_tail_is_found_without_the_head(
    rig: Rig, writer: Worker, points: str
) -> None:
    rig.worker(points).dies_in("publish", "t", MIDDLE)
    (rig.path / "topics" / "t" / "0" / "head").write_bytes(b"")
    assert [[1, 1]] == writer.do("publish", "t", "1")
    assert [LARGE, "1"] == rig.read("t")


def test_what_nobody_applied_is_made_visible_before_the_roll(rig: Rig, writer: Worker) -> None:
    rig.worker("append.released=kill").dies_in("publish", "t", "1")
    rolling = rig.worker("roll=stop")
    rolling.stops_in("publish", "t", MIDDLE)
    assert ([0], [LARGE, "1"]) == (bases(rig), rig.read("t"))
    rolling.go_on()
    assert [[2, 2]] == rolling.reply()
    assert ([0, 2], [LARGE, "1", MIDDLE]) == (bases(rig), rig.read("t"))


def test_an_owner_that_comes_back_after_the_roll_applies_to_its_own_segment(rig: Rig, writer: Worker) -> None:
    late = rig.worker("apply=stop")
    late.stops_in("publish", "t", "1")
    writer.do("publish", "t", MIDDLE)
    late.go_on()
    assert [[1, 1]] == late.reply()
    assert [LARGE, "1", MIDDLE] == rig.read("t")


def test_a_follower_goes_from_segment_to_segment(rig: Rig, writer: Worker) -> None:
    follower = rig.aegis("consume", "t", "-f", "-o", "start", "-n", "30")
    writer.do("publish", "t", MIDDLE, times=29)
    out, _ = follower.communicate(timeout=SECONDS_MAX)
    assert [LARGE, *[MIDDLE] * 29] == out.decode().splitlines()
    assert 15 <= len(bases(rig))
