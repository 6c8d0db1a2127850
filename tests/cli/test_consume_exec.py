"""`aegis consume --exec`: the flags, what they refuse, and how it ends."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from storage.member import open_group
from storage.store import Store
from tests.cli.processes import running, runs_still, wait_for

GROUP = ("consume", "t", "--group", "g")


@pytest.fixture(autouse=True)
def topic(aegis: Any) -> None:
    """Topic t with three messages, and an empty topic for dead letters."""
    with Store(aegis.store, create=True) as store:
        store.create_topic("t")
        store.create_topic("dead")
        for number in range(3):
            store.publish("t", number, key=f"k{number}")


def positions(aegis: Any) -> list[int]:
    with Store(aegis.store) as store:
        return list(open_group(store, "g")[1].positions.values())


def test_what_a_command_prints_goes_where_aegis_prints(aegis: Any) -> None:
    finished = aegis(*GROUP, "--exec", "cat")
    assert (0, b"0\n1\n2\n", b"") == (finished.code, finished.stdout, finished.stderr)
    assert [3] == positions(aegis)
    assert (0, b"") == (aegis(*GROUP, "--exec", "cat").code, aegis(*GROUP, "--exec", "cat").stdout)


def test_a_shell_is_there_only_if_it_is_asked_for(aegis: Any) -> None:
    finished = aegis(*GROUP, "-n", "1", "--exec", "echo '$AEGIS_KEY;' \"two  words\"")
    assert b"$AEGIS_KEY; two  words\n" == finished.stdout
    finished = aegis(*GROUP, "--shell", "--exec", 'read -r value; echo "$AEGIS_KEY=$value" | tr a-z A-Z')
    assert b"K1=1\nK2=2\n" == finished.stdout


def test_a_batch_and_parallel_runs(aegis: Any) -> None:
    finished = aegis(*GROUP, "--batch", "2", "--parallel", "2", "--exec", "wc -l")
    assert (0, ["1", "2"]) == (finished.code, sorted(line.strip() for line in finished.lines))


def test_a_command_that_fails_for_good_ends_it_with_exit_code_11(aegis: Any) -> None:
    finished = aegis(
        *GROUP, "--retries", "1", "--backoff", "10ms", "--shell", "--exec", "[ $AEGIS_OFFSET != 1 ]"
    )
    assert (11, b"") == (finished.code, finished.stdout)
    warning, error = finished.err.splitlines()
    assert "aegis: warning: topic 't' partition 0 offset 1: exit status 1; trying again in 0.01 s" == warning
    assert "aegis: error: command '/bin/sh' failed on topic 't' partition 0 offset 1: exit status 1 " in error
    assert "after 2 tries; " in error
    assert [1] == positions(aegis)


def test_dead_letters_go_to_their_topic(aegis: Any) -> None:
    finished = aegis(*GROUP, "--retries", "0", "--dead-letter", "dead", "--exec", "false")
    assert 0 == finished.code
    assert b"0\n1\n2\n" == aegis("consume", "dead").stdout
    assert [3] == positions(aegis)


def test_a_run_that_takes_too_long_is_killed(aegis: Any) -> None:
    finished = aegis(*GROUP, "--retries", "0", "--timeout", "100ms", "--exec", "sleep 1000")
    assert 11 == finished.code
    assert "it did not end within 0.1 s" in finished.err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([*GROUP, "--exec", "echo 'x"], 2, "--exec: no closing quotation"),
        ([*GROUP, "--exec", " "], 2, "--exec: the command is empty"),
        ([*GROUP, "--exec", "/no/such thing"], 3, "/no/such: no such command"),
        ([*GROUP, "--exec", "cat", "--dead-letter", "t"], 2, "'dead-letter' cannot be 't', which is read"),
        ([*GROUP, "--exec", "cat", "--dead-letter", "u"], 3, "topic 'u' not found"),
        ([*GROUP, "--exec", "cat", "--parallel", "0"], 2, "--parallel is 0"),
        ([*GROUP, "--exec", "cat", "--timeout", "soon"], 2, "--timeout"),
        (["consume", "t", "--exec", "cat"], 2, "--group"),
    ],
)
def test_what_cannot_be_done_is_refused(aegis: Any, arguments: list[str], code: int, message: str) -> None:
    finished = aegis(*arguments)
    assert code == finished.code
    assert message in finished.err.lower() if message.islower() else message in finished.err
    assert 1 == finished.err.count("\n")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_lets_the_command_finish(
    aegis: Any, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    script = f"cd '{tmp_path}'; touch started; until [ -e go ]; do sleep 0.01; done; echo done"
    with running(aegis, *GROUP, "-f", "-o", "start", "--shell", "--exec", script) as process:
        wait_for((tmp_path / "started").exists)
        os.kill(process.pid, number)
        (tmp_path / "go").touch()
        assert (code, b"done\n", b"") == (process.wait(), process.stdout, process.stderr)
    assert [1] == positions(aegis)


def test_a_second_signal_ends_it_and_its_command_at_once(aegis: Any, tmp_path: Path) -> None:
    script = f"trap '' INT TERM; echo $$ > '{tmp_path}/started'; sleep 1000"
    with running(aegis, *GROUP, "-f", "-o", "start", "--shell", "--exec", script) as process:
        pid = int(wait_for(lambda: (tmp_path / "started").exists() and (tmp_path / "started").read_text()))
        os.kill(process.pid, signal.SIGINT)
        os.kill(process.pid, signal.SIGTERM)
        # Had the first been all, its code would be 130, after ten seconds.
        assert 143 == process.wait()
    wait_for(lambda: not runs_still(pid))
    assert [0] == positions(aegis)


def test_a_command_of_a_subscription_dies_when_its_parent_is_stopped_for_too_long(
    aegis: Any, tmp_path: Path
) -> None:
    words = ("consume", "t", "--subscription", "s", "-o", "start", "--ack-timeout", "1s", "--shell", "--exec")
    script = f"cd '{tmp_path}'; echo $$ > started-$AEGIS_OFFSET; [ -e go ] || sleep 1000; echo x >> results"
    with running(aegis, *words, script) as first:
        pid = int(
            wait_for(lambda: (tmp_path / "started-0").exists() and (tmp_path / "started-0").read_text())
        )
        os.kill(first.pid, signal.SIGSTOP)
        try:
            wait_for(lambda: not runs_still(pid))
            (tmp_path / "go").touch()
            second = aegis(*words, script)
            assert (0, b"") == (second.code, second.stderr)
        finally:
            os.kill(first.pid, signal.SIGCONT)
        assert 0 == first.wait()
    assert ["x"] * 3 == (tmp_path / "results").read_text().splitlines()
