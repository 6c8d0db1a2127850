"""What tests of groups share: a store with a topic of two partitions, its clock, and a stack of members."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from storage.store import Store
from storage.topic import TopicSettings
from tests.storage.group.groups import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Store]:
    with Store(tmp_path / "store", create=True, clock_ms=clock) as store:
        store.create_topic("t", TopicSettings(partitions=2))
        yield store


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack
