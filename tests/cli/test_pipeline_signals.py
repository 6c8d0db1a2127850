"""Signals to a pipeline that runs: it ends in time, and reads its file again without a loss."""

from __future__ import annotations

import fcntl
import itertools
import os
import random
import signal
import subprocess
import termios
import time
from pathlib import Path
from typing import Any

import pytest

from aegis_cli.pipeline.admin import status_of
from storage.batch import RecordBatch
from storage.store import Append, Store
from storage.topic import TopicSettings
from tests.cli.processes import Running, running, wait_for

_KEPT = "source: a\ntime: at\ngroup_by: k\nwindow: 10s\naggregate: {n: count(), s: sum(at)}\nsink: b\n"


@pytest.fixture
def home(aegis: Any) -> Path:
    """Where p.yaml is; the topic a has 30 batches of 40 records."""
    clock = itertools.count(1_772_000_000_000)
    with Store(aegis.store, create=True, clock_ms=lambda: next(clock)) as store:
        store.create_topic("a", TopicSettings(partitions=2, durability="os"))
        for number in range(30):
            lines = [b'{"at":%d,"k":%d}\n' % (number * 3 + row % 3, row % 7) for row in range(40)]
            batch = RecordBatch(lines=b"".join(lines), count=len(lines))
            store.append([Append(topic="a", partition=number % 2, batches=[batch])])
    return Path(aegis.home)


def write(home: Path, text: str) -> None:
    """As an editor does it: the file is the old one or the new one."""
    (home / "new.yaml").write_text(text)
    (home / "new.yaml").rename(home / "p.yaml")


def status(aegis: Any) -> Any:
    with Store(aegis.store) as store:
        return status_of(store, "p") if "p" in store.catalog.names("pipelines") else None


def caught_up(aegis: Any) -> bool:
    found = status(aegis)
    return found is not None and found.runs and found.account.records_in > 0 and found.lag == 0


def end(process: Running) -> str:
    """Ask it to end, which it must within a second; returns what it said."""
    os.kill(process.pid, signal.SIGTERM)
    began = time.monotonic()
    assert 0 == process.wait()
    assert time.monotonic() - began < 1.0
    return process.stderr.decode()


def hang_up(aegis: Any, process: Running, says: str) -> None:
    """Send SIGHUP to a run, and wait for what it says to that."""
    process.stderr = b""
    os.kill(process.pid, signal.SIGHUP)
    process.says(says)
    assert 1 == process.stderr.count(b"\n"), process.stderr


def values(aegis: Any, topic: str) -> list[tuple[int, bytes]]:
    with Store(aegis.store) as store:
        return [(message.partition, message.value) for message in store.read(topic)]


# -- ending -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_bulk_work_ends_within_a_second_and_goes_on_later(aegis: Any, home: Path, number: int) -> None:
    # Each record changes ten groups that no other one does, so that commits are as large as they get.
    write(
        home, _KEPT.replace("window: 10s", "window: {hopping: 100s, every: 10s}").replace("k\n", "[k, u]\n")
    )
    with Store(aegis.store) as store:
        lines = b"".join(b'{"at":100,"k":1,"u":%d}\n' % row for row in range(40_000))
        for _ in range(3):
            store.append([Append(topic="a", partition=0, batches=[RecordBatch(lines=lines, count=40_000)])])
    with running(aegis, "pipeline", "run", "p.yaml") as process:
        wait_for(lambda: (found := status(aegis)) is not None and found.account.records_in > 3000)
        os.kill(process.pid, number)
        began = time.monotonic()
        assert 0 == process.wait()
        assert time.monotonic() - began < 1.0
    found = status(aegis)
    assert found.balances
    assert 3000 < found.account.records_in
    assert 121_200 == found.account.records_in + found.lag
    assert found.lag


# -- reading the file again -------------------------------------------------------------------------------


def test_a_file_that_is_changed_is_read_again_or_refused_with_the_place(aegis: Any, home: Path) -> None:
    write(home, _KEPT)
    with running(aegis, "pipeline", "run", "p.yaml") as process:
        wait_for(lambda: caught_up(aegis))
        hang_up(aegis, process, "aegis: p.yaml: reloaded, nothing has changed\n")
        write(home, _KEPT.replace("source: a\n", "source: a\nfilter: k != 3\n"))
        hang_up(aegis, process, "aegis: p.yaml: reloaded, with another filter\n")
        write(home, _KEPT.replace("10s", "20s"))
        reason = "p.yaml:5:16: the state of pipeline 'p' was made with another 'window' of 'aggregate'; "
        hang_up(aegis, process, f"aegis: warning: p.yaml was not reloaded: {reason}")
        write(home, "source: a\nfilter: k !\nsink: b\n")
        hang_up(aegis, process, "aegis: warning: p.yaml was not reloaded: p.yaml:2:")
        (home / "p.yaml").unlink()
        hang_up(aegis, process, "p.yaml was not reloaded: p.yaml: no such file; ")
        assert 0 == aegis("publish", "a", stdin=b'{"at":300,"k":3}\n{"at":300,"k":4}\n').code
        wait_for(lambda: caught_up(aegis))
        end(process)
    assert 1 == status(aegis).account.filtered


