"""`aegis consume`: where it starts and ends, what it leaves out, what it prints, and how it follows."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from storage.batch import RecordBatch
from storage.store import Append, Store
from storage.topic import TopicSettings
from tests.cli.processes import Running, promptness, running, wait_for

WATCHES = ["inotify", "watchfiles", "poll"]
MINUTE_MS = 60_000


@pytest.fixture
def store(aegis: Any) -> Any:
    with Store(aegis.store, create=True) as opened:
        yield opened


def fill(store: Store, topic: str, numbers: range, *, partition: int = 0, **columns: Any) -> None:
    """Publish numbers, one batch each, so that reading starts and ends within batches and between them."""
    for number in numbers:
        batch = RecordBatch(
            lines=b"%d\n" % number, count=1, **{name: [value] for name, value in columns.items()}
        )
        store.append([Append(topic=topic, partition=partition, batches=[batch])])


def numbers_of(finished: Any) -> list[int]:
    assert (0, b"") == (finished.code, finished.stderr), finished
    return [int(line) for line in finished.lines]


# -- where it starts and ends -----------------------------------------------------------------------------


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
        (["-F", "%"], ""),
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


# -- what it leaves out -----------------------------------------------------------------------------------


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


# -- what it prints ---------------------------------------------------------------------------------------


def test_values_come_as_they_were_published(aegis: Any, store: Store) -> None:
    store.create_topic("t")
    lines = b'{ "a" : 1 }\n[1,\t2]\n1e400\n"\\u0000"\n"\xc3\xa4"\nnull\n'
    store.append([Append(topic="t", partition=0, batches=[RecordBatch(lines=lines, count=6)])])
    assert lines == aegis("consume", "t").stdout


def test_a_format_is_applied_to_each_record(aegis: Any, store: Store) -> None:
    store.create_topic("t")
    store.publish("t", {"a": 1}, key="k", headers={"h": "x"}, timestamp_ms=1_700_000_000_123)
    store.publish("t", [2])
    finished = aegis("consume", "t", "-F", "%t %p %o %k %v\\n", "-n", "1")
    assert b't 0 0 k {"a":1}\n' == finished.stdout
    assert b't/0/0 {"a":1}\nt/0/1 [2]\n' == aegis("consume", "t", "--format", "%t/%p/%o %s\\n").stdout


def test_output_goes_to_every_kind_of_file(aegis: Any, store: Store) -> None:
    store.create_topic("t")
    lines = b"".join(b'{"number":%d,"pad":"%s"}\n' % (number, b"x" * 100) for number in range(30_000))
    store.append([Append(topic="t", partition=0, batches=[RecordBatch(lines=lines, count=30_000)])])
    fill(store, "t", range(3))
    lines += b"0\n1\n2\n"
    path = aegis.home / "out"
    path.write_bytes(b"before\n")
    command = aegis.command("consume", "t")
    with path.open("ab") as out:
        subprocess.run(command, env=aegis.environ, stdout=out, check=True)
    assert b"before\n" + lines == path.read_bytes()
    with path.open("wb") as out:
        subprocess.run(command, env=aegis.environ, stdout=out, check=True)
    assert lines == path.read_bytes()
    with path.open("r+b") as out:
        out.seek(5)
        subprocess.run(command, env=aegis.environ, stdout=out, check=True)
    assert lines[:5] + lines == path.read_bytes()
    with open(os.devnull, "wb") as out:  # noqa: PTH123 - a device
        subprocess.run(command, env=aegis.environ, stdout=out, check=True)
    ours, theirs = socket.socketpair()
    with ours, subprocess.Popen(command, env=aegis.environ, stdout=theirs) as process:
        theirs.close()
        with ours.makefile("rb") as stream:
            assert lines == stream.read()
    assert 0 == process.returncode


def test_a_pipe_that_does_not_block_is_waited_for(aegis: Any, store: Store) -> None:
    store.create_topic("t")
    lines = b"".join(b'{"number":%d,"pad":"%s"}\n' % (number, b"x" * 100) for number in range(30_000))
    store.append([Append(topic="t", partition=0, batches=[RecordBatch(lines=lines, count=30_000)])])
    for options in ([], ["--grep", "number"]):
        ours, theirs = os.pipe()
        os.set_blocking(theirs, False)
        with running(aegis, "consume", "t", *options, stdout=theirs) as process:
            os.close(theirs)
            with os.fdopen(ours, "rb") as stream:
                assert lines == stream.read()
            assert (0, b"") == (process.wait(), process.stderr)


@pytest.mark.parametrize("options", [[], ["--json"], ["-f", "-o", "start"], ["-F", "%v\\n"]])
def test_a_reader_that_leaves_is_no_error(aegis: Any, store: Store, options: list[str]) -> None:
    store.create_topic("t")
    lines = b"".join(b'{"number":%d,"pad":"%s"}\n' % (number, b"x" * 100) for number in range(100_000))
    store.append([Append(topic="t", partition=0, batches=[RecordBatch(lines=lines, count=100_000)])])
    command = " ".join(aegis.command("consume", "t", *(f"'{option}'" for option in options)))
    done = subprocess.run(
        ["bash", "-c", f"{command} | head -n 1 >/dev/null; echo ${{PIPESTATUS[0]}}"],
        env=aegis.environ,
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert (b"0\n", b"") == (done.stdout, done.stderr)


def test_a_follower_ends_when_its_reader_leaves_although_nothing_comes(aegis: Any, store: Store) -> None:
    store.create_topic("t")
    fill(store, "t", range(3))
    command = " ".join(aegis.command("consume", "t", "-f", "-o", "start"))
    done = subprocess.run(
        ["bash", "-c", f"{command} | head -n 1; echo ${{PIPESTATUS[0]}}"],
        env=aegis.environ,
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert (b"0\n0\n", b"") == (done.stdout, done.stderr)


def test_a_full_output_disk_is_an_error(aegis: Any, store: Store) -> None:
    store.create_topic("t")
    fill(store, "t", range(3))
    with open("/dev/full", "wb") as out:  # noqa: PTH123 - a device
        done = subprocess.run(
            aegis.command("consume", "t"),
            env=aegis.environ,
            stdout=out,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert (8, b"aegis: error: no space left on device\n") == (done.returncode, done.stderr)


# -- following --------------------------------------------------------------------------------------------


def follow(aegis: Any, watch: str, *options: str) -> Any:
    return running(aegis, "consume", *options, environ={"AEGIS_WATCH": watch})


@pytest.mark.parametrize("watch", WATCHES)
def test_a_follower_shows_what_comes_while_it_comes(aegis: Any, store: Store, watch: str) -> None:
    store.create_topic("t", TopicSettings(partitions=2))
    fill(store, "t", range(3))
    with promptness() as prompt, follow(aegis, watch, "t", "-f", "-o", "start") as process:
        process.lines_are(b"0", b"1", b"2")
        for number in range(10, 40):
            fill(store, "t", range(number, number + 1), partition=number % 2)
            prompt.add(process.read_until(lambda here, end=b"%d\n" % number: here.stdout.endswith(end)))
        prompt.check()
        process.process.send_signal(signal.SIGINT)
        assert (130, b"") == (process.wait(), process.stderr)
    assert [0, 1, 2, *range(10, 40)] == [int(line) for line in process.stdout.split()]


@pytest.mark.parametrize("watch", WATCHES)
def test_a_follower_goes_on_over_rolls_at_once(aegis: Any, store: Store, watch: str) -> None:
    store.create_topic("t", TopicSettings(segment_bytes=4096))
    with promptness() as prompt, follow(aegis, watch, "t", "-f", "-o", "start", "-F", "%o\\n") as process:
        # Every append begins a segment.
        for number in range(20):
            batch = RecordBatch(lines=b'"%s"\n' % (b"x" * 4000), count=1)
            store.append([Append(topic="t", partition=0, batches=[batch])])
            seconds = process.read_until(lambda here, end=b"%d\n" % number: here.stdout.endswith(end))
            if number:  # the first one waits for the process to start
                prompt.add(seconds)
        prompt.check()
        process.process.terminate()
        assert (143, b"") == (process.wait(), process.stderr)
    assert list(range(20)) == [int(line) for line in process.stdout.split()]
    assert 20 == len(list((aegis.store / "topics/t/0").glob("*.index")))


@pytest.mark.parametrize("watch", WATCHES)
def test_a_follower_starts_at_the_end_unless_told_otherwise(aegis: Any, store: Store, watch: str) -> None:
    store.create_topic("t")
    fill(store, "t", range(3))
    with follow(aegis, watch, "t", "-f") as new, follow(aegis, watch, "t", "-f", "--last", "1") as old:
        old.lines_are(b"2")
        wait_for(lambda: is_waiting(new))
        fill(store, "t", range(3, 5))
        new.lines_are(b"3", b"4")
        old.lines_are(b"2", b"3", b"4")


def is_waiting(process: Running) -> bool:
    """Whether a follower has seen all there is: it has the topic's index open and sleeps."""
    with open(f"/proc/{process.pid}/stat") as file:  # noqa: PTH123 - not a file of the test
        sleeps = file.read().rsplit(")", 1)[1].split()[0] == "S"
    directory = f"/proc/{process.pid}/fd"
    names = []
    for fd in os.listdir(directory):  # noqa: PTH208
        with contextlib.suppress(FileNotFoundError):  # closed since it was listed
            names.append(os.readlink(f"{directory}/{fd}"))  # noqa: PTH115
    return sleeps and any(name.endswith(".index") for name in names)


