"""Running a pipeline: read, process, commit; from where the last commit left off, until the end or a signal.

Promises: what a run read, made of it and keeps open commit together, so that after any end the
next run goes on as if nothing had happened; results do not depend on where commits fall, on the size of
chunks or on how often the pipeline was run. A record that stops the pipeline is not committed, and everything
before it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from aegis_cli.pipeline.account import Account
from aegis_cli.pipeline.definition import Definition
from aegis_cli.pipeline.errors import PipelineError, StateChangedError
from aegis_cli.pipeline.inputs import Chunk, Inputs
from aegis_cli.pipeline.line_inputs import LineInputs
from aegis_cli.pipeline.outgoing import Outgoing
from aegis_cli.pipeline.program import NO_TIME, Program
from aegis_cli.pipeline.sinks.opening import fits_of, open_sinks, with_declared_keys
from aegis_cli.pipeline.state import Facts, PipelineLog
from aegis_cli.pipeline.turn import Partition, StoppedAt, Turn
from storage import files
from storage.errors import TopicExistsError
from storage.reader import Gap
from storage.store import Store
from storage.topic import TopicSettings

LIVE_COMMIT_MS = 100
_BULK_COMMIT_MS = 1000
# Done again up to a record that stops the pipeline, another one may be met; not without end.
_HALTS_MAX = 10
# What a commit may hold in memory: rows that go out, and bytes that came in.
_ROWS_A_COMMIT = 50_000
_BYTES_A_COMMIT = 256 * 1024 * 1024
_LOOK_SECONDS = 1.0
# A signal wakes nobody who waits for messages; it is looked for this often.
_WAIT_SECONDS = 0.25


class Stop(Protocol):
    """Who wants the run to end: `came` is the signal's number once there was one."""

    came: int | None
    fd: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """`once` ends at the end that is there now; `flush` then gives out what is open.

    `chunk_records` bounds how many records are processed at a time; `crash_after` ends without a commit after
    so many records, for tests.
    """

    once: bool = False
    flush: bool = False
    chunk_records: int = 1 << 30
    commit_interval_ms: int | None = None
    message_bytes_max: int = 1 << 20
    stdin_fd: int = 0
    stdout_fd: int = 1
    crash_after: int | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """What a run tells while it goes on."""

    account: Account
    lag: int
    watermark_ms: int
    open: int


