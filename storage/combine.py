"""Combining: small appends of many writers to one partition become one append. FORMAT.md section 5.1.

Threads of a process queue up behind the one that appends, and the next one appends for all of them; processes
do the same by posts in shared memory (`storage.posting`). A lone writer pays a few microseconds:
processes post only while there is a crowd.

Promises: each append is stored wholly or not at all, in its writer's order, and acknowledged when it is
durable and visible; an error reaches the writer whose append it is about.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from storage import append as appending
from storage.batch import SMALL_BYTES, Receipt, RecordBatch, merged
from storage.errors import (
    DamageError,
    DiskFullError,
    InDoubtError,
    LockTimeoutError,
    StoreFailedError,
    TopicChangedError,
)
from storage.journal_record import PAYLOAD_BYTES_MAX
from storage.log import Log
from storage.meta import encode_columns
from storage.small_append import SmallAppend
from storage.turns import Turn, Turns

if TYPE_CHECKING:
    from storage.posting import Posting
    from storage.small_post import SmallPost

_SMALL_COUNT = 512
# Together they stay small enough to lie in the journal, with some room for their columns.
GROUP_BYTES = PAYLOAD_BYTES_MAX * 3 // 4
# Where on average so many messages of others come between two of its own, a process gains by posting; two or
# three writers are better off side by side.
_CROWD = 4.0
_CROWD_MAX = 32
# After these an append may be tried again alone.
_NOTHING_STORED = (DamageError, DiskFullError, LockTimeoutError, StoreFailedError, TopicChangedError)


class Combiner:
    """Appends small batches to one log, for all threads of the process."""

    def __init__(self, log: Log, clock_ms: Callable[[], int], lock_wait_seconds: float) -> None:
        self._log = log
        self._clock_ms = clock_ms
        self._lock_wait_seconds = lock_wait_seconds
        self._small = SmallAppend(log, clock_ms)
        self._turns = Turns()
        self._posting: Posting | None = None
        # The short way, while there is a crowd.
        self.small_post: SmallPost | None = None
        self._crowd = 0.0
        self._next_offset = 1 << 64

    def close(self) -> None:
        """Give back what is shared with other processes."""
        if self._posting is not None:
            self._posting.close()
            self._posting = self.small_post = None

    @staticmethod
    def can_take(batch: RecordBatch) -> bool:
        """Whether the batch is small, so that it gains by company."""
        return len(batch.lines) <= SMALL_BYTES and batch.count <= _SMALL_COUNT

    def append(self, batch: RecordBatch, durable: bool) -> Receipt:
        """Append a batch that it can take; raises what `storage.append.append` does, and `InDoubtError`."""
        small_post, turns = self.small_post, self._turns
        if small_post is not None and batch.is_bare:
            posted = small_post.append(batch.lines, batch.count)
            if posted is not None:
                return posted
        if not turns.try_lead():
            return self._in_turn(batch, durable)
        try:
            posting = self._posting
            if posting is not None and posting.is_due:
                return self._post(posting, batch, None, durable)
            # Written out, since this is all that there is to it for a writer who is alone.
            receipt = self._small.append(batch, durable)
            if receipt is None:
                receipt = self._append_within(self._lock_wait_seconds, batch, durable)
            if self._crowd or receipt.base_offset != self._next_offset:
                self._look_round(receipt)
            self._next_offset = receipt.last_offset + 1
            return receipt
        finally:
            turns.leave()

    # -- threads --------------------------------------------------------------------------------------

    def _in_turn(self, batch: RecordBatch, durable: bool) -> Receipt:
        """As a thread that found another leading."""
        check_columns(batch)
        deadline = time.monotonic() + self._lock_wait_seconds
        turn, turns = Turn(batch), self._turns
        turns.queue_up(turn)
        try:
            if not turn.news.acquire(timeout=self._lock_wait_seconds) and not turns.was_taken(turn):
                holder = f"process {os.getpid()} (this one)"
                raise LockTimeoutError(self._log.lock.what, holder, self._lock_wait_seconds)
        except KeyboardInterrupt:
            if turns.was_taken(turn) and turn.leads:
                turns.pass_on()
            raise
        if turn.leads:
            return self._lead(turn, deadline, durable)
        if turn.error is not None:
            raise turn.error
        # What could not be stored together with others may be so alone, or finds out why not.
        return turn.receipt or self.append_alone(batch, deadline, durable)

    def _lead(self, turn: Turn, deadline: float, durable: bool) -> Receipt:
        """Append for all who wait; returns the receipt of this thread's own turn."""
        group = self._turns.gather(turn, GROUP_BYTES)
        place = self._log.place
        error: BaseException | None = InDoubtError(
            place.topic, place.partition, "the thread that appended it was interrupted"
        )
        try:
            receipt = self._append(joined([each.batch for each in group]), deadline, durable)
            offset = receipt.base_offset
            for each in group:
                each.receipt = part_of(receipt, offset, each.batch.count)
                offset += each.batch.count
            error = None
        except _NOTHING_STORED:
            error = None
            raise
        except Exception as raised:
            error = raised
            raise
        finally:
            self._turns.followers = []
            self._turns.pass_on()
            for each in group[1:]:
                each.error = error
                each.news.release()
        return part_of(receipt, receipt.base_offset, turn.batch.count)

    # -- processes ------------------------------------------------------------------------------------

    def _append(self, batch: RecordBatch, deadline: float | None, durable: bool) -> Receipt:
        """As the thread that leads: append, together with other processes where there is a crowd."""
        posting = self._posting
        if posting is not None and posting.is_due:
            return self._post(posting, batch, deadline, durable)
        return self._append_and_look(batch, deadline, durable)

    def _post(self, posting: Posting, batch: RecordBatch, deadline: float | None, durable: bool) -> Receipt:
        deadline = deadline or time.monotonic() + self._lock_wait_seconds
        self._note_posts()
        receipt = posting.append(batch, deadline)
        self.small_post = posting.small_post
        if receipt is None:
            return self._append_and_look(batch, deadline, durable)
        self._next_offset = receipt.last_offset + 1
        return receipt

    def _append_and_look(self, batch: RecordBatch, deadline: float | None, durable: bool) -> Receipt:
        receipt = self.append_alone(batch, deadline, durable)
        self._look_round(receipt)
        self._next_offset = receipt.last_offset + 1
        return receipt

    def _look_round(self, receipt: Receipt) -> None:
        """Before the next offset is known: how much did others append since this process did last?"""
        self._note_posts()
        between = min(max(receipt.base_offset - self._next_offset, 0), _CROWD_MAX)
        self._crowd += (between - self._crowd) / 4
        if self._crowd >= _CROWD:
            self._crowd = 0.0
            self._post_from_now_on()
        elif self._crowd < 0.1:
            self._crowd = 0.0

    def _note_posts(self) -> None:
        """What was posted the short way is this process's own, too."""
        if self.small_post is not None:
            self._next_offset = max(self._next_offset, self.small_post.next_offset)

    def _post_from_now_on(self) -> None:
        if self._posting is None:
            from storage.posting import Posting

            wait, append = self._lock_wait_seconds, self.append_alone
            self._posting = Posting(self._log, turns=self._turns, append=append, wait_seconds=wait)
        self._posting.begin()

    def append_alone(self, batch: RecordBatch, deadline: float | None, durable: bool) -> Receipt:
        """The ordinary way. `deadline` is of the monotonic clock; `None` for the whole time from now on."""
        receipt = self._small.append(batch, durable)
        if receipt is not None:
            return receipt
        wait = self._lock_wait_seconds
        if deadline is None:
            return self._append_within(wait, batch, durable)
        try:
            return self._append_within(max(deadline - time.monotonic(), 0.0), batch, durable)
        except LockTimeoutError as error:
            # It had waited a while before it came to wait for the lock.
            raise LockTimeoutError(error.what, error.holder, wait) from None

    def _append_within(self, wait_seconds: float, batch: RecordBatch, durable: bool) -> Receipt:
        return appending.append(
            self._log.journal,
            [appending.Write(self._log, [batch])],
            clock_ms=self._clock_ms,
            lock_wait_seconds=wait_seconds,
            durable=durable,
        )[0]


def joined(batches: list[RecordBatch]) -> RecordBatch:
    """The same records as one batch."""
    return batches[0] if len(batches) == 1 else merged(batches)[0]


def part_of(receipt: Receipt, base_offset: int, count: int) -> Receipt:
    """The receipt of one of those that were appended together."""
    return Receipt(
        topic=receipt.topic,
        partition=receipt.partition,
        base_offset=base_offset,
        last_offset=base_offset + count - 1,
        append_time_ms=receipt.append_time_ms,
    )


def check_columns(batch: RecordBatch) -> None:
    """Raise the ValueError that appending the batch would, before others are concerned."""
    if batch.keys is not None or batch.headers is not None or batch.timestamps_ms is not None:
        encode_columns(
            base_offset=0,
            count=batch.count,
            keys=batch.keys,
            headers=batch.headers,
            timestamps_ms=batch.timestamps_ms,
        )
