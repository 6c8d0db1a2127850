"""`aegis publish --producer`: killed wherever it is, and run again, it publishes each line once."""

from __future__ import annotations

import random
import signal
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.cli.processes import running, wait_for

LINES = 100_000
SEED = 20_240
# What a run is killed at: the step of its second append, since the first one begins the run.
STEPS = (
    *("append.locked@2", "head.marked@2", "bulk.written", "bulk.synced", "journal.append@2"),
    *("journal.written@2", "journal.moved@2", "append.released@2", "journal.synced@2", "append.durable@2"),
    *("apply.index@2", "apply.index@3", "applied@2"),
)


def numbers(first: int, end: int) -> bytes:
    return b"".join(b"%d\n" % number for number in range(first, end))


def check(aegis: Any, partitions: int, lines: int = LINES) -> None:
    """Each number is there once, and in order in its partition."""
    everything: list[int] = []
    for partition in range(partitions):
        found = [int(line) for line in aegis("consume", "t", "-p", str(partition)).stdout.split()]
        assert sorted(found) == found
        everything += found
    assert list(range(lines)) == sorted(everything)
    assert "no damage, 0 notices" in aegis("store", "verify").err


@pytest.mark.parametrize("partitions", [1, 4])
def test_killed_at_random_and_run_again_it_publishes_each_line_once(aegis: Any, partitions: int) -> None:
    rng = random.Random(SEED + partitions)
    assert 0 == aegis("topic", "create", "t", "--partitions", str(partitions)).code
    log = aegis.store / "producers" / "p" / "0" / f"{0:020}.jsonl"
    journal = aegis.store / "journal"
    for turn in range(5):
        # A kill while it waits for input, or while it has more than it can publish at once.
        read = LINES * (turn + 1) // 6 + rng.randrange(-3000, 3000)
        with running(aegis, "publish", "t", "--producer", "p") as process:
            wait_for(partial(_has_begun, log, turn + 1))
            before = _page(journal)
            process.feed(numbers(0, read))
            if rng.random() < 0.5:
                wait_for(partial(_moved, journal, before))
            process.process.send_signal(signal.SIGKILL)
            assert -signal.SIGKILL == process.process.wait()
    assert 0 == aegis("publish", "t", "--producer", "p", stdin=numbers(0, LINES)).code
    check(aegis, partitions)


def _has_begun(log: Path, run: int) -> bool:
    return log.exists() and run == log.read_bytes().count(b'{"run"')


def _moved(journal: Path, before: bytes) -> bool:
    """Whether something was committed since."""
    return before != _page(journal)


def _page(journal: Path) -> bytes:
    return (journal / "shared").read_bytes()


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_any_step_it_goes_on_where_it_was(aegis: Any, step: str) -> None:
    partitions = 2
    aegis("topic", "create", "t", "--partitions", str(partitions))
    point = step if "@" in step else f"{step}@1"
    name, _, nth = point.partition("@")
    # A batch large enough to be written before it is committed: a pipe would give what it holds just then.
    (aegis.home / "numbers").write_bytes(numbers(0, 30_000))
    command = ("publish", "t", "--producer", "p", "--file", "numbers")
    assert -signal.SIGKILL == aegis(*command, environ={"AEGIS_FAILPOINTS": f"{name}=kill@{nth}"}).code
    assert 0 == aegis(*command).code
    check(aegis, partitions, 30_000)


def test_another_run_is_refused_and_told_who_is_at_work(aegis: Any) -> None:
    aegis("topic", "create", "t")
    with running(aegis, "publish", "t", "--producer", "p") as process:
        process.feed(b"1\n")
        wait_for(lambda: aegis("consume", "t").lines)
        refused = aegis("publish", "t", "--producer", "p", stdin=b"1\n2\n")
        assert 4 == refused.code
        assert f"aegis: error: producer 'p' is at work in process {process.pid} (" in refused.err
        assert refused.err.endswith("; wait for that process or end it, or use another name\n")
        assert 0 == aegis("publish", "t", "--producer", "q", stdin=b"1\n").code
        process.end_input()
        assert 0 == process.wait()


