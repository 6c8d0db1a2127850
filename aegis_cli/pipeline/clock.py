"""What the clock may do to a run: move processing time, and let silent partitions hold nothing back."""

from __future__ import annotations

import time

from aegis_cli.pipeline.program import Program
from aegis_cli.pipeline.turn import Turn
from storage.store import Store


class Clock:
    """The clock of one run."""

    def __init__(self, store: Store, program: Program) -> None:
        self._store = store
        self._program = program
        self._last_of: dict[int, float] = {}

    def heard(self, number: int) -> None:
        """Something came from this partition."""
        self._last_of[number] = time.monotonic()

    def passes(self, turn: Turn) -> bool:
        """While nothing comes: do what the clock may; says whether that changed anything."""
        program = self._program
        if program.takes_the_clock:
            for partition in turn.partitions.values():
                partition.high_ms = max(partition.high_ms, self._store.clock_ms())
        elif program.idle_ms is not None:
            silent_since = time.monotonic() - program.idle_ms / 1000
            for number, partition in turn.partitions.items():
                partition.idle = self._last_of.setdefault(number, time.monotonic()) < silent_since
        else:
            return False
        # Rows that come out now are of no partition: they go where those of the first one go.
        turn.turn_to_rows(0)
        return program.advance(turn)
