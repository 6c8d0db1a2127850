"""What tests of handing messages to commands share: a store with topic t, and commands to hand them to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.store import Store
from tests.cli.exec.commands import Commands


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store", create=True) as store:
        store.create_topic("t")
        yield store


@pytest.fixture
def commands(store: Store, tmp_path: Path) -> Commands:
    return Commands(store, tmp_path)
