"""One message of a subscription in a consumer's hands, and what the consumer says of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from storage.batch import Batch, Message
from storage.subscription_changes import Held, Key

if TYPE_CHECKING:
    from storage.subscription import Subscription


class Delivery:
    """`delivery_count` is 1 the first time. `batch` holds this message and its neighbours of the same claim.

    It is the consumer's until the acknowledgement timeout; each method raises `ClaimLostError` when it is not
    any more, and `StorageError` for what else can go wrong: the message is delivered again then.
    """

    __slots__ = ("batch", "claim", "delivery_count", "message", "place", "subscription")

    def __init__(
        self, subscription: Subscription, message: Message, batch: Batch, *, held: Held, delivery_count: int
    ) -> None:
        self.subscription = subscription
        self.message = message
        self.batch = batch
        self.place, _, self.claim = held
        self.delivery_count = delivery_count

    @property
    def key(self) -> Key:
        """What names the message in the subscription."""
        return self.place, self.message.offset

    @property
    def held(self) -> Held:
        """The message and the number of its claim."""
        return self.place, self.message.offset, self.claim

    def ack(self) -> None:
        """It is done with, durably."""
        self.subscription.ack([self])

    def nack(self, delay_seconds: float = 0.0) -> None:
        """It failed: it is delivered again after the delay, or put aside after its last delivery."""
        self.subscription.nack([self], delay_seconds=delay_seconds)

    def release(self) -> None:
        """It was not tried: it is delivered to another as if this delivery had not been."""
        self.subscription.release([self])

    def extend(self) -> None:
        """It takes longer: the acknowledgement timeout begins anew."""
        self.subscription.extend([self])
