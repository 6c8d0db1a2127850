"""A state that lives in a log: folded, changed under a fence, shortened, and complete after each of these."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from storage.errors import FencedError, OffsetConflictError, TopicNotFoundError
from storage.segment import segment_bases
from storage.state_log import Change, StateLog, create_log, open_state_log
from storage.store import Store
from storage.verify import verify


class Sums:
    """Adds up what each name was given."""

    def __init__(self) -> None:
        self.sums: dict[str, int] = {}

    def apply(self, change: Change, offset: int) -> None:
        name, more = change["name"], change["more"]
        assert isinstance(name, str) and isinstance(more, int)
        self.sums[name] = self.sums.get(name, 0) + more

    def snapshot(self) -> object:
        return self.sums

    def restore(self, snapshot: object) -> None:
        assert isinstance(snapshot, dict)
        self.sums = dict(snapshot)


def add(name: str, more: int) -> Change:
    return {"name": name, "more": more}


def opened(store: Store) -> tuple[StateLog, Sums]:
    sums = Sums()
    return open_state_log(store, "groups/g", sums, create=True), sums


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", create=True)


def test_a_log_of_state_is_no_topic(store: Store) -> None:
    opened(store)
    assert [] == store.topics()
    assert [] == [finding for finding in verify(store.path) if finding.is_damage]


def test_a_log_that_is_not_there_is_not_made_unasked(store: Store) -> None:
    with pytest.raises(TopicNotFoundError):
        open_state_log(store, "groups/g", Sums(), create=False)


def test_a_log_that_two_make_is_one(store: Store) -> None:
    assert create_log(store, "groups/g").topic_id == create_log(store, "groups/g").topic_id


def test_changes_are_folded_in_order(store: Store) -> None:
    log, sums = opened(store)
    other, others = opened(store)
    store.append([log.append([add("a", 1), add("b", 2)])])
    store.append([other.append([add("a", 3)])])
    assert log.refresh() and other.refresh() and not log.refresh()
    assert ({"a": 4, "b": 2}, others.sums) == (sums.sums, sums.sums)


def test_who_relies_on_an_older_fence_is_refused_and_changes_nothing(store: Store) -> None:
    log, sums = opened(store)
    store.append([log.append([add("a", 1)], expect_fence=0, fence=1)])
    with pytest.raises(FencedError) as caught:
        store.append([log.append([add("a", 5)], expect_fence=0)])
    assert (0, 1) == (caught.value.expected, caught.value.actual)
    store.append([log.append([add("a", 1)], expect_fence=1)])
    log.refresh()
    assert ({"a": 2}, 1) == (sums.sums, log.fence)


def test_the_fence_is_known_without_the_head(store: Store) -> None:
    log, _ = opened(store)
    store.append([log.append([add("a", 1)], fence=7)])
    store.close()
    Path(log.directory, "head").write_bytes(b"")
    with Store(store.path) as again:
        with pytest.raises(FencedError):
            again.append([log.append([add("a", 5)], expect_fence=0)])
        again.append([log.append([add("a", 5)], expect_fence=7)])


def test_a_change_and_a_message_happen_together_or_not_at_all(store: Store) -> None:
    log, sums = opened(store)
    store.create_topic("t")
    with store.transaction() as transaction:
        transaction.publish("t", {"id": 1})
        transaction.change(log.append([add("a", 1)], expect_fence=0))
    assert [0] == [receipt.base_offset for receipt in transaction.receipts]
    with pytest.raises(FencedError), store.transaction() as transaction:
        transaction.publish("t", {"id": 2})
        transaction.change(log.append([add("a", 1)], expect_fence=9))
    with pytest.raises(OffsetConflictError), store.transaction() as transaction:
        transaction.publish("t", {"id": 3})
        transaction.change(log.append([add("a", 1)], expect_offset=9))
    with pytest.raises(ZeroDivisionError), store.transaction() as transaction:
        transaction.publish("t", {"id": 4})
        _ = 1 // 0
    log.refresh()
    assert (['{"id":1}'], {"a": 1}) == ([m.value.decode() for m in store.read("t")], sums.sums)


def test_a_shortened_log_gives_the_same_state(store: Store) -> None:
    log, sums = opened(store)
    for _ in range(3):
        store.append([log.append([add("a", 1)] * 9000)])
        store.append([log.append([add("x" * 30, 1)] * 9000)])
        log.refresh()
        log.shorten()
    store.append([log.append([add("b", 2)])])
    log.refresh()
    again, fresh = opened(store)
    assert sums.sums == fresh.sums
    assert {"a": 27000, "x" * 30: 27000, "b": 2} == fresh.sums
    assert segment_bases(log.directory)[0] > 0
    assert again.next_offset == log.next_offset


def test_what_is_changed_while_the_log_is_shortened_is_not_lost(store: Store) -> None:
    log, sums = opened(store)
    late, _ = opened(store)
    store.append([log.append([add("x" * 90, 1)] * 9000)])
    store.append([log.append([add("x" * 90, 1)] * 9000)])
    log.refresh()
    store.append([late.append([add("a", 1)])])  # unknown to the one that shortens
    log.shorten()
    _, fresh = opened(store)
    log.refresh()
    assert 1 == fresh.sums["a"]
    assert sums.sums == fresh.sums


def test_many_who_change_and_shorten_at_once_lose_nothing(store: Store) -> None:
    def work(name: str) -> None:
        log, _ = opened(store)
        for _ in range(60):
            store.append([log.append([add(name, 1)] * 100)])
            log.refresh()
            log.shorten_if_due()

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    _, fresh = opened(store)
    assert dict.fromkeys("abcd", 6000) == fresh.sums
    assert [] == [finding for finding in verify(store.path) if finding.is_damage]
