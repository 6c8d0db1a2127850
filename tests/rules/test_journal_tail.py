"""The journal's tail moves only after a whole record is written, and an owner that died leaves no trace."""

from __future__ import annotations

import pytest

from tests.rules.rig import Rig, Worker

BULK = '"' + "b" * 100_000 + '"'


@pytest.mark.parametrize("points", ["journal.append=kill", "write:.wal=torn", "journal.written=kill"])
def test_the_tail_moves_only_after_a_whole_record(rig: Rig, writer: Worker, points: str) -> None:
    writer.do("publish", "t", "0")
    sequence = rig.innards.next_sequence
    rig.worker(points).dies_in("publish", "t", '"lost"')
    assert sequence == rig.innards.next_sequence
    # The next record takes the place, also where it is shorter than what stands there.
    writer.do("create", "u")
    writer.do("publish", "u", "1")
    assert sequence + 1 == rig.innards.next_sequence
    assert [[1, 1]] == writer.do("publish", "t", "2")
    assert ["0", "2"] == rig.read("t")
    copy = rig.copy()
    rig.worker(store=copy)
    assert ["0", "2"] == rig.read("t", store=copy)
    assert ["1"] == rig.read("u", store=copy)


@pytest.mark.parametrize(
    "points",
    [
        "write:.jsonl=torn",
        "bulk.written=kill",
        "bulk.synced=kill",
        "journal.append=kill",
        "write:.wal=torn",
        "journal.written=kill",
    ],
)
@pytest.mark.parametrize("following", ['"small"', '"' + "c" * 90_000 + '"'])
def test_the_next_holder_cuts_what_an_owner_that_died_wrote_in_bulk(
    rig: Rig, writer: Worker, points: str, following: str
) -> None:
    writer.do("publish", "t", "0", key="k")
    rig.worker(points).dies_in("publish", "t", BULK, key="k")
    assert [[1, 1]] == writer.do("publish", "t", following, key="k")
    assert ["0", following] == rig.read("t")
    assert f"0\n{following}\n".encode() == rig.raw("t")
    copy = rig.copy()
    rig.worker(store=copy)
    assert ["0", following] == rig.read("t", store=copy)


def test_a_bulk_owner_that_died_after_the_tail_moved_has_published(rig: Rig, writer: Worker) -> None:
    rig.worker("journal.moved=kill").dies_in("publish", "t", BULK)
    assert [[1, 1]] == writer.do("publish", "t", "1")
    assert [BULK, "1"] == rig.read("t")


def test_another_record_takes_the_place_of_an_abandoned_one_durably_before_its_data_is_cut(
    rig: Rig, writer: Worker
) -> None:
    writer.do("publish", "t", "0")
    rig.worker("journal.written=kill").dies_in("publish", "t", BULK)
    sequence = rig.innards.next_sequence
    size = len(rig.raw("t"))
    # Its record stands whole in the journal, and its data is there: a recovery may take it for committed.
    rig.worker("bulk.cut=kill").dies_in("publish", "t", "1")
    assert size == len(rig.raw("t"))
    assert sequence + 1 <= rig.innards.synced
    copy = rig.copy()
    rig.worker(store=copy)
    assert ["0"] == rig.read("t", store=copy)
    rig.worker("truncate:.jsonl=kill").dies_in("publish", "t", "1")
    assert [[1, 1]] == writer.do("publish", "t", "2")
    assert ["0", "2"] == rig.read("t")
