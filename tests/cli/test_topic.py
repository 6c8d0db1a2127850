"""`aegis topic`: what each command makes, shows and refuses."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pexpect
import pytest

from storage.store import Store
from tests.cli.topics import documents, names_in, publish

# -- create -----------------------------------------------------------------------------------------------


def test_create_makes_the_store_and_says_so(aegis: Any) -> None:
    finished = aegis("topic", "create", "orders", "--partitions", "2")
    assert (0, b"") == (finished.code, finished.stdout)
    assert f"aegis: created topic 'orders' with 2 partitions in {aegis.store}\n" == finished.err
    assert ["0", "1", "topic.toml"] == names_in(aegis.store / "topics/orders")


def test_create_takes_every_setting(aegis: Any) -> None:
    finished = aegis(
        *("topic", "create", "orders", "--json", "--retention", "7d", "--retention-bytes", "1GB"),
        *("--key", "customer_id", "--segment-bytes", "64KiB", "--durability", "os"),
        *("--replication-factor", "1", "--config", "segment.ms=86400000", "--config", "cleanup=compact"),
    )
    assert 0 == finished.code
    expected = {
        "partitions": 1,
        "key": "customer_id",
        "retention_ms": 604_800_000,
        "retention_bytes": 10**9,
        "segment_bytes": 65536,
        "segment_age_ms": 86_400_000,
        "durability": "os",
        "cleanup": "compact",
        "max_message_bytes": None,
    }
    assert expected == documents(finished)[0]["settings"]


def test_create_takes_defaults_from_the_configuration(aegis: Any) -> None:
    surroundings = {"AEGIS_STREAMING_DEFAULT_RETENTION": "2d", "AEGIS_STREAMING_DURABILITY": "os"}
    settings = documents(aegis("topic", "create", "orders", "--json", environ=surroundings))[0]["settings"]
    assert (172_800_000, "os") == (settings["retention_ms"], settings["durability"])


def test_an_option_goes_before_config(aegis: Any) -> None:
    finished = aegis("topic", "create", "t", "--json", "--config", "partitions=2", "--partitions", "3")
    assert 3 == documents(finished)[0]["settings"]["partitions"]


def test_a_topic_that_exists_is_refused_unless_that_is_fine(aegis: Any) -> None:
    assert 0 == aegis("topic", "create", "orders").code
    again = aegis("topic", "create", "orders")
    assert 4 == again.code
    assert (
        "aegis: error: topic 'orders' already exists; choose another name or pass --if-not-exists\n"
        == again.err
    )
    assert 0 == aegis("topic", "create", "orders", "--if-not-exists").code
    other_case = aegis("topic", "create", "Orders", "--if-not-exists")
    assert 4 == other_case.code
    assert "already exists as 'orders'" in other_case.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["../x"],
            "'../x' cannot be a name: it holds '/'; use 1 to 249 of the characters A-Z a-z 0-9 . _ -",
        ),
        ([""], "'' cannot be a name: it is empty; use 1 to 249 of the characters A-Z a-z 0-9 . _ -"),
        (
            ["t", "--replication-factor", "3"],
            "setting 'replication-factor' is 3; a local store keeps one copy, use 1; "
            "more needs a cluster such as Apache Kafka",
        ),
        (["t", "--partitions", "0"], "setting 'partitions' is 0; use 1 to 10000"),
        (
            ["t", "--retention", "soon"],
            "setting 'retention' cannot be 'soon'; give a duration such as 12h or 7d, or forever",
        ),
        (["t", "--config", "x"], "--config x is not NAME=VALUE; write it like --config segment-age=1d"),
        (
            ["t", "--config", "segment-byte=1"],
            "setting 'segment-byte' does not exist; did you mean 'segment-bytes'?",
        ),
        (["t", "--lock-wait", "9"], "setting 'lock-wait' cannot be '9'; give a time such as 500ms or 10s"),
    ],
)
def test_create_refuses_what_cannot_be_and_makes_nothing(
    aegis: Any, arguments: list[str], message: str
) -> None:
    finished = aegis("topic", "create", *arguments)
    assert (2, b"", f"aegis: error: {message}\n") == (finished.code, finished.stdout, finished.err)
    assert not (aegis.store / "topics").exists() or {".lock"} >= set(names_in(aegis.store / "topics"))


# -- list, describe, files --------------------------------------------------------------------------------


def test_list_shows_every_topic_on_a_line(aegis: Any) -> None:
    aegis("topic", "create", "orders", "--partitions", "2", "--retention", "7d")
    aegis("topic", "create", "audit")
    publish(aegis, "orders", 1, 2, 3)
    finished = aegis("topic", "list")
    assert 0 == finished.code
    assert ["TOPIC", "PARTITIONS", "RECORDS", "BYTES", "RETENTION", "LAST", "APPEND"] == finished.lines[
        0
    ].split()
    assert [["audit", "1", "0"], ["orders", "2", "3"]] == [line.split()[:3] for line in finished.lines[1:]]
    listed = documents(aegis("topic", "list", "--json"))
    assert [("audit", 0), ("orders", 3)] == [(topic["name"], topic["records"]) for topic in listed]


def test_describe_shows_settings_and_partitions(aegis: Any) -> None:
    aegis("topic", "create", "orders", "--retention", "7d", "--key", "id")
    publish(aegis, "orders", {"id": 1}, {"id": 2})
    finished = aegis("topic", "describe", "orders")
    assert 0 == finished.code
    assert {
        ("retention", "7d"),
        ("key", "id"),
        ("retention-bytes", "unlimited"),
        ("durability", "fsync"),
    } <= {tuple(line.split()) for line in finished.lines}
    assert ["0", "0", "2", "2"] == finished.lines[-1].split()[:4]
    told = documents(aegis("topic", "describe", "orders", "--json"))
    assert [(0, 2, 2)] == [
        (part["start_offset"], part["end_offset"], part["records"]) for part in told[0]["partitions"]
    ]


def test_describe_names_the_holder_of_a_lock(aegis: Any) -> None:
    import fcntl

    aegis("topic", "create", "orders")
    publish(aegis, "orders", 1)
    with (aegis.store / "topics/orders/0/head").open("rb") as head:
        fcntl.flock(head, fcntl.LOCK_EX)
        told = documents(aegis("topic", "describe", "orders", "--json"))
    assert f"process {os.getpid()} " in told[0]["partitions"][0]["lock_holder"]


def test_files_prints_the_paths_oldest_first_for_other_tools(aegis: Any) -> None:
    aegis("topic", "create", "orders", "--partitions", "2", "--segment-bytes", "4096")
    with Store(aegis.store) as store:
        for number in range(20):
            store.publish("orders", {"id": number, "pad": "x" * 500}, partition=1)
    finished = aegis("topic", "files", "orders", "--partition", "1")
    assert 0 == finished.code
    assert sorted(finished.lines) == finished.lines
    assert len(finished.lines) > 1
    text = subprocess.run(["cat", *finished.lines], capture_output=True, check=True).stdout
    assert list(range(20)) == [json.loads(line)["id"] for line in text.splitlines()]
    assert len(finished.lines) + 1 == len(aegis("topic", "files", "orders").lines)
    found = documents(aegis("topic", "files", "orders", "--json"))
    assert [0, 1] == sorted({file["partition"] for file in found})


def test_a_partition_that_is_not_there_is_refused(aegis: Any) -> None:
    aegis("topic", "create", "orders")
    finished = aegis("topic", "files", "orders", "-p", "4")
    assert 3 == finished.code
    assert "aegis: error: topic 'orders' has no partition 4; it has 1, numbered from 0\n" == finished.err


@pytest.mark.parametrize("command", ["describe", "files", "alter", "delete", "clean"])
def test_an_unknown_topic_is_refused_with_the_nearest_one(aegis: Any, command: str) -> None:
    aegis("topic", "create", "orders")
    more = {"alter": ["--retention", "1d"], "delete": ["--yes"]}.get(command, [])
    finished = aegis("topic", command, "ordrs", *more)
    assert (3, b"") == (finished.code, finished.stdout)
    assert "aegis: error: topic 'ordrs' not found; did you mean 'orders'?\n" == finished.err


# -- alter ------------------------------------------------------------------------------------------------


def test_alter_changes_what_is_named_and_says_what(aegis: Any) -> None:
    aegis("topic", "create", "orders", "--retention", "7d", "--segment-bytes", "64KiB")
    finished = aegis(
        "topic", "alter", "orders", "--retention", "30d", "--partitions", "3", "--config", "segment-bytes="
    )
    assert 0 == finished.code
    assert [
        "aegis: topic 'orders': partitions is 3, was 1",
        "aegis: topic 'orders': retention is 30d, was 7d",
        "aegis: topic 'orders': segment-bytes is 1GiB, was 64KiB",
    ] == finished.err.splitlines()
    told = documents(aegis("topic", "describe", "orders", "--json"))[0]
    assert 3 == len(told["partitions"])
    publish(aegis, "orders", 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to alter; give an option such as --retention 7d"),
        (["--partitions", "1"], "setting 'partitions' cannot go from 2 to 1; it can only grow"),
        (
            ["--key", "id"],
            "setting 'key' cannot be changed; create another topic and copy the messages into it",
        ),
    ],
)
def test_alter_refuses_what_cannot_change(aegis: Any, arguments: list[str], message: str) -> None:
    aegis("topic", "create", "orders", "--partitions", "2")
    finished = aegis("topic", "alter", "orders", *arguments)
    assert (2, f"aegis: error: {message}\n") == (finished.code, finished.err)


# -- delete, clean ----------------------------------------------------------------------------------------


def test_delete_with_yes_deletes_all_that_are_named(aegis: Any) -> None:
    for name in ("a", "b", "c"):
        aegis("topic", "create", name)
    finished = aegis("topic", "delete", "a", "b", "a", "--yes")
    assert 0 == finished.code
    assert ["aegis: deleted topic 'a'", "aegis: deleted topic 'b'"] == finished.err.splitlines()
    assert ["c"] == [topic["name"] for topic in documents(aegis("topic", "list", "--json"))]
    assert [] == names_in(aegis.store / "trash")


def test_delete_without_a_terminal_and_without_yes_deletes_nothing(aegis: Any) -> None:
    aegis("topic", "create", "orders")
    finished = aegis("topic", "delete", "orders", stdin=b"y\n")
    assert 2 == finished.code
    question = "delete topic 'orders' with all messages?"
    assert f"aegis: error: {question} cannot be asked without a terminal; pass --yes\n" == finished.err
    assert 0 == aegis("topic", "describe", "orders").code


def test_a_slip_in_one_name_deletes_nothing(aegis: Any) -> None:
    aegis("topic", "create", "orders")
    assert 3 == aegis("topic", "delete", "orders", "ordrs", "--yes").code
    assert 0 == aegis("topic", "describe", "orders").code


@pytest.mark.parametrize(
    ("answer", "code", "left"), [("y", 0, []), ("n", 1, ["orders"]), ("", 1, ["orders"])]
)
def test_delete_asks_on_a_terminal(aegis: Any, answer: str, code: int, left: list[str]) -> None:
    aegis("topic", "create", "orders")
    command, *arguments = aegis.command("topic", "delete", "orders")
    child = pexpect.spawn(
        command, arguments, env={**aegis.environ, "TERM": "dumb"}, cwd=str(aegis.home), timeout=30
    )
    child.expect_exact("delete topic 'orders' with all messages? [y/N] ")
    child.sendline(answer)
    child.expect(pexpect.EOF)
    child.close()
    assert code == child.exitstatus
    assert left == [topic["name"] for topic in documents(aegis("topic", "list", "--json"))]


def test_clean_shows_what_would_go_and_then_removes_it(aegis: Any) -> None:
    aegis("topic", "create", "orders", "--segment-bytes", "4096", "--retention-bytes", "6000")
    publish(aegis, "orders", *({"id": number, "pad": "x" * 500} for number in range(30)))
    before = aegis("topic", "files", "orders").lines
    shown = documents(aegis("topic", "clean", "--dry-run", "--json"))
    assert before == aegis("topic", "files", "orders").lines
    assert shown == documents(aegis("topic", "clean", "orders", "--json"))
    after = aegis("topic", "files", "orders").lines
    assert before[shown[0]["segments"] :] == after
    assert shown[0]["new_start_offset"] == int(Path(after[0]).stem)
    assert "aegis: nothing to remove\n" == aegis("topic", "clean").err