def run_pipeline(
    store: Store,
    definition: Definition,
    options: RunOptions,
    *,
    stop: Stop | None = None,
    on_gap: Callable[[Gap], None] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Account:
    """Run a pipeline; returns its account, of all its runs.

    Raises what `compile` of `Program` raises, `PipelineRunsError`, `StateChangedError`, `SinkError`,
    `TopicNotFoundError`, and `RecordRefusedError` or `TooManyRefusedError`, before which it commits.
    """
    halt: HaltedAt | None = None
    for _ in range(_HALTS_MAX):
        program = Program(with_declared_keys(store, definition))
        for name in _read_topics(program):
            store.topic(name)
        make_topics(store, definition)
        log = PipelineLog(store, definition.name, program.stores)
        try:
            runner = Runner(
                store, program, log, options, halt=halt, stop=stop, on_gap=on_gap, on_progress=on_progress
            )
            try:
                return runner.run()
            finally:
                runner.close()
        except HaltedAt as halted:
            # The record may have left something behind before it was refused, in windows or among the rows.
            # From the last commit on all is done again, now up to just before that record.
            halt = halted
        finally:
            log.close()
    assert halt is not None
    raise halt.cause


def _read_topics(program: Program) -> list[str]:
    source = program.definition.source
    return [*([source.name] if source.kind == "topic" else []), *program.side_topics]


def make_topics(store: Store, definition: Definition) -> None:
    """Make the topics that results and records put aside go to, where they are missing."""
    for name in definition.written_topics:
        try:
            store.create_topic(name, TopicSettings(), if_not_exists=True)
        except TopicExistsError:
            continue  # it is there with settings of its own


class HaltedAt(Exception):
    """The record at `position` of `place` stops the pipeline, for the reason `cause`."""

    def __init__(self, place: str, position: int, cause: PipelineError) -> None:
        super().__init__(str(cause))
        self.place = place
        self.position = position
        self.cause = cause


class Runner:
    """One run, which ends before the record at `halt`. Not for several threads."""

    def __init__(
        self,
        store: Store,
        program: Program,
        log: PipelineLog,
        options: RunOptions,
        *,
        halt: HaltedAt | None,
        stop: Stop | None,
        on_gap: Callable[[Gap], None] | None,
        on_progress: Callable[[Progress], None] | None,
    ) -> None:
        self._store = store
        self._halt = halt
        self._program = program
        self._log = log
        self._options = options
        self._stop = stop
        self._on_progress = on_progress
        definition = program.definition
        facts = log.state.facts
        _check_definition(definition.name, facts, program.signature)
        self._positions = dict(facts.positions)
        self._turn = self._restored(facts)
        files_before = dict(facts.files)
        self._sinks = open_sinks(store, program, options, facts, stop=stop)
        self._turn.fits = fits_of(store, definition, message_bytes_max=options.message_bytes_max)
        # A pipeline that was reset begins anew, and its commits still come after all earlier ones.
        self._number = facts.number or store.clock_ms() * 1000
        self._files = dict(facts.files)
        self._flushes, self._flushed_last = facts.flushes, facts.flushed_last
        self._inputs = self._open_inputs(on_gap)
        self._last_of: dict[int, float] = {}
        self._bytes = self._records = 0
        self._last_commit = self._last_look = time.monotonic()
        self._changed = False
        from_end = program.definition.source.start == "latest"
        begins = from_end and self._positions != facts.positions
        if self._files != files_before or begins or facts.pending:
            # A file is cut back to the length that was committed: there must be one before it grows. And the
            # end that a pipeline begins at is the one of now, not that of its first message. What the last
            # run left for tables is there by now, and the store must say so before a sink goes.
            self._commit()

    def _open_inputs(self, on_gap: Callable[[Gap], None] | None) -> Inputs | LineInputs:
        source, side_topics = self._program.definition.source, self._program.side_topics
        if source.kind != "topic":
            return LineInputs(
                self._store,
                source,
                self._positions,
                once=self._options.once,
                records_max=self._options.chunk_records,
                stdin_fd=self._options.stdin_fd,
            )
        return Inputs(
            self._store,
            [source.name, *side_topics],
            self._positions,
            once=self._options.once,
            from_end=source.start == "latest",
            whole=side_topics,
            records_max=self._options.chunk_records,
            on_gap=on_gap,
        )

    def _restored(self, facts: Facts) -> Turn:
        turn = self._program.turn()
        account = facts.account
        turn.account = Account(**{name: getattr(account, name) for name in account.__struct_fields__})
        turn.closed_ms, turn.reached_ms = facts.closed_ms, facts.reached_ms
        for number, high_ms in facts.high_ms.items():
            partition = turn.partitions[int(number)] = Partition(int(number))
            partition.high_ms = high_ms
            partition.seen = True
        self._program.resume(turn)
        return turn

    def run(self) -> Account:
        """Go on until the end, a signal or a failure."""
        while self._stop is None or self._stop.came is None:
            chunk = self._inputs.take()
            if chunk is not None:
                self._process(chunk)
                if self._is_due():
                    self._commit()
            elif self._inputs.ended:
                break
            else:
                self._wait()
        ended = self._inputs.ended and (self._stop is None or self._stop.came is None)
        if self._options.flush and ended and not self._flushed_last:
            self._program.flush(self._turn)
            self._flushes += 1
            self._flushed_last = self._changed = True
        if self._changed:
            self._commit()
        self._settle()
        return self._turn.account

    def close(self) -> None:
        self._inputs.close()
        for sink in self._sinks:
            sink.close()

    # -- processing -----------------------------------------------------------------------------------

    def _process(self, chunk: Chunk) -> None:
        self._changed = True
        self._flushed_last = False
        turn = self._turn
        turn.begin(
            chunk.topic, chunk.partition, chunk.lines, chunk.offsets, chunk.append_time_ms, chunk.batch
        )
        rows = self._program.feeds[chunk.topic].rows(chunk.lines)
        for topic, number in chunk.peers:
            turn.turn_to(number, side=self._program.sides[topic])
        partition = turn.turn_to(chunk.partition, side=self._program.sides[chunk.topic])
        if self._program.sides[chunk.topic] >= 0:
            self._last_of[partition.number] = time.monotonic()
        crash = self._options.crash_after
        if crash is not None and self._records + len(rows) >= crash:
            raise CrashedError
        halt, next_position = self._halt, chunk.next_position
        if halt is None or halt.place != chunk.place or halt.position >= next_position:
            halt = None
        else:
            next_position = halt.position
            rows = rows[: list(chunk.offsets).index(halt.position)]
        try:
            self._program.process(chunk.topic, rows, partition, turn)
        except StoppedAt as stopped:
            position = chunk.offsets[stopped.index]
            if self._inputs.comes_again:
                raise HaltedAt(chunk.place, position, stopped.cause) from None
            next_position, rows = position, rows[: stopped.index]
            halt = HaltedAt(chunk.place, position, stopped.cause)
        if self._program.sides[chunk.topic] == NO_TIME:
            turn.account.table_rows += len(rows)
        else:
            turn.account.records_in += len(rows)
        self._positions[chunk.place] = next_position
        self._bytes += len(chunk.lines)
        self._records += len(rows)
        if halt is not None:
            self._commit()
            self._settle()
            raise halt.cause

    def _wait(self) -> None:
        """Nothing is there: commit what was done when its time has come, and wait for more."""
        interval_ms = self._options.commit_interval_ms or LIVE_COMMIT_MS
        left = self._last_commit + interval_ms / 1000 - time.monotonic()
        self._pass_time()
        if self._changed and left <= 0:
            self._commit()
        elif not self._inputs.wait(min(left, _WAIT_SECONDS) if self._changed else _WAIT_SECONDS):
            now = time.monotonic()
            if now - self._last_look >= _LOOK_SECONDS:
                self._last_look = now
                self._inputs.look_around()
                self._tell()

    def _pass_time(self) -> None:
        """Let the clock do what it may: move processing time, and let silent partitions hold nothing back."""
        turn, program = self._turn, self._program
        if program.takes_the_clock:
            for partition in turn.partitions.values():
                partition.high_ms = max(partition.high_ms, self._store.clock_ms())
        elif program.idle_ms is not None:
            silent_since = time.monotonic() - program.idle_ms / 1000
            for number, partition in turn.partitions.items():
                partition.idle = self._last_of.setdefault(number, time.monotonic()) < silent_since
        else:
            return
        # Rows that come out now are of no partition: they go where those of the first one go.
        turn.turn_to_rows(0)
        self._changed = program.advance(turn) or self._changed

    # -- commits --------------------------------------------------------------------------------------

    def _is_due(self) -> bool:
        interval_ms = self._options.commit_interval_ms or _BULK_COMMIT_MS
        turn = self._turn
        return (
            turn.held_rows >= _ROWS_A_COMMIT
            or self._bytes >= _BYTES_A_COMMIT
            or time.monotonic() - self._last_commit >= interval_ms / 1000
        )

    def _commit(self) -> None:
        """Commit what was done since the last commit."""
        turn, program = self._turn, self._program
        program.forget(turn.reached_ms, turn.account)
        outgoing = Outgoing(self._store)
        self._number += 1
        facts = Facts(
            positions=dict(self._positions),
            high_ms={str(number): each.high_ms for number, each in turn.partitions.items() if each.seen},
            closed_ms=turn.closed_ms,
            reached_ms=turn.reached_ms,
            bound_ms=program.bound_ms,
            open={name: store.open for name, store in program.stores.items()},
            number=self._number,
            files=self._files,
            definition=program.signature,
            source=program.definition.source.name,
            time_ms=self._store.clock_ms(),
            flushes=self._flushes,
            flushed_last=self._flushed_last,
        )
        for sink, rows in zip(self._sinks, turn.rows, strict=True):
            turn.account.emitted += sink.prepare(rows, outgoing, facts)
        for topic, asides in turn.asides.items():
            outgoing.put_aside(topic, asides, pipeline=program.definition.name)
        account = turn.account
        facts.account = Account(**{name: getattr(account, name) for name in account.__struct_fields__})
        files.step("pipeline.prepared")
        self._log.commit(outgoing.appends(), facts)
        files.step("pipeline.committed")
        for sink in self._sinks:
            sink.finish(facts)
        turn.clear()
        self._log.shorten_if_due()
        self._bytes = 0
        self._changed = False
        self._last_commit = time.monotonic()
        self._tell()

    def _settle(self) -> None:
        """Say that tables got what the last commit had for them: a sink can then be left out of the file."""
        if self._log.state.facts.pending:
            self._commit()

    def _tell(self) -> None:
        if self._on_progress is not None:
            turn = self._turn
            held = sum(store.open for store in self._program.stores.values())
            self._on_progress(Progress(turn.account, self._inputs.lag(), turn.low_ms, held))


class CrashedError(Exception):
    """A test wanted the run to end here, without a commit."""


def _check_definition(pipeline: str, facts: Facts, signature: dict[str, str]) -> None:
    """Raise `StateChangedError` where something is open that another definition of the pipeline opened."""
    for name, held in facts.open.items():
        if held and facts.definition.get(name) != signature.get(name):
            raise StateChangedError(pipeline, name)
