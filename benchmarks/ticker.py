"""A process that sends messages at an even rate, each with the time at which it was sent.

    python ticker.py library STORE TOPIC PER_SECOND COUNT
    python ticker.py stdout - - PER_SECOND COUNT

The first message starts whatever is behind it; the others follow when stdin gives a line.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Above this rate one wake-up sends several.
_WAKES_PER_SECOND = 1000


@contextmanager
def library(path: str, topic: str) -> Iterator[Callable[[int], object]]:
    from storage.store import Store

    with Store(path) as store:
        yield lambda number: store.publish(topic, {"number": number, "sent_ns": time.monotonic_ns()})


@contextmanager
def stdout(path: str, topic: str) -> Iterator[Callable[[int], object]]:
    yield lambda number: os.write(1, b'{"number":%d,"sent_ns":%d}\n' % (number, time.monotonic_ns()))


def main(way: str, path: str, topic: str, per_second: int, count: int) -> None:
    together = max(1, per_second // _WAKES_PER_SECOND)
    with {"library": library, "stdout": stdout}[way](path, topic) as send:
        send(0)
        sys.stdin.readline()
        began = time.monotonic()
        for number in range(1, count + 1):
            if number % together == 0:
                time.sleep(max(0.0, began + number / per_second - time.monotonic()))
            send(number)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
