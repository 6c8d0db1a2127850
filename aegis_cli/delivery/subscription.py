"""A subscription's messages to an output.

Promises: a message is acknowledged when it was taken from the pipe, or is synced in the file; what was not
when this ends is delivered to others as if it had not been handed over here. Where it took so long that
others were given the messages meanwhile, that is said, and it goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby

from aegis_cli.delivery.taken import Taken
from storage.batch import Batch
from storage.delivery import Delivery
from storage.output import Output
from storage.subscription import Subscription
from storage.subscription_errors import ClaimLostError

# A reader that went away, and the end of the idle time, are looked for this often.
_LOOK_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionOptions:
    """How to consume: at most `max_in_flight` messages are claimed and not acknowledged.

    Without `follow` it ends at the end that it saw when it began; `limit` ends after so many messages,
    `idle_seconds` after so long without any. Without `render` the values go out, one a line.
    """

    follow: bool = False
    max_in_flight: int = 100
    limit: int | None = None
    idle_seconds: float | None = None
    render: Callable[[Batch], bytes] | None = None
    on_notice: Callable[[str], None] | None = None


@dataclass(slots=True)
class Delivered:
    """What came of it: `records` were acknowledged; `idle` says that nothing came for so long."""

    records: int = 0
    idle: bool = False


def consume_subscription(
    subscription: Subscription, output: Output, options: SubscriptionOptions
) -> Delivered:
    """Hand the messages of a subscription to `output`. Raises BrokenPipeError when nobody reads any more."""
    return _Consumer(subscription, Taken(output), options).run()


class _Consumer:
    def __init__(self, subscription: Subscription, taken: Taken, options: SubscriptionOptions) -> None:
        self._subscription = subscription
        self._taken = taken
        self._options = options
        self._done = Delivered()
        # In the order in which they were written, with the byte behind each; -1 for what was not.
        self._handed: list[tuple[int, list[Delivery]]] = []
        self._extend_at = 0.0

    def run(self) -> Delivered:
        if not self._options.follow:
            self._subscription.stop_at_end()
        try:
            while self._step():
                pass
        finally:
            self._settle()
            self._release()
        return self._done

    def _step(self) -> bool:
        """Claim, hand over and acknowledge once; says whether there may be more."""
        limit = self._options.limit
        wanted = self._options.max_in_flight
        if limit is not None:
            wanted = min(wanted, limit - self._done.records)
        if wanted <= 0:
            return False
        deliveries = self._claim(wanted)
        if not deliveries:
            return not (self._done.idle or self._subscription.drained)
        self._extend_at = self._next_extension()
        self._handed = [(-1, part) for part in _parts(deliveries)]
        for at, (_, part) in enumerate(self._handed):
            self._write(part)
            self._handed[at] = self._taken.output.written_bytes, part
        while self._handed:
            self._settle()
            if self._handed:
                self._wait()
        return True

    def _claim(self, wanted: int) -> list[Delivery]:
        idle_seconds = self._options.idle_seconds
        began = time.monotonic()
        while True:
            left = _LOOK_SECONDS if idle_seconds is None else began + idle_seconds - time.monotonic()
            deliveries = self._subscription.claim(wanted, timeout_seconds=max(0.0, min(_LOOK_SECONDS, left)))
            if deliveries or self._subscription.drained:
                return deliveries
            # In a pipe into head there may never be another message whose writing would tell.
            self._taken.output.check_reader()
            if idle_seconds is not None and time.monotonic() - began >= idle_seconds:
                self._done.idle = True
                return []

    def _write(self, part: list[Delivery]) -> None:
        batch = part[0].batch
        render = self._options.render
        data = batch.lines if render is None else render(batch)
        while not self._taken.has_room(len(data)):
            self._wait()
        self._taken.output.write(data)

    def _wait(self) -> None:
        """Let the reader work, and keep what it has in hand."""
        self._taken.wait()
        if time.monotonic() >= self._extend_at:
            self._extend_at = self._next_extension()
            try:
                self._subscription.extend([delivery for _, part in self._handed for delivery in part])
            except ClaimLostError as error:
                self._tell(error)

    def _next_extension(self) -> float:
        return time.monotonic() + self._subscription.settings.ack_timeout_ms / 3000

    def _settle(self) -> None:
        """Acknowledge what was taken since."""
        if not self._handed:
            return
        taken_bytes = self._taken.taken_bytes()
        taken = [delivery for end, part in self._handed if 0 <= end <= taken_bytes for delivery in part]
        self._handed = [(end, part) for end, part in self._handed if not 0 <= end <= taken_bytes]
        if taken:
            self._taken.moved()
            self._done.records += len(taken)
            try:
                self._subscription.ack(taken)
            except ClaimLostError as error:
                self._tell(error)

    def _release(self) -> None:
        """Others may have what is left."""
        left = [delivery for _, part in self._handed for delivery in part]
        self._handed = []
        try:
            self._subscription.release(left)
        except ClaimLostError:
            return  # others have it already

    def _tell(self, error: ClaimLostError) -> None:
        if self._options.on_notice is not None:
            self._options.on_notice(str(error))


def _parts(deliveries: list[Delivery]) -> Iterator[list[Delivery]]:
    """The deliveries of each batch: claimed together, a batch's messages are all there."""
    for _, part in groupby(deliveries, key=lambda delivery: id(delivery.batch)):
        yield list(part)
