"""Combining: small appends of many writers to one partition become one append. FORMAT.md section 5.1.

Threads of a process queue up behind the one that appends, and the next one appends for all of them; processes
do the same by posts in shared memory (`storage.posting`). A lone writer pays a few microseconds:
processes post only while there is a crowd.

Promises: each append is stored wholly or not at all, in its writer's order, and acknowledged when it is
durable and visible; an error reaches the writer whose append it is about.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
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

if TYPE_CHECKING:
    from storage.posting import Posting

_SMALL_COUNT = 512
# Together they stay small enough to lie in the journal, with some room for their columns.
GROUP_BYTES = PAYLOAD_BYTES_MAX * 3 // 4
_GROUP_TURNS = 512
# Where on average so many messages of others come between two of its own, a process gains by posting; two or
# three writers are better off side by side.
_CROWD = 4.0
_CROWD_MAX = 32
# After these an append may be tried again alone.
_NOTHING_STORED = (DamageError, DiskFullError, LockTimeoutError, StoreFailedError, TopicChangedError)


class _Turn:
    """A thread's append that waits for the one that leads."""

    __slots__ = ("batch", "error", "leads", "news", "receipt")

    def __init__(self, batch: RecordBatch) -> None:
        self.batch = batch
        self.receipt: Receipt | None = None
        self.error: BaseException | None = None
        self.leads = False
        self.news = threading.Lock()
        self.news.acquire()


class Combiner:
    """Appends small batches to one log, for all threads of the process."""

    def __init__(self, log: Log, clock_ms: Callable[[], int], lock_wait_seconds: float) -> None:
        self._log = log
        self._clock_ms = clock_ms
        self._lock_wait_seconds = lock_wait_seconds
        self._small = SmallAppend(log, clock_ms)
        self._leading = threading.Lock()
        self._turns: deque[_Turn] = deque()
        # Those whose batches the leading thread appends with its own.
        self._followers: list[_Turn] = []
        self._posting: Posting | None = None
        self._crowd = 0.0
        self._next_offset = 1 << 64

    def close(self) -> None:
        """Give back what is shared with other processes."""
        if self._posting is not None:
            self._posting.close()
            self._posting = None

    @staticmethod
    def can_take(batch: RecordBatch) -> bool:
        """Whether the batch is small, so that it gains by company."""
        return len(batch.lines) <= SMALL_BYTES and batch.count <= _SMALL_COUNT

    def append(self, batch: RecordBatch, durable: bool) -> Receipt:
        """Append a batch that it can take; raises what `storage.append.append` does, and `InDoubtError`."""
        if not self._leading.acquire(False):
            return self._in_turn(batch, durable)
        try:
            posting = self._posting
            if posting is not None:
                posted = posting.append_small(batch)
                if posted is not None:
                    self._next_offset = posted.last_offset + 1
                    return posted
                if posting.is_due:
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
            if not self._turns:
                self._leading.release()
                # Who queued up just before the release has seen this thread lead.
                if self._turns and self._leading.acquire(False):
                    self._pass_on()
            else:
                self._pass_on()

    # -- threads --------------------------------------------------------------------------------------

    def _in_turn(self, batch: RecordBatch, durable: bool) -> Receipt:
        """As a thread that found another leading."""
        check_columns(batch)
        deadline = time.monotonic() + self._lock_wait_seconds
        turn = _Turn(batch)
        self._turns.append(turn)
        if self._leading.acquire(False):
            # Who led has gone, perhaps without having seen this turn.
            self._pass_on()
        try:
            if not turn.news.acquire(timeout=self._lock_wait_seconds) and not self._was_taken(turn):
                holder = f"process {os.getpid()} (this one)"
                raise LockTimeoutError(self._log.lock.what, holder, self._lock_wait_seconds)
        except KeyboardInterrupt:
            if self._was_taken(turn) and turn.leads:
                self._pass_on()
            raise
        if turn.leads:
            return self._lead(turn, deadline, durable)
        if turn.error is not None:
            raise turn.error
        # What could not be stored together with others may be so alone, or finds out why not.
        return turn.receipt or self.append_alone(batch, deadline, durable)

    def _was_taken(self, turn: _Turn) -> bool:
        """Whether somebody has taken up the turn, which shall wait no longer; it is over then."""
        try:
            self._turns.remove(turn)
        except ValueError:
            # What that one waits for is bounded.
            turn.news.acquire()
            return True
        return False

    def _pass_on(self) -> None:
        """Let the thread lead that has waited longest, if any waits."""
        while True:
            while self._turns:
                try:
                    turn = self._turns.popleft()
                except IndexError:
                    break  # it waited too long
                turn.leads = True
                turn.news.release()
                return
            self._leading.release()
            # Who queued up just before the release has seen this thread lead.
            if not self._turns or not self._leading.acquire(False):
                return

    def _lead(self, turn: _Turn, deadline: float, durable: bool) -> Receipt:
        """Append for all who wait; returns the receipt of this thread's own turn."""
        group = self._gather(turn)
        self._followers = group[1:]
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
            self._followers = []
            self._pass_on()
            for each in group[1:]:
                each.error = error
                each.news.release()
        return part_of(receipt, receipt.base_offset, turn.batch.count)

    def _is_awaited(self) -> bool:
        """Whether other threads wait for the one that leads."""
        return bool(self._turns or self._followers)

    def _gather(self, turn: _Turn) -> list[_Turn]:
        group = [turn]
        size = len(turn.batch.lines)
        while len(group) < _GROUP_TURNS and size < GROUP_BYTES - SMALL_BYTES:
            try:
                each = self._turns.popleft()
            except IndexError:
                break
            group.append(each)
            size += len(each.batch.lines)
        return group

    # -- processes ------------------------------------------------------------------------------------

    def _append(self, batch: RecordBatch, deadline: float | None, durable: bool) -> Receipt:
        """As the thread that leads: append, together with other processes where there is a crowd."""
        posting = self._posting
        if posting is not None and posting.is_due:
            return self._post(posting, batch, deadline, durable)
        return self._append_and_look(batch, deadline, durable)

    def _post(self, posting: Posting, batch: RecordBatch, deadline: float | None, durable: bool) -> Receipt:
        deadline = deadline or time.monotonic() + self._lock_wait_seconds
        receipt = posting.append(batch, deadline, durable)
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
        between = min(max(receipt.base_offset - self._next_offset, 0), _CROWD_MAX)
        self._crowd += (between - self._crowd) / 4
        if self._crowd >= _CROWD:
            self._crowd = 0.0
            self._post_from_now_on()
        elif self._crowd < 0.1:
            self._crowd = 0.0

    def _post_from_now_on(self) -> None:
        if self._posting is None:
            from storage.posting import Posting

            self._posting = Posting(self._log, append=self.append_alone, is_awaited=self._is_awaited)
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
