"""Stdout as a sink. What a pipe got cannot be taken back: after a kill some rows come twice, none is lost."""

from __future__ import annotations

from aegis_cli.pipeline.outgoing import Outgoing, pieces
from aegis_cli.pipeline.sinks.sink import Rows
from aegis_cli.pipeline.state import Facts
from storage.output import Output


class StdoutSink:
    """Writes JSON lines to a file descriptor, before the commit that says that they were written."""

    slot = ""

    def __init__(self, fd: int = 1) -> None:
        self._output = Output(fd)

    def open(self, facts: Facts) -> None:
        """Nothing to do."""

    def prepare(self, rows: Rows, outgoing: Outgoing, facts: Facts) -> int:
        count = 0
        for _, some in rows:
            for lines, size in pieces(some):
                self._output.write(lines)
                count += size
        return count

    def finish(self, facts: Facts) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do: it is not ours."""
