"""Groups from outside: describing one, and listing all."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from storage.errors import DamageError, GroupNotFoundError, InvalidNameError
from storage.group_admin import delete_group, describe_group, list_groups
from storage.group_reset import reset_group
from storage.member import Member
from storage.members import Presence
from storage.offsets import START
from storage.store import Store, clock_ms
from storage.topic import TopicSettings
from tests.storage.group.groups import die, fill, places, read_to

DEADLINE_SECONDS = 10.0

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
