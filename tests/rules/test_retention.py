"""Retention: the start is raised durably in the journal before a file goes; readers step over the rest."""

from __future__ import annotations

import pytest

from storage.segment import segment_bases
from tests.rules.rig import Rig, Worker

LARGE = '"' + "x" * 3000 + '"'


@pytest.fixture
def writer(rig: Rig) -> Worker:
    worker = rig.worker()
    worker.do("create", "t", segment_bytes=4096)
    worker.do("publish", "t", LARGE, times=6)
    # Retention is set only now, so that no roll before it has removed anything.
    worker.do("alter", "t", segment_bytes=4096, retention_bytes=8192)
    assert [0, 1, 2, 3, 4, 5] == bases(rig)
    return worker


def bases(rig: Rig) -> list[int]:
    return segment_bases(str(rig.path / "topics" / "t" / "0"))


def test_the_start_is_raised_durably_before_a_file_goes(rig: Rig, writer: Worker) -> None:
    cleaning = rig.worker("unlink=stop@1")
    sequence = rig.innards.next_sequence
    cleaning.stops_in("clean")
    assert [0, 1, 2, 3, 4, 5] == bases(rig)
    assert sequence + 1 == rig.innards.next_sequence == rig.innards.synced
    # A recovery from here on finishes what was begun.
    copy = rig.copy()
    rig.worker(store=copy)
    assert [LARGE] * 2 == rig.read("t", store=copy)
    cleaning.go_on()
    assert 1 == cleaning.reply()
    assert [LARGE] * 2 == rig.read("t")


# Each segment is two files, its messages and then its index: a kill at an even number falls between them.
@pytest.mark.parametrize("number", range(1, 9))
def test_a_retention_that_was_cut_short_hides_nothing_that_is_kept(
    rig: Rig, writer: Worker, number: int
) -> None:
    rig.worker(f"unlink=kill@{number}").dies_in("clean")
    # Whatever went, the newest are kept, and a reader from the start gets to them.
    assert [LARGE] * 2 == rig.run("consume", "t")[1].splitlines()[-2:]
    writer.do("publish", "t", "9")
    assert "9" == rig.run("consume", "t")[1].splitlines()[-1]
    writer.do("clean")
    assert [LARGE, LARGE, "9"] == rig.read("t") or [LARGE, "9"] == rig.read("t")
    copy = rig.copy()
    rig.worker(store=copy)
    assert "9" == rig.read("t", store=copy)[-1]


def test_publishing_goes_on_while_retention_stands_still(rig: Rig, writer: Worker) -> None:
    cleaning = rig.worker("unlink=stop@1")
    cleaning.stops_in("clean")
    writer.do("publish", "t", LARGE, times=3)
    cleaning.go_on()
    cleaning.reply()
    assert LARGE == rig.read("t")[-1]


def test_an_owner_that_comes_back_after_its_segment_is_gone_harms_nothing(rig: Rig, writer: Worker) -> None:
    late = rig.worker("apply=stop")
    late.stops_in("publish", "t", "1")
    writer.do("publish", "t", LARGE, times=4)
    writer.do("clean")
    before = rig.read("t")
    late.go_on()
    assert [[6, 6]] == late.reply()
    assert before == rig.read("t")
    assert [[11, 11]] == writer.do("publish", "t", "2")


def test_the_newest_segment_is_never_removed(rig: Rig, writer: Worker) -> None:
    writer.do("alter", "t", segment_bytes=4096, retention_bytes=1, retention_ms=1)
    writer.do("clean")
    assert [5] == bases(rig)
    assert [[6, 6]] == writer.do("publish", "t", "6")
