"""`aegis consume --group`: sharing, delivery guarantees, and what is refused, through real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

DEADLINE_SECONDS = 20.0


class Shell:
    """Runs `aegis` against one store."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.environment = os.environ | {
            "AEGIS_STORE": str(directory / "store"),
            "HOME": str(directory),
            "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        }
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self, *words: str, **more: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", "aegis_cli", *words],
            env=self.environment | more,
            cwd=self.directory,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.running.append(process)
        return process

    def run(self, *words: str, stdin: bytes = b"", code: int = 0, **more: str) -> bytes:
        process = self.start(*words, **more)
        out, err = process.communicate(stdin, timeout=60)
        assert code == process.returncode, err.decode()
        return err if code else out

    def lines(self, *words: str) -> list[str]:
        return self.run(*words).decode().split()


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    shell = Shell(tmp_path)
    shell.run("topic", "create", "t", "--partitions", "4")
    yield shell
    for process in shell.running:
        process.kill()
        process.communicate()


def publish(shell: Shell, first: int, last: int) -> list[str]:
    """Numbers, one after another in the partitions."""
    numbers = [str(number) for number in range(first, last + 1)]
    for partition in range(4):
        part = "\n".join(numbers[partition::4]) + "\n"
        shell.run("publish", "t", "-p", str(partition), stdin=part.encode())
    return numbers


def read_lines(process: subprocess.Popen[bytes], count: int) -> list[str]:
    assert process.stdout is not None
    return [process.stdout.readline().decode().strip() for _ in range(count)]


