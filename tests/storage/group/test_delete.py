"""Groups that are deleted, and that are not because somebody is in them."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

import pytest

from storage.errors import GroupInUseError, GroupNotFoundError
from storage.group_admin import delete_group, describe_group, list_groups
from storage.member import Member
from storage.members import Presence
from storage.store import Store
from tests.storage.group.groups import die, fill, read_to


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
