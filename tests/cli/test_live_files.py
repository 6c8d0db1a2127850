"""The files of a topic while it is being written: what other tools read there are whole lines, in order.

The kernel copies a write page by page, and a file is as long as what was copied: a tool that looks at that
microsecond finds the beginning of a line at the end, as it would in any log. It then looks again.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pytest

from tests.cli.processes import Running, running, wait_for

LOOKS = 20
LOOKS_AGAIN_MAX = 3
T = TypeVar("T")


@pytest.fixture
def live(aegis: Any) -> Iterator[str]:
    """The path of the one file of topic t, to which a publisher adds {"id": 0, …}, {"id": 1, …} and so on."""
    assert 0 == aegis("topic", "create", "t").code
    stop = threading.Event()
    with running(aegis, "publish", "t", "--linger", "0") as publisher:

        def feed() -> None:
            # As fast as a busy log; faster, and the tools would have too much to read again and again.
            for number in itertools.count():
                if stop.wait(0.0005):
                    return
                publisher.feed(
                    b'{"id":%d,"name":"n%d","pad":"%s"}\n' % (number, number, b"x" * (number % 300))
                )

        feeder = threading.Thread(target=feed)
        feeder.start()
        try:
            (path,) = aegis("topic", "files", "t").lines
            wait_for(lambda: count_lines(path) > 100)
            yield path
            # It wrote all the time.
            before = count_lines(path)
            wait_for(lambda: count_lines(path) > before)
        finally:
            stop.set()
            feeder.join()


def count_lines(path: str) -> int:
    return int(subprocess.run(["wc", "-l", path], capture_output=True, check=True).stdout.split()[0])


def look(tool: Callable[[], T], *, torn: type[Exception]) -> T:
    """What the tool reads; `torn` is what it raises when the last line is not whole just now."""
    for _ in range(LOOKS_AGAIN_MAX):
        try:
            return tool()
        except torn:
            continue
    return tool()


def jq(path: str) -> list[str]:
    done = subprocess.run(["jq", "-c", ".id", path], capture_output=True, text=True, check=True)
    assert "" == done.stderr
    return done.stdout.splitlines()


def duckdb_row(query: str) -> Any:
    import duckdb

    (row,) = look(lambda: duckdb.sql(query).fetchall(), torn=duckdb.InvalidInputException)
    return row


def test_tail_follows_the_file(live: str) -> None:
    process = subprocess.Popen(
        ["tail", "-n", "+1", "-F", live], stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    )
    tail = Running(process)
    try:
        tail.read_until(lambda here: here.stdout.count(b"\n") >= 2000)
        assert process.poll() is None
    finally:
        process.kill()
        process.communicate()
    whole = tail.stdout[: tail.stdout.rindex(b"\n")].split(b"\n")
    assert list(range(len(whole))) == [json.loads(line)["id"] for line in whole]


def test_jq_reads_the_file(live: str) -> None:
    seen = 0
    for _ in range(LOOKS):
        found = look(lambda: jq(live), torn=subprocess.CalledProcessError)
        assert [str(number) for number in range(len(found))] == found
        assert seen <= len(found)
        seen = len(found)


def test_grep_reads_the_file(live: str) -> None:
    for _ in range(LOOKS):
        pattern = '^{"id":[0-9]*7,"name":"n[0-9]*7","pad":"x*"}$'
        found = subprocess.run(["grep", pattern, live], capture_output=True, check=True).stdout.splitlines()
        assert [*range(7, 10 * len(found), 10)] == [json.loads(line)["id"] for line in found]


def test_duckdb_reads_the_file(live: str) -> None:
    seen = 0
    for _ in range(LOOKS):
        query = f"select count(*), min(id), max(id), count(distinct name) from read_json('{live}')"
        count, first, last, names = duckdb_row(query)
        assert (0, count - 1, count) == (first, last, names)
        assert seen <= count
        seen = count


def test_all_partitions_and_segments_are_read_as_one_table(aegis: Any) -> None:
    assert 0 == aegis("topic", "create", "t", "--partitions", "3", "--segment-bytes", "8KiB").code
    with running(aegis, "publish", "t", "--key-field", "id", "--receipts") as publisher:
        for start in range(0, 5000, 500):
            publisher.feed(b"".join(b'{"id":%d,"n":%d}\n' % (n % 50, n) for n in range(start, start + 500)))
            wanted = start + 500
            publisher.read_until(lambda here, wanted=wanted: published(here) == wanted)
            files = aegis("topic", "files", "t").lines
            row = duckdb_row(f"select count(*), max(n) from read_json({files!r})")
            assert (wanted, wanted - 1) == row
    assert 3 < len(files)


def published(process: Running) -> int:
    """How many records the receipts acknowledge so far."""
    receipts = [json.loads(line) for line in process.stdout.split(b"\n")[:-1]]
    return sum(receipt["last_offset"] - receipt["base_offset"] + 1 for receipt in receipts)
