"""The fixtures of the tests of the rules."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rules.rig import Rig, Worker


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """A store with the topic `t` of one partition."""
    made = Rig(tmp_path)
    yield made
    made.close()


@pytest.fixture
def writer(rig: Rig) -> Worker:
    """A worker without failpoints, and with it the store and its topic `t`."""
    worker = rig.worker()
    worker.do("create", "t")
    return worker
