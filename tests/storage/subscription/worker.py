"""A consumer in a process of its own, told what to do: a JSON command a line in, a JSON answer a line out.

python -m tests.storage.subscription.worker STORE NAME
"""

from __future__ import annotations

import json
import sys

from storage.delivery import Delivery
from storage.store import Store
from storage.subscription import open_subscription
from storage.subscription_errors import ClaimLostError


def main(path: str, name: str) -> None:
    held: dict[int, Delivery] = {}
    with Store(path) as store, open_subscription(store, name) as subscription:
        for line in sys.stdin:
            command, *arguments = json.loads(line)
            answer: object = None
            try:
                if command == "claim":
                    limit, seconds = arguments
                    deliveries = subscription.claim(limit, timeout_seconds=seconds)
                    held |= {delivery.message.offset: delivery for delivery in deliveries}
                    answer = [[delivery.message.offset, delivery.delivery_count] for delivery in deliveries]
                elif command == "ack":
                    subscription.ack([held.pop(offset) for offset in arguments])
                elif command == "drain":
                    answer = drain(subscription.claim, arguments[0])
            except ClaimLostError as error:
                answer = {"lost": [offset for _, _, offset in error.messages]}
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()


def drain(claim: object, limit: int) -> list[int]:
    """Acknowledge everything, message by message; the offsets in the order they came."""
    assert callable(claim)
    offsets = []
    while deliveries := claim(limit):
        for delivery in deliveries:
            delivery.ack()
            offsets.append(delivery.message.offset)
    return offsets


if __name__ == "__main__":
    main(*sys.argv[1:])
