"""Stdout as a sink. What a pipe got cannot be taken back: after a kill some rows come twice, none is lost."""

from __future__ import annotations

import os
import select
import stat
import time
from typing import TYPE_CHECKING

from aegis_cli.pipeline.errors import SinkError
from aegis_cli.pipeline.outgoing import Outgoing, pieces
from aegis_cli.pipeline.sinks.sink import Rows
from aegis_cli.pipeline.state import Facts
from storage.output import Output

if TYPE_CHECKING:
    from aegis_cli.pipeline.around import Stop

# Once the run shall end, a reader that takes nothing is not waited for longer than this.
_STOP_SECONDS = 0.5
_LOOK_MS = 100
# A pipe that can be written to takes so much without waiting.
_PIPE_BYTES = 4096


class StdoutSink:
    """Writes JSON lines to a file descriptor, before the commit that says that they were written.

    Raises `SinkError` where the run shall end and a pipe's reader takes nothing.
    """

    slot = ""

    def __init__(self, fd: int, *, pipeline: str, stop: Stop | None) -> None:
        self._output = Output(fd)
        self._pipeline = pipeline
        self._stop = stop
        self._poll: select.poll | None = None
        if stop is not None and stat.S_ISFIFO(os.fstat(fd).st_mode):
            # A signal ends no write that waits for the reader.
            self._poll = select.poll()
            self._poll.register(fd, select.POLLOUT)

    def open(self, facts: Facts) -> None:
        """Nothing to do."""

    def prepare(self, rows: Rows, outgoing: Outgoing, facts: Facts) -> int:
        count = 0
        for _, some in rows:
            for lines, size in pieces(some):
                self._write(lines)
                count += size
        return count

    def _write(self, lines: bytes) -> None:
        if self._poll is None:
            self._output.write(lines)
            return
        for start in range(0, len(lines), _PIPE_BYTES):
            self._wait(self._poll)
            self._output.write(lines[start : start + _PIPE_BYTES])

    def _wait(self, poll: select.poll) -> None:
        """Until the pipe takes something."""
        end = 0.0
        while not poll.poll(_LOOK_MS):
            if self._stop is None or self._stop.came is None:
                continue
            now = time.monotonic()
            end = end or now + _STOP_SECONDS
            if now >= end:
                reason = "its reader takes nothing, and the run shall end"
                raise SinkError(self._pipeline, "stdout", reason, hint="the next run writes these rows again")

    def finish(self, facts: Facts) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do: it is not ours."""