@pytest.mark.parametrize("watch", WATCHES)
def test_a_follower_finds_new_partitions(aegis: Any, store: Store, watch: str) -> None:
    store.create_topic("t")
    with (
        follow(aegis, watch, "t", "-f", "-o", "start") as all_of_them,
        follow(aegis, watch, "t", "-f", "-o", "start", "-p", "0") as only_one,
    ):
        fill(store, "t", range(1))
        all_of_them.lines_are(b"0")
        only_one.lines_are(b"0")
        store.alter_topic("t", TopicSettings(partitions=3))
        fill(store, "t", range(5, 6), partition=2)
        all_of_them.lines_are(b"0", b"5")
        fill(store, "t", range(6, 7))
        only_one.lines_are(b"0", b"6")
        all_of_them.lines_are(b"0", b"5", b"6")


@pytest.mark.parametrize("watch", WATCHES)
def test_a_follower_says_when_its_topic_is_deleted_and_follows_the_next(
    aegis: Any, store: Store, watch: str
) -> None:
    store.create_topic("t", TopicSettings(partitions=2))
    with (
        follow(aegis, watch, "t", "-f", "-o", "start", "--quiet") as process,
        follow(aegis, watch, "t", "-f", "-o", "start", "-p", "1") as only_one,
    ):
        fill(store, "t", range(2), partition=1)
        process.lines_are(b"0", b"1")
        only_one.lines_are(b"0", b"1")
        store.delete_topic("t")
        process.says(
            "aegis: warning: topic 't' was deleted; it was read up to offset 0 in partition 0, "
            "2 in partition 1, what came behind is lost; waiting for a new topic of this name\n"
        )
        only_one.says("was deleted; it was read up to offset 2 in partition 1, what came behind is lost; ")
        store.create_topic("t", TopicSettings(partitions=3))
        store.topic("t")
        fill(store, "t", range(10, 11), partition=0)
        fill(store, "t", range(20, 21), partition=1)
        text = "aegis: warning: topic 't' was deleted and created again; following the new one\n"
        process.says(text)
        only_one.says(text)
        process.lines_are(b"0", b"1", b"10", b"20")
        only_one.lines_are(b"0", b"1", b"20")
        fill(store, "t", range(30, 31), partition=2)
        process.lines_are(b"0", b"1", b"10", b"20", b"30")


