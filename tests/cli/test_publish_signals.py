"""`aegis publish` that is stopped by a signal: what it says is what is stored."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest

from tests.cli.processes import running
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


@pytest.mark.parametrize("appends", [1, 2, 3, 4])
def test_what_is_said_at_ctrl_c_is_what_is_stored(aegis: Any, topic: str, appends: int) -> None:
    lines = b"".join(b'{"number":%d,"pad":"%s"}\n' % (n, b"x" * 100) for n in range(300_000))
    path = aegis.home / "in.jsonl"
    path.write_bytes(lines)
    with running(aegis, "publish", topic, "--file", str(path), "--receipts") as process:
        process.read_until(lambda here: here.stdout.count(b"\n") >= appends)
        process.process.send_signal(signal.SIGINT)
        code = process.wait()
    assert code in (0, 130)
    kept = aegis("consume", topic).stdout
    assert kept == lines[: len(kept)]
    count = kept.count(b"\n")
    if code == 130:
        assert (
            f"aegis: warning: interrupted after {count} records were published\n" == process.stderr.decode()
        )
    receipts = [json.loads(line) for line in process.stdout.splitlines()]
    assert count == receipts[-1]["last_offset"] + 1
    # And the topic takes more.
    assert 0 == aegis("publish", topic, "1").code
    assert kept + b"1\n" == aegis("consume", topic).stdout
