"""What `aegis consume` prints, to every kind of file, and what becomes of it when its reader leaves."""

from __future__ import annotations

import os
import socket
import subprocess
from typing import Any

import pytest

from storage.batch import RecordBatch
from storage.store import Append, Store
from tests.cli.numbered import fill
from tests.cli.processes import running


def test_values_come_as_they_were_published(aegis: Any, store: Store) -> None:
    store.create_topic("t")
    lines = b'{ "a" : 1 }\n[1,\t2]\n1e400\n"\\u0000"\n"\xc3\xa4"\nnull\n'
    store.append([Append(topic="t", partition=0, batches=[RecordBatch(lines=lines, count=6)])])
    assert lines == aegis("consume", "t").stdout


def test_a_format_is_applied_to_each_record(aegis: Any, store: Store) -> None:
    store.create_topic("t")
    store.publish("t", {"a": 1}, key="k", headers={"h": "x"}, timestamp_ms=1_700_000_000_123)
    store.publish("t", [2])
    finished = aegis("consume", "t", "-F", "%t %p %o %k %v\\n", "-n", "1")
    assert b't 0 0 k {"a":1}\n' == finished.stdout
    assert b't/0/0 {"a":1}\nt/0/1 [2]\n' == aegis("consume", "t", "--format", "%t/%p/%o %s\\n").stdout


def test_output_goes_to_every_kind_of_file(aegis: Any, store: Store) -> None:
    store.create_topic("t")
    lines = b"".join(b'{"number":%d,"pad":"%s"}\n' % (number, b"x" * 100) for number in range(30_000))
    store.append([Append(topic="t", partition=0, batches=[RecordBatch(lines=lines, count=30_000)])])
    fill(store, "t", range(3))
    lines += b"0\n1\n2\n"
    path = aegis.home / "out"
    path.write_bytes(b"before\n")
    command = aegis.command("consume", "t")
    with path.open("ab") as out:
        subprocess.run(command, env=aegis.environ, stdout=out, check=True)
    assert b"before\n" + lines == path.read_bytes()
    with path.open("wb") as out:
        subprocess.run(command, env=aegis.environ, stdout=out, check=True)
    assert lines == path.read_bytes()
    with path.open("r+b") as out:
        out.seek(5)
        subprocess.run(command, env=aegis.environ, stdout=out, check=True)
    assert lines[:5] + lines == path.read_bytes()
    with open(os.devnull, "wb") as out:  # noqa: PTH123 - a device
        subprocess.run(command, env=aegis.environ, stdout=out, check=True)
    ours, theirs = socket.socketpair()
    with ours, subprocess.Popen(command, env=aegis.environ, stdout=theirs) as process:
        theirs.close()
        with ours.makefile("rb") as stream:
            assert lines == stream.read()
    assert 0 == process.returncode


def test_a_pipe_that_does_not_block_is_waited_for(aegis: Any, store: Store) -> None:
    store.create_topic("t")
    lines = b"".join(b'{"number":%d,"pad":"%s"}\n' % (number, b"x" * 100) for number in range(30_000))
    store.append([Append(topic="t", partition=0, batches=[RecordBatch(lines=lines, count=30_000)])])
    for options in ([], ["--grep", "number"]):
        ours, theirs = os.pipe()
        os.set_blocking(theirs, False)
        with running(aegis, "consume", "t", *options, stdout=theirs) as process:
            os.close(theirs)
            with os.fdopen(ours, "rb") as stream:
                assert lines == stream.read()
            assert (0, b"") == (process.wait(), process.stderr)


@pytest.mark.parametrize("options", [[], ["--json"], ["-f", "-o", "start"], ["-F", "%v\\n"]])
def test_a_reader_that_leaves_is_no_error(aegis: Any, store: Store, options: list[str]) -> None:
    store.create_topic("t")
    lines = b"".join(b'{"number":%d,"pad":"%s"}\n' % (number, b"x" * 100) for number in range(100_000))
    store.append([Append(topic="t", partition=0, batches=[RecordBatch(lines=lines, count=100_000)])])
    command = " ".join(aegis.command("consume", "t", *(f"'{option}'" for option in options)))
    done = subprocess.run(
        ["bash", "-c", f"{command} | head -n 1 >/dev/null; echo ${{PIPESTATUS[0]}}"],
        env=aegis.environ,
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert (b"0\n", b"") == (done.stdout, done.stderr)


def test_a_follower_ends_when_its_reader_leaves_although_nothing_comes(aegis: Any, store: Store) -> None:
    store.create_topic("t")
    fill(store, "t", range(3))
    command = " ".join(aegis.command("consume", "t", "-f", "-o", "start"))
    done = subprocess.run(
        ["bash", "-c", f"{command} | head -n 1; echo ${{PIPESTATUS[0]}}"],
        env=aegis.environ,
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert (b"0\n0\n", b"") == (done.stdout, done.stderr)


def test_a_full_output_disk_is_an_error(aegis: Any, store: Store) -> None:
    store.create_topic("t")
    fill(store, "t", range(3))
    with open("/dev/full", "wb") as out:  # noqa: PTH123 - a device
        done = subprocess.run(
            aegis.command("consume", "t"),
            env=aegis.environ,
            stdout=out,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert (8, b"aegis: error: no space left on device\n") == (done.returncode, done.stderr)
