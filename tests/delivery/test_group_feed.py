"""What a member gets to do, and what becomes of it when others come and go."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from aegis_cli.delivery.group_feed import GroupFeed
from storage.batch import RecordBatch
from storage.member import Member
from storage.store import Append, Store
from storage.topic import TopicSettings


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store", create=True) as store:
        store.create_topic("t", TopicSettings(partitions=2))
        for partition in range(2):
            for first in range(0, 40, 10):
                lines = b"".join(b"%d\n" % number for number in range(first, first + 10))
                batch = RecordBatch(lines=lines, count=10)
                store.append([Append(topic="t", partition=partition, batches=[batch])])
        yield store


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def feed_of(member: Member, *, records_max: int = 15) -> tuple[GroupFeed, list[str]]:
    notices: list[str] = []
    feed = GroupFeed(
        member, follow=True, records_max=records_max, bytes_max=1 << 20, on_notice=notices.append
    )
    return feed, notices


def everything(feed: GroupFeed) -> dict[int, list[int]]:
    """The offsets that come, by partition."""
    taken: dict[int, list[int]] = {}
    while (portion := feed.take()) is not None:
        offsets = taken.setdefault(portion.place.partition, [])
        for batch in portion.batches:
            offsets.extend(batch.offsets())
    return taken


def test_portions_are_as_large_as_they_may_be(store: Store, stack: ExitStack) -> None:
    feed, _ = feed_of(stack.enter_context(Member(store, "g", ["t"])))
    sizes = []
    while (portion := feed.take()) is not None:
        assert list(range(portion.first_offset, portion.next_offset)) == [
            int(line) for line in portion.lines.split()
        ]
        sizes.append((portion.place.partition, portion.count))
    assert [(0, 10), (0, 15), (0, 15), (1, 10), (1, 15), (1, 15)] == sorted(sizes)


def test_portions_are_bounded_by_their_size(store: Store, stack: ExitStack) -> None:
    member = stack.enter_context(Member(store, "g", ["t"]))
    feed = GroupFeed(member, follow=True, records_max=100, bytes_max=50)
    sizes = []
    while (portion := feed.take()) is not None:
        sizes.append(portion.size_bytes)
    assert max(sizes) <= 50
    assert {0: list(range(40)), 1: list(range(40))} == everything(feed_of(member)[0])


def test_only_full_portions_come_where_only_these_are_wanted(store: Store, stack: ExitStack) -> None:
    feed, _ = feed_of(stack.enter_context(Member(store, "g", ["t"])), records_max=25)
    sizes = []
    while (portion := feed.take(full=True)) is not None:
        sizes.append(portion.count)
    assert [25, 25] == sizes
    assert {0: list(range(25, 40)), 1: list(range(25, 40))} == everything(feed)


def test_a_place_is_given_up_when_nothing_of_it_is_in_work(store: Store, stack: ExitStack) -> None:
    first = stack.enter_context(Member(store, "g", ["t"]))
    feed, notices = feed_of(first, records_max=5)
    assert {0: list(range(40)), 1: list(range(40))} == everything(feed)
    second = stack.enter_context(Member(store, "g", ["t"]))
    assert set() == feed.sync()
    (closing,) = feed.closing
    assert set() == feed.release({closing})
    assert (2, 0) == (len(first.owned), len(second.owned))
    first.commit({closing: 7})
    assert set() == feed.release(())
    second.refresh()
    assert [closing] == second.owned
    taken = everything(feed_of(second)[0])
    assert ({closing.partition: list(range(7, 40))}, []) == (taken, notices)


def test_what_was_dropped_for_another_comes_again_when_that_has_gone(store: Store, stack: ExitStack) -> None:
    first = stack.enter_context(Member(store, "g", ["t"]))
    feed, notices = feed_of(first, records_max=5)
    portions = [feed.take() for _ in range(2)]
    second = Member(store, "g", ["t"])
    second.join()
    feed.sync()
    (closing,) = feed.closing
    second.close()
    feed.sync()
    # Until what is in work of it is committed nothing else of the place comes.
    assert closing.partition not in everything(feed)
    first.commit({portion.place: portion.next_offset for portion in portions if portion is not None})
    assert (frozenset({closing}), set(), frozenset()) == (feed.closing, feed.release(()), feed.closing)
    assert {closing.partition: list(range(5, 40))} == everything(feed)
    assert [] == notices
