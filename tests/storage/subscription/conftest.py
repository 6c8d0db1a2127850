"""What tests of subscriptions share: a store to consume from, and processes that do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from storage.store import Store
from tests.storage.subscription.consumers import Worker


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store", create=True) as store:
        store.create_topic("t")
        yield store


@pytest.fixture
def workers(store: Store) -> Iterator[Any]:
    started: list[Worker] = []

    def start() -> Worker:
        started.append(Worker(store))
        return started[-1]

    yield start
    for worker in started:
        worker.end()
