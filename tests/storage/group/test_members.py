"""Members of a group: sharing, handing over, fencing, resets; several members in one process are enough."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from storage.assignor import Place
from storage.errors import GroupNotFoundError, MemberFencedError, TopicNotFoundError
from storage.group_reader import GroupReader
from storage.member import Member, latest, open_group
from storage.members import Presence
from storage.store import Store
from storage.topic import TopicSettings
from storage.watch import open_watch
from tests.storage.group.groups import die

DEADLINE_SECONDS = 10.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store", create=True) as store:
        store.create_topic("t", TopicSettings(partitions=4))
        yield store


def fill(store: Store, count: int = 100) -> None:
    for number in range(count):
        store.publish("t", {"n": number}, partition=number % 4)


def places(member: Member) -> list[int]:
    return sorted(place.partition for place in member.owned)


def settle(*members: Member) -> None:
    """Let every member take over what changed, and give up what others wait for, until all is quiet."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        for member in members:
            member.may_have_died()
            member.refresh()
            member.release(member.to_release)
        if not any(member.log.refresh() for member in members) and not members[0].state.following:
            return
        assert time.monotonic() < deadline


def everything(reader: GroupReader) -> dict[Place, list[int]]:
    taken: dict[Place, list[int]] = {}
    while (found := reader.take()) is not None:
        place, batch = found
        taken.setdefault(place, []).extend(batch.offsets())
    return taken


def test_one_member_owns_everything_from_the_beginning(store: Store, stack: ExitStack) -> None:
    fill(store)
    member = stack.enter_context(Member(store, "g", ["t"]))
    assert [0, 1, 2, 3] == places(member)
    taken = everything(GroupReader(member, follow=False, pieces=7))
    assert [list(range(25))] * 4 == [taken[place] for place in sorted(taken)]


def test_the_latest_start_is_kept_although_nothing_was_read(store: Store, stack: ExitStack) -> None:
    fill(store)
    early = Member(store, "g", ["t"], start=latest)
    early.join()
    die(early)
    fill(store, 4)
    member = stack.enter_context(Member(store, "g", ["t"]))
    settle(member)
    taken = everything(GroupReader(member, follow=False, pieces=100))
    assert [[25]] * 4 == [taken[place] for place in sorted(taken)]


def test_who_joins_gets_a_share_only_when_it_is_given_up(store: Store, stack: ExitStack) -> None:
    first = stack.enter_context(Member(store, "g", ["t"]))
    second = stack.enter_context(Member(store, "g", ["t"]))
    first.refresh()
    assert ([0, 1, 2, 3], []) == (places(first), places(second))
    assert 2 == len(first.to_release)
    settle(first, second)
    assert (2, 2) == (len(first.owned), len(second.owned))
    assert set(first.owned).isdisjoint(second.owned)


def test_who_leaves_gives_everything_to_the_others_at_once(store: Store, stack: ExitStack) -> None:
    first = stack.enter_context(Member(store, "g", ["t"]))
    with Member(store, "g", ["t"]) as second:
        settle(first, second)
    first.refresh()
    assert [0, 1, 2, 3] == places(first)
    assert [first.member_id] == list(first.state.members)


def test_a_third_member_moves_as_little_as_possible(store: Store, stack: ExitStack) -> None:
    members = [stack.enter_context(Member(store, "g", ["t"])) for _ in range(2)]
    settle(*members)
    before = [set(member.owned) for member in members]
    members.append(stack.enter_context(Member(store, "g", ["t"])))
    settle(*members)
    assert [1, 1, 2] == sorted(len(member.owned) for member in members)
    assert all(set(member.owned) <= owned for member, owned in zip(members, before, strict=False))


def test_the_places_of_a_dead_member_move_at_once(store: Store, stack: ExitStack) -> None:
    first = stack.enter_context(Member(store, "g", ["t"]))
    second = Member(store, "g", ["t"])
    second.join()
    settle(first, second)
    second.commit(dict.fromkeys(second.owned, 3))
    die(second)
    first.may_have_died()
    first.refresh()
    assert [0, 1, 2, 3] == places(first)
    assert 2 == sum(first.position(place) == 3 for place in first.owned)


