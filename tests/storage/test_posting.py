"""How long a leader goes on for others: while they post, for a while, and not while its own threads wait."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.batch import Receipt, RecordBatch
from storage.posting import Posting
from storage.posts import Posts, open_posts
from storage.store import Store
from storage.turns import Turn, Turns
from tests.storage.small_batches import lines


class Leader:
    """One that finds another request each time that it has appended; `clock` advances with each append."""

    def __init__(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = 1000.0
        self.turns = Turns()
        self.groups: list[bytes] = []
        self.posted_groups = 10
        self._log = store._log("t", 0)
        self.posting = Posting(self._log, turns=self.turns, append=self._append, wait_seconds=10.0)
        self.posting.begin()
        directory = self._log.place.directory
        other = open_posts(directory, salt=self._log.journal.salt)
        assert other is not None
        self.other: Posts = other
        monkeypatch.setattr("storage.posting.time.monotonic", lambda: self.clock)

    def _append(self, batch: RecordBatch, deadline: float | None, durable: bool) -> Receipt:
        self.groups.append(batch.lines)
        self.clock += 0.001
        group = self._log.group
        assert group is not None
        group.take(len(self.groups))
        group.settle(len(self.groups) + batch.count, 1, 7)
        if len(self.groups) <= self.posted_groups:
            self.other.post(lines("2"), stamp=self._log.place.settings_stamp)
        place = self._log.place
        return Receipt(
            topic=place.topic, partition=place.partition, base_offset=0, last_offset=0, append_time_ms=7
        )

    def append(self) -> None:
        assert self.posting.append(lines("1"), self.clock + 10.0) is not None


@pytest.fixture
def leader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Leader]:
    with Store(tmp_path / "store", create=True) as store:
        store.create_topic("t")
        made = Leader(store, monkeypatch)
        yield made
        monkeypatch.undo()
        made.other.close()
        made.posting.close()


def test_it_appends_for_others_as_long_as_they_post(leader: Leader) -> None:
    leader.append()
    assert [b"1\n"] + [b"2\n"] * 10 == leader.groups
    assert not leader.other.is_led


def test_it_goes_back_to_its_own_work_after_a_while(leader: Leader) -> None:
    leader.posted_groups = 1000
    leader.append()
    # Twenty milliseconds of a millisecond each.
    assert len(leader.groups) in (21, 22)
    assert not leader.other.is_led


def test_it_goes_back_at_once_where_threads_of_its_own_wait(leader: Leader) -> None:
    leader.turns.waiting.append(Turn(lines("3")))
    leader.append()
    assert [b"1\n"] == leader.groups
    assert not leader.other.is_led
