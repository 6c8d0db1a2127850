"""An answer derived from state that is not yet durable is given only once the journal is durable that far."""

from __future__ import annotations

import pytest

from tests.rules.rig import RefusedError, Rig, Worker


@pytest.mark.parametrize("step", ["journal.moved", "append.released"])
def test_a_wrong_offset_is_answered_only_when_what_made_it_wrong_is_durable(
    rig: Rig, writer: Worker, step: str
) -> None:
    rig.worker(f"{step}=kill").dies_in("publish", "t", "0")
    committed = rig.innards.next_sequence
    assert committed > rig.innards.synced
    # The conflict makes it sync; before that it says nothing.
    asking = rig.worker("sync:JOURNAL_COMMIT=stop")
    asking.stops_in("publish", "t", "1", expect_offset=0)
    assert not asking.has_answered()
    asking.go_on()
    with pytest.raises(RefusedError, match="is at offset 1, not 0"):
        asking.reply()
    assert committed <= rig.innards.synced
    assert ["0"] == rig.read("t")


def test_a_conflict_in_one_partition_leaves_all_untouched(rig: Rig, writer: Worker) -> None:
    writer.do("create", "w", partitions=3)
    writer.do("publish", "w", "0", partition=2)
    with pytest.raises(RefusedError, match="OffsetConflictError"):
        writer.do("atomic", ["w", 0, "1", None], ["w", 1, "1", 0], ["w", 2, "1", 0])
    assert [[], [], ["0"]] == [rig.read("w", partition) for partition in range(3)]
    assert [[0, 0], [0, 0], [1, 1]] == writer.do(
        "atomic", ["w", 0, "1", 0], ["w", 1, "1", 0], ["w", 2, "1", 1]
    )
    assert [["1"], ["1"], ["0", "1"]] == [rig.read("w", partition) for partition in range(3)]


def test_one_of_many_that_expect_the_same_offset_gets_it(rig: Rig, writer: Worker) -> None:
    workers = [rig.worker() for _ in range(4)]
    for number, worker in enumerate(workers):
        worker.send("publish", "t", str(number), expect_offset=0)
    won = []
    for number, worker in enumerate(workers):
        try:
            assert [[0, 0]] == worker.reply()
        except RefusedError as error:
            assert "OffsetConflictError" == error.kind
        else:
            won.append(str(number))
    assert 1 == len(won)
    assert won == rig.read("t")


def test_a_conflict_ends_the_command_line_with_its_own_code(rig: Rig, writer: Worker) -> None:
    writer.do("publish", "t", "0")
    code, _, err = rig.run("publish", "t", "1", "--expect-offset", "0")
    assert 4 == code
    assert "is at offset 1, not 0; nothing was published" in err
    assert 0 == rig.run("publish", "t", "1", "--expect-offset", "1")[0]
    assert ["0", "1"] == rig.read("t")
