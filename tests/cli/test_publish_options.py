"""Options of `aegis publish` that say whether and when it publishes, and options that cannot be."""

from __future__ import annotations

import fcntl
import json
import os
from typing import Any

import pytest

from tests.cli.processes import running, wait_for, waits_for_the_lock
from tests.cli.published import make, stored, values

# -- topics -----------------------------------------------------------------------------------------------


def test_create_makes_store_and_topic_with_the_defaults_of_the_configuration(aegis: Any) -> None:
    environ = {"AEGIS_STREAMING_DEFAULT_RETENTION": "2d", "AEGIS_STREAMING_DURABILITY": "os"}
    assert 0 == aegis("publish", "t", "--create", "1", environ=environ).code
    assert 0 == aegis("publish", "t", "--create", "2").code
    assert [1, 2] == values(aegis)
    settings = json.loads(aegis("topic", "describe", "t", "--json").out)["settings"]
    assert (172_800_000, "os") == (settings["retention_ms"], settings["durability"])


def test_without_create_nothing_is_made(aegis: Any) -> None:
    finished = aegis("publish", "t", "1")
    assert (3, False) == (finished.code, aegis.store.exists())
    assert f"aegis: error: no store at {aegis.store}; " in finished.err


# -- conditions -------------------------------------------------------------------------------------------


def test_expect_offset_publishes_only_there(aegis: Any, topic: str) -> None:
    assert 0 == aegis("publish", topic, "--expect-offset", "0", stdin=b"1\n2\n").code
    finished = aegis("publish", topic, "--expect-offset", "0", stdin=b"3\n")
    assert (4, b"") == (finished.code, finished.stdout)
    assert (
        "aegis: error: topic 't' partition 0 is at offset 2, not 0; nothing was published; "
        "read on to 2 and decide again\n" == finished.err
    )
    assert 4 == aegis("publish", topic, "--expect-offset", "5", "3").code
    assert 0 == aegis("publish", topic, "--expect-offset", "2", "3").code
    assert [1, 2, 3] == values(aegis)


def test_expect_offset_needs_one_partition(aegis: Any) -> None:
    make(aegis, "t", partitions=2)
    finished = aegis("publish", "t", "--expect-offset", "0", "1")
    assert 2 == finished.code
    assert (
        "aegis: error: setting 'expect-offset' is for one partition and 't' has several; add -p N\n"
        == finished.err
    )
    assert 0 == aegis("publish", "t", "--expect-offset", "0", "-p", "1", "1").code


def test_lock_wait_gives_up_and_names_the_holder(aegis: Any, topic: str) -> None:
    assert 0 == aegis("publish", topic, "1").code
    with (aegis.store / "topics/t/0/head").open("rb") as head:
        fcntl.flock(head, fcntl.LOCK_EX)
        finished = aegis("publish", topic, "--lock-wait", "100ms", "2")
    assert 6 == finished.code
    assert f"aegis: error: topic 't' partition 0 is locked by process {os.getpid()} (" in finished.err
    assert finished.err.endswith(
        "waited 0.1 s; wait for that process or end it, or allow more time with --lock-wait\n"
    )
    assert [1] == values(aegis)


def test_lock_wait_waits_that_long(aegis: Any, topic: str) -> None:
    assert 0 == aegis("publish", topic, "1").code
    with (aegis.store / "topics/t/0/head").open("rb") as head:
        fcntl.flock(head, fcntl.LOCK_EX)
        with running(aegis, "publish", topic, "--lock-wait", "30s", "2") as process:
            wait_for(lambda: waits_for_the_lock(process.pid, aegis.store / "topics/t/0/head"))
            fcntl.flock(head, fcntl.LOCK_UN)
            assert 0 == process.wait()
    assert [1, 2] == values(aegis)


# -- what cannot be ---------------------------------------------------------------------------------------


CONTRADICTIONS = [
    (["-k", "a", "--key-field", "b"], "--key and --key-field exclude each other; give one of them"),
    (["--key-field", "a", "-K", ":"], "--key-field and --key-separator exclude each other; give one of them"),
    (["--envelope", "-k", "a"], "--envelope and --key exclude each other; give one of them"),
    (["--envelope", "-H", "a=b"], "--envelope and --header exclude each other; give one of them"),
    (["--envelope", "--timestamp", "now"], "--envelope and --timestamp exclude each other; give one of them"),
    (["--text", "--envelope"], "--text and --envelope exclude each other; give one of them"),
    (["--text", "--binary"], "--text and --binary exclude each other; give one of them"),
    (["--binary", "-K", ":"], "--binary and --key-separator exclude each other; give one of them"),
    (["--text", "--key-field", "a"], "--text and --key-field exclude each other; give one of them"),
    (
        ["--timestamp", "now", "--timestamp-field", "a"],
        "--timestamp and --timestamp-field exclude each other; give one of them",
    ),
    (["1", "--file", "f"], "values and --file exclude each other; give one of them"),
    (["-K", ""], "--key-separator is empty; give one or more characters"),
    (["--key-field", ""], "--key-field is empty; give one or more characters"),
    (["--key-field", 'a"b'], "a key field's name has no quote, backslash or control character: 'a\"b'"),
    (
        ["--timestamp-field", "a\\"],
        "a timestamp field's name has no quote, backslash or control character: 'a\\\\'",
    ),
    (["-K", "a\nb"], "--key-separator holds a line end; lines are parted by those already"),
    (["-H", "novalue"], "header 'novalue' has no name and value; write it as NAME=VALUE"),
    (["--on-error", "retry"], "--on-error is 'retry'; use stop or skip"),
    (["--linger", "-1"], "--linger is -1; use 0 or more"),
    (["--expect-offset", "-1"], "--expect-offset is -1; use 0 or more"),
    (["--lock-wait", "soon"], "setting 'lock-wait' cannot be 'soon'; give a time such as 500ms or 10s"),
    (["-k", b"\xff"], "--key is not UTF-8; use --envelope for bytes"),
    (["-H", b"a=\xff"], "--header is not UTF-8; use --envelope for bytes"),
]


@pytest.mark.parametrize(("arguments", "message"), CONTRADICTIONS)
def test_options_that_cannot_be_are_refused(
    aegis: Any, topic: str, arguments: list[str], message: str
) -> None:
    finished = aegis("publish", topic, *arguments, stdin=b"1\n")
    assert (2, b"", f"aegis: error: {message}\n") == (finished.code, finished.stdout, finished.err)
    assert [] == stored(aegis)


def test_a_time_that_cannot_be_read_names_its_option(aegis: Any, topic: str) -> None:
    finished = aegis("publish", topic, "--timestamp", "someday", "1")
    assert (2, True) == (finished.code, finished.err.startswith("aegis: error: --timestamp: time 'someday' "))
