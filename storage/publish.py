"""Publishing a stream of input: read, check, append, with the next step read while the last one is synced.

Promises: records are appended in the order of the input; what `Published` counts is acknowledged; input that
is refused says which line, and everything before that line is stored and counted, unless it says otherwise;
memory is bounded by two steps, whatever the length of the input. A live input (`tail -f`) is published as it
comes: nothing that was read waits longer than `linger_ms` for more.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import SimpleQueue

from storage.batch import Receipt, RecordBatch
from storage.errors import InvalidRecordError
from storage.intake import Intake
from storage.source import BLOCK_BYTES, Source
from storage.store import Append, Store

# A step is what one append takes: large enough that its syncs cost little, small enough for two in memory.
STEP_BYTES = 8 * 1024 * 1024
LOGS_A_STEP = 256
LINGER_MS_DEFAULT = 5
_SWITCH_SECONDS = 0.0005
# What a handler may turn into an exception of the main thread.
_STOPS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


@dataclass(slots=True)
class Published:
    """What a publish has stored so far, and what it left out. Lines count from 1.

    `in_doubt` is how many records were being appended: more than none only if the append was cut short.
    `lines_before` is how many lines a producer left out because it had published them before.
    """

    records: int = 0
    blank_lines: int = 0
    refused_lines: int = 0
    refusals: list[InvalidRecordError] = field(default_factory=list)
    last_line_was_cut: bool = False
    in_doubt: int = 0
    lines_before: int = 0


def publish_stream(
    store: Store,
    intake: Intake,
    fd: int,
    *,
    name: str = "the input",
    linger_ms: int = LINGER_MS_DEFAULT,
    on_receipts: Callable[[list[Receipt]], None] | None = None,
    on_progress: Callable[[int], None] | None = None,
    published: Published | None = None,
) -> Published:
    """Publish everything that `fd` gives, to its end; errors in reading it call it `name`.

    `on_receipts` is called after each append, `on_progress` with the bytes read. `published`, if given, is
    kept up to date, so that it still tells how much was stored when this raises. Raises
    `InvalidRecordError`, with `published` set, and whatever `Store.append` raises.
    """
    done = published if published is not None else Published()
    commit = Commit(store.append, intake, done, on_receipts)
    source = Source(fd, linger_ms=linger_ms, name=name)
    publish_blocks(commit, intake, source, done, on_progress=on_progress)
    return done


def publish_blocks(
    commit: Commit,
    intake: Intake,
    source: Source,
    done: Published,
    *,
    on_progress: Callable[[int], None] | None = None,
) -> None:
    """Publish what the source gives through `commit`, and count it. Raises as `publish_stream` does."""
    try:
        with Appender(commit) as appender:
            refused = _pump(intake, source, appender, done, on_progress=on_progress)
            appender.finish()
    finally:
        done.blank_lines = intake.blank_lines
        done.refused_lines = intake.refused_lines
        done.refusals = intake.refusals
    if refused is not None:
        raise InvalidRecordError(refused.line, refused.reason, remedy=refused.remedy, published=done.records)


def publish_values(
    store: Store,
    intake: Intake,
    values: list[bytes],
    *,
    on_receipts: Callable[[list[Receipt]], None] | None = None,
    published: Published | None = None,
) -> Published:
    """Publish a few values: all of them or none. Raises as `publish_stream` does."""
    done = published if published is not None else Published()
    try:
        batch = intake.take_values(values)
    except InvalidRecordError as error:
        raise InvalidRecordError(error.line, error.reason, remedy=error.remedy, published=0) from None
    if batch is not None:
        with Appender(Commit(store.append, intake, done, on_receipts)) as appender:
            appender.add([batch])
            appender.finish()
    return done


def _pump(
    intake: Intake,
    source: Source,
    appender: Appender,
    done: Published,
    *,
    on_progress: Callable[[int], None] | None,
) -> InvalidRecordError | None:
    """Read and check until the end; returns the error of a line that ended it."""
    bulk = False
    # Records that are sorted into partitions only when they are appended are in memory several times over.
    step_bytes = STEP_BYTES // 2 if intake.sorts_late else STEP_BYTES
    for block in source.blocks(lambda: appender.pending_bytes):
        if len(block.data) > BLOCK_BYTES // 2 and not bulk:
            from storage.libc import keep_freed_memory

            bulk = True
            keep_freed_memory()
            appender.hurry()
        if block.data:
            if on_progress is not None:
                on_progress(len(block.data))
            batches, error = intake.take(block.data)
            if batches:
                done.last_line_was_cut = block.cut
                appender.add(batches)
            if error is not None:
                return error
        try:
            if intake.refuse_rest(block.rest_bytes):
                source.skip_line()
        except InvalidRecordError as error:
            return error
        full = appender.pending_bytes >= step_bytes
        if full or block.pause:
            # A source that has gone quiet may stay so: what it gave is published however busy the disk is.
            appender.flush(wait=full or block.quiet)
    return None


class _SwitchInterval:
    """How soon a thread of this process that wants to go on gets its turn; one for all its publishes.

    An append is dozens of short calls to the kernel, and after each its thread waits until the one that
    checks lines gives way. Python's 5 ms for that would make an append wait longer than it works.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._before = 0.0

    def shorten(self) -> None:
        with self._lock:
            if not self._users:
                self._before = sys.getswitchinterval()
                sys.setswitchinterval(min(self._before, _SWITCH_SECONDS))
            self._users += 1

    def restore(self) -> None:
        """Undo one `shorten`."""
        with self._lock:
            self._users -= 1
            if not self._users:
                sys.setswitchinterval(self._before)


