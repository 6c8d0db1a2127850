"""A history of a minute, in every run of the tests; `make soak` makes a long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.history.history import run


@pytest.mark.slow
def test_a_history_of_a_minute_is_clean(tmp_path: Path) -> None:
    summary = run(tmp_path, seconds=60.0, seed=1)
    assert [] == summary.findings.problems
    # It was one: all kinds of things happened, and messages came all the same.
    assert 20 < summary.did["kill"]
    assert all(3 < number for number in summary.did.values()), summary
    counts = summary.findings.counts
    assert 2000 < counts["acknowledged"] < counts["delivered"]
    assert 100 < counts["transactions"] and 1000 < counts["copied"] and 0 < counts["resets"]
