"""Messages handed to commands: what they are told, in which order, and what happens when somebody ends."""

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

from aegis_cli.delivery.child import check_command, command_of
from aegis_cli.delivery.errors import CommandFailedError
from aegis_cli.delivery.exec import ExecOptions, Executed, consume_exec
from aegis_cli.delivery.subscription_source import SubscriptionSource
from storage.errors import SettingError, TopicNotFoundError
from storage.group_reset import reset_group
from storage.member import Member, open_group
from storage.offsets import Position
from storage.store import Store
from storage.subscription import open_subscription
from storage.topic import TopicSettings
from tests.cli.processes import Running, running, wait_for


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store", create=True) as store:
        store.create_topic("t")
        yield store


class Commands:
    """Runs shell commands on the messages of topic t, in a directory where they can leave notes."""

    def __init__(self, store: Store, directory: Path) -> None:
        self.store = store
        self.directory = directory
        self.notices: list[str] = []

    def run(self, script: str, *, group: str = "g", **options: Any) -> Executed:
        given = ExecOptions(
            command=command_of(f"cd '{self.directory}'; {script}", shell=True),
            **{"backoff_seconds": 0.01, **options},
        )
        with Member(self.store, group, ["t"]) as member:
            return consume_exec(member, given, on_notice=self.notices.append)

    def lines(self, name: str) -> list[str]:
        path = self.directory / name
        return path.read_text().splitlines() if path.exists() else []

    def positions(self, group: str = "g") -> dict[int, int]:
        _, state = open_group(self.store, group)
        return {place.partition: offset for place, offset in state.positions.items()}


@pytest.fixture
def commands(store: Store, tmp_path: Path) -> Commands:
    return Commands(store, tmp_path)


def fill(store: Store, count: int, *, key: str | None = None) -> None:
    for number in range(count):
        store.publish("t", {"n": number}, key=key)


