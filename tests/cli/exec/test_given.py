"""What a command is given: messages on its standard input, and where they are from in its environment."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from aegis_cli.delivery.child import Child, check_command, command_of
from aegis_cli.delivery.exec import ExecOptions, Executed, consume_exec
from storage.member import Member
from storage.store import Store
from tests.cli.exec.commands import Commands, fill
from tests.cli.processes import DEADLINE_SECONDS


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


def test_a_large_batch_is_fed_to_a_command_that_reads_late(
    store: Store, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(40):
        store.publish("t", "x" * 100_000)
    feed = Child._feed

    def noted(child: Child) -> None:
        feed(child)
        if child._rest:
            (commands.directory / "pipe-is-full").touch()

    monkeypatch.setattr(Child, "_feed", noted)
    script = "until [ -e pipe-is-full ]; do sleep 0.01; done; wc -c > size"
    commands.run(script, batch=1000, timeout_seconds=DEADLINE_SECONDS, retries=0)
    assert [str(40 * 100_003)] == [line.strip() for line in commands.lines("size")]


def test_a_command_that_does_not_read_its_stdin_is_judged_by_its_exit_status(
    store: Store, commands: Commands
) -> None:
    for _ in range(3):
        store.publish("t", "x" * 500_000)
    assert Executed(records=3) == commands.run("true")


def test_a_command_inherits_no_descriptor(store: Store, commands: Commands) -> None:
    fill(store, 1)
    # Only what is open when it is looked at: the shell opens the directory to list it.
    look = 'for fd in /proc/$$/fd/*; do [ -e "$fd" ] && echo "${fd##*/}" >> open; done; true'
    with Path(store.path, "aegis.toml").open() as file:
        # Others that run in the process may well let theirs be inherited.
        given = [fcntl.fcntl(file, fcntl.F_DUPFD, least) for least in (3, 77)]
        try:
            assert Executed(records=1) == commands.run(look)
        finally:
            for fd in given:
                os.close(fd)
    assert ["0", "1", "2"] == commands.lines("open")


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