def test_a_member_that_does_not_beat_is_taken_for_dead_and_its_commit_is_refused(
    store: Store, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = stack.enter_context(Member(store, "g", ["t"], session_timeout_seconds=0.2))
    with monkeypatch.context() as patched:
        patched.setattr(Presence, "_beat_on", lambda self, every_seconds: None)
        second = Member(store, "g", ["t"], session_timeout_seconds=0.2)
        second.join()
    settle(first, second)
    held = second.owned
    deadline = time.monotonic() + DEADLINE_SECONDS
    while second.member_id in first.state.members:
        first.refresh()
        assert time.monotonic() < deadline
    with pytest.raises(MemberFencedError):
        second.commit({held[0]: 7})
    assert 0 == first.position(held[0])
    with pytest.raises(MemberFencedError):
        second.refresh()
    second.join()
    settle(first, second)
    assert (2, 2) == (len(first.owned), len(second.owned))
    second.close()


def test_a_commit_goes_on_in_a_generation_that_left_the_place_where_it_was(
    store: Store, stack: ExitStack
) -> None:
    first = stack.enter_context(Member(store, "g", ["t"]))
    kept = first.owned
    stack.enter_context(Member(store, "g", ["t"]))
    first.commit(dict.fromkeys(kept, 5))  # based on the generation before
    assert [5] * 4 == [first.position(place) for place in kept]


def test_a_transaction_of_a_fenced_member_leaves_nothing_behind(store: Store, stack: ExitStack) -> None:
    store.create_topic("out")
    first = stack.enter_context(Member(store, "g", ["t"]))
    second = stack.enter_context(Member(store, "g", ["t"]))
    held = first.owned
    settle(first, second)
    lost = next(place for place in held if place not in first.owned)
    transaction = store.transaction()
    transaction.publish("out", 1)
    with pytest.raises(MemberFencedError):
        first.commit({lost: 9}, transaction=transaction)
    assert [] == list(store.read("out"))
    transaction = store.transaction()
    transaction.publish("out", 2)
    second.commit({lost: 9}, transaction=transaction)
    assert [b"2"] == [message.value for message in store.read("out")]


def test_a_reader_drops_what_it_lost_and_goes_on_where_the_group_stands(
    store: Store, stack: ExitStack
) -> None:
    fill(store)
    first = stack.enter_context(Member(store, "g", ["t"]))
    reader = GroupReader(first, follow=True, pieces=10)
    taken = everything(reader)
    first.commit(dict.fromkeys(taken, 20))
    second = stack.enter_context(Member(store, "g", ["t"]))
    first.refresh()
    given = set(first.to_release)
    first.release(given)
    assert given == reader.sync()
    taken_over = everything(GroupReader(second, follow=True, pieces=10))
    assert {place: list(range(20, 25)) for place in given} == taken_over


def test_new_partitions_and_new_topics_are_shared_out(store: Store, stack: ExitStack) -> None:
    member = stack.enter_context(Member(store, "g", ["t"]))
    store.alter_topic("t", TopicSettings(partitions=6))
    member._next_look = 0.0
    member.refresh()
    assert [0, 1, 2, 3, 4, 5] == places(member)


def test_what_is_not_there_is_refused(store: Store) -> None:
    with pytest.raises(TopicNotFoundError):
        Member(store, "g", ["nothing"])
    with pytest.raises(GroupNotFoundError, match="did you mean 'group'"):
        Member(store, "group", ["t"])
        open_group(store, "grup")


def test_what_a_dead_publisher_did_not_live_to_show_is_shown(
    store: Store, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    member = stack.enter_context(Member(store, "g", ["t"]))
    reader = GroupReader(member, follow=True, pieces=10)
    with monkeypatch.context() as patched:
        patched.setattr("storage.log.Log.make_visible", lambda self, part: None)
        store.publish("t", {"n": 1}, partition=2)
    assert reader.take() is None
    reader._next_help = 0.0
    watch = open_watch()
    stack.callback(watch.close)
    reader.watch(watch)
    taken = reader.take()
    assert taken is not None
    assert (2, 1) == (taken[0].partition, taken[1].count)
