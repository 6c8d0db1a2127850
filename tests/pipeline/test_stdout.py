"""Stdin and stdout of a pipeline: a reader that takes nothing, and what cannot be read."""

from __future__ import annotations

import os
import signal
import threading
import time

import msgspec
import pytest

from aegis_cli.pipeline.errors import SinkError
from aegis_cli.pipeline.line_inputs import SourceFileError
from aegis_cli.pipeline.reading import loads
from aegis_cli.pipeline.run import RunOptions, run_pipeline
from tests.pipeline.runs import Runs


class Stop:
    """Who wants the run to end, when told."""

    def __init__(self) -> None:
        self.came: int | None = None
        self.fd, _ = os.pipe()

    def come(self) -> None:
        self.came = signal.SIGTERM


def test_a_run_that_shall_end_does_not_wait_for_a_reader_that_takes_nothing(runs: Runs) -> None:
    given = [{"n": number, "t": "x" * 1000} for number in range(3000)]
    runs.publish("a", given)
    definition = loads("name: p\nsource: a\nsink: -\n", path="p.yaml")
    stop = Stop()
    read_fd, write_fd = os.pipe()
    threading.Timer(0.3, stop.come).start()
    began = time.monotonic()
    with pytest.raises(
        SinkError, match="its reader takes nothing, and the run shall end; the next run writes"
    ):
        run_pipeline(runs.store, definition, RunOptions(once=True, stdout_fd=write_fd), stop=stop)
    assert time.monotonic() - began < 10
    got: list[bytes] = []

    def read() -> None:
        while piece := os.read(read_fd, 1 << 16):
            got.append(piece)

    reader = threading.Thread(target=read)
    reader.start()
    account = run_pipeline(runs.store, definition, RunOptions(once=True, stdout_fd=write_fd), stop=Stop())
    os.close(write_fd)
    reader.join()
    # What the pipe got of a commit that was none comes again, behind a row that was cut.
    wanted = b"".join(msgspec.json.encode(row) + b"\n" for row in given)
    assert b"".join(got).endswith(wanted)
    assert 3000 == account.emitted


def test_what_cannot_be_read_is_named(runs: Runs) -> None:
    fd = os.open(os.devnull, os.O_WRONLY)
    definition = loads("name: p\nsource: -\nsink: b\n", path="p.yaml")
    with pytest.raises(SourceFileError, match="source file -: bad file descriptor"):
        run_pipeline(runs.store, definition, RunOptions(once=True, stdin_fd=fd))
    os.close(fd)
