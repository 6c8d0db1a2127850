"""Positions of a group that are set by hand, also while its members run."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC

import pytest

from storage.assignor import Place
from storage.errors import FencedError, GroupNotFoundError, MemberFencedError, TopicNotFoundError
from storage.group_admin import describe_group
from storage.group_reader import GroupReader
from storage.group_reset import Reset, parse_target, reset_group
from storage.member import Member, open_group
from storage.offsets import END, START, OffsetError, Position
from storage.store import Store
from storage.topic import TopicSettings
from tests.storage.group.groups import Clock, fill, positions, read_to

NOW_MS = 1_700_000_000_000


def test_a_place_in_words_is_an_offset_or_a_time() -> None:
    expected = {
        "earliest": START,
        "start": START,
        "latest": END,
        "end": END,
        "42": Position("absolute", 42),
        "+10": Position("from-start", 10),
        "-10": Position("from-end", 10),
        "-1h": Position("time", NOW_MS - 3_600_000),
        "1h": Position("time", NOW_MS - 3_600_000),
        "@-1h": Position("time", NOW_MS - 3_600_000),
        "now": Position("time", NOW_MS),
        "2023-11-14": Position("time", 1_699_920_000_000),
        "2023-11-14T10:30": Position("time", 1_699_957_800_000),
        "@10:30": Position("time", 1_699_957_800_000),
        "@1700000000": Position("time", NOW_MS),
    }
    found = {text: parse_target(text, now_ms=NOW_MS, local_zone=UTC) for text in expected}
    assert expected == found


@pytest.mark.parametrize(
    "text", ["", "yesteryear", "5:9", "10:30", ":5", "@-2h:-1h", "9" * 20, "stored", "%o"]
)
def test_what_is_no_single_place_is_refused_with_a_remedy(text: str) -> None:
    with pytest.raises(OffsetError, match="; "):
        parse_target(text, now_ms=NOW_MS, local_zone=UTC)


@pytest.mark.parametrize(
    ("to", "after"),
    [
        (START, 0),
        (END, 10),
        (Position("absolute", 7), 7),
        (Position("absolute", 99), 10),
        (Position("from-end", 3), 7),
        (Position("from-start", 2), 2),
    ],
)
def test_positions_go_where_they_are_told_within_what_there_is(
    store: Store, to: Position, after: int
) -> None:
    fill(store)
    read_to(store, 5)
    expected = [Reset(topic="t", partition=number, before=5, after=after) for number in (0, 1)]
    assert expected == reset_group(store, "g", to=to, dry_run=True)
    assert [5, 5] == positions(store)
    assert expected == reset_group(store, "g", to=to)
    assert [after, after] == positions(store)


def test_positions_go_to_a_time(store: Store, clock: Clock) -> None:
    fill(store, count=4)
    clock.ahead_ms += 60_000
    noon_ms = clock()
    fill(store, count=2)
    read_to(store, 6)
    reset_group(store, "g", to=Position("time", noon_ms))
    assert [4, 4] == positions(store)
    reset_group(store, "g", to=Position("time", noon_ms + 3_600_000))
    assert [6, 6] == positions(store)


@pytest.mark.parametrize(("by", "after"), [(-2, 3), (2, 7), (-100, 0), (100, 10), (0, 5)])
def test_positions_go_by_a_distance_within_what_there_is(store: Store, by: int, after: int) -> None:
    fill(store)
    read_to(store, 5)
    reset_group(store, "g", by=by)
    assert [after, after] == positions(store)


def test_positions_go_where_another_group_is(store: Store) -> None:
    fill(store)
    store.create_topic("u")
    fill(store, "u")
    read_to(store, 2, group="h")
    read_to(store, 8)
    read_to(store, 8, topic="u")
    found = reset_group(store, "g", to_group="h")
    assert [("t", 0, 8, 2), ("t", 1, 8, 2)] == [(r.topic, r.partition, r.before, r.after) for r in found]
    assert [2, 2, 8] == positions(store)
    with pytest.raises(GroupNotFoundError, match="'i' not found"):
        reset_group(store, "g", to_group="i")


def test_only_the_named_topics_are_reset_also_new_ones(store: Store) -> None:
    fill(store)
    store.create_topic("u")
    fill(store, "u")
    read_to(store, 8)
    found = reset_group(store, "g", to=Position("absolute", 4), topics=["u"])
    assert [("u", None, 4)] == [(reset.topic, reset.before, reset.after) for reset in found]
    assert [8, 8, 4] == positions(store)
    assert [] == reset_group(store, "g", to_group="g", topics=["u"], dry_run=True)[1:]
    with pytest.raises(TopicNotFoundError):
        reset_group(store, "g", to=START, topics=["t", "nothing"])
    assert [8, 8, 4] == positions(store)


def test_what_has_no_position_goes_nowhere_by_a_distance(store: Store) -> None:
    fill(store)
    read_to(store, 8, topic="t")
    store.alter_topic("t", TopicSettings(partitions=3))
    found = reset_group(store, "g", by=-1, topics=["t"])
    assert [0, 1] == [reset.partition for reset in found]


def test_a_topic_that_is_gone_is_left_alone(store: Store) -> None:
    store.create_topic("u")
    fill(store, "u")
    read_to(store, 3, topic="u")
    store.delete_topic("u")
    generation = describe_group(store, "g").generation
    assert [] == reset_group(store, "g", to=START)
    assert ([3], generation) == (positions(store), describe_group(store, "g").generation)


def test_a_reset_reaches_a_member_that_runs(store: Store, stack: ExitStack) -> None:
    fill(store)
    member = stack.enter_context(Member(store, "g", ["t"]))
    reader = GroupReader(member, follow=True, pieces=6)
    found = reader.take()
    assert found is not None
    place, batch = found
    assert 5 == batch.last_offset
    reset_group(store, "g", to=Position("absolute", 2))
    with pytest.raises(MemberFencedError):
        member.commit({place: 6})
    assert [2, 2] == positions(store)
    assert place in reader.sync()
    taken: dict[Place, list[int]] = {}
    while (found := reader.take()) is not None:
        taken.setdefault(found[0], []).extend(found[1].offsets())
    assert [list(range(2, 10))] * 2 == list(taken.values())
    member.commit(dict.fromkeys(taken, 10))
    assert [10, 10] == positions(store)


def test_a_reset_keeps_members_owners_and_what_is_on_its_way(store: Store, stack: ExitStack) -> None:
    fill(store)
    first = stack.enter_context(Member(store, "g", ["t"]))
    second = stack.enter_context(Member(store, "g", ["t"]))
    before = open_group(store, "g")[1]
    reset_group(store, "g", to=END)
    after = open_group(store, "g")[1]
    assert before.generation + 1 == after.generation
    assert (before.members, before.owners, before.following) == (after.members, after.owners, after.following)
    first.refresh()
    first.release(first.to_release)
    second.refresh()
    assert (1, 1) == (len(first.owned), len(second.owned))
    assert [10] == [second.position(place) for place in second.owned]


def test_a_reset_and_a_transaction_of_a_member_do_not_mix(store: Store, stack: ExitStack) -> None:
    store.create_topic("out")
    fill(store)
    member = stack.enter_context(Member(store, "g", ["t"]))
    place = member.owned[0]
    member.position(place)
    reset_group(store, "g", to=END)
    transaction = store.transaction()
    transaction.publish("out", 1)
    with pytest.raises(MemberFencedError):
        member.commit({place: 1}, transaction=transaction)
    assert ([], [10, 10]) == (list(store.read("out")), positions(store))


def test_a_reset_survives_a_shortened_log(store: Store, stack: ExitStack) -> None:
    fill(store)
    member = stack.enter_context(Member(store, "g", ["t"]))
    place = member.owned[0]
    member.position(place)
    reset_group(store, "g", to=END)
    log, _ = open_group(store, "g")
    log.shorten()
    with pytest.raises(MemberFencedError):
        member.commit({place: 1})


def test_a_reset_that_others_overtake_is_tried_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(store)
    read_to(store, 5)
    append = Store.append
    overtaken: list[int] = []

    def overtake(self: Store, appends: list[object]) -> object:
        if len(overtaken) < 3:
            overtaken.append(1)
            log, state = open_group(store, "g")
            number = log.fence + 1
            record = state.record(0)
            record.generation = number
            append(self, [log.append([record], expect_fence=log.fence, fence=number)])
        return append(self, appends)  # type: ignore[arg-type]

    before = describe_group(store, "g").generation
    monkeypatch.setattr(Store, "append", overtake)
    reset_group(store, "g", by=-1)
    assert ([4, 4], before + 4) == (positions(store), describe_group(store, "g").generation)


def test_a_reset_gives_up_where_others_never_end(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(store)
    read_to(store, 5)

    def refuse(self: Store, appends: object) -> None:
        raise FencedError("groups/g", 1, 2)

    monkeypatch.setattr(Store, "append", refuse)
    with pytest.raises(FencedError):
        reset_group(store, "g", to=START)
    assert [5, 5] == positions(store)