def test_a_stopped_run_that_wakes_after_another_began_publishes_nothing(aegis: Any) -> None:
    aegis("topic", "create", "t")
    with running(aegis, "publish", "t", "--producer", "p") as process:
        process.feed(b"0\n1\n")
        wait_for(lambda: 2 == len(aegis("consume", "t").lines))
        process.process.send_signal(signal.SIGSTOP)
        # Somebody takes the lock away, which should not be possible.
        (aegis.store / "producers" / "p" / "run.lock").unlink()
        assert 0 == aegis("publish", "t", "--producer", "p", stdin=b"0\n1\n2\n").code
        process.feed(b"2\n3\n")
        process.end_input()
        process.process.send_signal(signal.SIGCONT)
        assert 4 == process.wait()
        assert "another run of producer 'p' has taken over from this one" in process.stderr.decode()
    check(aegis, 1, 3)


def test_it_says_how_much_was_there_before(aegis: Any) -> None:
    aegis("topic", "create", "t")
    aegis("publish", "t", "--producer", "p", stdin=b"1\n\n2\n")
    again = aegis("publish", "t", "--producer", "p", "--json", "--receipts", stdin=b"1\n\n2\n3\n")
    assert '"base_offset":2,"last_offset":2' in again.lines[0]
    assert (
        '{"topic":"t","records":1,"blank_lines":0,"refused_lines":0,"producer":"p","lines_before":3}'
        == again.lines[1]
    )


def test_another_input_is_refused(aegis: Any) -> None:
    aegis("topic", "create", "t")
    aegis("publish", "t", "--producer", "p", stdin=b"1\n2\n")
    remedy = "give it the same input from its start, or use another name"
    shorter = aegis("publish", "t", "--producer", "p", stdin=b"1\n")
    assert 4 == shorter.code
    assert (
        "aegis: error: the input has 1 line, but producer 'p' has published 2 lines to 't'; "
        f"{remedy}\n" == shorter.err
    )
    other = aegis("publish", "t", "--producer", "p", stdin=b"1\n7\n8\n")
    assert 4 == other.code
    assert (
        "aegis: error: the input does not begin with the 2 lines that producer 'p' has published to 't'; "
        f"{remedy}\n" == other.err
    )
    assert ["1", "2"] == aegis("consume", "t").lines


def test_a_line_that_is_corrected_is_published_with_the_rest(aegis: Any) -> None:
    aegis("topic", "create", "t")
    bad = aegis("publish", "t", "--producer", "p", stdin=b"0\n1\n{bad\n3\n")
    assert 10 == bad.code
    assert bad.err.startswith("aegis: error: line 3: invalid JSON")
    assert 7 == aegis("publish", "t", "--producer", "p", stdin=b"0\n1\n{bad\n3\n").code
    cut = aegis("publish", "t", "--producer", "p", stdin=b"0\n1\n2\n3")
    assert "line 4: it has no line end and may be cut; end the last line with a line end" in cut.err
    assert 0 == aegis("publish", "t", "--producer", "p", stdin=b"0\n1\n2\n3\n").code
    check(aegis, 1, 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["t", "1", "--producer", "p"], "--producer and values exclude each other; give one of them"),
        (
            ["t", "--producer", "p", "--atomic"],
            "--atomic and --producer exclude each other; give one of them",
        ),
        (
            ["t", "--producer", "p", "--expect-offset", "1"],
            "--producer and --expect-offset exclude each other; give one of them",
        ),
        (["t", "--producer", ""], "--producer is empty; give one or more characters"),
        (
            ["t", "--producer", "../x"],
            "'../x' cannot be a name: it holds '/'; use 1 to 249 of the characters",
        ),
        (["t", "--producer", "p", "--key-field", 'a"'], "a key field's name has no quote"),
    ],
)
def test_what_cannot_be_carried_out_makes_no_producer(aegis: Any, arguments: list[str], message: str) -> None:
    aegis("topic", "create", "t")
    refused = aegis("publish", *arguments, stdin=b"1\n")
    assert 2 == refused.code
    assert refused.err.startswith(f"aegis: error: {message}")
    assert not (aegis.store / "producers").exists()


def test_a_file_and_a_pipe_are_the_same_input(aegis: Any) -> None:
    aegis("topic", "create", "t", "--partitions", "3")
    whole = numbers(0, 9000)
    (aegis.home / "part").write_bytes(numbers(0, 4321))
    assert 0 == aegis("publish", "t", "--producer", "p", "--file", "part").code
    with subprocess.Popen(
        aegis.command("publish", "t", "--producer", "p"), stdin=subprocess.PIPE, env=aegis.environ
    ) as process:
        process.communicate(whole)
    assert 0 == process.returncode
    check(aegis, 3, 9000)