_switch_interval = _SwitchInterval()


class Commit:
    """How the batches of a step are appended, and counted in `done` when they are.

    A step that touches more than `logs_a_step` partitions is several appends, since a journal record has its
    limits.
    """

    def __init__(
        self,
        append: Callable[[list[Append]], list[Receipt]],
        intake: Intake,
        done: Published,
        on_receipts: Callable[[list[Receipt]], None] | None,
        *,
        logs_a_step: int = LOGS_A_STEP,
    ) -> None:
        self._append = append
        self._intake = intake
        self._done = done
        self._on_receipts = on_receipts
        self._logs_a_step = logs_a_step

    def __call__(self, batches: list[RecordBatch]) -> None:
        appends = self._intake.appends(batches)
        # What was merged was copied, and is not needed in memory twice while the next step is gathered.
        batches.clear()
        for first in range(0, len(appends), self._logs_a_step):
            some = appends[first : first + self._logs_a_step]
            append_counted(self._append, some, self._done, self._on_receipts)


def append_counted(
    append: Callable[[list[Append]], list[Receipt]],
    appends: list[Append],
    done: Published,
    on_receipts: Callable[[list[Receipt]], None] | None,
) -> None:
    """Append all of these at once, and count them in `done` when they are acknowledged."""
    done.in_doubt = sum(batch.count for item in appends for batch in item.batches)
    try:
        receipts = append(appends)
    finally:
        # Whatever it raises says itself whether the records are stored.
        done.in_doubt = 0
    done.records += sum(receipt.last_offset - receipt.base_offset + 1 for receipt in receipts)
    if on_receipts is not None:
        on_receipts(receipts)


class Appender:
    """Gathers batches into steps and appends them, in order; while one is appended the next is gathered.

    Appends run in a thread of their own, so that Ctrl-C, which strikes the main thread, never cuts one short:
    `_stop` waits for it, and what was stored is known. A second Ctrl-C ends the wait.

    The threads share nothing that Ctrl-C could leave locked: a `SimpleQueue` is taken from and put to in one
    step of the interpreter, where the locks of `queue.Queue` and `threading.Event` are taken in several.
    """

    def __init__(self, commit: Callable[[list[RecordBatch]], None]) -> None:
        self._commit = commit
        self._batches: list[RecordBatch] = []
        self.pending_bytes = 0
        # At most one step is on its way: it is handed over when the end of the one before was taken.
        self._steps: SimpleQueue[list[RecordBatch] | None] = SimpleQueue()
        self._ends: SimpleQueue[BaseException | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._busy = False
        self._hurries = False

    def __enter__(self) -> Appender:
        return self

    def __exit__(self, *exc: object) -> None:
        try:
            self._stop()
        finally:
            if self._hurries:
                _switch_interval.restore()

    def hurry(self) -> None:
        """From now on each step goes on while the next one is gathered, which takes as long."""
        _switch_interval.shorten()
        self._hurries = True

    def add(self, batches: list[RecordBatch]) -> None:
        self._batches += batches
        self.pending_bytes += sum(len(batch.lines) for batch in batches)

    def flush(self, *, wait: bool) -> None:
        """Hand over what was gathered; unless `wait`, only if the step before is done."""
        if self._busy and (wait or not self._ends.empty()):
            self._take_end()
        if not self._batches or self._busy:
            return
        if self._thread is None:
            self._start()
        self._busy = True
        self._steps.put(self._batches)
        self._batches, self.pending_bytes = [], 0

    def finish(self) -> None:
        """Append what is left and wait for it."""
        self.flush(wait=True)
        if self._busy:
            self._take_end()

    def _take_end(self) -> None:
        error = self._ends.get()
        self._busy = False
        if error is not None:
            raise error

    def _start(self) -> None:
        """Start the thread with signals held back: Ctrl-C must not strike the locks of its start."""
        self._thread = threading.Thread(target=self._run, name="aegis-append", daemon=True)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
        try:
            self._thread.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _run(self) -> None:
        while (step := self._steps.get()) is not None:
            error: BaseException | None = None
            try:
                self._commit(step)
            except BaseException as raised:
                # Raised again in the thread that reads, which then ends.
                error = raised
            self._ends.put(error)

    def _stop(self) -> None:
        """End the thread, after the step that it is at."""
        if self._thread is not None:
            self._steps.put(None)
            self._thread.join()
            self._thread = None
