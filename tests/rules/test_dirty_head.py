"""Before the journal append the head is marked dirty with the journal position; then it gets the new tail.

A dirty, missing or damaged head means scanning the journal.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.head import HEAD_BYTES
from tests.rules.rig import Rig, Worker


def test_the_head_is_dirty_before_the_journal_append(rig: Rig, writer: Worker) -> None:
    writer.do("publish", "t", "0")
    stopped = rig.worker("journal.append=stop")
    stopped.stops_in("publish", "t", "1")
    head = rig.innards.head("t")
    assert head is not None
    assert (True, 1, rig.innards.next_sequence) == (head.dirty, head.tail.next_offset, head.mark.sequence)
    stopped.go_on()
    assert [[1, 1]] == stopped.reply()
    head = rig.innards.head("t")
    assert head is not None
    assert (False, 2) == (head.dirty, head.tail.next_offset)


@pytest.mark.parametrize("step", ["journal.moved", "append.released"])
@pytest.mark.parametrize("loss", ["none", "missing", "damaged", "torn"])
def test_whoever_comes_next_finds_the_record_behind_the_mark(
    rig: Rig, writer: Worker, step: str, loss: str
) -> None:
    writer.do("publish", "t", "0")
    rig.worker(f"{step}=kill").dies_in("publish", "t", "1")
    lose_head(rig.path / "topics" / "t" / "0" / "head", loss)
    assert [[2, 2]] == writer.do("publish", "t", "2")
    assert ["0", "1", "2"] == rig.read("t")
    assert b"0\n1\n2\n" == rig.raw("t")


def lose_head(path: Path, loss: str) -> None:
    if loss == "missing":
        path.write_bytes(b"")
    elif loss == "damaged":
        raw = bytearray(path.read_bytes())
        raw[40] ^= 1
        path.write_bytes(raw)
    elif loss == "torn":
        path.write_bytes(path.read_bytes()[: HEAD_BYTES - 1])


@pytest.mark.parametrize("step", ["append.locked", "head.marked", "journal.append", "journal.written"])
def test_a_mark_without_a_record_behind_it_means_nothing(rig: Rig, writer: Worker, step: str) -> None:
    writer.do("publish", "t", "0")
    rig.worker(f"{step}=kill").dies_in("publish", "t", "1")
    assert [[1, 1]] == writer.do("publish", "t", "2")
    assert ["0", "2"] == rig.read("t")


def test_a_head_torn_while_it_is_written_is_found_again(rig: Rig, writer: Worker) -> None:
    writer.do("publish", "t", "0")
    rig.worker("write:/head=torn@2").dies_in("publish", "t", "1")
    assert [[2, 2]] == writer.do("publish", "t", "2")
    assert ["0", "1", "2"] == rig.read("t")
