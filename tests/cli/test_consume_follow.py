"""`aegis consume --follow`: what it shows while it comes, when it ends, and topics that change under it."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from storage.batch import RecordBatch
from storage.store import Append, Store
from storage.topic import TopicSettings
from tests.cli.numbered import fill
from tests.cli.processes import Running, promptness, running, wait_for

WATCHES = ["inotify", "watchfiles", "poll"]


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
    # The last one that it waits for is not there yet: what was found before is printed all the same.
    with follow(aegis, "inotify", "t", "-f", "-o", "start", "-n", "81", "--grep", "^999$") as process:
        process.lines_are(*[b"999"] * 80)
        fill(store, "t", range(999, 1000))
        assert 0 == process.wait()
    assert [b"999"] * 81 == process.stdout.split()


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
