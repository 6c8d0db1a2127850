"""`aegis pipe`: what it publishes, what it refuses, and that it does so exactly once whatever happens."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
from typing import Any

import pytest

from storage.member import open_group
from storage.store import Store
from storage.topic import TopicSettings
from tests.cli.processes import running, wait_for

PIPE = ("pipe", "--from", "a", "--to", "b", "--group", "g")


@pytest.fixture
def topics(aegis: Any) -> None:
    """The topics a and b, of one partition each."""
    make(aegis, "a")
    make(aegis, "b")


def make(aegis: Any, name: str, **settings: Any) -> None:
    with Store(aegis.store, create=True) as store:
        store.create_topic(name, TopicSettings(**settings))


def publish(aegis: Any, lines: str, *, topic: str = "a") -> None:
    finished = aegis("publish", topic, stdin=lines.encode())
    assert (0, b"") == (finished.code, finished.stderr)


def values(aegis: Any, topic: str = "b") -> list[str]:
    finished = aegis("consume", topic)
    assert (0, b"") == (finished.code, finished.stderr)
    return list(finished.lines)


def positions(aegis: Any) -> dict[int, int]:
    with Store(aegis.store) as store:
        return {place.partition: offset for place, offset in open_group(store, "g")[1].positions.items()}


# -- what comes out ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("topics")
def test_what_the_command_prints_is_published(aegis: Any) -> None:
    publish(aegis, '{"id": 1}\n{"id": 2}\n{"id": 3}\n')
    finished = aegis(*PIPE, "--json", "--", "jq", "-c", "select(.id != 2)")
    assert (0, b"") == (finished.code, finished.stderr)
    assert {"records": 3, "published": 2, "runs": 1} == json.loads(finished.out)
    assert ['{"id":1}', '{"id":3}'] == values(aegis)


@pytest.mark.usefixtures("topics")
def test_it_goes_on_where_the_group_stands(aegis: Any) -> None:
    for lines in ("1\n2\n", "3\n", ""):
        publish(aegis, lines)
        finished = aegis(*PIPE, "--", "jq", "-c", "[.]")
        assert (0, b"", b"") == (finished.code, finished.stdout, finished.stderr)
    assert ["[1]", "[2]", "[3]"] == values(aegis)


@pytest.mark.usefixtures("topics")
def test_a_batch_is_one_run_however_the_messages_were_published(aegis: Any) -> None:
    for number in range(5):
        publish(aegis, f"{number}\n")
    finished = aegis(*PIPE, "--batch", "2", "--", "jq", "-c", "-s", ".")
    assert (0, b"") == (finished.code, finished.stderr)
    assert ["[0,1]", "[2,3]", "[4]"] == values(aegis)


@pytest.mark.usefixtures("topics")
def test_batches_are_filled_from_what_was_published_together(aegis: Any) -> None:
    for first in range(0, 28, 7):
        publish(aegis, "".join(f"{number}\n" for number in range(first, first + 7)))
    assert 0 == aegis(*PIPE, "--batch", "10", "--", "jq", "-c", "-s", ".").code
    assert [list(range(10)), list(range(10, 20)), list(range(20, 28))] == [
        json.loads(line) for line in values(aegis)
    ]


@pytest.mark.usefixtures("topics")
def test_nothing_printed_still_moves_the_position(aegis: Any) -> None:
    publish(aegis, "1\n2\n")
    assert 0 == aegis(*PIPE, "--", "sh", "-c", "cat > /dev/null").code
    assert ([], {0: 2}) == (values(aegis), positions(aegis))


@pytest.mark.usefixtures("topics")
def test_the_command_is_told_where_its_messages_are_from(aegis: Any) -> None:
    publish(aegis, "1\n2\n")
    script = 'cat > /dev/null; echo "[\\"$AEGIS_TOPIC $AEGIS_GROUP\\",$AEGIS_OFFSET,$AEGIS_LAST_OFFSET]"'
    assert 0 == aegis(*PIPE, "--", "sh", "-c", script).code
    assert ['["a g",0,1]'] == values(aegis)


def test_each_partition_keeps_its_order_and_a_declared_key_chooses_the_partition(aegis: Any) -> None:
    make(aegis, "a", partitions=3)
    make(aegis, "b", partitions=4, key="key")
    with Store(aegis.store) as store:
        for number in range(60):
            store.publish("a", {"key": f"k{number % 5}", "n": number}, key=f"k{number % 5}")
        expected = {store.choose_partition("b", b'"k%d"' % key) for key in range(5)}
    assert 0 == aegis(*PIPE, "--batch", "7", "--", "jq", "-c", ".").code
    with Store(aegis.store) as store:
        taken: dict[str, list[int]] = {}
        places: dict[str, set[int]] = {}
        for message in store.read("b"):
            record = json.loads(message.value)
            taken.setdefault(record["key"], []).append(record["n"])
            places.setdefault(record["key"], set()).add(message.partition)
    assert {f"k{key}": list(range(key, 60, 5)) for key in range(5)} == taken
    assert all(len(numbers) == 1 for numbers in places.values())
    assert expected == set.union(*places.values())


def test_messages_without_a_key_go_round_the_partitions(aegis: Any) -> None:
    make(aegis, "a")
    make(aegis, "b", partitions=2)
    publish(aegis, "1\n2\n3\n4\n")
    assert 0 == aegis(*PIPE, "--batch", "1", "--", "cat").code
    with Store(aegis.store) as store:
        assert [2, 2] == [store.reader("b", number).end_offset for number in range(2)]


@pytest.mark.usefixtures("topics")
def test_more_than_a_pipe_holds_goes_through(aegis: Any) -> None:
    lines = [json.dumps("x" * 1000 + str(number)) for number in range(6000)]
    publish(aegis, "\n".join(lines) + "\n")
    assert 0 == aegis(*PIPE, "--", "cat").code
    assert lines == values(aegis)


@pytest.mark.usefixtures("topics")
def test_a_follower_pipes_what_comes_until_it_is_stopped(aegis: Any) -> None:
    with running(aegis, *PIPE, "-f", "--", "jq", "-c", "[.]") as process:
        for number in range(3):
            publish(aegis, f"{number}\n")
            wait_for(lambda: len(values(aegis)) == number + 1)  # noqa: B023 - called before the next turn
        os.kill(process.pid, signal.SIGINT)
        assert (130, b"") == (process.wait(), process.stderr)
    assert ["[0]", "[1]", "[2]"] == values(aegis)
    with Store(aegis.store) as store:
        assert {} == open_group(store, "g")[1].members


# -- what is refused --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("topics")
def test_a_command_that_fails_leaves_nothing_of_its_batch(aegis: Any) -> None:
    publish(aegis, "1\n2\n3\n")
    script = "cat; [ $AEGIS_OFFSET != 2 ] || exit 5"
    finished = aegis(*PIPE, "--batch", "2", "--", "sh", "-c", script)
    assert 11 == finished.code
    assert (
        "aegis: error: command 'sh' failed on topic 'a' partition 0 offset 2: exit status 5; nothing of it "
        "was published; run it again when that is repaired\n" == finished.err
    )
    assert (["1", "2"], {0: 2}) == (values(aegis), positions(aegis))
    assert 0 == aegis(*PIPE, "--", "cat").code
    assert ["1", "2", "3"] == values(aegis)


@pytest.mark.usefixtures("topics")
def test_a_line_that_is_no_message_is_named_and_nothing_is_published(aegis: Any) -> None:
    publish(aegis, "1\n2\n")
    finished = aegis(*PIPE, "--", "sh", "-c", "cat; echo hello")
    assert 7 == finished.code
    named = "aegis: error: output of command 'sh' for topic 'a' partition 0 offsets 0 to 1, line 3: "
    assert finished.err.startswith(named)
    assert "nothing of it was published" in finished.err
    assert ([], {0: 0}) == (values(aegis), positions(aegis))


@pytest.mark.usefixtures("topics")
def test_a_command_that_takes_too_long_is_killed(aegis: Any) -> None:
    publish(aegis, "1\n")
    finished = aegis(*PIPE, "--timeout", "100ms", "--", "sleep", "1000")
    assert 11 == finished.code
    assert "it did not end within 0.1 s" in finished.err
    assert {0: 0} == positions(aegis)


@pytest.mark.usefixtures("topics")
def test_output_without_end_is_refused(aegis: Any) -> None:
    publish(aegis, "1\n")
    finished = aegis(*PIPE, "--", "yes", "1")
    assert 11 == finished.code
    assert "wrote more than 67108864 bytes" in finished.err
    assert ([], {0: 0}) == (values(aegis), positions(aegis))


@pytest.mark.usefixtures("topics")
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--from", "a", "--to", "a", "-g", "g", "--", "cat"], 2, "--from and --to are both 'a'"),
        (["--from", "a", "--to", "b", "-g", "g"], 2, "missing argument 'COMMAND...'"),
        (["--from", "a", "--to", "b", "--", "cat"], 2, "missing option '-g' / '--group'"),
        (["--from", "a", "--to", "b", "-g", "g", "--batch", "0", "--", "cat"], 2, "--batch is 0"),
        (["--from", "a", "--to", "b", "-g", "g", "--timeout", "0", "--", "cat"], 2, "--timeout is 0"),
        (["--from", "x", "--to", "b", "-g", "g", "--", "cat"], 3, "topic 'x' not found"),
        (["--from", "a", "--to", "x", "-g", "g", "--", "cat"], 3, "topic 'x' not found"),
        (["--from", "a", "--to", "b", "-g", "g", "--", "/no/such"], 3, "/no/such: no such command"),
    ],
)
def test_what_cannot_be_done_is_refused(aegis: Any, arguments: list[str], code: int, message: str) -> None:
    finished = aegis("pipe", *arguments)
    assert code == finished.code
    assert message in finished.err
    assert 1 == finished.err.count("\n")


# -- exactly once -----------------------------------------------------------------------------------------


def test_killed_at_any_moment_and_run_again_the_target_is_what_the_command_makes_of_the_source(
    aegis: Any,
) -> None:
    make(aegis, "a")
    make(aegis, "b")
    source = "".join(f'{{"n": {number}, "text": "{number % 97}"}}\n' for number in range(20_000))
    publish(aegis, source)
    words = (*PIPE, "--batch", "500", "--", "jq", "-c", ".")
    dice = random.Random(20)
    for kill in range(5):
        # Somewhere within the run: when so many messages more are there, and not at the border of a batch.
        reached = (kill + 1) * 3000 + dice.randrange(2000)
        with running(aegis, *words) as process, Store(aegis.store) as store:
            wait_for(lambda: store.reader("b", 0).end_offset >= reached or process.process.poll() is not None)  # noqa: B023
            os.kill(process.pid, signal.SIGKILL)
    finished = aegis(*words)
    assert (0, b"") == (finished.code, finished.stderr)
    expected = subprocess.run(
        ["jq", "-c", "."], input=source.encode(), stdout=subprocess.PIPE, check=True, timeout=60
    )
    assert expected.stdout == aegis("consume", "b").stdout


def test_members_of_one_group_that_come_and_go_publish_everything_once(aegis: Any) -> None:
    make(aegis, "a", partitions=4)
    make(aegis, "b")
    with Store(aegis.store) as store:
        for number in range(200):
            store.publish("a", number, partition=number % 4)
        words = (*PIPE, "-f", "--batch", "5", "--", "jq", "-c", ".")
        with running(aegis, *words) as first:
            wait_for(lambda: store.reader("b", 0).end_offset > 20)
            with running(aegis, *words) as second:
                wait_for(lambda: len(open_group(store, "g")[1].members) == 2)
                os.kill(first.pid, signal.SIGKILL)
                wait_for(lambda: store.reader("b", 0).end_offset >= 200)
                os.kill(second.pid, signal.SIGTERM)
                assert 143 == second.wait()
    assert sorted(map(str, range(200))) == sorted(values(aegis))
