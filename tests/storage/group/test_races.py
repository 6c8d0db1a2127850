"""What happens in a group between two looks of a member: nothing of it may be lost or delivered again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from storage.assignor import Place
from storage.errors import MemberFencedError
from storage.group_reader import GroupReader
from storage.group_reset import parse_target, reset_group
from storage.member import Member
from storage.state_log import StateLog
from storage.store import Store
from storage.topic import TopicSettings


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store", create=True) as store:
        store.create_topic("t", TopicSettings(partitions=2))
        with store.transaction() as transaction:
            for number in range(40):
                transaction.publish("t", {"n": number}, partition=number % 2)
        yield store


def before_refresh(log: StateLog, act: Callable[[], object]) -> None:
    """Have something happen before `log` is read the next time."""
    refresh = log.refresh

    def acting() -> bool:
        log.refresh = refresh  # type: ignore[method-assign]
        act()
        return refresh()

    log.refresh = acting  # type: ignore[method-assign]


def test_a_place_that_was_given_up_and_came_back_is_read_from_where_the_other_left_it(
    store: Store, stack: ExitStack
) -> None:
    member = stack.enter_context(Member(store, "g", ["t"]))
    reader = GroupReader(member, follow=True, pieces=100)
    other = Member(store, "g", ["t"])
    other.join()
    reader.sync()
    (place,) = member.to_release

    def come_and_go() -> None:
        other.refresh()
        assert [place] == other.owned
        other.commit({place: 15})
        other.close()

    before_refresh(member.log, come_and_go)
    member.release([place])
    assert {place} == reader.sync()
    taken: dict[Place, list[int]] = {}
    while (found := reader.take()) is not None:
        taken.setdefault(found[0], []).extend(found[1].offsets())
    assert list(range(15, 20)) == taken[place]


def test_where_a_member_begins_does_not_undo_what_was_set_by_hand(store: Store, stack: ExitStack) -> None:
    member = Member(store, "g", ["t"])
    before = member._settle_starts
    member._settle_starts = lambda: None  # type: ignore[method-assign]
    stack.enter_context(member)
    append = store.append

    def reset_first(appends: object) -> object:
        store.append = append  # type: ignore[method-assign]
        reset_group(store, "g", to=parse_target("7", now_ms=0), topics=["t"])
        return append(appends)  # type: ignore[arg-type]

    store.append = reset_first  # type: ignore[method-assign, assignment]
    before()
    member.refresh()
    assert [7, 7] == [member.position(place) for place in member.owned]


def test_who_is_taken_for_dead_right_after_joining_joins_once_more(store: Store, stack: ExitStack) -> None:
    other = stack.enter_context(Member(store, "g", ["t"]))
    member = stack.enter_context(Member(store, "g", ["t"]))

    def expel() -> None:
        other.log.refresh()
        others = {id: info for id, info in other.state.members.items() if id != member.member_id}
        other._change(lambda members: others)

    before_refresh(member.log, expel)
    reader = GroupReader(member, follow=True, pieces=100)
    assert member.joined
    before_refresh(member.log, expel)
    with pytest.raises(MemberFencedError):
        reader.sync()
    join = member.join

    def join_for_a_moment() -> None:
        member.join = join  # type: ignore[method-assign]
        join()
        expel()

    member.join = join_for_a_moment  # type: ignore[method-assign]
    reader.join_again()
    assert member.joined


def test_a_release_says_what_nobody_waited_for_any_more(store: Store, stack: ExitStack) -> None:
    member = stack.enter_context(Member(store, "g", ["t"]))
    other = Member(store, "g", ["t"])
    other.join()
    member.refresh()
    (place,) = member.to_release
    other.close()
    assert set() == member.release([place])
    assert 2 == len(member.owned)


def test_a_subscriber_goes_on_with_what_it_kept_for_one_that_came_and_went(
    store: Store, stack: ExitStack
) -> None:
    # The second partition is the one that moves.
    store.create_topic("second", TopicSettings(partitions=2))
    with store.transaction() as transaction:
        for number in range(20):
            transaction.publish("second", number, partition=1)
    subscriber = stack.enter_context(store.subscribe("second", group="g", follow=False))
    received = [next(subscriber)]
    with Member(store, "g", ["second"]):
        subscriber._round()
    received[0].ack()
    for message in subscriber:
        received.append(message)
        message.ack()
    assert list(range(20)) == [message.offset for message in received]
