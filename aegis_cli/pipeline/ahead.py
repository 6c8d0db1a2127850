"""The chunks of a run in their order, up to the record that it ends before; read ahead for workers.

Promise: with or without workers the same chunks come in the same order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aegis_cli.pipeline.around import Around
from aegis_cli.pipeline.fit import Fit
from aegis_cli.pipeline.inputs import Chunk, Inputs, until
from aegis_cli.pipeline.pace import Pace
from aegis_cli.pipeline.prefix import Prepared, expands
from aegis_cli.pipeline.program import Program
from storage.store import Store

if TYPE_CHECKING:
    from aegis_cli.pipeline.line_inputs import LineInputs
    from aegis_cli.pipeline.run import RunOptions
    from aegis_cli.pipeline.workers import Worker, Workers

# What becomes of a record whose items are taken can be as much as the square of its size.
_EXPANDED_CHUNK_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Taken:
    """A chunk, and what a worker prepared of it; `is_last` says that the run ends behind it."""

    chunk: Chunk
    prepared: Prepared | None = None
    is_last: bool = False


def open_inputs(
    store: Store,
    program: Program,
    positions: dict[str, int],
    tails: Mapping[str, int],
    options: RunOptions,
    around: Around,
    pace: Pace,
    stdin: LineInputs | None,
) -> Inputs | LineInputs:
    """What the program reads, from `positions` on, see `Facts`; `stdin` is what was read of that before."""
    source = program.definition.source
    if source.kind != "topic":
        if source.kind == "stdin" and stdin is not None:
            return stdin
        from aegis_cli.pipeline.line_inputs import LineInputs

        return LineInputs(
            store,
            source,
            positions,
            tails,
            once=options.once,
            records_max=options.chunk_records,
            stdin_fd=options.stdin_fd,
        )
    return Inputs(
        store,
        program.read_topics,
        positions,
        once=options.once,
        from_end=source.start == "latest",
        whole=program.side_topics,
        records_max=options.chunk_records,
        portion=lambda: pace.records_a_chunk,
        chunk_bytes=_EXPANDED_CHUNK_BYTES if expands(program.definition) else 1 << 30,
        on_gap=around.on_gap,
    )


class Ahead:
    """Chunks of `inputs`; those of the source are prepared by workers, if there are some and the program can.

    It ends before the record `halt`, a place and a position in it, and when `is_given_up` says so.
    """

    def __init__(
        self,
        inputs: Inputs | LineInputs,
        program: Program,
        workers: Workers | None,
        fits: Sequence[Fit],
        halt: tuple[str, int] | None,
        is_given_up: Callable[[], bool],
    ) -> None:
        self._inputs = inputs
        self._workers = workers if program.prefix is not None else None
        self._topic = program.definition.source.name
        self._halt = halt
        self._has_ended = False
        self._is_given_up = is_given_up
        if self._workers is not None:
            self._workers.define(program.definition, fits)
        self._under_way: deque[tuple[Taken, Worker | None]] = deque()

    def take(self) -> Taken | None:
        """The next chunk; `None` where nothing is there, or it was given up. Raises `WorkerError`."""
        chunks_max = 1 if self._workers is None else self._workers.chunks_max
        while len(self._under_way) < chunks_max and (taken := self._read()) is not None:
            lines = taken.chunk.lines
            is_theirs = self._workers is not None and lines and taken.chunk.topic == self._topic
            self._under_way.append((taken, self._workers.put(lines) if self._workers and is_theirs else None))
        if not self._under_way:
            return None
        taken, worker = self._under_way.popleft()
        if worker is None or self._workers is None:
            return taken
        prepared = self._workers.take(worker, self._is_given_up)
        return None if prepared is None else Taken(taken.chunk, prepared, taken.is_last)

    def _read(self) -> Taken | None:
        chunk = None if self._has_ended else self._inputs.take()
        if chunk is None or self._halt is None:
            return None if chunk is None else Taken(chunk)
        place, position = self._halt
        if chunk.place != place or position >= chunk.next_position:
            return Taken(chunk)
        self._has_ended = True
        return Taken(until(chunk, position), is_last=True)
