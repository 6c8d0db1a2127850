"""A short soak, in every run of the tests; `make soak` runs a long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak.soak import run


@pytest.mark.slow
def test_a_short_soak_is_clean(tmp_path: Path) -> None:
    summary = run(tmp_path, seconds=20.0, seed=1)
    assert [] == summary.verdict.problems
    # It was one: things happened, to many, and were seen.
    assert 20 < summary.kills and 20 < summary.stops
    assert 1000 < summary.verdict.acknowledged <= summary.verdict.stored + summary.verdict.acknowledged
    assert 1000 < summary.verdict.followed