def until(condition: object, what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def test_a_group_goes_on_where_it_stopped(shell: Shell) -> None:
    first = publish(shell, 1, 20)
    assert sorted(first) == sorted(shell.lines("consume", "t", "--group", "g"))
    assert [] == shell.lines("consume", "t", "--group", "g")
    second = publish(shell, 21, 24)
    assert sorted(second) == sorted(shell.lines("consume", "t", "-g", "g"))
    assert sorted(first + second) == sorted(shell.lines("consume", "t", "-g", "another"))


def test_a_limit_commits_what_was_printed_and_nothing_more(shell: Shell) -> None:
    numbers = publish(shell, 1, 30)
    printed = shell.lines("consume", "t", "-g", "g", "-n", "7")
    assert 7 == len(printed)
    rest = shell.lines("consume", "t", "-g", "g")
    assert sorted(numbers) == sorted(printed + rest)


def test_a_pipe_into_head_commits_one_message_where_one_may_be_in_flight(shell: Shell) -> None:
    numbers = publish(shell, 1, 12)
    seen = []
    for _ in range(3):
        line = f"{sys.executable} -m aegis_cli consume t -g g --max-in-flight 1 | head -1"
        seen.append(
            subprocess.run(
                ["sh", "-c", line], env=shell.environment, capture_output=True, check=True, timeout=60
            )
            .stdout.decode()
            .strip()
        )
    rest = shell.lines("consume", "t", "-g", "g")
    assert sorted(numbers) == sorted(seen + rest)


@pytest.mark.parametrize("in_flight", ["3", "1000"])
def test_what_lies_in_the_pipe_when_its_reader_dies_is_delivered_again(shell: Shell, in_flight: str) -> None:
    numbers = publish(shell, 1, 200)
    process = shell.start("consume", "t", "-g", "g", "--max-in-flight", in_flight)
    assert process.stdout is not None
    taken = os.read(process.stdout.fileno(), 5)
    process.stdout.close()
    process.wait(DEADLINE_SECONDS)
    # Half a message that was taken does not count.
    whole = taken[: taken.rfind(b"\n") + 1].decode().split()
    assert sorted(set(numbers) - set(whole)) == sorted(shell.lines("consume", "t", "-g", "g"))


def test_two_members_share_and_each_message_reaches_one(shell: Shell) -> None:
    members = [shell.start("consume", "t", "-g", "g", "-f", "-o", "start") for _ in range(2)]
    until(lambda: members_of(shell, "g") == 2, "both to join")
    numbers = publish(shell, 1, 400)
    got: list[str] = []
    deadline = time.monotonic() + DEADLINE_SECONDS
    for process in members:
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
    parts: list[bytes] = [b"", b""]
    while len(got) < len(numbers) and time.monotonic() < deadline:
        for index, process in enumerate(members):
            assert process.stdout is not None
            parts[index] += process.stdout.read() or b""
        got = [line for part in parts for line in part.decode().split()]
        time.sleep(0.01)
    assert sorted(numbers) == sorted(got)
    assert all(parts)


def members_of(shell: Shell, group: str) -> int:
    from storage.member import open_group
    from storage.store import Store

    with Store(shell.directory / "store") as store:
        _, state = open_group(store, group, create=True)
        owners = set(state.owners.values())
        return len(state.members) if len(owners) == len(state.members) and not state.following else 0


def test_what_a_killed_member_had_goes_to_the_other(shell: Shell) -> None:
    doomed, heir = (shell.start("consume", "t", "-g", "g", "-f", "-o", "start") for _ in range(2))
    until(lambda: members_of(shell, "g") == 2, "both to join")
    os.kill(doomed.pid, signal.SIGKILL)
    doomed.wait()
    numbers = publish(shell, 1, 40)
    assert sorted(numbers) == sorted(read_lines(heir, 40))


def test_a_member_that_was_stopped_for_too_long_says_so_and_joins_again(shell: Shell) -> None:
    timeout = {"AEGIS_STREAMING_CONSUMER_SESSION_TIMEOUT": "1s"}
    sleeper = shell.start("consume", "t", "-g", "g", "-f", "-o", "start", **timeout)
    other = shell.start("consume", "t", "-g", "g", "-f", "-o", "start", **timeout)
    until(lambda: members_of(shell, "g") == 2, "both to join")
    os.kill(sleeper.pid, signal.SIGSTOP)
    numbers = publish(shell, 1, 40)
    assert sorted(numbers) == sorted(read_lines(other, 40))
    os.kill(sleeper.pid, signal.SIGCONT)
    assert sleeper.stderr is not None
    assert b"joining again" in sleeper.stderr.readline()
    until(lambda: members_of(shell, "g") == 2, "it to join again")


def test_at_most_once_commits_before_it_prints(shell: Shell) -> None:
    numbers = publish(shell, 1, 20)
    printed = shell.lines("consume", "t", "-g", "g", "--delivery", "at-most-once")
    assert sorted(numbers) == sorted(printed)
    assert [] == shell.lines("consume", "t", "-g", "g")


def test_a_file_gets_each_message_exactly_once_however_often_it_is_killed(shell: Shell) -> None:
    numbers = publish(shell, 1, 2000)
    words = ("consume", "t", "-g", "g", "--delivery", "exactly-once", "--output-file", "out")
    for point in ("output.synced=kill", "output.committed=kill", "output.synced=kill@2"):
        process = shell.start(*words, AEGIS_FAILPOINTS=point)
        process.communicate(timeout=60)
    shell.run(*words)
    assert sorted(numbers) == sorted((shell.directory / "out").read_text().split())
    more = publish(shell, 2001, 2010)
    with (shell.directory / "out").open("a") as file:
        file.write("what a dead process left\n")
    shell.run(*words)
    assert sorted(numbers + more) == sorted((shell.directory / "out").read_text().split())


def test_a_file_that_lost_what_was_delivered_to_it_is_refused(shell: Shell) -> None:
    publish(shell, 1, 8)
    words = ("consume", "t", "-g", "g", "--delivery", "exactly-once", "--output-file", "out")
    shell.run(*words)
    (shell.directory / "out").write_text("")
    assert b"were delivered to it" in shell.run(*words, code=4)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-g", "g", "--delivery", "twice"], "--delivery is 'twice'"),
        (["-g", "g", "--delivery", "exactly-once"], "nobody can write to a pipe exactly once"),
        (["-g", "g", "--output-file", "x"], "add --delivery exactly-once"),
        (["-g", "g", "--max-in-flight", "0"], "--max-in-flight is 0"),
        (["-g", "g", "-p", "0"], "who shares messages goes on where they stopped"),
        (["-g", "g", "-o", "1:2"], "a group has no end"),
        (["-g", "../g"], "'../g'"),
        (["--max-in-flight", "3"], "--max-in-flight is for the members of a group"),
    ],
)
def test_what_makes_no_sense_in_a_group_is_refused(shell: Shell, words: list[str], message: str) -> None:
    assert message in shell.run("consume", "t", *words, code=2).decode()
