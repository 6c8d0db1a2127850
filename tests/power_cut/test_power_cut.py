"""The power may fail at any moment: what was acknowledged, and what anyone saw, is there afterwards.

Every workload is recorded once. For every moment of it, disks are made as the cut could leave them, opened
and held against the promises. `AEGIS_POWER_CUT=exhaustive` looks at all states of every moment, not at a
sample.
"""

from __future__ import annotations

import random

import pytest

from storage.batch import Receipt, RecordBatch
from storage.small_append import SmallAppend
from tests.power_cut import rig
from tests.power_cut.crash import Explorer, record_recovery
from tests.power_cut.promises import Facts
from tests.power_cut.stage import small_sizes

_STATES_PER_CUT = None if rig.EXHAUSTIVE else 3
_RECOVERIES = 200 if rig.EXHAUSTIVE else 3
_RECOVERED = ("small", "keyed", "bulk", "atomic", "roll", "checkpoints", "retention", "topics", "moved_bulk")


# A process that dies in the middle of a directory leaves it open, here to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", list(rig.ALL))
def test_no_power_cut_takes_back_a_promise(name: str) -> None:
    with rig.scratch() as scratch, small_sizes():
        explorer = Explorer(scratch, states_per_cut=_STATES_PER_CUT)
        report = explorer.explore(rig.recorded(name))
    assert report.recovered > 20
    assert not report.violations, str(report)


@pytest.mark.parametrize("name", ["small", "keyed", "roll", "checkpoints", "unsynced", "three_writers"])
def test_what_is_looked_at_goes_the_small_way_too(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    went: list[Receipt] = []
    real = SmallAppend.append

    def append(self: SmallAppend, batch: RecordBatch, durable: bool) -> Receipt | None:
        receipt = real(self, batch, durable)
        went.extend([receipt] if receipt is not None else [])
        return receipt

    monkeypatch.setattr(SmallAppend, "append", append)
    rig.recorded.__wrapped__(name)
    assert went


@pytest.mark.parametrize("name", _RECOVERED)
def test_no_power_cut_during_recovery_takes_back_a_promise(name: str) -> None:
    rng = random.Random(3)
    with rig.scratch() as scratch, small_sizes():
        explorer = Explorer(scratch, states_per_cut=_STATES_PER_CUT)
        cuts = [
            (tree, facts.copy())
            for event, _, tree, facts in explorer.cuts(rig.recorded(name), Facts())
            if event % 3 == 0
        ]
        for tree, facts in rng.sample(cuts, min(_RECOVERIES, len(cuts))):
            explorer.explore(record_recovery(scratch, tree), facts)
    assert explorer.report.recovered > 20
    assert not explorer.report.violations, str(explorer.report)
