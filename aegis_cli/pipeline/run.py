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
from typing import TYPE_CHECKING

from aegis_cli.pipeline.account import Account
from aegis_cli.pipeline.ahead import Ahead, Taken, open_inputs
from aegis_cli.pipeline.around import Around, Progress, Stop
from aegis_cli.pipeline.basis import check_change, file_paths, has_same_time
from aegis_cli.pipeline.clock import Clock
from aegis_cli.pipeline.definition import Definition
from aegis_cli.pipeline.inputs import Chunk, Inputs
from aegis_cli.pipeline.outgoing import Outgoing
from aegis_cli.pipeline.pace import Pace
from aegis_cli.pipeline.prefix import Prepared
from aegis_cli.pipeline.program import Program
from aegis_cli.pipeline.reload import Reload, changed_keys, successor
from aegis_cli.pipeline.sinks.opening import fits_of, in_order, make_topics, open_sinks, with_declared_keys
from aegis_cli.pipeline.state import Facts, PipelineLog
from aegis_cli.pipeline.turn import NEVER_MS, NO_TIME, HaltedAt, StoppedAt
from storage import files
from storage.errors import StorageError
from storage.reader import Gap
from storage.store import Store

if TYPE_CHECKING:
    from aegis_cli.pipeline.line_inputs import LineInputs
    from aegis_cli.pipeline.workers import Workers

# Done again up to a record that stops the pipeline, another one may be met; not without end.
_HALTS_MAX = 10
_LOOK_SECONDS = 1.0
# A signal wakes nobody who waits for messages; it is looked for this often.
_WAIT_SECONDS = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """`once` ends at the end that is there now; `flush` then gives out what is open.

    `chunk_records` bounds how many records are processed at a time; `crash_after` ends without a commit after
    so many records, for tests. `workers` processes do what needs no state, if there is more than one; records
    of stdin, which come only once, are not given away.
    """

    once: bool = False
    flush: bool = False
    chunk_records: int = 1 << 30
    commit_interval_ms: int | None = None
    message_bytes_max: int = 1 << 20
    stdin_fd: int = 0
    stdout_fd: int = 1
    crash_after: int | None = None
    workers: int = 1