def runs_still(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


# -- what a command is given ------------------------------------------------------------------------------


def test_a_command_gets_the_message_and_is_told_where_it_is_from(store: Store, commands: Commands) -> None:
    store.publish("t", {"n": 1}, key='k"1', timestamp_ms=12345)
    names = ["TOPIC", "PARTITION", "OFFSET", "LAST_OFFSET", "COUNT"]
    names += ["TIMESTAMP", "GROUP", "DELIVERY_COUNT", "KEY"]
    script = "; ".join(["cat > value", *(f'echo "$AEGIS_{name}" >> told' for name in names)])
    assert Executed(records=1) == commands.run(script)
    assert ['{"n":1}'] == commands.lines("value")
    assert ["t", "0", "0", "0", "1", "12345", "g", "1", 'k"1'] == commands.lines("told")
    assert {0: 1} == commands.positions()


def test_a_message_without_a_key_has_no_variable_for_it(
    store: Store, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store, 1)
    monkeypatch.setenv("AEGIS_KEY", "of another one")
    commands.run('echo "${AEGIS_KEY-none}" > key')
    assert ["none"] == commands.lines("key")


def test_aegis_within_a_command_means_the_same_store(store: Store, commands: Commands) -> None:
    fill(store, 1)
    commands.run('echo "$AEGIS_STORE" > path')
    assert [store.path] == commands.lines("path")


def test_a_batch_is_several_lines(store: Store, commands: Commands) -> None:
    fill(store, 7)
    script = 'cat >> values; echo "$AEGIS_OFFSET $AEGIS_LAST_OFFSET $AEGIS_COUNT" >> told'
    assert 7 == commands.run(script, batch=3).records
    assert ["0 2 3", "3 5 3", "6 6 1"] == commands.lines("told")
    assert [f'{{"n":{number}}}' for number in range(7)] == commands.lines("values")


def test_a_large_batch_is_fed_to_a_command_that_reads_late(store: Store, commands: Commands) -> None:
    for _ in range(40):
        store.publish("t", "x" * 100_000)
    commands.run("sleep 0.2; wc -c > size", batch=1000)
    assert [str(40 * 100_003)] == [line.strip() for line in commands.lines("size")]


def test_a_command_that_does_not_read_its_stdin_is_judged_by_its_exit_status(
    store: Store, commands: Commands
) -> None:
    for _ in range(3):
        store.publish("t", "x" * 500_000)
    assert Executed(records=3) == commands.run("true")


def test_a_command_inherits_no_descriptor(store: Store, commands: Commands) -> None:
    fill(store, 1)
    commands.run("ls /proc/$$/fd > open")
    assert {"0", "1", "2"} >= {name for name in commands.lines("open") if int(name) < 10}
    assert 3 == len([name for name in commands.lines("open") if name in "012"])


def test_words_are_no_business_of_a_shell_unless_it_is_asked_for() -> None:
    assert ["echo", "a b", ";", "$X"] == command_of("echo 'a b' ; $X", shell=False)
    assert ["/bin/sh", "-c", "echo $X | cat"] == command_of("echo $X | cat", shell=True)
    for text in ("", "  ", "'"):
        with pytest.raises(ValueError, match=r"empty|quotation"):
            command_of(text, shell=False)


def test_a_command_that_does_not_exist_is_refused_before_anything_is_done(store: Store) -> None:
    check_command(["sh"])
    fill(store, 1)
    with Member(store, "g", ["t"]) as member, pytest.raises(FileNotFoundError, match="no such command"):
        consume_exec(member, ExecOptions(command=["/nothing/here"]))


# -- order and positions ----------------------------------------------------------------------------------


def test_one_at_a_time_keeps_the_order_of_a_partition(store: Store, commands: Commands) -> None:
    fill(store, 30)
    commands.run("cat >> values")
    assert [f'{{"n":{number}}}' for number in range(30)] == commands.lines("values")


def test_messages_of_one_key_are_in_work_one_after_the_other(store: Store, commands: Commands) -> None:
    for number in range(60):
        store.publish("t", number, key=f"k{number % 3}")
    script = (
        'mkdir "busy-$AEGIS_KEY" || echo overlap >> errors; read -r value; '
        'echo "$value" >> "of-$AEGIS_KEY"; rmdir "busy-$AEGIS_KEY"'
    )
    assert 60 == commands.run(script, parallel=4).records
    assert [] == commands.lines("errors")
    for key in range(3):
        assert [str(number) for number in range(key, 60, 3)] == commands.lines(f"of-k{key}")


def test_different_keys_are_in_work_at_once(store: Store, commands: Commands) -> None:
    store.publish("t", 1, key="a")
    store.publish("t", 2, key="b")
    # Each waits for the other one to be there.
    script = "touch here-$AEGIS_KEY; until [ -e here-a ] && [ -e here-b ]; do sleep 0.01; done"
    assert 2 == commands.run(script, parallel=2, timeout_seconds=20.0).records


def test_a_key_that_fails_holds_up_only_itself(store: Store, commands: Commands) -> None:
    for key in ("a", "a", "b"):
        store.publish("t", key, key=key)
    script = 'read -r value; [ "$AEGIS_KEY" = b ] || [ -e done ] || exit 1; echo "$AEGIS_OFFSET" >> order; '
    script += '[ "$AEGIS_KEY" = a ] || touch done'
    assert 3 == commands.run(script, parallel=2, retries=1000).records
    assert ["2", "0", "1"] == commands.lines("order")


def test_a_position_never_passes_a_message_that_is_not_done(store: Store, commands: Commands) -> None:
    fill(store, 3)
    # The first fails only when the others are done.
    script = "[ $AEGIS_OFFSET = 0 ] || { touch done-$AEGIS_OFFSET; exit 0; }; "
    script += "until [ -e done-1 ] && [ -e done-2 ]; do sleep 0.01; done; exit 1"
    with pytest.raises(CommandFailedError):
        commands.run(script, parallel=2, retries=0)
    assert {0: 0} == commands.positions()


def test_a_limit_commits_just_what_was_handed_over(store: Store, commands: Commands) -> None:
    fill(store, 10)
    assert 4 == commands.run("cat >> values", batch=3, limit=4).records
    assert {0: 4} == commands.positions()
    assert 6 == commands.run("cat >> values").records


# -- failures ---------------------------------------------------------------------------------------------


def test_what_fails_is_tried_again(store: Store, commands: Commands) -> None:
    fill(store, 2)
    script = 'echo "$AEGIS_OFFSET $AEGIS_DELIVERY_COUNT" >> tries; [ $AEGIS_DELIVERY_COUNT = 3 ]'
    assert Executed(records=2, failed=4) == commands.run(script, retries=2)
    assert [f"{offset} {count}" for offset in (0, 1) for count in (1, 2, 3)] == commands.lines("tries")
    assert "topic 't' partition 0 offset 0: exit status 1; trying again in 0.01 s" == commands.notices[0]
    assert "again in 0.02 s" in commands.notices[1]


def test_what_fails_for_good_ends_it_and_keeps_its_place(store: Store, commands: Commands) -> None:
    fill(store, 5)
    with pytest.raises(CommandFailedError) as raised:
        commands.run("[ $AEGIS_OFFSET -lt 3 ] || exit 9", retries=1)
    assert (9, 2) == (raised.value.status, raised.value.tries)
    assert "failed on topic 't' partition 0 offset 3: exit status 9 after 2 tries; " in str(raised.value)
    assert {0: 3} == commands.positions()
    assert 2 == commands.run("true").records


def test_a_dead_letter_says_where_it_is_from_and_why(store: Store, commands: Commands) -> None:
    store.create_topic("dead")
    store.publish("t", {"n": 0}, key="k", headers={"own": "1"}, timestamp_ms=77)
    fill(store, 1)
    script = "[ $AEGIS_OFFSET = 1 ] || exit 3"
    assert Executed(records=1, failed=2, dead_lettered=1) == commands.run(
        script, retries=1, dead_letter="dead"
    )
    (letter,) = store.read("dead")
    assert (b'{"n":0}', b'"k"', 77) == (letter.value, letter.key, letter.timestamp_ms)
    headers = {item["key"]: item["value"] for item in json.loads(letter.headers or b"[]")}
    assert {
        "own": "1",
        "aegis-group": "g",
        "aegis-topic": "t",
        "aegis-partition": "0",
        "aegis-offset": "0",
        "aegis-timestamp": "77",
        "aegis-deliveries": "2",
        "aegis-exit-status": "3",
        "aegis-reason": "exit status 3",
    } == headers
    assert {0: 2} == commands.positions()


def test_a_whole_batch_becomes_dead_letters(store: Store, commands: Commands) -> None:
    store.create_topic("dead")
    fill(store, 5)
    done = commands.run("false", batch=2, retries=0, dead_letter="dead")
    assert (0, 5) == (done.records, done.dead_lettered)
    assert [b'{"n":%d}' % number for number in range(5)] == [letter.value for letter in store.read("dead")]


def test_a_dead_letter_topic_is_there_and_is_no_source(store: Store, commands: Commands) -> None:
    with pytest.raises(TopicNotFoundError):
        commands.run("true", dead_letter="nothing")
    with pytest.raises(SettingError, match="cannot be 't', which is read"):
        commands.run("true", dead_letter="t")


def test_a_command_that_takes_too_long_is_killed_with_all_that_it_started(
    store: Store, commands: Commands
) -> None:
    fill(store, 1)
    script = "trap '' TERM; sleep 1000 & echo $! > pids; echo $$ >> pids; wait; sleep 1000"
    with pytest.raises(CommandFailedError, match=r"did not end within 0\.2 s"):
        commands.run(script, retries=0, timeout_seconds=0.2)
    pids = [int(line) for line in commands.lines("pids")]
    assert 2 == len(pids)
    wait_for(lambda: not any(map(runs_still, pids)))


def test_a_command_that_ends_when_it_is_asked_to_is_not_killed(store: Store, commands: Commands) -> None:
    fill(store, 1)
    with pytest.raises(CommandFailedError):
        commands.run(
            "trap 'echo asked > end; exit 0' TERM; sleep 1000 & wait", timeout_seconds=0.2, retries=0
        )
    assert ["asked"] == commands.lines("end")


# -- other members, and the ends of processes --------------------------------------------------------------


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
        return [sys.executable, "-m", "tests.cli.exec_worker", *words]

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


# -- subscriptions ----------------------------------------------------------------------------------------


def subscribed(commands: Commands, script: str, *, batch: int = 1, **options: Any) -> Executed:
    given = ExecOptions(
        command=command_of(f"cd '{commands.directory}'; {script}", shell=True),
        **{"backoff_seconds": 0.01, "batch": batch, **options},
    )
    with open_subscription(
        commands.store, "s", topics=["t"], ack_timeout_seconds=0.6, max_deliveries=3
    ) as subscription:
        source = SubscriptionSource(
            subscription, follow=False, batch=batch, on_notice=commands.notices.append
        )
        return consume_exec(source, given, on_notice=commands.notices.append)


def test_an_exit_status_acknowledges_messages_of_a_subscription(store: Store, commands: Commands) -> None:
    fill(store, 20)
    script = 'cat >> values; echo "$AEGIS_GROUP $AEGIS_DELIVERY_COUNT" >> told'
    assert Executed(records=20) == subscribed(commands, script, batch=4)
    assert [f'{{"n":{number}}}' for number in range(20)] == commands.lines("values")
    assert {"s 1"} == set(commands.lines("told"))
    assert 0 == subscribed(commands, "true").records


def test_what_fails_of_a_subscription_is_delivered_again_and_parked_at_last(
    store: Store, commands: Commands
) -> None:
    fill(store, 3)
    script = 'echo "$AEGIS_OFFSET $AEGIS_DELIVERY_COUNT" >> tries; [ $AEGIS_OFFSET != 1 ]'
    done = subscribed(commands, script)
    assert (2, 3) == (done.records, done.failed)
    assert ["0 1", "1 1", "1 2", "1 3", "2 1"] == sorted(commands.lines("tries"))
    assert "offset 1: exit status 1; given back after delivery 1" in commands.notices[0]
    with open_subscription(store, "s", create=False) as subscription:
        assert [1] == [parked.message.offset for parked in subscription.parked()]


def test_a_command_of_a_subscription_may_take_longer_than_the_acknowledgement_timeout(
    store: Store, commands: Commands
) -> None:
    fill(store, 2)
    assert Executed(records=2) == subscribed(commands, "sleep 1.5; echo x >> done", parallel=2)
    assert (["x", "x"], []) == (commands.lines("done"), commands.notices)


def test_a_limit_leaves_the_rest_of_a_claim_to_others(store: Store, commands: Commands) -> None:
    fill(store, 10)
    assert 3 == subscribed(commands, "cat >> values", batch=5, limit=3).records
    assert 7 == subscribed(commands, 'cat >> values; [ "$AEGIS_DELIVERY_COUNT" = 1 ]').records
    assert [f'{{"n":{number}}}' for number in range(10)] == commands.lines("values")
