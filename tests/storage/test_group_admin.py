"""Groups from outside: listing, describing, resetting while members run, deleting."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC
from pathlib import Path

import pytest

from storage.assignor import Place
from storage.batch import RecordBatch
from storage.errors import (
    DamageError,
    FencedError,
    GroupInUseError,
    GroupNotFoundError,
    InvalidNameError,
    MemberFencedError,
    TopicNotFoundError,
)
from storage.group_admin import (
    RATE_WINDOW_MS,
    PlaceDescription,
    delete_group,
    describe_group,
    list_groups,
)
from storage.group_reader import GroupReader
from storage.group_reset import Reset, parse_target, reset_group
from storage.group_state import Commit, rows_of
from storage.member import Member, open_group
from storage.members import Presence
from storage.offsets import END, START, OffsetError, Position
from storage.store import Append, Store, clock_ms
from storage.topic import TopicSettings

NOW_MS = 1_700_000_000_000
DEADLINE_SECONDS = 10.0


class Clock:
    """The time that a store is told."""

    def __init__(self) -> None:
        self.ahead_ms = 0

    def __call__(self) -> int:
        return clock_ms() + self.ahead_ms


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


def fill(store: Store, topic: str = "t", *, count: int = 10) -> None:
    """So many messages in each partition."""
    batch = RecordBatch(lines=b"".join(b"%d\n" % number for number in range(count)), count=count)
    partitions = range(store.topic(topic).partitions)
    store.append([Append(topic=topic, partition=partition, batches=[batch]) for partition in partitions])


def read_to(store: Store, offset: int, *, group: str = "g", topic: str = "t") -> None:
    """A member that commits this offset in all partitions, and leaves."""
    with Member(store, group, [topic]) as member:
        member.commit(dict.fromkeys(member.owned, offset))


def die(member: Member) -> None:
    """What is seen of a member whose process was killed: its lock is free, its file is still there."""
    presence = member._presence
    assert presence is not None
    presence._stop.set()
    presence._thread.join()
    os.close(presence._fd)
    member._presence = None


def places(store: Store, group: str = "g") -> list[PlaceDescription]:
    return list(describe_group(store, group).places)


def positions(store: Store, group: str = "g") -> list[int | None]:
    return [place.position for place in places(store, group)]


# -- describing -------------------------------------------------------------------------------------------


def test_a_group_tells_members_positions_and_lag(store: Store, stack: ExitStack) -> None:
    fill(store)
    member = stack.enter_context(Member(store, "g", ["t"], session_timeout_seconds=3.0))
    first, second = member.owned
    member.commit({first: 4})
    found = describe_group(store, "g")
    assert ("g", 1, 16, {}) == (found.name, found.generation, found.lag, found.files)
    (only,) = found.members
    assert (member.member_id, os.getpid(), "alive") == (only.member_id, only.process, only.state)
    assert (("t",), {"t": [0, 1]}, 3000) == (only.topics, only.partitions, only.session_timeout_ms)
    assert abs(clock_ms() - only.joined_ms) < 60_000
    facts = [(p.topic, p.partition, p.state, p.owner, p.following) for p in found.places]
    assert [("t", number, "ok", member.member_id, None) for number in (0, 1)] == facts
    offsets = [(p.position, p.start_offset, p.end_offset, p.lag) for p in found.places]
    assert [(4, 0, 10, 6), (0, 0, 10, 10)] == offsets
    assert (0, 1) == (first.partition, second.partition)


def test_a_partition_on_its_way_says_to_whom(store: Store, stack: ExitStack) -> None:
    first = stack.enter_context(Member(store, "g", ["t"]))
    second = stack.enter_context(Member(store, "g", ["t"]))
    found = describe_group(store, "g")
    assert {None, second.member_id} == {place.following for place in found.places}
    assert {first.member_id} == {place.owner for place in found.places}
    assert [2, 0] == [
        sum(map(len, member.partitions.values()))
        for member in sorted(found.members, key=lambda member: member.member_id != first.member_id)
    ]


def test_dead_and_silent_members_are_told_apart(
    store: Store, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(Presence, "_beat_on", lambda self, every_seconds: None)
        silent = stack.enter_context(Member(store, "g", ["t"], session_timeout_seconds=0.05))
    dead = Member(store, "g", ["t"])
    dead.join()
    die(dead)
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        states = {member.member_id: member.state for member in describe_group(store, "g").members}
        if states[silent.member_id] == "silent":
            break
        assert time.monotonic() < deadline
    assert {silent.member_id: "silent", dead.member_id: "dead"} == states


def test_a_place_without_a_position_has_no_lag(store: Store, stack: ExitStack) -> None:
    member = Member(store, "g", ["t"])
    member._settle_starts = lambda: None  # type: ignore[method-assign]
    stack.enter_context(member)
    assert [(None, None), (None, None)] == [(place.position, place.lag) for place in places(store)]
    assert None is describe_group(store, "g").lag


def test_what_retention_removed_is_no_lag(store: Store) -> None:
    store.create_topic("s", TopicSettings(segment_bytes=4096, retention_bytes=4096))
    read_to(store, 0, topic="s")
    for _ in range(20):
        store.publish("s", "x" * 1000)
    store.maintenance.clean("s")
    (place,) = places(store)
    assert place.start_offset is not None and place.start_offset > 0
    assert (0, 20 - place.start_offset) == (place.position, place.lag)


def test_positions_of_a_topic_that_is_gone_are_shown_as_such(store: Store) -> None:
    store.create_topic("u")
    fill(store, "u")
    read_to(store, 3, topic="u")
    read_to(store, 0)
    store.delete_topic("u")
    gone = [place for place in places(store) if place.topic == "u"]
    assert [("deleted", 3, None, None)] == [(p.state, p.position, p.end_offset, p.lag) for p in gone]
    store.create_topic("u")
    assert ["deleted"] == [place.state for place in places(store) if place.topic == "u"]
    assert 0 == describe_group(store, "g").lag


def test_a_damaged_topic_hides_nothing_of_the_others(store: Store) -> None:
    store.create_topic("u")
    read_to(store, 0, topic="u")
    read_to(store, 0)
    path = Path(store.path, "topics", "u", "topic.toml")
    path.write_text("partitions = many")
    found = describe_group(store, "g")
    assert ["ok", "ok", "damaged"] == [place.state for place in found.places]
    assert [str(path)] == [error.path for error in found.damage]
    with pytest.raises(DamageError):
        reset_group(store, "g", to=START)
    assert 2 == len(reset_group(store, "g", to=START, topics=["t"]))


def test_a_group_is_described_without_writing(store: Store) -> None:
    fill(store)
    read_to(store, 4)
    with Store(store.path, read_only=True) as reading:
        assert 12 == describe_group(reading, "g").lag


def test_a_group_that_is_not_there_or_cannot_be_is_refused(store: Store) -> None:
    read_to(store, 0, group="group")
    with pytest.raises(GroupNotFoundError, match="group 'grup' not found; did you mean 'group'"):
        describe_group(store, "grup")
    with pytest.raises(InvalidNameError):
        describe_group(store, "a/b")
    with pytest.raises(InvalidNameError):
        delete_group(store, "../topics/t")


# -- rates ------------------------------------------------------------------------------------------------


def rates(store: Store) -> list[float | None]:
    return [place.messages_per_second for place in places(store)]


def test_the_rate_counts_what_was_committed_in_the_last_minute(
    store: Store, stack: ExitStack, clock: Clock
) -> None:
    member = stack.enter_context(Member(store, "g", ["t"]))
    first, second = member.owned
    member.commit({first: 1000})
    assert [None, None] == rates(store)  # within the first second a rate says nothing
    clock.ahead_ms += RATE_WINDOW_MS + 5000
    member.commit({first: 1060})
    member.commit({first: 1120, second: 30})
    assert [pytest.approx(120 / 60, rel=0.1), pytest.approx(30 / 60, rel=0.1)] == rates(store)
    assert pytest.approx(150 / 60, rel=0.1) == describe_group(store, "g").messages_per_second
    clock.ahead_ms += RATE_WINDOW_MS
    assert [0, 0] == rates(store)


def test_the_rate_of_a_young_group_is_that_of_its_life(store: Store, stack: ExitStack, clock: Clock) -> None:
    member = stack.enter_context(Member(store, "g", ["t"]))
    clock.ahead_ms += 10_000
    member.commit({member.owned[0]: 500})
    assert [pytest.approx(50, rel=0.2), 0] == rates(store)


def test_a_jump_by_hand_is_no_rate(store: Store, stack: ExitStack, clock: Clock) -> None:
    fill(store)
    member = stack.enter_context(Member(store, "g", ["t"]))
    clock.ahead_ms += RATE_WINDOW_MS + 5000
    member.commit(dict.fromkeys(member.owned, 3))
    reset_group(store, "g", to=END)
    assert [pytest.approx(3 / 60, abs=0.01)] * 2 == rates(store)
    reset_group(store, "g", to=START)
    assert [pytest.approx(3 / 60, abs=0.01)] * 2 == rates(store)


def test_a_shortened_log_tells_the_rate_since_it_was_shortened(
    store: Store, stack: ExitStack, clock: Clock
) -> None:
    member = stack.enter_context(Member(store, "g", ["t"]))
    place = member.owned[0]
    for _ in range(2):
        record = Commit(positions=rows_of([(place, 70)]), member="x" * 500, at_ms=clock())
        store.append([member.log.append([record] * 2500, expect_fence=member.log.fence)])
    member.log.refresh()
    member.log.shorten()
    clock.ahead_ms += 10_000
    member.commit({place: 100})
    clock.ahead_ms += 10_000
    _, state = open_group(store, "g")
    assert 100 == state.positions[place]
    assert [pytest.approx(30 / 20, abs=2)] == rates(store)[:1]


# -- listing ----------------------------------------------------------------------------------------------


def test_all_groups_are_listed_with_those_who_live(store: Store, stack: ExitStack) -> None:
    fill(store)
    store.create_topic("u")
    read_to(store, 4, group="b", topic="t")
    read_to(store, 0, group="b", topic="u")
    stack.enter_context(Member(store, "a", ["t"]))
    dead = Member(store, "a", ["t"])
    dead.join()
    die(dead)
    first, second = list_groups(store).groups
    assert ("a", 2, 1, ("t",), 2, 20) == (
        *(first.name, first.generation, first.members, first.topics, first.partitions, first.lag),
    )
    assert ("b", 4, 0, ("t", "u"), 3, 12) == (
        *(second.name, second.generation, second.members, second.topics, second.partitions, second.lag),
    )


def test_a_store_without_groups_has_an_empty_list(store: Store) -> None:
    assert ((), ()) == (list_groups(store).groups, list_groups(store).damage)


def test_a_damaged_group_hides_no_other(store: Store) -> None:
    read_to(store, 0, group="a")
    read_to(store, 0, group="b")
    path = Path(store.path, "groups", "a", "0", f"{0:020d}.jsonl")
    path.write_bytes(path.read_bytes().replace(b"generation", b"Generation"))
    found = list_groups(store)
    assert (["b"], [str(path)]) == ([group.name for group in found.groups], [e.path for e in found.damage])


# -- resetting --------------------------------------------------------------------------------------------


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


# -- deleting ---------------------------------------------------------------------------------------------


def test_a_deleted_group_is_gone_and_can_begin_anew(store: Store, stack: ExitStack) -> None:
    fill(store)
    read_to(store, 5)
    dead = Member(store, "g", ["t"])
    dead.join()
    die(dead)
    delete_group(store, "g")
    assert () == list_groups(store).groups
    assert not Path(store.path, "groups", "g").exists()
    assert [] == list(Path(store.path, "trash").iterdir())
    with pytest.raises(GroupNotFoundError):
        delete_group(store, "g")
    member = stack.enter_context(Member(store, "g", ["t"]))
    assert [0, 0] == [member.position(place) for place in member.owned]


def test_a_group_with_members_is_not_deleted(store: Store, stack: ExitStack) -> None:
    first = stack.enter_context(Member(store, "g", ["t"]))
    with pytest.raises(
        GroupInUseError, match=f"has a member: process {os.getpid()} .*; end it first"
    ) as caught:
        delete_group(store, "g")
    assert (first.member_id,) == caught.value.members
    for _ in range(4):
        stack.enter_context(Member(store, "g", ["t"]))
    with pytest.raises(GroupInUseError, match=r"has 5 members: .* and 2 more; end them first"):
        delete_group(store, "g")
    assert 5 == len(describe_group(store, "g").members)


def test_a_member_that_is_only_joining_keeps_the_group(store: Store, stack: ExitStack) -> None:
    read_to(store, 0)
    joining = Member(store, "g", ["t"])
    stack.callback(joining.close)
    stack.callback(Presence(joining._directory, joining.member_id, timeout_seconds=10.0).close)
    with pytest.raises(GroupInUseError):
        delete_group(store, "g")