def run_pipeline(
    store: Store,
    definition: Definition,
    options: RunOptions,
    *,
    stop: Stop | None = None,
    reload: Reload | None = None,
    on_gap: Callable[[Gap], None] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Account:
    """Run a pipeline; returns its account, of all its runs. Between two commits `reload` can change it.

    Raises what `compile` of `Program` raises, `PipelineRunsError`, `StateChangedError`, `SinkError`,
    `TopicNotFoundError`, and `RecordRefusedError` or `TooManyRefusedError`, before which it commits.
    """
    around = Around(stop=stop, reload=reload, on_gap=on_gap, on_progress=on_progress)
    definition = with_declared_keys(store, definition)
    if options.workers == 1 or definition.source.kind == "stdin":
        return _run(store, Program(definition), options, around, None)
    from aegis_cli.pipeline.workers import Workers

    with Workers(options.workers) as workers:
        return _run(store, Program(definition, split=True), options, around, workers)


def _run(
    store: Store, program: Program, options: RunOptions, around: Around, workers: Workers | None
) -> Account:
    """Run, and start again where a record stops it, or with a file that was changed."""
    reload = around.reload
    before: Definition | None = None
    halt: HaltedAt | None = None
    halts = 0
    stdin: LineInputs | None = None
    while True:
        try:
            runner = _started(store, program, options, around, workers, halt, stdin)
        except (StorageError, OSError) as error:
            if before is None or reload is None:
                raise
            # What only its start can tell: a sink that cannot be opened, a topic that is not there.
            reload.refused(str(error))
            program, before = Program(before, split=program.is_split), None
            continue
        if before is not None and reload is not None:
            reload.accepted(changed_keys(before, program.definition))
        before = None
        stdin = runner.stdin
        try:
            account = runner.run()
            if runner.successor is None:
                return account
            before, program, halt = program.definition, runner.successor, None
        except HaltedAt as halted:
            # The record may have left something behind before it was refused, in windows or among the rows.
            # From the last commit on all is done again, now up to just before that record.
            halts += 1
            if halts == _HALTS_MAX:
                raise halted.cause from None
            halt, program = halted, Program(program.definition, split=program.is_split)
        finally:
            runner.close()


def _started(
    store: Store,
    program: Program,
    options: RunOptions,
    around: Around,
    workers: Workers | None,
    halt: HaltedAt | None,
    stdin: LineInputs | None,
) -> Runner:
    """A run that goes on where the last commit left off."""
    for name in program.read_topics:
        store.topic(name)
    make_topics(store, program.definition)
    log = PipelineLog(store, program.definition.name, program.stores, program.basis.meanings)
    try:
        return Runner(store, program, log, options, around, workers, halt, stdin)
    except BaseException:
        log.close()
        raise


class Runner:
    """One run, which ends before the record at `halt`. Not for several threads."""

    def __init__(
        self,
        store: Store,
        program: Program,
        log: PipelineLog,
        options: RunOptions,
        around: Around,
        workers: Workers | None,
        halt: HaltedAt | None,
        stdin: LineInputs | None,
    ) -> None:
        self._store = store
        self._halt = halt
        self._program = program
        self._log = log
        self._options = options
        self._around = around
        # The lines of stdin, which come only once; and the program that is to go on in place of this one.
        self.stdin: LineInputs | None = None
        self.successor: Program | None = None
        definition = program.definition
        self._pace = Pace(options.commit_interval_ms or definition.commit_interval_ms)
        facts = log.state.facts
        check_change(facts, program.basis)
        self._positions = dict(facts.positions)
        self._turn = program.turn()
        times = (facts.closed_ms, facts.reached_ms)
        if not has_same_time(facts, program.basis):
            times = (NEVER_MS, NEVER_MS)
        self._turn.restore(facts.account, times, facts.high_ms)
        program.resume(self._turn)
        files_before = dict(facts.files)
        self._turn.fits = fits_of(store, definition, message_bytes_max=options.message_bytes_max)
        self._order = in_order(definition)
        self._sinks = open_sinks(store, program, options, facts, stop=around.stop)
        # A pipeline that was reset begins anew, and its commits still come after all earlier ones.
        self._number = facts.number or store.clock_ms() * 1000
        # A file that is no sink any more belongs to others from here on.
        self._files = {path: facts.files[path] for path in file_paths(definition)}
        self._flushes, self._flushed_last = facts.flushes, facts.flushed_last
        self._clock = Clock(store, program)
        self._records = 0
        self._last_look = time.monotonic()
        self._changed = False
        try:
            self._inputs = open_inputs(
                store, program, self._positions, facts.tails, options, around, self._pace, stdin
            )
            self._tails = facts.tails
            self.stdin = None if isinstance(self._inputs, Inputs) else self._inputs
            from_end = definition.source.start == "latest"
            begins = from_end and self._positions != facts.positions
            if self._files != files_before or begins or facts.pending:
                # A file is cut back to the length that was committed: there must be one before it grows. And
                # the end that a pipeline begins at is the one of now, not that of its first message. What the
                # last run left for tables is there by now, and the store must say so before a sink goes.
                self._commit()
        except BaseException:
            self._close_sinks()
            raise
        stops_at = None if halt is None else (halt.place, halt.position)
        self._ahead = Ahead(
            self._inputs, program, workers, self._turn.fits, stops_at, lambda: around.is_stopped
        )

    def run(self) -> Account:
        """Go on until the end, a signal or a failure, or until there is a `successor`."""
        while not self._around.is_stopped:
            if self._is_succeeded():
                return self._turn.account
            taken = self._ahead.take()
            if taken is not None:
                self._process(taken)
                if self._pace.is_due(self._turn.held_rows):
                    self._commit()
                self._look_around()
            elif self._inputs.ended:
                break
            else:
                self._wait()
        ended = self._inputs.ended and not self._around.is_stopped
        if self._options.flush and ended and not self._flushed_last:
            self._program.flush(self._turn)
            self._flushes += 1
            self._flushed_last = self._changed = True
        self._settle()
        return self._turn.account

    def _is_succeeded(self) -> bool:
        """Whether the file was changed, so that there is a successor now."""
        reload = self._around.reload
        if reload is not None and reload.came:
            self._settle()
            self.successor = successor(reload, self._program, self._log.state.facts, self._store)
        return self.successor is not None

    def _settle(self) -> None:
        """Commit what was done; and that the sinks have it, so that they may be other ones from here on."""
        if self._changed:
            self._commit()
        if self._log.state.facts.pending:
            self._commit()

    def close(self) -> None:
        self._inputs.close()
        self._close_sinks()
        self._log.close()

    def _close_sinks(self) -> None:
        for sink in self._sinks:
            sink.close()

    # -- processing -----------------------------------------------------------------------------------

    def _process(self, taken: Taken) -> None:
        chunk = taken.chunk
        if chunk.lines:
            self._process_records(chunk, taken.prepared)
        else:
            self._positions[chunk.place] = chunk.next_position
        if taken.is_last:
            self._commit()
            self._settle()
            assert self._halt is not None
            raise self._halt.cause

    def _process_records(self, chunk: Chunk, prepared: Prepared | None) -> None:
        self._changed = True
        self._flushed_last = False
        self._pace.begin()
        turn, program = self._turn, self._program
        turn.begin(
            chunk.topic, chunk.partition, chunk.lines, chunk.offsets, chunk.append_time_ms, chunk.batch
        )
        for topic, number in chunk.peers:
            turn.turn_to(number, side=program.sides[topic])
        partition = turn.turn_to(chunk.partition, side=program.sides[chunk.topic])
        if program.sides[chunk.topic] >= 0:
            self._clock.heard(partition.number)
        rows = [] if prepared is not None else program.feeds[chunk.topic].rows(chunk.lines)
        count = len(rows) if prepared is None else prepared.count
        crash = self._options.crash_after
        if crash is not None and self._records + count >= crash:
            raise CrashedError
        try:
            if prepared is None or program.prefix is None:
                program.process(chunk.topic, rows, partition, turn)
            else:
                program.prefix.take(prepared, partition, turn)
        except StoppedAt as stopped:
            position = chunk.offsets[stopped.index]
            if not self._inputs.comes_again:
                self._done(chunk, stopped.index, position)
                self._settle()
                raise stopped.cause from None
            raise HaltedAt(chunk.place, position, stopped.cause) from None
        self._done(chunk, count, chunk.next_position)

    def _done(self, chunk: Chunk, count: int, next_position: int) -> None:
        """So many records of a chunk were processed."""
        account = self._turn.account
        if self._program.sides[chunk.topic] == NO_TIME:
            account.table_rows += count
        else:
            account.records_in += count
        self._positions[chunk.place] = next_position
        self._pace.add(count, len(chunk.lines) + self._turn.take_made_bytes())
        self._records += count

    def _wait(self) -> None:
        """Nothing is there: commit what was done when its time has come, and wait for more."""
        left = self._pace.seconds_left()
        self._changed = self._clock.passes(self._turn) or self._changed
        if self._changed and left <= 0:
            self._commit()
        elif not self._inputs.wait(min(left, _WAIT_SECONDS) if self._changed else _WAIT_SECONDS):
            self._look_around()

    def _look_around(self) -> None:
        """Now and then look whether there is more to be read than is known, also while much is read."""
        now = time.monotonic()
        if self._options.once or now - self._last_look < _LOOK_SECONDS:
            return
        self._last_look = now
        try:
            self._inputs.look_around()
        except StorageError:
            # What was read may be gone, so that only this run can still commit what became of it.
            self._settle()
            raise
        self._tell()

    # -- commits --------------------------------------------------------------------------------------

    def _commit(self) -> None:
        """Commit what was done since the last commit."""
        turn, program = self._turn, self._program
        began = time.monotonic()
        program.forget(turn.reached_ms, turn.account)
        outgoing = Outgoing(self._store)
        self._number += 1
        facts = Facts(
            positions=dict(self._positions),
            tails=self._tails | self._inputs.tails(),
            high_ms={str(number): each.high_ms for number, each in turn.partitions.items() if each.seen},
            closed_ms=turn.closed_ms,
            reached_ms=turn.reached_ms,
            bound_ms=program.bound_ms,
            open={name: store.open for name, store in program.stores.items()},
            number=self._number,
            files=self._files,
            basis=program.basis.meanings,
            source=program.definition.source.name,
            file=program.definition.file,
            time_ms=self._store.clock_ms(),
            flushes=self._flushes,
            flushed_last=self._flushed_last,
        )
        for branch in self._order:
            turn.account.emitted += self._sinks[branch].prepare(turn.rows[branch], outgoing, facts)
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
        self._pace.committed(time.monotonic() - began)
        if not self._around.is_stopped:
            self._log.shorten_if_due()
        self._changed = False
        self._tell()

    def _tell(self) -> None:
        if self._around.on_progress is not None:
            turn = self._turn
            held = sum(store.open for store in self._program.stores.values())
            self._around.on_progress(Progress(turn.account, self._inputs.lag(), turn.low_ms, held))


class CrashedError(Exception):
    """A test wanted the run to end here, without a commit."""
