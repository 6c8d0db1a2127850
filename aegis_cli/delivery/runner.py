"""The loop that hands messages of a source to commands; `exec` says what it promises."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Hashable, Iterable

from aegis_cli.delivery.child import Child
from aegis_cli.delivery.errors import CommandFailedError
from aegis_cli.delivery.exec_options import ExecOptions, Executed
from aegis_cli.delivery.key_order import KeyOrder
from aegis_cli.delivery.poller import Poller
from aegis_cli.delivery.portion import Portion
from aegis_cli.delivery.process_group import ProcessGroup
from aegis_cli.delivery.source import Failure, Source
from aegis_cli.delivery.stop_signals import StopSignals
from aegis_cli.delivery.surroundings import surroundings, surroundings_of
from aegis_cli.delivery.watchdog import Watchdog
from storage.watch import Watch

BACKOFF_SECONDS_MAX = 60.0
_AHEAD_BYTES_MAX = 16 * 1024 * 1024
# How often the group is looked at when nothing wakes: while commands run nobody else may have their messages.
_BUSY_SYNC_SECONDS = 0.05
_IDLE_SYNC_SECONDS = 0.25


class _Run:
    """A command at work on a portion."""

    __slots__ = ("child", "group", "portion")

    def __init__(self, portion: Portion, child: Child, group: ProcessGroup) -> None:
        self.portion = portion
        self.child = child
        self.group = group


class Runner:
    """The state of one `consume_exec`: what is ahead, what is in work, when the next thing is due."""

    def __init__(
        self,
        source: Source,
        options: ExecOptions,
        stop: StopSignals,
        watch: Watch,
        *,
        on_notice: Callable[[str], None] | None,
    ) -> None:
        self._source = source
        self._options = options
        self._stop = stop
        self._watch = watch
        self._poller = Poller(watch, stop.fd)
        self._on_notice = on_notice
        environ = os.environ if options.environ is None else options.environ
        self._common = surroundings(environ, group=source.name, store_path=source.store_path)
        self._retries = 0 if source.retries_itself else options.retries
        self._order = KeyOrder()
        # What was taken and not begun, with its size.
        self._ahead: dict[Portion, int] = {}
        self._ahead_bytes = 0
        beat = source.beat
        self._beats = source.beats
        self._watchdog = None if beat is None else Watchdog(beat.path, timeout_seconds=beat.timeout_seconds)
        self._free = [ProcessGroup(self._watchdog) for _ in range(options.parallel)]
        self._running: dict[Portion, _Run] = {}
        self._taken = 0
        self._done = Executed()
        self._error: Exception | None = None
        self._end_by: float | None = None
        self._next_sync = 0.0
        self._next_commit = 0.0
        self._last_message = time.monotonic()

    def run(self) -> Executed:
        """Go on until the end, a signal or a failure; commits what is done in each case."""
        self._source.watch(self._watch)
        try:
            while True:
                self._sync()
                self._reap()
                self._fill()
                self._start()
                self._commit()
                if not self._running and self._is_over():
                    break
                self._wait()
            self._drop(self._source.commit())
            self._source.close()
        finally:
            for run in self._running.values():
                run.child.kill()
            for group in self._free:
                group.kill()
            if self._watchdog is not None:
                self._watchdog.close()
        if self._error is not None:
            raise self._error
        return self._done

    # -- the end --------------------------------------------------------------------------------------

    @property
    def _ending(self) -> bool:
        """Whether nothing new is begun: because of a signal, or of something that failed for good."""
        return self._end_by is not None

    def _end(self) -> None:
        if self._end_by is None:
            self._end_by = time.monotonic() + self._options.grace_seconds

    def _is_over(self) -> bool:
        if self._ending or self._done.idle:
            return True
        return not len(self._order) and (self._is_sated or self._source.finished)

    @property
    def _is_sated(self) -> bool:
        return self._options.limit is not None and self._taken >= self._options.limit

    # -- the source -----------------------------------------------------------------------------------

    def _sync(self) -> None:
        now = time.monotonic()
        if self._stop.came is not None:
            self._end()
        if now < self._next_sync:
            return
        deaths, self._poller.moved = self._poller.moved, False
        self._drop(self._source.sync(deaths=deaths))
        if deaths:
            self._source.watch(self._watch)
        if self._watchdog is not None and self._beats != self._source.beats:
            self._beats = self._source.beats
            self._watchdog.beat()
        busy = bool(self._running)
        self._next_sync = time.monotonic() + (_BUSY_SYNC_SECONDS if busy else _IDLE_SYNC_SECONDS)

    def _drop(self, gone: Iterable[Portion]) -> None:
        """Have nothing more to do with portions that are somebody else's by now."""
        for portion in gone:
            self._taken -= portion.count
            run = self._running.pop(portion, None)
            if run is None:
                self._forget_ahead(portion)
                self._order.cancel(portion)
                continue
            run.child.kill()
            self._free.append(run.group)
            portion.void = True
            self._order.finish(portion)

    def _fill(self) -> None:
        """Read ahead, as far as there is room."""
        while self._has_room:
            portion = self._source.take()
            if portion is None:
                self._look_idle()
                return
            self._last_message = time.monotonic()
            limit = self._options.limit
            if limit is not None and self._taken + portion.count > limit:
                portion.cut(limit - self._taken)
            self._taken += portion.count
            self._ahead[portion] = portion.size_bytes
            self._ahead_bytes += portion.size_bytes
            self._order.add(portion, self._names(portion))

    @property
    def _has_room(self) -> bool:
        if self._ending or self._done.idle or self._is_sated or not self._source.has_room:
            return False
        taken_max = self._options.parallel + self._source.ahead_max
        return len(self._order) < taken_max and self._ahead_bytes < _AHEAD_BYTES_MAX

    def _names(self, portion: Portion) -> Iterable[Hashable]:
        if self._options.parallel == 1:
            return (portion.place,)
        return [(portion.place.topic, key) for key in portion.all_keys()]

    def _look_idle(self) -> None:
        idle_seconds = self._options.idle_seconds
        if idle_seconds is None or len(self._order):
            return
        if time.monotonic() - self._last_message >= idle_seconds:
            self._done.idle = True

    def _commit(self) -> None:
        """Commit now and then, and at once where nothing else is to be done."""
        if self._source.unsaid and (time.monotonic() >= self._next_commit or not self._running):
            self._drop(self._source.commit())

    # -- commands -------------------------------------------------------------------------------------

    def _start(self) -> None:
        while self._free and not self._ending:
            portion = self._order.next(time.monotonic())
            if portion is None:
                return
            group = self._free.pop()
            self._forget_ahead(portion)
            portion.begun = True
            portion.tries += 1
            try:
                child = Child(
                    self._options.command,
                    portion.lines,
                    group=group,
                    environ=surroundings_of(portion, self._common),
                    timeout_seconds=self._options.timeout_seconds,
                )
            except OSError as error:
                self._free.append(group)
                self._fail(error)
                return
            self._running[portion] = _Run(portion, child, group)

    def _forget_ahead(self, portion: Portion) -> None:
        self._ahead_bytes -= self._ahead.pop(portion, 0)

    def _reap(self) -> None:
        """See what became of the commands that have ended, and end those that may not go on."""
        if self._end_by is not None and time.monotonic() >= self._end_by:
            self._drop(list(self._running))
        for run in [run for run in self._running.values() if run.child.ended]:
            del self._running[run.portion]
            self._free.append(run.group)
            if run.child.status == 0 and not run.child.timed_out:
                self._done.records += run.portion.count
                self._finish(run.portion)
                self._source.done(run.portion)
            else:
                self._failed(run.portion, run.child)

    def _finish(self, portion: Portion) -> None:
        if not self._source.unsaid:
            self._next_commit = time.monotonic() + self._options.commit_seconds
        self._last_message = time.monotonic()
        self._order.finish(portion)

    def _failed(self, portion: Portion, child: Child) -> None:
        self._done.failed += 1
        # Beyond 60 doublings the result no longer matters, and a number that large is slow to work out.
        delay = min(self._options.backoff_seconds * 2 ** min(portion.tries - 1, 60), BACKOFF_SECONDS_MAX)
        failure = Failure(
            status=child.status, reason=child.reason(), tries=portion.tries, delay_seconds=delay
        )
        if portion.tries <= self._retries:
            if not self._ending:
                self._notice(f"{portion}: {failure.reason}; trying again in {delay:g} s")
                self._order.later(portion, time.monotonic() + delay)
                portion.begun = False
            return
        self._give_up(portion, failure)

    def _give_up(self, portion: Portion, failure: Failure) -> None:
        text, count = str(portion), portion.count
        given_up = self._source.give_up(portion, failure)
        if given_up == "no place":
            self._fail(
                CommandFailedError(
                    self._options.command[0],
                    text,
                    status=failure.status,
                    reason=failure.reason,
                    tries=failure.tries,
                    remedy="repair that and run it again, or put such messages aside with --dead-letter",
                )
            )
            return
        if given_up == "put aside":
            self._done.dead_lettered += count
            self._notice(f"{text}: {failure.reason}; given up after {failure.tries} tries")
        else:
            self._notice(f"{text}: {failure.reason}; given back after delivery {failure.tries}")
        self._finish(portion)

    def _fail(self, error: Exception) -> None:
        self._error = self._error or error
        self._end()

    # -- waiting --------------------------------------------------------------------------------------

    def _wait(self) -> None:
        now = time.monotonic()
        times = [self._next_sync]
        times += [run.child.deadline for run in self._running.values() if run.child.deadline is not None]
        if self._source.unsaid:
            times.append(self._next_commit)
        if self._end_by is not None:
            times.append(self._end_by)
        elif self._free and self._order.next_time is not None:
            times.append(self._order.next_time)
        if self._options.idle_seconds is not None and not len(self._order):
            times.append(self._last_message + self._options.idle_seconds)
        woken = self._poller.wait(
            [run.child for run in self._running.values()],
            timeout_seconds=max(0.0, min(times) - now),
            watching=self._has_room,
        )
        if woken:
            self._next_sync = 0.0

    def _notice(self, text: str) -> None:
        if self._on_notice is not None:
            self._on_notice(text)
