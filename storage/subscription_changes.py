"""What a subscription's log holds: its values, and its changes, a JSON object each, named by `do`."""

from __future__ import annotations

import msgspec

# A place is a partition of a topic, known by a number; a key is a message, held is a key with its claim.
Key = tuple[int, int]
Held = tuple[int, int, int]


class SubscriptionSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a subscription delivers. `dead_letter` is a topic; without one messages are parked."""

    topics: tuple[str, ...]
    ack_timeout_ms: int = 30_000
    max_deliveries: int = 5
    dead_letter: str | None = None
    max_in_flight: int = 1000


class Place(msgspec.Struct, array_like=True):
    """A partition, and the first offset that was never handed out."""

    topic: str
    topic_id: str
    partition: int
    next_offset: int


class Claim(msgspec.Struct, frozen=True, array_like=True):
    """A message that a consumer has until `until_ms`, for the `deliveries`th time."""

    member: str
    number: int
    until_ms: int
    deliveries: int


class Waiting(msgspec.Struct, frozen=True, array_like=True):
    """A message that is to be delivered again, not before `ready_ms`, `delay_ms` after it was given back."""

    deliveries: int
    ready_ms: int = 0
    delay_ms: int = 0

    def is_ready(self, wall_ms: int) -> bool:
        # A clock that was set back must not make the wait longer than it was meant to be.
        return not self.ready_ms - self.delay_ms <= wall_ms < self.ready_ms


class Parked(msgspec.Struct, frozen=True, array_like=True):
    """A message that was delivered in vain too often."""

    deliveries: int
    parked_ms: int


class Counts(msgspec.Struct):
    """What became of messages since the subscription began. `gone` could not be read any more."""

    acknowledged: int = 0
    parked: int = 0
    dead_lettered: int = 0
    gone: int = 0


# -- changes ------------------------------------------------------------------------------------------------


class _Change(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="do"):
    pass


class Configured(_Change, frozen=True, tag="configure"):
    settings: SubscriptionSettings


class Placed(_Change, frozen=True, tag="place"):
    """Partitions to deliver from, each from its `next_offset` on; those that are known stay as they are."""

    places: list[Place]


class Dropped(_Change, frozen=True, tag="drop"):
    """Partitions whose topic is gone for good, by their ids and numbers."""

    places: list[tuple[str, int]]


class Claimed(_Change, frozen=True, tag="claim"):
    """A consumer asks for messages: `ends` are place, start and end offset, in the order of its choice.

    `dead` are consumers that are known to have ended.
    """

    by: str
    limit: int
    now_ms: int
    until_ms: int
    wall_ms: int
    ends: list[tuple[int, int, int]]
    dead: list[str] = []


class Acked(_Change, frozen=True, tag="ack"):
    """Messages are done with; `gone` if they could not be read."""

    by: str
    held: list[Held]
    gone: bool = False


class Returned(_Change, frozen=True, tag="return"):
    """Messages are given back, to be delivered again; `uncounted` as if they had never been delivered."""

    by: str
    held: list[Held]
    wall_ms: int
    delay_ms: int = 0
    uncounted: bool = False


class Extended(_Change, frozen=True, tag="extend"):
    by: str
    held: list[Held]
    until_ms: int


class Jumped(_Change, frozen=True, tag="jump"):
    """Nothing can be read in a place below this offset that was not handed out yet."""

    place: int
    next_offset: int


class Buried(_Change, frozen=True, tag="bury"):
    """Messages were published to the dead-letter topic by the transaction that this is a part of."""

    keys: list[Key]
    gone: list[Key] = []


class Replayed(_Change, frozen=True, tag="replay"):
    """Parked messages, all without `keys`, are to be delivered once more."""

    by: str
    keys: list[Key] | None = None


CHANGES: dict[object, type[_Change]] = {
    str(kind.__struct_config__.tag): kind
    for kind in (
        Configured, Placed, Dropped, Claimed, Acked, Returned, Extended, Jumped, Buried, Replayed,
    )
}  # fmt: skip
