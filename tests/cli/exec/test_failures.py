"""Commands that fail or take too long: they are tried again, and then end it or leave a dead letter."""

from __future__ import annotations

import json

import pytest

from aegis_cli.delivery.errors import CommandFailedError
from aegis_cli.delivery.exec import Executed
from storage.errors import SettingError, TopicNotFoundError
from storage.store import Store
from tests.cli.exec.commands import Commands, fill
from tests.cli.processes import runs_still, wait_for


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