def test_a_follower_waits_for_ever_for_a_topic_that_was_deleted(aegis: Any, store: Store) -> None:
    store.create_topic("t")
    fill(store, "t", range(1))
    with follow(aegis, "inotify", "t", "-f", "-o", "start") as process:
        process.lines_are(b"0")
        store.delete_topic("t")
        process.says("waiting for a new topic of this name")
        slept = sleeps_of(process)
        # Each look at what is there ends such a sleep.
        wait_for(lambda: process.process.poll() is not None or sleeps_of(process) > slept + 2)
        store.create_topic("t")
        store.topic("t")
        fill(store, "t", range(10, 11))
        process.lines_are(b"0", b"10")


def sleeps_of(process: Running) -> int:
    """How often a process has gone to sleep by itself."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.split("\nvoluntary_ctxt_switches:")[1].split()[0])


def test_a_topic_that_is_recreated_unseen_is_noticed(aegis: Any, store: Store) -> None:
    store.create_topic("t")
    fill(store, "t", range(2))
    with follow(aegis, "inotify", "t", "-f", "-o", "start") as process:
        process.lines_are(b"0", b"1")
        process.process.send_signal(signal.SIGSTOP)
        store.delete_topic("t")
        store.create_topic("t")
        store.topic("t")
        fill(store, "t", range(10, 13))
        process.process.send_signal(signal.SIGCONT)
        process.lines_are(b"0", b"1", b"10", b"11", b"12")
        process.says("deleted and created again; following the new one")


def test_a_follower_of_several_topics_is_not_disturbed_by_the_loss_of_one(aegis: Any, store: Store) -> None:
    for name in ("a", "b"):
        store.create_topic(name)
    fill(store, "a", range(1))
    fill(store, "b", range(10, 11))
    with follow(aegis, "inotify", "a", "b", "-f", "-o", "start") as process:
        process.lines_are(b"0", b"10")
        store.delete_topic("a")
        process.says("topic 'a' was deleted")
        fill(store, "b", range(11, 12))
        process.lines_are(b"0", b"10", b"11")


def test_retention_that_is_faster_than_a_follower_is_said(aegis: Any) -> None:
    now = 1_700_000_000_000
    settings = TopicSettings(segment_bytes=4096, retention_ms=1000)
    with Store(aegis.store, create=True, clock_ms=lambda: now) as store:
        store.create_topic("t", settings)
        big = [RecordBatch(lines=b'"%s"\n' % (b"x" * 4000), count=1)]
        for _ in range(10):
            store.append([Append(topic="t", partition=0, batches=big)])
        with follow(aegis, "inotify", "t", "-f", "-o", "start", "-n", "11", "-F", "%o\\n") as process:
            process.read_until(lambda here: here.stdout.endswith(b"9\n"))
            process.process.send_signal(signal.SIGSTOP)
            for _ in range(10):
                store.append([Append(topic="t", partition=0, batches=big)])
            now += 10_000
            (removal,) = store.maintenance.clean("t")
            assert 19 == removal.new_start_offset
            process.process.send_signal(signal.SIGCONT)
            assert 0 == process.wait()
    assert b"19" == process.stdout.split()[-1]
    assert (
        "aegis: warning: topic 't' partition 0: offsets 10 to 18 were removed by retention "
        "before they were read\n" == process.stderr.decode()
    )


@pytest.mark.parametrize("watch", WATCHES)
def test_an_idle_follower_ends_after_its_timeout(aegis: Any, store: Store, watch: str) -> None:
    store.create_topic("t")
    environ = {"AEGIS_WATCH": watch}
    finished = aegis("consume", "t", "-f", "--idle-timeout", "50ms", environ=environ)
    assert (6, b"", b"") == (finished.code, finished.stdout, finished.stderr)
    fill(store, "t", range(2))
    finished = aegis("consume", "t", "-f", "-o", "start", "--idle-timeout", "50ms", environ=environ)
    assert (0, b"0\n1\n", b"") == (finished.code, finished.stdout, finished.stderr)


def test_a_follower_ends_at_the_end_of_its_range(aegis: Any, store: Store) -> None:
    store.create_topic("t")
    fill(store, "t", range(2))
    with follow(aegis, "inotify", "t", "-f", "-o", "1:4") as process:
        process.lines_are(b"1")
        fill(store, "t", range(2, 7))
        assert 0 == process.wait()
    assert b"1\n2\n3\n" == process.stdout


@pytest.mark.parametrize("options", [["--until", "+700ms"], ["-o", "@-1h:+700ms"]])
def test_a_follower_ends_when_its_time_is_over(aegis: Any, store: Store, options: list[str]) -> None:
    store.create_topic("t")
    fill(store, "t", range(2))
    start = [] if "-o" in options else ["-o", "start"]
    with follow(aegis, "inotify", "t", "-f", *start, *options) as process:
        process.lines_are(b"0", b"1")
        assert (0, b"") == (process.wait(), process.stderr)
    assert b"0\n1\n" == process.stdout


def test_a_follower_prints_what_it_has_although_its_filter_takes_little(aegis: Any, store: Store) -> None:
    store.create_topic("t", TopicSettings(partitions=2))
    lines = b"".join(b"%d\n" % number for number in range(1000))
    batches = [RecordBatch(lines=lines, count=1000)] * 40
    for partition in range(2):
        store.append([Append(topic="t", partition=partition, batches=batches)])
    finished = aegis("consume", "t", "-f", "-o", "start", "-n", "80", "--grep", "^999$")
    assert (0, [b"999"] * 80) == (finished.code, finished.stdout.split())


def test_a_batch_is_printed_whole_by_many_followers(aegis: Any, store: Store) -> None:
    store.create_topic("t")
    lines = b"".join(b'{"number":%d,"pad":"%s"}\n' % (number, b"x" * 100) for number in range(20_000))
    with (
        follow(aegis, "inotify", "t", "-f", "-o", "start", "-n", "40000") as one,
        follow(aegis, "inotify", "t", "-f", "-o", "start", "-n", "40000") as two,
    ):
        for _ in range(2):
            store.append([Append(topic="t", partition=0, batches=[RecordBatch(lines=lines, count=20_000)])])
        assert (0, 0) == (one.wait(), two.wait())
    assert lines * 2 == one.stdout == two.stdout
