"""Turns: which thread of a process appends to a log, and which wait for it.

Threads queue up behind the one that appends; when it is done, the one that has waited longest leads, and
appends for those behind it as well.

Promises: one thread leads at a time; whoever has queued up is led for, leads, or gives up by itself: nobody
is left behind by a thread that goes at that moment.
"""

from __future__ import annotations

import threading
from collections import deque

from storage.batch import SMALL_BYTES, Receipt, RecordBatch

# Together they stay small enough to lie in the journal, with some room for their columns.
_GROUP_TURNS = 512


class Turn:
    """A thread's append that waits for the one that leads."""

    __slots__ = ("batch", "error", "leads", "news", "receipt")

    def __init__(self, batch: RecordBatch) -> None:
        self.batch = batch
        self.receipt: Receipt | None = None
        self.error: BaseException | None = None
        self.leads = False
        self.news = threading.Lock()
        self.news.acquire()


class Turns:
    """Those of one log. One thread leads, from `try_lead` to `leave`."""

    __slots__ = ("followers", "free", "waiting")

    def __init__(self) -> None:
        # Who takes its only item leads. To one who has just woken up a lock costs seven times as much.
        self.free: list[None] = [None]
        self.waiting: deque[Turn] = deque()
        # Those whose batches the leading thread appends with its own.
        self.followers: list[Turn] = []

    def try_lead(self) -> bool:
        """Lead if nobody does."""
        try:
            self.free.pop()
        except IndexError:
            return False
        return True

    def leave(self) -> None:
        """Lead no more, and let another lead if any waits."""
        self.free.append(None)
        # Who queued up just before that has seen this thread lead.
        if self.waiting and self.try_lead():
            self.pass_on()

    @property
    def are_awaited(self) -> bool:
        """Whether other threads wait for the one that leads."""
        return bool(self.waiting or self.followers)

    def queue_up(self, turn: Turn) -> None:
        """Wait for the one that leads, as one that has found it leading."""
        self.waiting.append(turn)
        if self.try_lead():
            # Who led has gone, perhaps without having seen this turn.
            self.pass_on()

    def was_taken(self, turn: Turn) -> bool:
        """Whether somebody has taken up the turn, which shall wait no longer; it is over then."""
        try:
            self.waiting.remove(turn)
        except ValueError:
            # What that one waits for is bounded.
            turn.news.acquire()
            return True
        return False

    def pass_on(self) -> None:
        """As the leader: let the thread lead that has waited longest, if any waits."""
        while True:
            while self.waiting:
                try:
                    turn = self.waiting.popleft()
                except IndexError:
                    break  # it waited too long
                turn.leads = True
                turn.news.release()
                return
            self.free.append(None)
            if not self.waiting or not self.try_lead():
                return

    def gather(self, turn: Turn, limit_bytes: int) -> list[Turn]:
        """As the leader: the own turn and those behind it, which are followers from now on."""
        group = [turn]
        size = len(turn.batch.lines)
        while len(group) < _GROUP_TURNS and size < limit_bytes - SMALL_BYTES:
            try:
                each = self.waiting.popleft()
            except IndexError:
                break
            group.append(each)
            size += len(each.batch.lines)
        self.followers = group[1:]
        return group