def test_a_variable_keeps_the_value_that_the_command_line_gave_it(aegis: Any, home: Path) -> None:
    write(home, "source: a\nfilter: k == ${k}\nsink: b\n")
    with running(aegis, "pipeline", "run", "p.yaml", "--set", "k=3") as process:
        wait_for(lambda: caught_up(aegis))
        write(home, "source: a\nfilter: k == ${k} + 1\nsink: b\n")
        hang_up(aegis, process, "with another filter\n")
        assert 0 == aegis("publish", "a", stdin=b'{"at":300,"k":3}\n{"at":300,"k":4}\n').code
        wait_for(lambda: caught_up(aegis))
        end(process)
    assert b'{"at":300,"k":4}' == max(values(aegis, "b"), key=lambda found: len(found[1]))[1]


def test_lines_of_stdin_that_were_read_are_processed_though_the_file_changes(aegis: Any, home: Path) -> None:
    write(home, "source: '-'\nmap: {n: n}\nsink: '-'\n")
    with running(aegis, "pipeline", "run", "p.yaml") as process:
        process.feed(b'{"n":1}\n{"n"')
        process.lines_are(b'{"n":1}')
        write(home, "source: '-'\nmap: {n: n * 10}\nsink: '-'\n")
        hang_up(aegis, process, "with another map\n")
        process.feed(b":2}\n")
        process.lines_are(b'{"n":1}', b'{"n":20}')
        process.end_input()
        assert 0 == process.wait()


def test_a_run_to_the_end_that_is_there_leaves_sighup_as_it_is(aegis: Any, home: Path) -> None:
    write(home, "source: '-'\nsink: '-'\n")
    with running(aegis, "pipeline", "run", "p.yaml", "--once") as process:
        process.feed(b'{"n":1}\n')
        process.lines_are(b'{"n":1}')
        os.kill(process.pid, signal.SIGHUP)
        assert -signal.SIGHUP == process.wait()


def test_when_its_terminal_goes_it_commits_and_ends(aegis: Any, home: Path) -> None:
    write(home, _KEPT)
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        aegis.command("pipeline", "run", "p.yaml"),
        env=aegis.environ,
        cwd=home,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    try:
        os.close(theirs)
        wait_for(lambda: caught_up(aegis))
        os.close(ours)
        process.wait(10)
    finally:
        process.kill()
        process.wait()
    assert not status(aegis).runs


def test_a_file_that_changes_all_the_time_loses_and_doubles_nothing(aegis: Any, home: Path) -> None:
    """The same pipeline in other words, read again and again, by a run that is killed at times as well."""
    words = (_KEPT, _KEPT.replace("source: a\n", "source: a\nfilter: at >= 0\nmap: {at: at, k: k}\n"))
    write(home, words[0].replace("sink: b", "sink: c").replace("source", "name: undisturbed\nsource"))
    assert 0 == aegis("pipeline", "run", "p.yaml", "--once").code
    dice = random.Random(5)
    write(home, words[0])
    changes = 0
    while not caught_up(aegis):
        with running(
            aegis, "pipeline", "run", "p.yaml", "--chunk", "2", environ={"AEGIS_FAILPOINTS": ""}
        ) as run:
            wait_for(lambda: (found := status(aegis)) is not None and found.runs)
            for number in range(dice.randrange(1, 9)):
                write(
                    home,
                    words[number % 2].replace("sink", f"commit_interval: {dice.randrange(1, 9)}ms\nsink"),
                )
                hang_up(aegis, run, "p.yaml: reloaded")
                changes += 1
            if dice.random() < 0.4:
                os.kill(run.pid, signal.SIGHUP)
                os.kill(run.pid, signal.SIGKILL)
                run.wait()
            elif changes > 30:
                wait_for(lambda: caught_up(aegis))
                break
            else:
                end(run)
    assert changes > 10
    assert values(aegis, "c") == values(aegis, "b")
