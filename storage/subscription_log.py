"""The log of an open subscription, shared by the threads of one consumer.

Promises: what several threads say at the same time goes into one record and one sync; each learns what of its
own counted; a subscription that was deleted meanwhile is `SubscriptionNotFoundError`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence

from storage.errors import StorageError, TopicChangedError, TopicNotFoundError
from storage.log import settings_stamp
from storage.state_log import StateLog
from storage.subscription_changes import Acked, Extended, Held, Key, Replayed, Returned
from storage.subscription_errors import SubscriptionNotFoundError
from storage.subscription_state import SubscriptionState
from storage.topic import TOPIC_FILE

Said = Acked | Returned | Extended | Replayed
KIND = "subscriptions"


class _Ticket:
    """Something that a thread said, on its way into the log together with what others say."""

    __slots__ = ("accepted", "change", "done", "error")

    def __init__(self, change: Said) -> None:
        self.change = change
        self.accepted: set[Key | Held] = set()
        self.error: Exception | None = None
        self.done = False


class SubscriptionLog:
    """The log and the state that it is folded into; `mutex` is held by who uses either, but for `submit`."""

    def __init__(self, name: str, log: StateLog, state: SubscriptionState) -> None:
        self.name = name
        self.log = log
        self.state = state
        self.store = log.store
        self.directory = log.topic.directory
        self.mutex = threading.RLock()
        self._queue: list[_Ticket] = []
        self._queue_mutex = threading.Lock()

    def refresh(self) -> None:
        """Take over what others did."""
        try:
            if settings_stamp(os.path.join(self.directory, TOPIC_FILE)) != self.log.topic.stamp:
                raise TopicChangedError(self.log.name)
            self.log.refresh()
        except (FileNotFoundError, TopicChangedError):
            raise self.deleted() from None

    def deleted(self) -> SubscriptionNotFoundError:
        return SubscriptionNotFoundError(self.name, self.store.catalog.names(KIND))

    def append(self, changes: Sequence[object]) -> int:
        """Append changes and take them over; returns the offset of the first."""
        try:
            receipt = self.store.append([self.log.append(changes)])[0]
            self.log.refresh()
        except (TopicNotFoundError, TopicChangedError):
            raise self.deleted() from None
        self.log.shorten_if_due()
        return receipt.base_offset

    def submit(self, change: Said) -> set[Key | Held]:
        """Append what was said together with what other threads say meanwhile; returns what counted."""
        ticket = _Ticket(change)
        with self._queue_mutex:
            self._queue.append(ticket)
        with self.mutex:
            # Whoever holds the mutex meanwhile may have taken it along.
            if not ticket.done:
                with self._queue_mutex:
                    tickets, self._queue = self._queue, []
                self._append_all(tickets)
        if ticket.error is not None:
            raise ticket.error
        return ticket.accepted

    def _append_all(self, tickets: list[_Ticket]) -> None:
        self.state.accepted.clear()
        error: Exception | None = None
        try:
            self.append([ticket.change for ticket in tickets])
        except (StorageError, OSError) as found:
            error = found
        except BaseException:
            # A signal to this thread is nothing to the others.
            with self._queue_mutex:
                self._queue[:0] = tickets
            raise
        accepted = set(self.state.accepted)
        for ticket in tickets:
            ticket.accepted, ticket.error, ticket.done = accepted, error, True
