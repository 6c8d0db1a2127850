"""A full disk refuses new appends before they reach the journal, and the partition stays usable."""

from __future__ import annotations

import pytest

from tests.rules.rig import RefusedError, Rig, Worker

BULK = '"' + "b" * 100_000 + '"'
LARGE = '"' + "x" * 40_000 + '"'


@pytest.mark.parametrize("value", ["1", BULK])
@pytest.mark.parametrize(
    "points", ["allocate:.jsonl=enospc", "allocate:.index=enospc", "allocate:.meta=enospc"]
)
def test_a_full_disk_refuses_before_the_journal(rig: Rig, writer: Worker, value: str, points: str) -> None:
    sequence = rig.innards.next_sequence
    with pytest.raises(RefusedError, match=r"DiskFullError: .*nothing of this append was stored"):
        rig.worker(points).do("publish", "t", value, key="k")
    assert sequence == rig.innards.next_sequence
    assert [] == rig.read("t")
    assert b"" == rig.raw("t")
    assert [[0, 0]] == writer.do("publish", "t", "2", key="k")
    assert ["2"] == rig.read("t")


def test_the_command_line_says_so_with_a_code_of_its_own(rig: Rig, writer: Worker) -> None:
    code, _, err = rig.run("publish", "t", "1", points="allocate=enospc")
    assert 8 == code
    assert "no space left for" in err
    assert 1 == len(err.splitlines())


@pytest.mark.parametrize("points", ["write:.jsonl=short", "write:.jsonl=enospc", "write:.meta=short"])
def test_a_disk_that_is_full_in_the_middle_of_a_bulk_append_leaves_nothing(
    rig: Rig, writer: Worker, points: str
) -> None:
    writer.do("publish", "t", "0")
    sequence = rig.innards.next_sequence
    failing = rig.worker(points + "@1")
    with pytest.raises(RefusedError, match="DiskFullError"):
        failing.do("publish", "t", BULK, key="k")
    assert sequence == rig.innards.next_sequence
    assert [[1, 1]] == failing.do("publish", "t", "1")
    assert [[2, 2]] == writer.do("publish", "t", "2")
    assert ["0", "1", "2"] == rig.read("t")
    assert b"0\n1\n2\n" == rig.raw("t")


def test_a_disk_without_room_for_another_journal_file_refuses_and_recovers(rig: Rig) -> None:
    rig.journal_bytes = 256 * 1024
    writer = rig.worker()
    writer.do("create", "t")
    writer.do("publish", "t", LARGE, times=6)
    failing = rig.worker("write:.wal=short@1")
    with pytest.raises(RefusedError, match="DiskFullError"):
        failing.do("publish", "t", LARGE)
    assert [[6, 6], [7, 7]] == failing.do("publish", "t", LARGE, times=2)
    assert [[8, 8]] == writer.do("publish", "t", LARGE)
    assert [LARGE] * 9 == rig.read("t")
    assert {256 * 1024} == {path.stat().st_size for path in (rig.path / "journal").glob("*.wal")}


def test_a_full_disk_for_one_partition_leaves_the_others_of_an_append_untouched(
    rig: Rig, writer: Worker
) -> None:
    writer.do("create", "w", partitions=2)
    with pytest.raises(RefusedError, match="DiskFullError"):
        rig.worker("allocate:w/1/*=enospc").do("atomic", ["w", 0, "1", None], ["w", 1, "1", None])
    assert [[], []] == [rig.read("w", 0), rig.read("w", 1)]
    assert [[0, 0], [0, 0]] == writer.do("atomic", ["w", 0, "1", None], ["w", 1, "1", None])


def test_deleting_and_cleaning_need_no_room(rig: Rig, writer: Worker) -> None:
    writer.do("create", "u", segment_bytes=4096, retention_bytes=4096)
    writer.do("publish", "u", '"' + "x" * 3000 + '"', times=4)
    writer.do("publish", "t", "0")
    full = rig.worker("allocate=enospc;create=enospc;write:.jsonl=enospc")
    full.do("clean", "u")
    full.do("delete", "t")
    full.do("delete", "u")
    assert "" == rig.run("topic", "list", "--json")[1]
