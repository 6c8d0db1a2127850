"""What goes wrong with subscriptions: a part of the tree in `storage.errors`, with its style.

NotFoundError
├── SubscriptionNotFoundError
└── MessageNotParkedError
ConflictError
├── ClaimLostError            the message is another consumer's by now
├── SubscriptionTopicsError   it delivers other topics
└── SubscriptionInUseError    it has consumers
RefusedError
└── ParkedFullError           too many messages wait for somebody to look at them
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from storage.errors import ConflictError, NotFoundError, RefusedError
from storage.names import suggest


class SubscriptionNotFoundError(NotFoundError):
    """No subscription of this name; `suggestion` is the nearest existing name, if any is near."""

    def __init__(self, name: str, existing: Iterable[str] = ()) -> None:
        self.name = name
        self.suggestion = suggest(name, existing)
        remedy = "'aegis subscription list' shows all"
        if self.suggestion:
            remedy = f"did you mean '{self.suggestion}'?"
        super().__init__(f"subscription '{name}' not found; {remedy}")


class MessageNotParkedError(NotFoundError):
    """The subscription has not put this message aside, or does not any more."""

    def __init__(self, subscription: str, topic: str, partition: int, offset: int) -> None:
        self.subscription = subscription
        self.topic = topic
        self.partition = partition
        self.offset = offset
        super().__init__(
            f"subscription '{subscription}' has not parked offset {offset} of topic '{topic}' partition "
            f"{partition}; 'aegis subscription parked {subscription}' shows what it has"
        )


class ClaimLostError(ConflictError):
    """A consumer speaks of messages that are not its own any more: topics, partitions, offsets."""

    def __init__(self, subscription: str, messages: Sequence[tuple[str, int, int]]) -> None:
        self.subscription = subscription
        self.messages = tuple(messages)
        topic, partition, offset = self.messages[0]
        more = f" and {len(self.messages) - 1} more" if len(self.messages) > 1 else ""
        super().__init__(
            f"offset {offset} of topic '{topic}' partition {partition}{more} is not claimed by this consumer "
            f"any more: subscription '{subscription}' has settled it or delivers it again; "
            "take less time, or allow a longer --ack-timeout"
        )


class SubscriptionTopicsError(ConflictError):
    """A subscription delivers other topics than it was opened for."""

    def __init__(self, name: str, topics: Sequence[str], wanted: Sequence[str]) -> None:
        self.name = name
        self.topics = tuple(topics)
        self.wanted = tuple(wanted)
        super().__init__(
            f"subscription '{name}' delivers {_listed(topics)}, not {_listed(wanted)}; "
            "name its topics, or choose another name"
        )


class SubscriptionInUseError(ConflictError):
    """A subscription has consumers that live."""

    def __init__(self, name: str, consumers: int) -> None:
        self.name = name
        self.consumers = consumers
        count = "a consumer" if consumers == 1 else f"{consumers} consumers"
        super().__init__(f"subscription '{name}' has {count}; stop what consumes it first")


class ParkedFullError(RefusedError):
    """A subscription has put so many messages aside that it delivers no more."""

    def __init__(self, name: str, parked: int) -> None:
        self.name = name
        self.parked = parked
        super().__init__(
            f"subscription '{name}' has parked {parked} messages and delivers no more; "
            f"look at 'aegis subscription parked {name}', then replay them or give it a dead-letter topic"
        )


def _listed(topics: Sequence[str]) -> str:
    return ", ".join(f"'{topic}'" for topic in topics)
