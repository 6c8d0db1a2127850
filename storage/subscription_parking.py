"""Messages that were delivered in vain: into the dead-letter topic, or aside until somebody looks at them.

Promises: what goes to the dead-letter topic is published in the transaction that takes it out of the
subscription, once. Of several consumers that are about to, one does it: each such transaction raises the
fence of the subscription's log, and relies on the fence that it read. Nothing else can become of a message
that waits for this, but by a change of the settings, which raises the fence as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from storage.batch import Message
from storage.dead_letter import dead_letter
from storage.errors import FencedError
from storage.state_log import StateLog
from storage.subscription_changes import Buried, Key
from storage.subscription_errors import MessageNotParkedError, ParkedFullError
from storage.subscription_places import Places
from storage.subscription_state import PARKED_MAX, SubscriptionState
from storage.transaction import Transaction

# In one transaction.
_BURIED_MAX = 100
_READ_MAX = 1000
_TRIES = 100


class ParkedMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message that was put aside; `message` is `None` where the topic does not hold it any more."""

    topic: str
    partition: int
    offset: int
    deliveries: int
    parked_ms: int
    message: Message | None


class Parking:
    """What one open subscription does with messages after their last delivery. Not for several threads."""

    def __init__(self, name: str, log: StateLog, state: SubscriptionState, places: Places) -> None:
        self._name = name
        self._log = log
        self._state = state
        self._places = places

    def bury(self) -> None:
        """Take what had its last delivery to the dead-letter topic. Raises `TopicNotFoundError`."""
        for _ in range(_TRIES):
            assert self._state.settings is not None
            topic = self._state.settings.dead_letter
            keys = [] if topic is None else self._state.exhausted(limit=_BURIED_MAX)
            if topic is None or not keys:
                return
            transaction = self._log.store.transaction()
            change = self._fill(transaction, topic, keys)
            fence = self._log.fence
            try:
                transaction.commit(self._log.append([change], expect_fence=fence, fence=fence + 1))
            except FencedError:
                transaction.abort()
            self._log.refresh()

    def _fill(self, transaction: Transaction, topic: str, keys: Sequence[Key]) -> Buried:
        store = self._log.store
        buried = []
        for key, message in self.messages(keys):
            if message is not None:
                deliveries = self._state.waiting[key].deliveries
                batch = dead_letter(message, subscription=self._name, deliveries=deliveries)
                transaction.add(topic, store.choose_partition(topic, message.key), [batch])
                buried.append(key)
        return Buried(keys=buried, gone=sorted(set(keys) - set(buried)))

    def messages(self, keys: Sequence[Key]) -> Iterator[tuple[Key, Message | None]]:
        """The messages of these keys, `None` for those that cannot be read."""
        offsets: dict[int, list[int]] = {}
        for place, offset in sorted(keys):
            offsets.setdefault(place, []).append(offset)
        for place, wanted in offsets.items():
            for first in range(0, len(wanted), _READ_MAX):
                found = self._places.read(place, wanted[first : first + _READ_MAX])
                for batch in found.batches:
                    yield from (((place, message.offset), message) for message in batch.messages())
                yield from (((place, offset), None) for offset in found.missing)

    def check_room(self) -> None:
        """Raise `ParkedFullError` if there is something to put aside, and no room for it."""
        if len(self._state.parked) >= PARKED_MAX and self._state.exhausted(limit=1):
            raise ParkedFullError(self._name, len(self._state.parked))

    def keys(self, messages: Iterable[tuple[str, int, int]]) -> list[Key]:
        """The keys of parked messages that are given by topic, partition and offset."""
        numbers = {(place.topic, place.partition): number for number, place in self._state.places.items()}
        keys = []
        for topic, partition, offset in messages:
            key = numbers.get((topic, partition), -1), offset
            if key not in self._state.parked:
                raise MessageNotParkedError(self._name, topic, partition, offset)
            keys.append(key)
        return keys

    def parked(self, keys: Sequence[Key]) -> list[ParkedMessage]:
        """Those of the messages that are put aside."""
        found = []
        for (number, offset), message in self.messages([key for key in keys if key in self._state.parked]):
            place, item = self._state.places[number], self._state.parked[number, offset]
            found.append(
                ParkedMessage(
                    topic=place.topic,
                    partition=place.partition,
                    offset=offset,
                    deliveries=item.deliveries,
                    parked_ms=item.parked_ms,
                    message=message,
                )
            )
        return found
