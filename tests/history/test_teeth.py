"""A history is not clean when a part of the code is broken, for each way in which it can be."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.history.broken import BREAKAGES
from tests.history.history import run

_SECONDS = 7.0
_PAUSE_SECONDS = 0.15
# Some breakages keep a group from ever reaching the end.
_CATCH_UP_SECONDS = 5.0
# A blow may always miss: another history has other ones.
_SEEDS = range(1, 9)
# The group in which each breakage shows, and as what.
_FOUND = {
    "unfenced_commit": ("files", {"duplicate", "group"}),
    "early_commit": ("pipes", {"lost"}),
    "late_commit": ("once", {"duplicate"}),
    "separate_commit": ("copy", {"duplicate"}),
    "separate_length": ("files", {"lost", "duplicate"}),
    "uncut_file": ("files", {"duplicate"}),
    "torn_transaction": ("once", {"torn"}),
    "torn_append": ("once", {"torn"}),
    "forgetful_producer": ("once", {"duplicate"}),
    "late_abort": ("once", {"aborted"}),
    "hasty_release": ("pipes", {"duplicate"}),
    "ignored_reset": ("pipes", {"lost"}),
    "skipped_message": ("pipes", {"poll"}),
    "repeated_message": ("pipes", {"poll"}),
}
_OF_PUBLISHERS = ("torn_append", "torn_transaction", "forgetful_producer")


@pytest.mark.slow
@pytest.mark.parametrize("breakage", _FOUND)
def test_what_is_broken_is_found(tmp_path: Path, breakage: str) -> None:
    group, kinds = _FOUND[breakage]
    for seed in _SEEDS:
        directory = tmp_path / str(seed)
        directory.mkdir()
        summary = run(
            directory,
            seconds=_SECONDS,
            seed=seed,
            groups=[group],
            breakage=breakage,
            pause_seconds=_PAUSE_SECONDS,
            catch_up_seconds=_CATCH_UP_SECONDS,
            targets="publishers" if breakage in _OF_PUBLISHERS else "members",
        )
        if kinds & summary.findings.kinds.keys():
            return
    pytest.fail(f"nobody noticed, the last time: {summary}")


def test_each_breakage_is_tried() -> None:
    assert BREAKAGES.keys() == _FOUND.keys()
