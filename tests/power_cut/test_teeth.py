"""The simulator has teeth: without any one sync, or any one check, some promise breaks.

A sync that nobody misses is not needed, or a workload is missing here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from aegis_cli.pipeline.outgoing import Outgoing
from aegis_cli.pipeline.sinks.sink import Rows
from aegis_cli.pipeline.sinks.sqlite import SqliteSink
from aegis_cli.pipeline.state import Facts
from storage import files
from storage.checksum import Check
from storage.files import Sync
from tests.power_cut import damage, rig
from tests.power_cut.crash import Explorer
from tests.power_cut.stage import small_sizes

_STATES_PER_CUT = 7
# A workload in which a cut without the sync takes something back.
MISSED = {
    Sync.JOURNAL_COMMIT: "small",
    Sync.JOURNAL_SWITCH: "switches_over_another",
    Sync.JOURNAL_CREATE: "checkpoints",
    Sync.BULK_DATA: "bulk",
    Sync.BULK_META: "keyed",
    Sync.SEGMENT_CREATE: "roll",
    Sync.CHECKPOINT_FILE: "retention_checkpointed",
    Sync.CHECKPOINT_DIRECTORY: "retention_checkpointed",
    Sync.RECOVERY_JOURNAL: "moved",
    Sync.RECOVERY_FILE: "moved_bulk",
    Sync.RECOVERY_DIRECTORY: "moved",
    Sync.EPOCH: "moved",
    Sync.STORE_CREATE: "create",
    Sync.TOPIC_CREATE: "create",
    Sync.TOPIC_DELETE: "topics",
    Sync.CEILING: "unsynced",
    Sync.SETTINGS: "topics",
    Sync.OUTPUT_FILE: "delivering",
}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("promise", MISSED)
def test_a_sync_that_is_left_out_breaks_a_promise(promise: Sync) -> None:
    with rig.scratch() as scratch, small_sizes():
        explorer = Explorer(scratch, ignored=promise, states_per_cut=_STATES_PER_CUT, violations_max=1)
        report = explorer.explore(rig.recorded(MISSED[promise]))
    assert report.violations, f"nobody misses the sync for: {promise.value}"


# A workload, the file to damage, the bytes of it, whether only what was synced is left, and whether the store
# is found where it was.
DAMAGED = {
    Check.JOURNAL_RECORD: ("bulk", ".wal", 4168, 4260, True, False),
    Check.JOURNAL_HEADER: ("small", "0000.wal", 0, 68, True, False),
    Check.INDEX_ENTRY: ("small", ".index", 128, 384, False, True),
    Check.INDEX_HEADER: ("small", ".index", 0, 128, True, False),
    Check.BATCH_DATA: ("small", ".jsonl", 0, 60, False, True),
    Check.BATCH_META: ("keyed", "0/00000000000000000000.meta", 0, 60, False, True),
    Check.HEAD: ("small", "0/head", 8, 48, False, True),
    Check.EPOCH: ("small", "epoch", 0, 128, True, False),
    Check.CEILING: ("unsynced", "ceiling", 0, 12, True, False),
}


@pytest.mark.parametrize("check", DAMAGED)
def test_a_check_that_is_left_out_lets_damage_through(check: Check) -> None:
    name, suffix, first, end, only_synced, stays = DAMAGED[check]
    with (
        rig.scratch() as scratch,
        small_sizes(),
        damage.one_identity() if stays else contextlib.nullcontext(),
    ):
        moment = damage.last_moment(rig.recorded(name, stays=stays), only_synced=only_synced)
        through = 0
        for tree in damage.turned(moment.tree, suffix, seed=5, first=first, end=end):
            if damage.harm(scratch, tree, moment.facts, without=check):
                assert [] == damage.harm(scratch, tree, moment.facts, without=None)
                through += 1
                if through == 3:
                    break
    assert through, f"nobody misses the check: {check.value}"


def _commit_before_the_store(sink: SqliteSink, rows: list[dict[str, Any]], number: int) -> None:
    _bring(sink, rows, number)
    sink._database.commit()
    files.step("pipeline.table.committed")


def _remember_nothing(sink: SqliteSink, rows: Rows, outgoing: Outgoing, facts: Facts) -> int:
    count = _prepare(sink, rows, outgoing, facts)
    facts.pending.clear()
    return count


_bring, _prepare = SqliteSink._bring, SqliteSink.prepare


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("name", "broken"),
    [("_bring", _commit_before_the_store), ("prepare", _remember_nothing)],
    ids=["rows before the commit", "rows forgotten"],
)
def test_a_table_that_is_not_brought_there_around_the_commit_breaks_a_promise(
    monkeypatch: pytest.MonkeyPatch, name: str, broken: Callable[..., object]
) -> None:
    monkeypatch.setattr(SqliteSink, name, broken)
    with rig.scratch() as scratch, small_sizes():
        explorer = Explorer(scratch, states_per_cut=_STATES_PER_CUT, violations_max=1)
        report = explorer.explore(rig.recorded.__wrapped__("pipeline_with_a_table"))
    assert report.violations


def test_every_sync_and_every_check_is_missed_somewhere() -> None:
    assert set(Sync) == set(MISSED)
    assert set(Check) == set(DAMAGED)
