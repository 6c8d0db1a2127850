"""`aegis publish` that is stopped by a signal: what it says is what is stored."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.cli.processes import Running, running, wait_for
from tests.cli.published import values


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"]
)
def test_what_was_acknowledged_before_a_signal_is_there(
    aegis: Any, topic: str, number: signal.Signals, code: int
) -> None:
    with running(aegis, "publish", topic, "--receipts", "--linger", "0") as process:
        for line in range(3):
            process.feed(b"%d\n" % line)
            process.read_until(lambda here, wanted=line + 1: here.stdout.count(b"\n") == wanted)
        process.process.send_signal(number)
        assert code == process.wait()
    assert "aegis: warning: interrupted after 3 records were published\n" == process.stderr.decode()
    assert [0, 1, 2] == values(aegis)


def stalled(aegis: Any, step: str, number: int) -> tuple[Path, dict[str, str]]:
    """Surroundings in which the n-th append waits at a step, and the file that lets it go on."""
    go = aegis.home / "go"
    return go, {"AEGIS_FAILPOINTS": f"{step}=wait:{go}@{number}"}


def interrupt(process: Running, go: Path) -> None:
    """Ctrl-C, once the append waits, which then goes on."""
    wait_for(go.with_name("go.reached").exists)
    process.process.send_signal(signal.SIGINT)
    go.touch()
    assert 130 == process.wait()


def said_and_stored(aegis: Any, topic: str, process: Running) -> bytes:
    """What is stored, which is what was said: at the end, and in the receipts."""
    kept: bytes = aegis("consume", topic).stdout
    count = kept.count(b"\n")
    text = f"aegis: warning: interrupted after {count} record{'s' * (count > 1)} "
    assert process.stderr.decode().startswith(text)
    assert count == json.loads(process.stdout.splitlines()[-1])["last_offset"] + 1
    # And the topic takes more.
    assert 0 == aegis("publish", topic, "1").code
    assert kept + b"1\n" == aegis("consume", topic).stdout
    return kept


@pytest.mark.parametrize("step", ["append.locked", "append.released", "append.durable"])
@pytest.mark.parametrize("appends", [1, 3])
def test_what_is_said_at_ctrl_c_is_what_is_stored(aegis: Any, topic: str, step: str, appends: int) -> None:
    go, environ = stalled(aegis, step, appends)
    with running(aegis, "publish", topic, "--receipts", "--linger", "0", environ=environ) as process:
        for number in range(appends):
            process.read_until(lambda here, told=number: here.stdout.count(b"\n") == told)
            process.feed(b"%d\n" % number)
        wait_for(go.with_name("go.reached").exists)
        # What comes behind it is not begun any more.
        process.feed(b"99\n")
        interrupt(process, go)
    assert b"".join(b"%d\n" % number for number in range(appends)) == said_and_stored(aegis, topic, process)


def test_what_is_gathered_meanwhile_is_not_begun_after_ctrl_c(aegis: Any, topic: str) -> None:
    lines = b"".join(b'{"number":%d,"pad":"%s"}\n' % (n, b"x" * 100) for n in range(150_000))
    path = aegis.home / "in.jsonl"
    path.write_bytes(lines)
    go, environ = stalled(aegis, "bulk.written", 1)
    with running(aegis, "publish", topic, "--file", str(path), "--receipts", environ=environ) as process:
        interrupt(process, go)
    kept = said_and_stored(aegis, topic, process)
    assert 1 == process.stdout.count(b"\n")
    assert kept == lines[: len(kept)] != lines
