"""`aegis publish`: every option, and what is said and stored when it is stopped midway."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from storage.store import Store
from storage.topic import TopicSettings
from tests.cli.processes import Running, promptness, running, wait_for


@pytest.fixture
def topic(aegis: Any) -> str:
    """A topic with one partition."""
    with Store(aegis.store, create=True) as store:
        store.create_topic("t")
    return "t"


def make(aegis: Any, name: str, **settings: Any) -> None:
    with Store(aegis.store, create=True) as store:
        store.create_topic(name, TopicSettings(**settings))


def stored(aegis: Any, topic: str = "t") -> list[Any]:
    """What readers of the topic see, as envelopes."""
    finished = aegis("consume", topic, "--json")
    assert (0, b"") == (finished.code, finished.stderr)
    return [json.loads(line) for line in finished.stdout.split(b"\n")[:-1]]


def values(aegis: Any, topic: str = "t") -> list[Any]:
    return [record["value"] for record in stored(aegis, topic)]


# -- input ------------------------------------------------------------------------------------------------


def test_stdin_is_published_as_it_is(aegis: Any, topic: str) -> None:
    lines = b'{"id": 1}\n[ 1,2 ]\n\n"x"\r\n   \n1e400\n'
    finished = aegis("publish", topic, stdin=lines)
    assert (0, b"", b"") == (finished.code, finished.stdout, finished.stderr)
    assert b'{"id": 1}\n[ 1,2 ]\n"x"\n1e400\n' == aegis("consume", topic).stdout


def test_empty_input_publishes_nothing(aegis: Any, topic: str) -> None:
    for stdin in (b"", b"\n\n", b"\xef\xbb\xbf"):
        finished = aegis("publish", topic, stdin=stdin)
        assert (0, b"", b"") == (finished.code, finished.stdout, finished.stderr)
    assert [] == stored(aegis)


def test_values_are_published_and_stdin_is_not_read(aegis: Any, topic: str) -> None:
    with running(aegis, "publish", topic, '{"id":1}', " 2 ") as process:
        assert 0 == process.wait()
    assert [{"id": 1}, 2] == values(aegis)


def test_a_value_that_is_not_valid_leaves_none_of_them(aegis: Any, topic: str) -> None:
    finished = aegis("publish", topic, "1", "2", "{", "4")
    assert 7 == finished.code
    assert finished.err.startswith("aegis: error: line 3: ")
    assert [] == stored(aegis)


def test_a_file_is_published(aegis: Any, topic: str) -> None:
    (aegis.home / "in.jsonl").write_bytes(b"1\n2\n")
    finished = aegis("publish", topic, "--file", "in.jsonl", stdin=b"3\n")
    assert (0, b"", b"") == (finished.code, finished.stdout, finished.stderr)
    assert 0 == aegis("publish", topic, "--file", "-", stdin=b"3\n").code
    assert [1, 2, 3] == values(aegis)


@pytest.mark.parametrize("through_file", [True, False], ids=["file", "pipe"])
def test_a_long_input_lies_on_disk_byte_for_byte(aegis: Any, topic: str, through_file: bool) -> None:
    lines = b"".join(b'{"number":%d,"pad":"%s"}\n' % (n, b"x" * (n % 400)) for n in range(80_000))
    assert len(lines) > 2 * 8 * 1024 * 1024
    path = aegis.home / "in.jsonl"
    path.write_bytes(lines)
    finished = (
        aegis("publish", topic, "--file", "in.jsonl")
        if through_file
        else aegis("publish", topic, stdin=lines)
    )
    assert (0, b"") == (finished.code, finished.stderr)
    paths = aegis("topic", "files", topic).lines
    assert lines == b"".join(Path(name).read_bytes() for name in paths)
    assert lines == aegis("consume", topic).stdout


def test_a_huge_line_passes_below_the_limit(aegis: Any) -> None:
    make(aegis, "t", max_message_bytes=8_000_000)
    line = b'"' + b"y" * 7_999_998 + b'"\n'
    assert 0 == aegis("publish", "t", stdin=b"1\n" + line + b"2\n").code
    assert b"1\n" + line + b"2\n" == aegis("consume", "t").stdout
    (aegis.home / "in.jsonl").write_bytes(line)
    assert 0 == aegis("publish", "t", "--file", "in.jsonl").code
    assert line == aegis("consume", "t", "--last", "1").stdout


def test_a_stdin_that_does_not_block_is_waited_for(aegis: Any, topic: str) -> None:
    ours, theirs = os.pipe()
    os.set_blocking(ours, False)
    with running(aegis, "publish", topic, "--receipts", stdin=ours) as process:
        os.write(theirs, b"1\n")
        process.read_until(lambda here: b"\n" in here.stdout)
        os.write(theirs, b"2\n")
        os.close(theirs)
        assert 0 == process.wait()
    os.close(ours)
    assert [1, 2] == values(aegis)


# -- keys, headers, times, partitions ---------------------------------------------------------------------


def test_key_headers_and_timestamp_go_to_every_record(aegis: Any, topic: str) -> None:
    options = ["-k", 'a"b', "-H", "x=1", "-H", "x:2=3", "-H", "y=", "--timestamp", "2024-05-01T10:00:00Z"]
    assert 0 == aegis("publish", topic, "1", "2", *options).code
    headers = [{"key": "x", "value": "1"}, {"key": "x", "value": "2=3"}, {"key": "y", "value": ""}]
    expected = [('a"b', headers, 1_714_557_600_000)] * 2
    assert expected == [(record["key"], record["headers"], record["timestamp"]) for record in stored(aegis)]


def test_a_field_is_the_key_and_decides_the_partition(aegis: Any) -> None:
    make(aegis, "t", partitions=4)
    lines = b"".join(b'{"id":"k%d","n":%d}\n' % (n % 10, n) for n in range(100))
    assert 0 == aegis("publish", "t", "--key-field", "id", stdin=lines).code
    records = stored(aegis)
    assert {f"k{n}" for n in range(10)} == {record["key"] for record in records}
    places: dict[str, set[int]] = {}
    for record in records:
        places.setdefault(record["key"], set()).add(record["partition"])
    assert all(len(found) == 1 for found in places.values())
    assert 1 < len(set().union(*places.values()))


def test_a_key_stands_before_its_value(aegis: Any, topic: str) -> None:
    assert 0 == aegis("publish", topic, "-K", "\\t", stdin=b'a\t{"x":"\\t"}\n\t2\nb\t3\n').code
    assert 0 == aegis("publish", topic, "-K", "::", "c::[1]", "c::d::1", "--text").code
    assert [
        ("a", {"x": "\t"}),
        ("", 2),
        ("b", 3),
        ("c", "[1]"),
        ("c", "d::1"),
    ] == [(record["key"], record["value"]) for record in stored(aegis)]


def test_z_makes_null_of_an_empty_value(aegis: Any, topic: str) -> None:
    assert 0 == aegis("publish", topic, "-Z", "-k", "a", "").code
    assert 0 == aegis("publish", topic, "-Z", "-K", ":", stdin=b"b:\nc:1\n").code
    assert 0 == aegis("publish", topic, "-Z", "-K", ":", "d:").code
    assert 0 == aegis("publish", topic, "-Z", stdin=b"\n5\n").code
    assert 0 == aegis("publish", topic, "-Z", "--binary", "-k", "e", stdin=b"").code
    assert 0 == aegis("publish", topic, "-Z", "--text", "-k", "f", "").code
    assert [
        ("a", None),
        ("b", None),
        ("c", 1),
        ("d", None),
        (None, None),
        (None, 5),
        ("e", None),
        ("f", None),
    ] == [(record["key"], record["value"]) for record in stored(aegis)]


def test_a_field_is_the_timestamp(aegis: Any, topic: str) -> None:
    lines = (
        b'{"ts":1700000000}\n{"ts":1700000000123}\n{"ts":1700000000.5}\n{"ts":"2024-05-01T10:00:00+02:00"}\n'
        b'{"cr":\r1,"ts":0}\n'
    )
    assert 0 == aegis("publish", topic, "--timestamp-field", "ts", stdin=lines).code
    assert [1_700_000_000_000, 1_700_000_000_123, 1_700_000_000_500, 1_714_550_400_000, 0] == [
        record["timestamp"] for record in stored(aegis)
    ]


@pytest.mark.parametrize(
    "text", ['"now"', '"1h ago"', '"10:30"', "-1", "1e300", "1700000000000000", "true", "{}", "null", '"x"']
)
def test_what_is_no_time_is_refused_with_its_line(aegis: Any, topic: str, text: str) -> None:
    lines = b'{"ts":1}\n\n{"ts":%s}\n{"ts":2}\n' % text.encode()
    finished = aegis("publish", topic, "--timestamp-field", "ts", stdin=lines)
    assert 10 == finished.code
    assert (
        "aegis: error: line 3: field 'ts' is no time; it must be ISO 8601 text, or seconds or milliseconds "
        "since 1970 (1 record before it published)\n" == finished.err
    )
    assert [{"ts": 1}] == values(aegis)


def test_a_partition_can_be_named(aegis: Any) -> None:
    make(aegis, "t", partitions=3)
    assert 0 == aegis("publish", "t", "-p", "2", "-k", "a", stdin=b"1\n2\n").code
    assert [(2, 0, "a"), (2, 1, "a")] == [
        (record["partition"], record["offset"], record["key"]) for record in stored(aegis)
    ]
    for number in ("3", "-1"):
        finished = aegis("publish", "t", "-p", number)
        assert 3 == finished.code
        assert f"topic 't' has no partition {number}; it has 3, numbered from 0" in finished.err


def test_records_without_a_key_go_round_the_partitions(aegis: Any) -> None:
    make(aegis, "t", partitions=4)
    with running(aegis, "publish", "t", "--receipts", "--linger", "0") as process:
        for number in range(4):
            process.feed(b"%d\n" % number)
            process.read_until(lambda here, wanted=number + 1: here.stdout.count(b"\n") == wanted)
        process.end_input()
        assert 0 == process.wait()
    assert {0, 1, 2, 3} == {record["partition"] for record in stored(aegis)}


def test_text_becomes_json_strings(aegis: Any, topic: str) -> None:
    assert 0 == aegis("publish", topic, "--text", stdin='a "b"\n\n{"x":1}\tä\\\n'.encode()).code
    assert 0 == aegis("publish", topic, "--text", "two\nlines", "").code
    assert ['a "b"', "", '{"x":1}\tä\\', "two\nlines", ""] == values(aegis)


def test_binary_takes_the_whole_input_as_one_value(aegis: Any, topic: str) -> None:
    assert 0 == aegis("publish", topic, "--binary", "-k", "a", stdin=b"\x00\xff\n\n").code
    (aegis.home / "f").write_bytes(b"\x01")
    assert 0 == aegis("publish", topic, "--binary", "--file", "f").code
    assert 0 == aegis("publish", topic, "--binary", "x", "y").code
    expected = ["AP8KCg==", "AQ==", "eA==", "eQ=="]
    assert expected == [value["$base64"] for value in values(aegis)]


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


# -- options that say how ---------------------------------------------------------------------------------


def test_skip_leaves_out_bad_lines_and_names_them(aegis: Any, topic: str) -> None:
    long = b'"' + b"x" * 3_000_000 + b'"'
    lines = b"1\n{\n\n2\n\xff\n[1] [2]\n" + long + b'\n3\n{"cut":'
    for name in ("stdin", "file"):
        (aegis.home / "in").write_bytes(lines)
        finished = (
            aegis("publish", topic, "--on-error", "skip", "--json", stdin=lines)
            if name == "stdin"
            else aegis("publish", topic, "--on-error", "skip", "--json", "--file", "in")
        )
        assert 0 == finished.code
        told = finished.err.splitlines()
        assert 5 == len(told), told
        for number, text in zip((2, 5, 6, 7, 9), told, strict=True):
            assert text.startswith(f"aegis: warning: skipped line {number}: ")
        summary = {"topic": "t", "records": 3, "blank_lines": 1, "refused_lines": 5}
        assert summary == json.loads(finished.out)
    assert [1, 2, 3, 1, 2, 3] == values(aegis)


def test_skip_works_for_envelopes_too(aegis: Any) -> None:
    make(aegis, "t", max_message_bytes=100)
    long = b'{"value":"' + b"x" * 200 + b'"}'
    huge = b'{"value":"' + b"x" * 3_000_000 + b'"}'
    deep = b'{"value":' + b"[" * 40 + b"]" * 40 + b"}"
    lines = b"\n".join(
        [
            b'\xef\xbb\xbf{"value":1,"key":"a"}',
            b"",
            b"nonsense",
            long,
            b'{"value":\r2}',
            huge,
            b'{"key":"no value"}',
            b'{"value":3,"key":{"not":"scalar"}}',
            deep,
            b'{"value":4,"timestamp":5}',
            b"",
        ]
    )
    finished = aegis("publish", "t", "--envelope", "--on-error", "skip", "--json", stdin=lines)
    assert 0 == finished.code
    numbers = [int(text.split("skipped line ")[1].split(":")[0]) for text in finished.err.splitlines()]
    assert [3, 4, 6, 7, 8] == numbers
    summary = {"topic": "t", "records": 4, "blank_lines": 1, "refused_lines": 5}
    assert summary == json.loads(finished.out)
    assert [("a", 1), (None, 2)] == [(r["key"], r["value"]) for r in stored(aegis)][:2]
    assert (5, 4) == [(r["timestamp"], r["value"]) for r in stored(aegis)][-1]


@pytest.mark.parametrize(
    ("bad", "line"),
    [
        (b"nonsense", 4),
        (b'{"value":"' + b"x" * 200 + b'"}', 4),
        (b'{"value":"' + b"x" * 3_000_000 + b'"}', 4),
        (b'{"value":1} {"value":2}', 4),
    ],
    ids=["nonsense", "long", "huge", "two"],
)
def test_a_bad_envelope_ends_it_with_its_line(aegis: Any, bad: bytes, line: int) -> None:
    make(aegis, "t", max_message_bytes=100)
    lines = b'{"value":1}\n\n{"value":2}\n' + bad + b'\n{"value":3}\n'
    finished = aegis("publish", "t", "--envelope", stdin=lines)
    assert 10 == finished.code
    assert finished.err.startswith(f"aegis: error: line {line}: ")
    assert finished.err.endswith(" (2 records before it published)\n")
    assert [1, 2] == values(aegis)


def test_receipts_name_partition_and_offsets(aegis: Any, topic: str) -> None:
    finished = aegis("publish", topic, "--receipts", stdin=b"1\n2\n3\n")
    (receipt,) = [json.loads(line) for line in finished.lines]
    assert receipt.pop("append_time_ms") == stored(aegis)[0]["timestamp"]
    assert {"topic": "t", "partition": 0, "base_offset": 0, "last_offset": 2} == receipt


def test_a_receipt_comes_when_its_record_can_be_read(aegis: Any, topic: str) -> None:
    with running(aegis, "publish", topic, "--receipts") as process:
        process.feed(b"1\n")
        process.read_until(lambda here: b"\n" in here.stdout)
        assert [1] == values(aegis)


def test_a_reader_of_receipts_that_leaves_does_not_stop_the_publishing(aegis: Any, topic: str) -> None:
    ours, theirs = os.pipe()
    with running(aegis, "publish", topic, "--receipts", stdout=theirs) as process:
        os.close(theirs)
        process.feed(b"1\n")
        assert os.read(ours, 1000)
        os.close(ours)
        for number in (2, 3):
            process.feed(b"%d\n" % number)
            wait_for(lambda wanted=number: len(values(aegis)) == wanted)
        process.end_input()
        assert 0 == process.wait()
    assert (b"", [1, 2, 3]) == (process.stderr, values(aegis))


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


def waits_for_the_lock(pid: int, path: Path) -> bool:
    """Whether the process has the file open, which it does only to lock it."""
    return any(Path(entry).resolve() == path for entry in Path(f"/proc/{pid}/fd").iterdir())


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


def test_json_prints_a_summary(aegis: Any, topic: str) -> None:
    finished = aegis("publish", topic, "--json", stdin=b"1\n\n2\n")
    expected = {"topic": "t", "records": 2, "blank_lines": 1, "refused_lines": 0}
    assert expected == json.loads(finished.out)


# -- live input -------------------------------------------------------------------------------------------


def test_a_line_of_a_log_is_visible_at_once(aegis: Any, topic: str) -> None:
    log = aegis.home / "app.log"
    log.write_bytes(b"")
    with promptness() as prompt, running(aegis, "consume", topic, "-f", "-o", "start") as follower:
        command = " ".join(aegis.command("publish", topic, "--receipts"))
        shell = subprocess.Popen(
            ["bash", "-c", f"tail -n +1 -F {log} 2>/dev/null | exec {command}"],
            env=aegis.environ,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        publisher = Running(shell)
        try:
            for number in range(14):
                with log.open("ab") as file:
                    file.write(b'{"n":%d}\n' % number)
                seconds = follower.read_until(lambda here, n=number: here.stdout.count(b"\n") == n + 1)
                if number > 1:  # the first ones wait for processes to start
                    prompt.add(seconds)
            prompt.check()
            publisher.read_until(lambda here: here.stdout.count(b"\n") == 14)
        finally:
            os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()
            assert shell.stdout is not None
            shell.stdout.close()


def test_lines_that_come_together_are_appended_together(aegis: Any, topic: str) -> None:
    ours, theirs = os.pipe()
    os.write(theirs, b"1\n2\n3\n")
    with running(aegis, "publish", topic, "--receipts", stdin=ours) as process:
        process.read_until(lambda here: b"\n" in here.stdout)
        os.write(theirs, b"4\n")
        os.close(theirs)
        assert 0 == process.wait()
    os.close(ours)
    assert [(0, 2), (3, 3)] == [
        (receipt["base_offset"], receipt["last_offset"])
        for receipt in map(json.loads, process.stdout.splitlines())
    ]


def test_half_a_line_waits_for_its_other_half(aegis: Any, topic: str) -> None:
    with running(aegis, "publish", topic, "--receipts") as process:
        process.feed(b'1\n{"half":')
        process.read_until(lambda here: b"\n" in here.stdout)
        process.feed(b"true}\n")
        process.read_until(lambda here: here.stdout.count(b"\n") == 2)
    assert [1, {"half": True}] == values(aegis)


def test_a_line_that_comes_while_the_disk_is_busy_is_not_left_behind(aegis: Any, topic: str) -> None:
    assert 0 == aegis("publish", topic, "0").code
    with (
        (aegis.store / "topics/t/0/head").open("rb") as head,
        running(aegis, "publish", topic, "--receipts", "--linger", "0") as process,
    ):
        fcntl.flock(head, fcntl.LOCK_EX)
        process.feed(b"1\n")
        wait_for(lambda: waits_for_the_lock(process.pid, aegis.store / "topics/t/0/head"))
        process.feed(b"2\n")
        wait_for(lambda: unread(process) == 0)
        fcntl.flock(head, fcntl.LOCK_UN)
        # No more input comes and none ends: both lines are published all the same.
        process.read_until(lambda here: b'"last_offset":2' in here.stdout)


def unread(process: Running) -> int:
    """How many bytes of its stdin the process has not read yet."""
    assert process.process.stdin is not None
    answer = fcntl.ioctl(process.process.stdin.fileno(), 0x541B, b"\0" * 4)  # FIONREAD
    return int.from_bytes(answer, "little")


def test_an_append_that_fails_ends_it_without_waiting_for_more_input(aegis: Any, topic: str) -> None:
    with running(aegis, "publish", topic, "--receipts") as process:
        process.feed(b"1\n")
        process.read_until(lambda here: b"\n" in here.stdout)
        assert 0 == aegis("topic", "delete", topic, "--yes").code
        process.feed(b"2\n")
        assert 3 == process.wait()
    assert "aegis: warning: 1 record was published before this error\n" in process.stderr.decode()


# -- stopped midway ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"]
)
def test_what_was_acknowledged_before_a_signal_is_there(
    aegis: Any, topic: str, number: signal.Signals, code: int
) -> None:
    with running(aegis, "publish", topic, "--receipts", "--linger", "0") as process:
        for line in range(3):
            process.feed(b"%d\n" % line)
            process.read_until(lambda here, wanted=line + 1: here.stdout.count(b"\n") == wanted)
        process.process.send_signal(number)
        assert code == process.wait()
    assert "aegis: warning: interrupted after 3 records were published\n" == process.stderr.decode()
    assert [0, 1, 2] == values(aegis)


@pytest.mark.parametrize("appends", [1, 2, 3, 4])
def test_what_is_said_at_ctrl_c_is_what_is_stored(aegis: Any, topic: str, appends: int) -> None:
    lines = b"".join(b'{"number":%d,"pad":"%s"}\n' % (n, b"x" * 100) for n in range(300_000))
    path = aegis.home / "in.jsonl"
    path.write_bytes(lines)
    with running(aegis, "publish", topic, "--file", str(path), "--receipts") as process:
        process.read_until(lambda here: here.stdout.count(b"\n") >= appends)
        process.process.send_signal(signal.SIGINT)
        code = process.wait()
    assert code in (0, 130)
    kept = aegis("consume", topic).stdout
    assert kept == lines[: len(kept)]
    count = kept.count(b"\n")
    if code == 130:
        assert (
            f"aegis: warning: interrupted after {count} records were published\n" == process.stderr.decode()
        )
    receipts = [json.loads(line) for line in process.stdout.splitlines()]
    assert count == receipts[-1]["last_offset"] + 1
    # And the topic takes more.
    assert 0 == aegis("publish", topic, "1").code
    assert kept + b"1\n" == aegis("consume", topic).stdout


def test_an_error_midway_says_how_much_was_published(aegis: Any, topic: str) -> None:
    with running(aegis, "publish", topic, "--receipts") as process:
        process.feed(b"1\n2\n")
        process.read_until(lambda here: b"\n" in here.stdout)
        process.feed(b"3\nnonsense\n4\n")
        process.end_input()
        assert 10 == process.wait()
    assert "aegis: error: line 4: 'nonsense' is not JSON; " in process.stderr.decode()
    assert process.stderr.decode().endswith("(3 records before it published)\n")
    assert [1, 2, 3] == values(aegis)


# -- terminals --------------------------------------------------------------------------------------------


def test_a_terminal_as_stdin_gets_a_hint(aegis: Any, topic: str) -> None:
    ours, theirs = pty.openpty()
    try:
        with running(aegis, "publish", topic, stdin=theirs) as process:
            process.says("aegis: reading from the terminal, one record a line; end with Ctrl-D\n")
            os.write(ours, b"1\n\x04")
            assert 0 == process.wait()
    finally:
        os.close(ours)
        os.close(theirs)
    assert [1] == values(aegis)


def test_off_a_terminal_a_file_is_published_in_silence(aegis: Any, topic: str) -> None:
    (aegis.home / "in.jsonl").write_bytes(b"1\n" * 100_000)
    finished = aegis("publish", topic, "--file", "in.jsonl")
    assert (0, b"", b"") == (finished.code, finished.stdout, finished.stderr)
