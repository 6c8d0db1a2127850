"""`aegis group`: what each command shows, changes and refuses."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pexpect
import pytest

from storage.batch import RecordBatch
from storage.errors import MemberFencedError
from storage.group_admin import describe_group, list_groups
from storage.group_reader import GroupReader
from storage.member import Member, group_log_name
from storage.store import Append, Store
from storage.topic import TopicSettings


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def store(aegis: Any) -> Iterator[Store]:
    """A topic `t` of two partitions with ten messages each."""
    with Store(aegis.store, create=True) as store:
        make_topic(store, "t", partitions=2)
        yield store


def make_topic(store: Store, name: str, *, partitions: int = 1) -> None:
    store.create_topic(name, TopicSettings(partitions=partitions))
    batch = RecordBatch(lines=b"".join(b"%d\n" % number for number in range(10)), count=10)
    store.append([Append(topic=name, partition=number, batches=[batch]) for number in range(partitions)])


def read_to(store: Store, offset: int, *, group: str = "g", topic: str = "t") -> None:
    """A member that commits this offset in all partitions, and leaves."""
    with Member(store, group, [topic]) as member:
        member.commit(dict.fromkeys(member.owned, offset))


def documents(finished: Any) -> list[Any]:
    return [json.loads(line) for line in finished.lines]


def positions(store: Store) -> list[int | None]:
    return [place.position for place in describe_group(store, "g").places]


def rows(finished: Any) -> list[list[str]]:
    """The lines of a table, cut where the columns are."""
    return [re.split(r" {2,}", line.strip()) for line in finished.lines]


# -- list -------------------------------------------------------------------------------------------------


def test_list_shows_every_group(aegis: Any, store: Store, stack: ExitStack) -> None:
    make_topic(store, "u")
    read_to(store, 4, group="b")
    read_to(store, 4, group="b", topic="u")
    stack.enter_context(Member(store, "a", ["t"]))
    finished = aegis("group", "list")
    assert (0, b"") == (finished.code, finished.stderr)
    assert [
        ["GROUP", "GENERATION", "MEMBERS", "PARTITIONS", "LAG", "TOPICS"],
        ["a", "1", "1", "2", "20", "t"],
        ["b", "4", "0", "3", "18", "t,u"],
    ] == rows(finished)
    assert [
        {"name": "a", "generation": 1, "members": 1, "topics": ["t"], "partitions": 2, "lag": 20},
        {"name": "b", "generation": 4, "members": 0, "topics": ["t", "u"], "partitions": 3, "lag": 18},
    ] == documents(aegis("group", "list", "--json"))


@pytest.mark.usefixtures("store")
def test_a_store_without_groups_lists_none(aegis: Any) -> None:
    assert ["GROUP  GENERATION  MEMBERS  PARTITIONS  LAG  TOPICS"] == aegis("group", "list").lines
    assert b"" == aegis("group", "list", "--json").stdout


def test_a_damaged_group_is_told_and_the_others_are_listed(aegis: Any, store: Store) -> None:
    read_to(store, 0, group="a")
    read_to(store, 0, group="b")
    path = aegis.store / "groups/a/0/00000000000000000000.jsonl"
    path.write_bytes(path.read_bytes().replace(b"generation", b"Generation"))
    finished = aegis("group", "list", "--json")
    assert (5, ["b"]) == (finished.code, [group["name"] for group in documents(finished)])
    assert f"aegis: warning: {path} is damaged: " in finished.err


# -- describe ---------------------------------------------------------------------------------------------


def test_describe_shows_members_and_partitions(aegis: Any, store: Store, stack: ExitStack) -> None:
    member = stack.enter_context(Member(store, "g", ["t"]))
    member.commit({member.owned[0]: 4})
    finished = aegis("group", "describe", "g")
    assert (0, b"") == (finished.code, finished.stderr)
    head, members, partitions = finished.out.split("\n\n")
    facts = dict(line.split() for line in head.splitlines())
    assert {"group": "g", "generation": "1", "members": "1", "partitions": "2", "lag": "16"}.items() <= (
        facts.items()
    )
    assert ["MEMBER", "PROCESS", "STATE", "JOINED", "PARTITIONS", "TOPICS"] == members.splitlines()[0].split()
    row = members.splitlines()[1].split()
    assert [member.member_id, str(os.getpid()), "alive"] == row[:3]
    assert ["2", "t"] == row[5:]
    columns, first, second = (line.split() for line in partitions.splitlines())
    assert columns == [
        *("TOPIC", "PARTITION", "POSITION", "START", "END", "LAG", "MESSAGES/S", "MEMBER", "NOTE"),
    ]
    assert ["t", "0", "4", "0", "10", "6"] == first[:6]
    assert ["t", "1", "0", "0", "10", "10"] == second[:6]
    assert [member.member_id, "-"] == first[7:]


def test_describe_prints_one_document(aegis: Any, store: Store, stack: ExitStack) -> None:
    first = stack.enter_context(Member(store, "g", ["t"]))
    second = stack.enter_context(Member(store, "g", ["t"]))
    (found,) = documents(aegis("group", "describe", "g", "--json"))
    assert ("g", 2, 20, {}) == (found["name"], found["generation"], found["lag"], found["files"])
    assert {first.member_id: {"t": [0, 1]}, second.member_id: {}} == {
        member["member_id"]: member["partitions"] for member in found["members"]
    }
    assert {("alive", os.getpid(), 10_000)} == {
        (member["state"], member["process"], member["session_timeout_ms"]) for member in found["members"]
    }
    assert [second.member_id] == [p["following"] for p in found["partitions"] if p["following"]]
    (one,) = [partition for partition in found["partitions"] if partition["partition"] == 0]
    expected = {"topic": "t", "state": "ok", "position": 0, "start_offset": 0, "end_offset": 10, "lag": 10}
    assert expected.items() <= one.items()
    assert {"topic_id", "owner", "messages_per_second"} <= one.keys()
    shown = aegis("group", "describe", "g").out
    assert f"goes to {second.member_id}" in shown


def test_describe_says_that_a_topic_is_gone(aegis: Any, store: Store) -> None:
    read_to(store, 4)
    store.delete_topic("t")
    finished = aegis("group", "describe", "g")
    assert 0 == finished.code
    assert [["t", "0", "4", "-", "-", "-"], ["t", "1", "4", "-", "-", "-"]] == [
        line.split()[:6] for line in finished.lines[-2:]
    ]
    assert all(line.endswith("  topic deleted") for line in finished.lines[-2:])


def test_describe_says_that_a_topic_is_damaged(aegis: Any, store: Store) -> None:
    read_to(store, 4)
    path = aegis.store / "topics/t/topic.toml"
    path.write_text("partitions = many")
    finished = aegis("group", "describe", "g")
    assert 5 == finished.code
    assert finished.lines[-1].endswith("  topic damaged")
    assert f"aegis: warning: {path} is damaged: " in finished.err


def test_describe_names_the_files_that_are_delivered_to(aegis: Any, store: Store) -> None:
    with Member(store, "g", ["t"]) as member:
        member.commit({}, files={"/data/out.jsonl": 42})
    assert {"/data/out.jsonl": 42} == documents(aegis("group", "describe", "g", "--json"))[0]["files"]
    assert "bytes of /data/out.jsonl  42" in aegis("group", "describe", "g").out


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("orders", 3, "group 'orders' not found; 'aegis group list' shows all"),
        ("processor", 3, "group 'processor' not found; did you mean 'processors'?"),
        (
            "a/b",
            2,
            "'a/b' cannot be a name: it holds '/'; use 1 to 249 of the characters A-Z a-z 0-9 . _ -",
        ),
    ],
)
@pytest.mark.parametrize("command", [["describe"], ["reset", "--to", "earliest"], ["delete", "--yes"]])
def test_a_group_that_is_not_there_is_refused(
    aegis: Any, store: Store, command: list[str], name: str, code: int, message: str
) -> None:
    read_to(store, 0, group="processors")
    finished = aegis("group", *command, name)
    assert (code, b"", f"aegis: error: {message}\n") == (finished.code, finished.stdout, finished.err)


@pytest.mark.parametrize(
    "command", [["list"], ["describe", "g"], ["reset", "g", "--by", "1"], ["delete", "g"]]
)
def test_without_a_store_there_is_no_group(aegis: Any, command: list[str]) -> None:
    finished = aegis("group", *command)
    assert (3, True) == (finished.code, f"aegis: error: no store at {aegis.store}; " in finished.err)


# -- reset ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "after"),
    [
        (["--to", "earliest"], 0),
        (["--to", "latest"], 10),
        (["--to", "7"], 7),
        (["--to", "-3"], 7),
        (["--to=+3"], 3),
        (["--to", "99"], 10),
        (["--to", "1h ago"], 0),
        (["--to", "-1h"], 0),
        (["--to", "@2020-01-01"], 0),
        (["--to", "now"], 10),
        (["--by", "2"], 7),
        (["--by", "-2"], 3),
        (["--by=-99"], 0),
        (["--to-group", "h"], 8),
    ],
)
def test_reset_goes_where_it_is_told(aegis: Any, store: Store, options: list[str], after: int) -> None:
    read_to(store, 5)
    read_to(store, 8, group="h")
    lines = [f"t      {number:>9}  {5:>6}  {after:>5}\n" for number in (0, 1)]
    table = "".join(["TOPIC  PARTITION  BEFORE  AFTER\n", *lines])
    shown = aegis("group", "reset", "g", *options, "--dry-run")
    assert (0, table, "") == (shown.code, shown.out, shown.err)
    assert [5, 5] == positions(store)
    done = aegis("group", "reset", "g", *options)
    assert (0, table, "aegis: set 2 positions of group 'g'\n") == (done.code, done.out, done.err)
    assert [after, after] == positions(store)


def test_reset_prints_a_document_for_each_position(aegis: Any, store: Store) -> None:
    read_to(store, 5)
    finished = aegis("group", "reset", "g", "--by", "1", "--json", "--quiet")
    expected = [{"topic": "t", "partition": number, "before": 5, "after": 6} for number in (0, 1)]
    assert (0, b"", expected) == (finished.code, finished.stderr, documents(finished))


def test_reset_of_named_topics_leaves_the_others(aegis: Any, store: Store) -> None:
    for name in ("u", "v", "w"):
        make_topic(store, name)
    read_to(store, 5)
    read_to(store, 5, topic="u")
    read_to(store, 5, topic="v")
    finished = aegis("group", "reset", "g", "--to", "2", "--topic", "u", "--topic", "w", "--topic", "u")
    assert "aegis: set 2 positions of group 'g'\n" == finished.err
    assert [5, 5, 2, 5, 2] == positions(store)


def test_reset_says_where_there_is_nothing_to_set(aegis: Any, store: Store) -> None:
    make_topic(store, "u")
    read_to(store, 5)
    finished = aegis("group", "reset", "g", "--by", "1", "--topic", "u")
    assert (0, "aegis: group 'g' has no position to set\n") == (finished.code, finished.err)
    one = aegis("group", "reset", "g", "--to", "1", "--topic", "u")
    assert "aegis: set 1 position of group 'g'\n" == one.err


_NOWHERE = "where to is not clear; give one of --to, --by and --to-group"
_PLACES = "write earliest, latest, 42, +10, -10 or a time such as 2024-05-01, @10:30 or -1h"


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ([], 2, _NOWHERE),
        (["--to", "1", "--by", "1"], 2, _NOWHERE),
        (["--by", "1", "--to-group", "h"], 2, _NOWHERE),
        (["--to", "soon"], 2, f"--to: offset 'soon' is neither an offset nor a time; {_PLACES}"),
        (["--to", "5:9"], 2, f"--to: offset '5:9' is a range, not one place; {_PLACES}"),
        (["--by", "one"], 2, "invalid value for '--by': 'one' is not a valid int"),
        (["--to-group", "h"], 3, "group 'h' not found; "),
        (["--to", "1", "--topic", "u"], 3, "topic 'u' not found; "),
        (["--to", "1", "--lock-wait", "9"], 2, "setting 'lock-wait' cannot be '9'; "),
    ],
)
def test_reset_refuses_what_is_not_clear_and_sets_nothing(
    aegis: Any, store: Store, options: list[str], code: int, message: str
) -> None:
    read_to(store, 5)
    finished = aegis("group", "reset", "g", *options)
    assert (code, b"", 1) == (finished.code, finished.stdout, finished.err.count("\n"))
    assert f"aegis: error: {message}" in finished.err
    assert [5, 5] == positions(store)


def test_a_running_member_goes_on_from_the_new_position(aegis: Any, store: Store, stack: ExitStack) -> None:
    member = stack.enter_context(Member(store, "g", ["t"]))
    reader = GroupReader(member, follow=True, pieces=6)
    found = reader.take()
    assert found is not None
    place, batch = found
    assert 0 == aegis("group", "reset", "g", "--to", "2").code
    with pytest.raises(MemberFencedError):
        member.commit({place: batch.last_offset + 1})
    assert [2, 2] == positions(store)
    assert place in reader.sync()
    taken: list[int] = []
    while (found := reader.take()) is not None:
        taken += found[1].offsets()
    assert sorted([*range(2, 10)] * 2) == sorted(taken)
    member.commit(dict.fromkeys(member.owned, 10))
    assert [10, 10] == positions(store)


def test_reset_waits_for_a_lock_as_long_as_it_is_told(aegis: Any, store: Store) -> None:
    read_to(store, 5)
    lock = store._log(group_log_name("g"), 0).lock
    lock.acquire(timeout_seconds=1.0)
    try:
        finished = aegis("group", "reset", "g", "--to", "1", "--lock-wait", "20ms")
    finally:
        lock.release()
    assert (6, True) == (finished.code, "waited 0.02 s" in finished.err)
    assert [5, 5] == positions(store)


# -- delete -----------------------------------------------------------------------------------------------


def names(store: Store) -> list[str]:
    return [group.name for group in list_groups(store).groups]


def test_delete_forgets_the_positions_and_keeps_the_messages(aegis: Any, store: Store) -> None:
    for group in ("a", "b", "c"):
        read_to(store, 5, group=group)
    finished = aegis("group", "delete", "a", "b", "a", "--yes")
    assert (0, b"") == (finished.code, finished.stdout)
    assert "aegis: deleted group 'a'\naegis: deleted group 'b'\n" == finished.err
    assert ["c"] == names(store)
    assert 20 == len(aegis("consume", "t").lines)


def test_delete_refuses_while_members_live_and_names_them(aegis: Any, store: Store, stack: ExitStack) -> None:
    read_to(store, 5, group="a")
    stack.enter_context(Member(store, "g", ["t"]))
    finished = aegis("group", "delete", "a", "g", "--yes")
    assert (4, b"") == (finished.code, finished.stdout)
    started = f"aegis: error: group 'g' has a member: process {os.getpid()} ("
    assert started == finished.err[: len(started)]
    assert finished.err.endswith("; end it first\n")
    assert ["a", "g"] == names(store)


def test_a_slip_in_one_name_deletes_nothing(aegis: Any, store: Store) -> None:
    read_to(store, 5)
    assert 3 == aegis("group", "delete", "g", "gg", "--yes").code
    assert ["g"] == names(store)


def test_delete_without_a_terminal_and_without_yes_deletes_nothing(aegis: Any, store: Store) -> None:
    read_to(store, 5)
    finished = aegis("group", "delete", "g", stdin=b"y\n")
    question = "delete group 'g' with all positions?"
    assert (2, f"aegis: error: {question} cannot be asked without a terminal; pass --yes\n") == (
        *(finished.code, finished.err),
    )
    assert ["g"] == names(store)


@pytest.mark.parametrize(("answer", "code", "left"), [("y", 0, []), ("n", 1, ["g"])])
def test_delete_asks_on_a_terminal(aegis: Any, store: Store, answer: str, code: int, left: list[str]) -> None:
    read_to(store, 5)
    command, *arguments = aegis.command("group", "delete", "g")
    child = pexpect.spawn(
        command, arguments, env={**aegis.environ, "TERM": "dumb"}, cwd=str(aegis.home), timeout=30
    )
    child.expect_exact("delete group 'g' with all positions? [y/N] ")
    child.sendline(answer)
    child.expect(pexpect.EOF)
    child.close()
    assert code == child.exitstatus
    assert left == names(store)


# -- names for TAB ----------------------------------------------------------------------------------------


def test_tab_knows_the_groups(aegis: Any, store: Store) -> None:
    read_to(store, 5, group="b")
    read_to(store, 5, group="a")
    assert ["a", "b"] == aegis("__complete", "groups").lines
    assert ["a", "b"] == aegis("__complete", "groups", "--store", str(aegis.store)).lines
