"""Which records `aegis consume` prints: where it starts and ends, and what it leaves out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from storage.batch import RecordBatch
from storage.store import Append, Store
from storage.topic import TopicSettings
from tests.cli.numbered import fill, numbers_of
from tests.cli.processes import running

MINUTE_MS = 60_000


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        *((word, range(10)) for word in ("start", "beginning", "earliest", "oldest", "first", "0")),
        *((word, range(0)) for word in ("end", "latest", "newest", "last", "10", "999")),
        ("7", range(7, 10)),
        ("-3", range(7, 10)),
        ("-99", range(10)),
        ("+8", range(8, 10)),
        ("5:9", range(5, 9)),
        ("5-9", range(5, 9)),
        ("5:", range(5, 10)),
        (":5", range(5)),
        (":end", range(10)),
        ("5:5", range(0)),
        ("-4:-2", range(6, 8)),
        ("-4:9", range(6, 9)),
        ("8:99", range(8, 10)),
        ("@0000000000:", range(10)),
    ],
)
def test_an_offset_chooses_where_to_start_and_end(
    aegis: Any, store: Store, spec: str, expected: range
) -> None:
    store.create_topic("t")
    store.append(
        [
            Append(
                topic="t",
                partition=0,
                batches=[
                    RecordBatch(lines=b"0\n1\n2\n", count=3),
                    RecordBatch(lines=b"3\n4\n5\n6\n", count=4),
                    RecordBatch(lines=b"7\n8\n9\n", count=3),
                ],
            )
        ]
    )
    for option in (["-o", spec], [f"--offset={spec}"]):
        assert list(expected) == numbers_of(aegis("consume", "t", *option))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "9:5"], "offset '9:5' ends before it starts; exchange its two ends"),
        (["-o", "x"], "offset 'x' cannot be read; write start, end, 42, +10, -10, 5:9 or @2024-05-01"),
        (["-o", "%o"], "offset '%o' looks like a format; formats follow -F: -F '%o'"),
        (["-o", "stored"], "offset 'stored' is the position of a group; name the group with --group "),
        (["-o", "1", "-o", "2"], "offset '1 2' is more than one range; give -o once, as A:B, or as s@T and "),
        (["--since", "someday"], "time 'someday' cannot be read; write "),
        (["--until", "12345"], "time '12345' has 5 digits; write 13 digits for milliseconds "),
        (["--grep", "("], "pattern '(' is no regular expression at position 1"),
        (["-F", "%"], "format '%': a percent sign ends the format at position 1; write %% for "),
        (["-F", "%v", "--json"], "--format and --json exclude each other; give one of them"),
        (["--exit", "-f"], "--exit and --follow exclude each other; give one of them"),
        (["--last", "3", "-o", "1"], "--last chooses its own start; leave out --offset and --since"),
        (["--last", "-3"], "--last is -3; use 0 or more"),
        (["-n", "-3"], "-n is -3; use 0 or more"),
        (
            ["--idle-timeout", "5s"],
            "--idle-timeout is for --follow; without it consume ends at the end; add -f",
        ),
        (
            ["-f", "--idle-timeout", "5"],
            "--idle-timeout: duration '5' has no unit after 5; use ms, s, m, h, ",
        ),
    ],
)
def test_what_cannot_be_read_is_refused(aegis: Any, store: Store, arguments: list[str], message: str) -> None:
    store.create_topic("t")
    finished = aegis("consume", "t", *arguments)
    assert (2, b"") == (finished.code, finished.stdout)
    assert finished.err.startswith(f"aegis: error: {message}"), finished.err
    assert 1 == finished.err.count("\n")


def test_times_choose_where_to_start_and_end(aegis: Any, store: Store) -> None:
    store.create_topic("t")
    base = 1_700_000_000_000
    # Times that publishers gave do not come in order.
    for number, minute in enumerate([0, 1, 5, 2, 6, 3, 7]):
        fill(store, "t", range(number, number + 1), timestamps_ms=base + minute * MINUTE_MS)
    at = [str(base + minute * MINUTE_MS) for minute in range(10)]
    for arguments in (
        ["--since", at[2], "--until", at[6]],
        ["-o", f"@{at[2]}:{at[6]}"],
        ["-o", f"s@{at[2]}", "-o", f"e@{at[6]}"],
        ["-o", f"@{at[2]}:4m"],
        ["-o", f"@{at[2]}", "--since", at[2], "--until", at[6]],
    ):
        assert [2, 3, 5] == numbers_of(aegis("consume", "t", *arguments)), arguments
    assert [2, 3, 4, 5, 6] == numbers_of(aegis("consume", "t", "--since", at[2]))
    assert [0, 1] == numbers_of(aegis("consume", "t", "--until", at[2]))
    assert [0, 1] == numbers_of(aegis("consume", "t", "-o", f"e@{at[2]}"))
    assert [2, 3, 4, 5, 6] == numbers_of(aegis("consume", "t", "-o", f"@{at[2]}"))
    assert [] == numbers_of(aegis("consume", "t", "--since", "1h"))


def test_times_of_appends_count_where_records_have_none(aegis: Any) -> None:
    now = 1_700_000_000_000
    with Store(aegis.store, create=True, clock_ms=lambda: now) as store:
        store.create_topic("t")
        for number in range(5):
            fill(store, "t", range(number, number + 1))
            now += MINUTE_MS
    at = [str(1_700_000_000_000 + minute * MINUTE_MS) for minute in range(6)]
    assert [2, 3, 4] == numbers_of(aegis("consume", "t", "--since", at[2]))
    assert [1, 2] == numbers_of(aegis("consume", "t", "-o", f"@{at[1]}:{at[3]}"))
    assert [0, 1, 2, 3, 4] == numbers_of(aegis("consume", "t", "--until", "now"))


def test_n_ends_after_so_many_records(aegis: Any, store: Store) -> None:
    store.create_topic("t", TopicSettings(partitions=2))
    lines = b"".join(b"%d\n" % number for number in range(100))
    store.append([Append(topic="t", partition=0, batches=[RecordBatch(lines=lines, count=100)])])
    fill(store, "t", range(100, 103), partition=1)
    for option in ("-n", "--num", "--max-messages"):
        assert list(range(7)) == numbers_of(aegis("consume", "t", option, "7"))
    assert list(range(102)) == numbers_of(aegis("consume", "t", "-n", "102"))
    assert [] == numbers_of(aegis("consume", "t", "-n", "0"))
    assert [8, 18] == numbers_of(aegis("consume", "t", "-n", "2", "--grep", "8$"))
    assert [0, 1] == numbers_of(aegis("consume", "t", "-f", "-o", "start", "-n", "2"))
    assert 3 == aegis("consume", "nothing", "-n", "0").code


def test_partitions_can_be_chosen(aegis: Any, store: Store) -> None:
    store.create_topic("t", TopicSettings(partitions=3))
    for partition in range(3):
        fill(store, "t", range(10 * partition, 10 * partition + 2), partition=partition)
    assert [0, 1, 10, 11, 20, 21] == numbers_of(aegis("consume", "t"))
    assert [10, 11] == numbers_of(aegis("consume", "t", "-p", "1"))
    assert [20, 21, 0, 1] == numbers_of(aegis("consume", "t", "-p", "2", "-p", "0", "-p", "2"))
    finished = aegis("consume", "t", "-p", "3")
    assert (3, b"") == (finished.code, finished.stdout)
    assert "aegis: error: topic 't' has no partition 3; it has 3, numbered from 0\n" == finished.err


def test_several_topics_are_read_one_after_the_other(aegis: Any, store: Store) -> None:
    for topic in ("a", "b"):
        store.create_topic(topic)
    fill(store, "a", range(2))
    fill(store, "b", range(5, 7))
    assert [5, 6, 0, 1] == numbers_of(aegis("consume", "b", "a", "b"))
    assert 3 == aegis("consume", "a", "c").code


def test_last_takes_the_newest_over_all_partitions(aegis: Any) -> None:
    now = 1_700_000_000_000
    with Store(aegis.store, create=True, clock_ms=lambda: now) as store:
        store.create_topic("t", TopicSettings(partitions=3))
        for number in range(12):
            fill(store, "t", range(number, number + 1), partition=[0, 0, 0, 1][number % 4])
            now += 1
        store.create_topic("one")
        fill(store, "one", range(5))
    for count in (0, 1, 4, 7, 12, 99):
        newest = list(range(max(0, 12 - count), 12))
        assert newest == sorted(numbers_of(aegis("consume", "t", "--last", str(count))))
        assert list(range(max(0, 5 - count), 5)) == numbers_of(aegis("consume", "one", "--last", str(count)))


def test_an_empty_topic_has_nothing(aegis: Any, store: Store) -> None:
    store.create_topic("t", TopicSettings(partitions=2))
    for options in ([], ["--json"], ["--last", "3"], ["-o", "-1"], ["--since", "1h"], ["-F", "%v"]):
        finished = aegis("consume", "t", *options)
        assert (0, b"", b"") == (finished.code, finished.stdout, finished.stderr)


def test_it_ends_at_the_end_that_it_saw_when_it_began(aegis: Any, store: Store) -> None:
    store.create_topic("t")
    lines = b"".join(b'{"number":%d,"pad":"%s"}\n' % (number, b"x" * 100) for number in range(50_000))
    store.append([Append(topic="t", partition=0, batches=[RecordBatch(lines=lines, count=50_000)])])
    with running(aegis, "consume", "t", "--json") as process:
        # More than the pipe holds: it waits for us, half way.
        process.read_until(lambda here: b"\n" in here.stdout)
        fill(store, "t", range(10))
        assert 0 == process.wait()
    assert 50_000 == process.stdout.count(b"\n")


def test_key_and_grep_narrow(aegis: Any, store: Store) -> None:
    store.create_topic("t")
    keys = [b'"a"', b'"b"', b"7", b'"7"', b"null", b'"\\u0061"', b'{"$base64":"AP8="}']
    lines = b"".join(b'{"n":%d,"text":"%s"}\n' % (n, word) for n, word in enumerate([b"x", b"y"] * 7))
    store.append(
        [Append(topic="t", partition=0, batches=[RecordBatch(lines=lines, count=14, keys=keys + keys)])]
    )

    def found(*options: str) -> list[int]:
        finished = aegis("consume", "t", *options)
        assert (0, b"") == (finished.code, finished.stderr)
        return [json.loads(line)["n"] for line in finished.lines]

    assert [0, 5, 7, 12] == found("--key", "a")
    assert [2, 3, 9, 10] == found("--key", "7")
    assert [] == found("--key", "c")
    assert [1, 3, 5, 7, 9, 11, 13] == found("--grep", '"text":"y"')
    assert [5, 7] == found("--key", "a", "--grep", "y")
    assert [12] == found("--key", "a", "-o", "8:")
    assert [0, 5] == found("--key", "a", "-n", "2")
