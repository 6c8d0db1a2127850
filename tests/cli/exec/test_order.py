"""In which order messages are handed to commands, and which position that leaves behind."""

from __future__ import annotations

import pytest

from aegis_cli.delivery.errors import CommandFailedError
from storage.store import Store
from tests.cli.exec.commands import Commands, fill


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
