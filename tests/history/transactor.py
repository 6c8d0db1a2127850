"""A process that makes transactions over several topics until it is killed, and drops some of them.

    python -m tests.history.transactor STORE PRODUCER INCARNATION TOPIC...

Each record goes to all topics. One in five is dropped, those whose number ends in 3 or 8. What is committed
is told on stdout afterwards, a receipt a line, before the next begins.
"""

from __future__ import annotations

import os
import sys
import time

import msgspec

from storage.store import Store
from tests.soak.record import name

_DROPPED_OF = 5
_DROPPED = 3
_PAUSE_SECONDS = 0.02


class Dropped(Exception):
    """What makes a transaction come to nothing."""


def is_dropped(record: int) -> bool:
    """Whether a record belongs to a transaction that is never to happen."""
    return record % _DROPPED_OF == _DROPPED


def main() -> None:
    path, producer, incarnation, *topics = sys.argv[1:]
    record = name(int(producer), int(incarnation), 0)
    with Store(path) as store:
        while True:
            receipts = []
            try:
                with store.transaction() as transaction:
                    for topic in topics:
                        transaction.publish(topic, {"id": record})
                    if is_dropped(record):
                        raise Dropped
                receipts = transaction.receipts
            except Dropped:
                pass
            os.write(1, b"".join([msgspec.json.encode(receipt) + b"\n" for receipt in receipts]))
            record += 1
            time.sleep(_PAUSE_SECONDS)


if __name__ == "__main__":
    main()
