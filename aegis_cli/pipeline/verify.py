"""Checking that a sink holds what the history gives: the pipeline is run again in memory, and compared.

What is kept is read from the beginning to where the pipeline's last commit got, and what comes out is held
against what it was written to: a topic message by message in each partition, a file line by line, a table of
SQLite or PostgreSQL by its rows, which have no order. Nothing is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from aegis_cli.pipeline.definition import Aggregate, Dedup, Definition, Sink, StreamJoin, Time
from aegis_cli.pipeline.errors import PipelineError
from aegis_cli.pipeline.inputs import Inputs
from aegis_cli.pipeline.outgoing import Outgoing
from aegis_cli.pipeline.program import Program
from aegis_cli.pipeline.sinks.opening import fits_of, need_driver, with_declared_keys
from aegis_cli.pipeline.sinks.sink import Comparison, Rows
from aegis_cli.pipeline.sinks.topic import TopicSink
from aegis_cli.pipeline.state import Facts, look
from aegis_cli.pipeline.turn import StoppedAt
from storage.reader import Gap
from storage.store import Store

_SHOWN_MAX = 100


class UnverifiableError(PipelineError):
    """What a pipeline wrote cannot be compared with its history."""

    def __init__(self, pipeline: str, reason: str) -> None:
        self.pipeline = pipeline
        self.reason = reason
        super().__init__(f"pipeline '{pipeline}' cannot be verified: {reason}")


@dataclass(frozen=True, slots=True)
class Verified:
    """How many messages and rows were compared, and where they differ: the first differences, in words."""

    compared: int
    differences: list[str]


def verify_pipeline(store: Store, definition: Definition, *, message_bytes_max: int) -> Verified:
    """Compare what the sinks of a pipeline hold with what its history gives.

    Raises `UnverifiableError` where a sink is stdout, where the clock decides what comes out, where the
    beginning of the history was removed, where a record stops it, or where windows were given out by hand
    and more came since; `PipelineNotFoundError`, `SinkError`.
    """
    _, state = look(store, definition.name)
    facts = state.facts
    _check(definition, facts)
    expected = _Expected(store, definition, facts, message_bytes_max=message_bytes_max)
    differences: list[str] = []
    compared = 0
    for (topic, partition), wanted in expected.lines().items():
        found = _lines(store, topic, partition)
        for number, (want, have) in enumerate(zip_longest(wanted, found)):
            compared += 1
            if want != have and len(differences) < _SHOWN_MAX:
                differences.append(
                    f"{topic}/{partition}, message {number + 1}: {_shown(have)}, expected {_shown(want)}"
                )
    for outside in expected.outside:
        count, others = outside.differences(_SHOWN_MAX)
        compared += count
        differences += others
    return Verified(compared, differences[:_SHOWN_MAX])


def _check(definition: Definition, facts: Facts) -> None:
    if any(branch.sink.kind == "stdout" for branch in definition.branches):
        raise UnverifiableError(definition.name, "what went to stdout is not there to be compared")
    if definition.source.kind != "topic":
        raise UnverifiableError(definition.name, "its source is no topic, and leaves no history")
    if definition.source.start == "latest":
        raise UnverifiableError(
            definition.name, "it began at the newest message, and where that was is not kept"
        )
    decides = _clock_decides(definition)
    if decides is not None:
        raise UnverifiableError(definition.name, f"with '{decides}' its results depend on the clock")
    if facts.flushes > 1 or (facts.flushes == 1 and not facts.flushed_last):
        raise UnverifiableError(definition.name, "windows were given out by --flush, and records came since")


def _clock_decides(definition: Definition) -> str | None:
    """What lets the clock move the watermark of a pipeline that something in it waits for."""
    waits = any(
        isinstance(step, Dedup | StreamJoin)
        or (isinstance(step, Aggregate) and step.window is not None and step.window.kind != "count")
        for step in definition.steps
    )
    times = [step for step in definition.steps if isinstance(step, Time)]
    if not waits or not times:
        return None
    return "processing" if times[0].processing else "idle" if times[0].idle_ms is not None else None


class _Expected:
    """What the history gives."""

    def __init__(self, store: Store, definition: Definition, facts: Facts, *, message_bytes_max: int) -> None:
        definition = with_declared_keys(store, definition)
        self._store = store
        self._facts = facts
        self._program = Program(definition)
        self._fits = fits_of(store, definition, message_bytes_max=message_bytes_max)
        self.outside: list[Comparison] = []
        self._sinks = [
            self._sink(number, message_bytes_max=message_bytes_max)
            for number in range(len(definition.branches))
        ]
        self._found: dict[tuple[str, int], list[bytes]] = {
            (branch.sink.name, partition): []
            for branch in definition.branches
            if branch.sink.kind == "topic"
            for partition in range(store.topic(branch.sink.name).partitions)
        }

    def _sink(self, number: int, *, message_bytes_max: int) -> TopicSink | Comparison:
        definition = self._program.definition
        sink = definition.branches[number].sink
        if sink.kind == "topic":
            return TopicSink(self._store, sink, pipeline=definition.name, message_bytes_max=message_bytes_max)
        self.outside.append(_comparison(sink, self._program, number, self._facts))
        return self.outside[-1]

    def lines(self) -> dict[tuple[str, int], list[bytes]]:
        """All messages of the sinks, by topic and partition."""
        program, turn = self._program, self._program.turn()
        turn.fits = self._fits
        inputs = Inputs(
            self._store,
            [program.definition.source.name, *program.side_topics],
            {},
            once=True,
            ends=self._facts.positions,
            on_gap=self._refuse_gap,
        )
        while (chunk := inputs.take()) is not None:
            turn.begin(
                chunk.topic, chunk.partition, chunk.lines, chunk.offsets, chunk.append_time_ms, chunk.batch
            )
            for topic, number in chunk.peers:
                turn.turn_to(number, side=program.sides[topic])
            partition = turn.turn_to(chunk.partition, side=program.sides[chunk.topic])
            rows = program.feeds[chunk.topic].rows(chunk.lines)
            try:
                program.process(chunk.topic, rows, partition, turn)
            except StoppedAt as stopped:
                # By the definition that ran it went on there.
                raise UnverifiableError(program.definition.name, str(stopped.cause)) from stopped
            self._take(turn.rows)
            turn.clear()
        if self._facts.flushed_last:
            program.flush(turn)
            self._take(turn.rows)
        return self._found

    def _refuse_gap(self, gap: Gap) -> None:
        place = f"{gap.topic}/{gap.partition}, offsets {gap.first_offset} to {gap.end_offset - 1}"
        raise UnverifiableError(self._program.definition.name, f"{place}: {gap.reason}")

    def _take(self, rows_of_sinks: Sequence[Rows]) -> None:
        outgoing = Outgoing(self._store)
        for sink, rows in zip(self._sinks, rows_of_sinks, strict=True):
            sink.prepare(rows, outgoing, Facts())
        for append in outgoing.appends():
            found = self._found[append.topic, append.partition]
            for batch in append.batches:
                found += batch.lines.split(b"\n")[:-1]


def _comparison(sink: Sink, program: Program, number: int, facts: Facts) -> Comparison:
    """What holds a sink outside of the store against what it gets."""
    definition, shape = program.definition, program.shapes[number]
    if sink.kind == "file":
        from aegis_cli.pipeline.sinks.file_comparison import FileComparison

        return FileComparison(sink.name, facts, pipeline=definition.name)
    if sink.kind == "sqlite":
        from aegis_cli.pipeline.sinks.sqlite_comparison import SqliteComparison
        from aegis_cli.pipeline.sqlite_shape import SqliteShape

        assert isinstance(shape, SqliteShape)
        return SqliteComparison(sink, shape, pipeline=definition.name)
    need_driver(definition)
    from aegis_cli.pipeline.shape import Shape
    from aegis_cli.pipeline.sinks.postgres_comparison import PostgresComparison

    assert isinstance(shape, Shape)
    return PostgresComparison(sink, shape, pipeline=definition.name)


def _lines(store: Store, topic: str, partition: int) -> Iterator[bytes]:
    for batch in store.reader(topic, partition).batches():
        if not isinstance(batch, Gap):
            yield from batch.values()


def _shown(line: bytes | None) -> str:
    return "nothing" if line is None else line.decode("utf-8", "replace")[:200]
