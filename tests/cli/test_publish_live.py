"""Input of `aegis publish` that comes bit by bit: it is visible at once and nothing waits for more."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
from typing import Any

from tests.cli.processes import Running, promptness, running, wait_for, waits_for_the_lock
from tests.cli.published import values


def test_a_line_of_a_log_is_visible_at_once(aegis: Any, topic: str) -> None:
    log = aegis.home / "app.log"
    log.write_bytes(b"")
    with promptness() as prompt, running(aegis, "consume", topic, "-f", "-o", "start") as follower:
        command = " ".join(aegis.command("publish", topic, "--receipts"))
        shell = subprocess.Popen(
            ["bash", "-c", f"tail -n +1 -F {log} 2>/dev/null | exec {command}"],
            env=aegis.environ,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        publisher = Running(shell)
        try:
            for number in range(14):
                with log.open("ab") as file:
                    file.write(b'{"n":%d}\n' % number)
                seconds = follower.read_until(lambda here, n=number: here.stdout.count(b"\n") == n + 1)
                if number > 1:  # the first ones wait for processes to start
                    prompt.add(seconds)
            prompt.check()
            publisher.read_until(lambda here: here.stdout.count(b"\n") == 14)
        finally:
            os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()
            assert shell.stdout is not None
            shell.stdout.close()


def test_lines_that_come_together_are_appended_together(aegis: Any, topic: str) -> None:
    ours, theirs = os.pipe()
    os.write(theirs, b"1\n2\n3\n")
    with running(aegis, "publish", topic, "--receipts", stdin=ours) as process:
        process.read_until(lambda here: b"\n" in here.stdout)
        os.write(theirs, b"4\n")
        os.close(theirs)
        assert 0 == process.wait()
    os.close(ours)
    assert [(0, 2), (3, 3)] == [
        (receipt["base_offset"], receipt["last_offset"])
        for receipt in map(json.loads, process.stdout.splitlines())
    ]


def test_half_a_line_waits_for_its_other_half(aegis: Any, topic: str) -> None:
    with running(aegis, "publish", topic, "--receipts") as process:
        process.feed(b'1\n{"half":')
        process.read_until(lambda here: b"\n" in here.stdout)
        process.feed(b"true}\n")
        process.read_until(lambda here: here.stdout.count(b"\n") == 2)
    assert [1, {"half": True}] == values(aegis)


def test_a_line_that_comes_while_the_disk_is_busy_is_not_left_behind(aegis: Any, topic: str) -> None:
    assert 0 == aegis("publish", topic, "0").code
    with (
        (aegis.store / "topics/t/0/head").open("rb") as head,
        running(aegis, "publish", topic, "--receipts", "--linger", "0") as process,
    ):
        fcntl.flock(head, fcntl.LOCK_EX)
        process.feed(b"1\n")
        wait_for(lambda: waits_for_the_lock(process.pid, aegis.store / "topics/t/0/head"))
        process.feed(b"2\n")
        wait_for(lambda: unread(process) == 0)
        fcntl.flock(head, fcntl.LOCK_UN)
        # No more input comes and none ends: both lines are published all the same.
        process.read_until(lambda here: b'"last_offset":2' in here.stdout)


def unread(process: Running) -> int:
    """How many bytes of its stdin the process has not read yet."""
    assert process.process.stdin is not None
    answer = fcntl.ioctl(process.process.stdin.fileno(), 0x541B, b"\0" * 4)  # FIONREAD
    return int.from_bytes(answer, "little")


def test_an_append_that_fails_ends_it_without_waiting_for_more_input(aegis: Any, topic: str) -> None:
    with running(aegis, "publish", topic, "--receipts") as process:
        process.feed(b"1\n")
        process.read_until(lambda here: b"\n" in here.stdout)
        assert 0 == aegis("topic", "delete", topic, "--yes").code
        process.feed(b"2\n")
        assert 3 == process.wait()
    assert "aegis: warning: 1 record was published before this error\n" in process.stderr.decode()
