"""Messages handed to commands by processes that are killed, stopped, asked to end, or joined by others."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from storage.group_reset import reset_group
from storage.member import open_group
from storage.offsets import Position
from storage.store import Store
from storage.topic import TopicSettings
from tests.cli.processes import Running, running, runs_still, wait_for


class Worker:
    """The engine as a process of its own, whose commands leave notes in the directory."""

    def __init__(self, aegis: Any, directory: Path) -> None:
        self.aegis = aegis
        self.directory = directory
        self.store = aegis.store

    def command(self, script: str, options: str) -> list[str]:
        fields = json.loads(options)
        fields["command"] = ["sh", "-c", f"cd '{self.directory}'; {script}"]
        words = [str(self.store), "g", json.dumps({"topics": ["t"], "backoff_seconds": 0.01, **fields})]
        return [sys.executable, "-m", "tests.cli.exec.worker", *words]

    @property
    def home(self) -> Path:
        return Path(self.aegis.home)

    @property
    def environ(self) -> dict[str, str]:
        return dict(self.aegis.environ)

    def start(self, stack: ExitStack, script: str, **options: Any) -> Running:
        return stack.enter_context(running(self, script, json.dumps(options)))

    def pid_in(self, name: str) -> int:
        """The number that a command wrote into this file."""
        path = self.directory / name
        return int(wait_for(lambda: path.exists() and path.read_text().strip()))

    def wait_for_file(self, name: str) -> None:
        wait_for((self.directory / name).exists)


@pytest.fixture
def worker(aegis: Any, tmp_path: Path) -> Worker:
    with Store(aegis.store, create=True) as store:
        store.create_topic("t", TopicSettings(partitions=1))
    return Worker(aegis, tmp_path)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def publish(aegis: Any, *values: int) -> None:
    with Store(aegis.store) as store:
        for value in values:
            store.publish("t", value)


def position(aegis: Any) -> list[int]:
    with Store(aegis.store) as store:
        return list(open_group(store, "g")[1].positions.values())


def set_position(aegis: Any, offset: int) -> None:
    with Store(aegis.store) as store:
        reset_group(store, "g", to=Position("absolute", offset))


def test_a_command_dies_with_its_parent(aegis: Any, worker: Worker, stack: ExitStack) -> None:
    publish(aegis, 1)
    process = worker.start(stack, "sleep 1000 & echo $! > other; echo $$ > own; wait")
    pids = [worker.pid_in("other"), worker.pid_in("own")]
    os.kill(process.pid, signal.SIGKILL)
    wait_for(lambda: not any(map(runs_still, pids)))
    assert [0] == position(aegis)


def test_a_command_dies_when_its_parent_is_stopped_for_too_long_and_another_goes_on(
    aegis: Any, worker: Worker, stack: ExitStack
) -> None:
    publish(aegis, 1)
    script = "echo $$ > started; [ -e go ] || sleep 1000; echo done >> results"
    first = worker.start(stack, script, follow=True, session_timeout_seconds=1.0)
    pid = worker.pid_in("started")
    os.kill(first.pid, signal.SIGSTOP)
    try:
        wait_for(lambda: not runs_still(pid))
        (worker.directory / "go").touch()
        worker.start(stack, script, follow=True, session_timeout_seconds=1.0)
        wait_for(lambda: position(aegis) == [1])
    finally:
        os.kill(first.pid, signal.SIGCONT)
    first.says("went on without this member")
    assert ["done"] == (worker.directory / "results").read_text().splitlines()


def test_a_command_is_killed_when_the_position_is_set_by_hand(
    aegis: Any, worker: Worker, stack: ExitStack
) -> None:
    publish(aegis, 1, 2, 3)
    script = "echo $$ > started-$AEGIS_OFFSET; [ $AEGIS_OFFSET = 2 ] || sleep 1000"
    process = worker.start(stack, script)
    pid = worker.pid_in("started-0")
    set_position(aegis, 2)
    process.says("its position was set by hand")
    wait_for(lambda: not runs_still(pid))
    assert 0 == process.wait()
    assert {"records": 1, "failed": 0, "dead_lettered": 0, "idle": False} == json.loads(process.stdout)
    assert [3] == position(aegis)


def test_a_dead_letter_is_not_stored_before_what_is_in_front_of_it_is_done(
    aegis: Any, worker: Worker, stack: ExitStack
) -> None:
    publish(aegis, 1, 2)
    with Store(aegis.store) as store:
        store.create_topic("dead")
        script = "[ $AEGIS_OFFSET = 0 ] || exit 1; until [ -e go ]; do sleep 0.01; done"
        process = worker.start(stack, script, parallel=2, retries=0, dead_letter="dead")
        process.says("offset 1: exit status 1; given up after 1 tries")
        assert ([0], []) == (position(aegis), list(store.read("dead")))
        (worker.directory / "go").touch()
        assert 0 == process.wait()
        assert [2] == position(aegis)
        assert [b"2"] == [letter.value for letter in store.read("dead")]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_what_runs_finish_and_commits_it(
    aegis: Any, worker: Worker, stack: ExitStack, number: signal.Signals
) -> None:
    publish(aegis, 1, 2, 3)
    process = worker.start(stack, "touch started; until [ -e go ]; do sleep 0.01; done")
    worker.wait_for_file("started")
    os.kill(process.pid, number)
    (worker.directory / "go").touch()
    assert 128 + number == process.wait()
    assert [1] == position(aegis)
    with Store(aegis.store) as store:
        assert {} == open_group(store, "g")[1].members


def test_after_a_signal_what_does_not_finish_in_time_is_killed(
    aegis: Any, worker: Worker, stack: ExitStack
) -> None:
    publish(aegis, 1)
    process = worker.start(stack, "echo $$ > started; sleep 1000", grace_seconds=0.1)
    pid = worker.pid_in("started")
    os.kill(process.pid, signal.SIGTERM)
    assert 128 + signal.SIGTERM == process.wait()
    assert not runs_still(pid)
    assert [0] == position(aegis)


def test_followers_get_what_comes_and_share_it_without_doing_anything_twice(
    aegis: Any, tmp_path: Path, stack: ExitStack
) -> None:
    with Store(aegis.store, create=True) as store:
        store.create_topic("t", TopicSettings(partitions=4))
        worker = Worker(aegis, tmp_path)
        script = 'read -r value; echo "$value" >> values'
        expected = []

        def publish_more() -> None:
            for _ in range(40):
                store.publish("t", len(expected), partition=len(expected) % 4)
                expected.append(str(len(expected)))

        def values() -> list[str]:
            path = tmp_path / "values"
            return sorted(path.read_text().splitlines(), key=int) if path.exists() else []

        publish_more()
        first = worker.start(stack, script, follow=True, parallel=3)
        wait_for(lambda: len(values()) > 5)
        second = worker.start(stack, script, follow=True, parallel=3)
        wait_for(lambda: len(open_group(store, "g")[1].members) == 2)
        publish_more()
        wait_for(lambda: len(values()) >= 80)
        os.kill(first.pid, signal.SIGTERM)
        publish_more()
        wait_for(lambda: len(values()) >= 120)
        os.kill(second.pid, signal.SIGTERM)
        for process in (first, second):
            assert 128 + signal.SIGTERM == process.wait()
        assert expected == values()
        assert [30] * 4 == list(open_group(store, "g")[1].positions.values())
