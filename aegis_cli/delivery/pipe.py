"""From topics through a command into another topic: what comes out is published, exactly once.

Promises: the messages that a run of the command wrote, and the position behind those that it read, commit in
one transaction, so that after any end the next run goes on where this one stopped and the target holds what
the command makes of the source; a run that fails, or writes a line that is no message, leaves nothing behind.
Messages of one partition go through the command in their order, one run after the other.

The command is run once a batch: it ends after each, so nothing stays in its buffers. While a batch is checked
and committed, the next one is already at work; it is committed only after the one before.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from aegis_cli.delivery.child import Child, check_command
from aegis_cli.delivery.errors import BadOutputError, CommandFailedError, OutputTooLargeError
from aegis_cli.delivery.group_feed import GroupFeed
from aegis_cli.delivery.poller import Poller
from aegis_cli.delivery.portion import Portion
from aegis_cli.delivery.process_group import ProcessGroup
from aegis_cli.delivery.stop_signals import StopSignals
from aegis_cli.delivery.surroundings import surroundings, surroundings_of
from storage.assignor import Place
from storage.batch import RecordBatch
from storage.errors import MemberFencedError, SettingError
from storage.intake import Intake, IntakeOptions
from storage.member import Member
from storage.reader import Gap
from storage.transaction import Transaction
from storage.watch import Watch, open_watch

BATCH_DEFAULT = 10_000
_PORTION_BYTES = 4 * 1024 * 1024
# What is published as a unit; a reader that wants one message reads all of it.
_BLOCK_BYTES = 1024 * 1024
_BUSY_SYNC_SECONDS = 0.05
_IDLE_SYNC_SECONDS = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class PipeOptions:
    """Which `command`, in words, whose output goes to the topic `target`, at most `batch` messages a run.

    A message of the target may have `max_record_bytes`, a run may take `timeout_seconds` and write
    `output_bytes_max`. `environ` is the process's own by default.
    """

    command: Sequence[str]
    target: str
    max_record_bytes: int
    batch: int = BATCH_DEFAULT
    timeout_seconds: float | None = None
    output_bytes_max: int = 64 * 1024 * 1024
    environ: Mapping[str, str] | None = None


@dataclass(slots=True)
class Piped:
    """What came of it: messages that the command was given, and that it made, and how often it was run."""

    records: int = 0
    published: int = 0
    runs: int = 0


def pipe(
    member: Member,
    options: PipeOptions,
    *,
    follow: bool = False,
    on_notice: Callable[[str], None] | None = None,
    on_gap: Callable[[Gap], None] | None = None,
) -> Piped:
    """Run the messages of a member that has joined through the command, into the target.

    Without `follow` it ends at the end that was there when it began. In the main thread SIGINT and SIGTERM
    end it between two commits. Raises `CommandFailedError`, `BadOutputError`, `OutputTooLargeError`: nothing
    of that batch was committed; `FileNotFoundError` where there is no such command, `TopicNotFoundError`,
    and `SettingError` for a target that is a source.
    """
    check_command(options.command)
    member.store.topic(options.target)
    if options.target in member.topics:
        raise SettingError("to", f"cannot be '{options.target}', which is read", remedy="name another topic")
    feed = GroupFeed(
        member,
        follow=follow,
        records_max=options.batch,
        bytes_max=_PORTION_BYTES,
        on_notice=on_notice,
        on_gap=on_gap,
    )
    watch = open_watch()
    try:
        with StopSignals() as stop:
            piped = _Pipe(feed, options, stop, watch).run()
        stop.act()
        return piped
    finally:
        watch.close()


class _Pipe:
    def __init__(self, feed: GroupFeed, options: PipeOptions, stop: StopSignals, watch: Watch) -> None:
        self._feed = feed
        self._member = feed.member
        self._options = options
        self._stop = stop
        self._watch = watch
        self._poller = Poller(watch, stop.fd)
        environ = os.environ if options.environ is None else options.environ
        store_path = feed.member.store.path
        self._common = surroundings(environ, group=feed.member.group, store_path=store_path)
        self._group = ProcessGroup()
        self._work: tuple[Portion, Child] | None = None
        self._next: Portion | None = None
        self._next_sync = 0.0
        self._piped = Piped()

    def run(self) -> Piped:
        """Go on until the end, a signal or a failure."""
        self._feed.watch(self._watch)
        try:
            while self._stop.came is None:
                self._sync()
                if self._work is None:
                    self._begin()
                if self._work is None:
                    if self._feed.finished:
                        break
                    self._wait(None)
                    continue
                portion, child = self._work
                if child.ended:
                    self._finish(portion, child)
                else:
                    self._wait(child)
        finally:
            if self._work is not None:
                self._work[1].kill()
            self._group.kill()
        return self._piped

    # -- the group ------------------------------------------------------------------------------------

    def _sync(self) -> None:
        if time.monotonic() >= self._next_sync:
            deaths, self._poller.moved = self._poller.moved, False
            self._drop(self._feed.sync(deaths=deaths))
            if deaths:
                self._feed.watch(self._watch)
            busy = self._work is not None
            self._next_sync = time.monotonic() + (_BUSY_SYNC_SECONDS if busy else _IDLE_SYNC_SECONDS)
        closing = self._feed.closing
        if closing:
            if self._next is not None and self._next.place in closing:
                self._next = None
            self._drop(self._feed.release(() if self._work is None else (self._work[0].place,)))

    def _drop(self, void: set[Place]) -> None:
        """Stop what is in work of places that are not ours any more."""
        if self._work is not None and self._work[0].place in void:
            self._work[1].kill()
            self._work = None
        if self._next is not None and self._next.place in void:
            self._next = None

    def _wait(self, child: Child | None) -> None:
        if child is not None and self._next is None:
            self._next = self._feed.take(full=True)
        times = [self._next_sync]
        if child is not None and child.deadline is not None:
            times.append(child.deadline)
        woken = self._poller.wait(
            () if child is None else (child,),
            timeout_seconds=max(0.0, min(times) - time.monotonic()),
            watching=child is None,
        )
        if woken:
            self._next_sync = 0.0

    # -- one run --------------------------------------------------------------------------------------

    def _begin(self) -> None:
        portion, self._next = self._next or self._feed.take(), None
        if portion is None:
            return
        portion.tries = 1
        child = Child(
            self._options.command,
            portion.lines,
            group=self._group,
            environ=surroundings_of(portion, self._common),
            timeout_seconds=self._options.timeout_seconds,
            output_bytes_max=self._options.output_bytes_max,
        )
        self._work = portion, child

    def _finish(self, portion: Portion, child: Child) -> None:
        """Publish what a run wrote, while the next one is at work."""
        self._work = None
        command = self._options.command[0]
        if child.output_too_large:
            raise OutputTooLargeError(command, str(portion), self._options.output_bytes_max)
        if child.status != 0 or child.timed_out:
            raise CommandFailedError(
                command,
                str(portion),
                status=child.status,
                reason=child.reason(),
                tries=1,
                remedy="nothing of it was published; run it again when that is repaired",
            )
        self._begin()
        self._publish(portion, child.output())

    def _publish(self, portion: Portion, output: bytes) -> None:
        transaction = self._member.store.transaction()
        published = self._add(transaction, portion, output)
        try:
            self._member.commit({portion.place: portion.next_offset}, transaction=transaction)
        except MemberFencedError:
            # What another member does by now is not done here: also not what follows it.
            void = self._feed.sync()
            self._drop(void | {portion.place})
            if portion.place not in void:
                self._feed.rewind(portion.place)
            return
        self._piped.runs += 1
        self._piped.records += portion.count
        self._piped.published += published

    def _add(self, transaction: Transaction, portion: Portion, output: bytes) -> int:
        """Put a run's output into the transaction; returns how many messages that are."""
        store = self._member.store
        topic = store.topic(self._options.target)
        intake = Intake(store, topic, IntakeOptions(max_record_bytes=self._options.max_record_bytes))
        batches: list[RecordBatch] = []
        for block in _blocks(output):
            taken, error = intake.take(block)
            if error is not None:
                raise BadOutputError(self._options.command[0], str(portion), error)
            batches += taken
        for append in intake.appends(batches):
            transaction.add(append.topic, append.partition, append.batches)
        return sum(batch.count for batch in batches)


def _blocks(output: bytes) -> Iterator[bytes]:
    """The output in pieces of whole lines."""
    start = 0
    while start < len(output):
        end = len(output)
        if end - start > _BLOCK_BYTES:
            end = output.rfind(b"\n", start, start + _BLOCK_BYTES) + 1 or output.find(b"\n", start) + 1
        yield output[start:end]
        start = end
