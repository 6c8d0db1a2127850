"""A subscription as a source of messages for commands.

Promises: what is in work here is nobody else's, however long it takes, since its claim is extended; a message
whose command failed is delivered again, to any consumer, or put aside after its last delivery; what was
claimed and not begun goes back as if it had not been claimed.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial

from aegis_cli.delivery.portion import Portion
from aegis_cli.delivery.source import Beat, Failure, GivenUp
from storage.assignor import Place
from storage.delivery import Delivery
from storage.subscription import Subscription
from storage.subscription_errors import ClaimLostError
from storage.watch import Watch

# Claims are extended after this part of the acknowledgement timeout.
_EXTEND_PART = 1 / 3
# So many portions are claimed ahead where they are handled quickly; else others may have them.
_AHEAD_MAX = 64
_QUICK_SECONDS = 0.25
_SLOW_SECONDS = 1.0


class SubscriptionSource:
    """What one consumer claims, at most `batch` messages at a time. The subscription stays the caller's."""

    retries_itself = True
    has_room = True

    def __init__(
        self,
        subscription: Subscription,
        *,
        follow: bool,
        batch: int = 1,
        on_notice: Callable[[str], None] | None = None,
    ) -> None:
        self._subscription = subscription
        self._follow = follow
        self._batch = batch
        self._on_notice = on_notice
        if not follow:
            subscription.stop_at_end()
        self._claimed: deque[Delivery] = deque()
        self._open: dict[Portion, list[Delivery]] = {}
        self._acked: list[Delivery] = []
        self._failed: list[tuple[float, list[Delivery]]] = []
        self.ahead_max = 1
        self._last_claim = 0.0
        self._next_extension = 0.0
        self.beats = 0

    @property
    def name(self) -> str:
        return self._subscription.name

    @property
    def store_path(self) -> str:
        return self._subscription.store.path

    @property
    def beat(self) -> Beat | None:
        return Beat(None, self._timeout_seconds)

    @property
    def _timeout_seconds(self) -> float:
        return self._subscription.settings.ack_timeout_ms / 1000

    @property
    def finished(self) -> bool:
        return not self._follow and not self._claimed and self._subscription.drained

    def watch(self, watch: Watch) -> None:
        self._subscription.watch(watch)

    # -- claiming -------------------------------------------------------------------------------------

    def take(self) -> Portion | None:
        if not self._claimed:
            self._claim()
        if not self._claimed:
            return None
        first = self._claimed.popleft()
        part = [first]
        while self._claimed and len(part) < self._batch and _belongs(self._claimed[0], first):
            part.append(self._claimed.popleft())
        portion = Portion(Place(first.message.topic, str(first.place), first.message.partition))
        batch = first.batch.between(first.message.offset, part[-1].message.offset + 1)
        assert batch is not None, "a delivery is of its batch"
        portion.add(batch)
        portion.tries = first.delivery_count - 1
        self._open[portion] = part
        return portion

    def _claim(self) -> None:
        if not self._open:
            # What is claimed now needs no extension before this time; what was claimed before has gone.
            self._extended()
        self._claimed.extend(self._subscription.claim(self._batch * self.ahead_max))
        if not self._claimed:
            return
        # Each claim is a write: quick commands get several portions by one, slow ones leave them to others.
        before, self._last_claim = self._last_claim, time.monotonic()
        if self._last_claim - before < _QUICK_SECONDS:
            self.ahead_max = min(self.ahead_max * 2, _AHEAD_MAX)
        elif self._last_claim - before > _SLOW_SECONDS:
            self.ahead_max = 1

    # -- what became of it ----------------------------------------------------------------------------

    def done(self, portion: Portion) -> None:
        self._acked += self._settled(portion)

    def give_up(self, portion: Portion, failure: Failure) -> GivenUp:
        self._failed.append((failure.delay_seconds, self._settled(portion)))
        return "comes again"

    def _settled(self, portion: Portion) -> list[Delivery]:
        portion.finish()
        part = self._open.pop(portion)
        # Of a portion that was cut short the rest was not begun.
        self._claimed.extend(one for one in part if one.message.offset >= portion.next_offset)
        return [one for one in part if one.message.offset < portion.next_offset]

    @property
    def unsaid(self) -> bool:
        return bool(self._acked or self._failed)

    def commit(self) -> list[Portion]:
        acked, self._acked = self._acked, []
        failed, self._failed = self._failed, []
        self._say(partial(self._subscription.ack, acked))
        for delay_seconds, part in failed:
            self._say(partial(self._subscription.nack, part, delay_seconds=delay_seconds))
        return []

    def _say(self, what: Callable[[], None]) -> bool:
        """Tell the subscription; says whether all of it still was this consumer's."""
        try:
            what()
        except ClaimLostError as error:
            if self._on_notice is not None:
                self._on_notice(str(error))
            return False
        return True

    # -- the claims -----------------------------------------------------------------------------------

    def sync(self, *, deaths: bool) -> list[Portion]:
        everything = [*self._claimed, *(one for part in self._open.values() for one in part)]
        if not everything:
            return []
        extend = partial(self._subscription.extend, everything)
        if time.monotonic() >= self._next_extension and self._say(extend):
            self._extended()
        return self._without(self._subscription.lost(everything))

    def _extended(self) -> None:
        self._next_extension = time.monotonic() + self._timeout_seconds * _EXTEND_PART
        self.beats += 1

    def _without(self, lost: Iterable[Delivery]) -> list[Portion]:
        """Forget what is lost; returns the portions that any of it is in."""
        gone = {id(one) for one in lost}
        if not gone:
            return []
        self._claimed = deque(one for one in self._claimed if id(one) not in gone)
        void = []
        for portion, part in list(self._open.items()):
            if any(id(one) in gone for one in part):
                void.append(portion)
                del self._open[portion]
                # Their run is killed, so the others of it have not been handled either.
                self._claimed.extend(one for one in part if id(one) not in gone)
        return void

    def close(self) -> None:
        rest = [*self._claimed, *(one for part in self._open.values() for one in part)]
        self._claimed.clear()
        self._open.clear()
        self._say(partial(self._subscription.release, rest))


def _belongs(one: Delivery, first: Delivery) -> bool:
    """Whether two deliveries can go to the same run."""
    return one.batch is first.batch and one.delivery_count == first.delivery_count
