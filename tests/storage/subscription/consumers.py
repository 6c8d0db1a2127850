"""What tests of subscriptions share: consumers of topic t, in this process and in others."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from storage.batch import RecordBatch
from storage.delivery import Delivery
from storage.store import Append, Store
from storage.subscription import Subscription, open_subscription

DEADLINE_SECONDS = 20.0
ROOT = Path(__file__).resolve().parents[3]


def publish(store: Store, count: int, topic: str = "t") -> None:
    lines = b"".join(b"%d\n" % number for number in range(count))
    store.append([Append(topic=topic, partition=0, batches=[RecordBatch(lines=lines, count=count)])])


def subscribed(store: Store, name: str = "s", **options: Any) -> Subscription:
    return open_subscription(store, name, topics=["t"], **options)


def offsets(deliveries: list[Delivery]) -> list[int]:
    return [delivery.message.offset for delivery in deliveries]


def claim_within(subscription: Subscription, limit: int = 1) -> list[Delivery]:
    """Claim, waiting as long as it takes."""
    deliveries = subscription.claim(limit, timeout_seconds=DEADLINE_SECONDS)
    assert deliveries, "nothing came"
    return deliveries


def fail(subscription: Subscription) -> None:
    """Give back whatever comes until nothing does."""
    while deliveries := subscription.claim(10):
        subscription.nack(deliveries)


def at_once(work: Callable[[int], None], count: int) -> list[threading.Thread]:
    """Start as many threads, each with its number."""
    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    return threads


def end_of(*threads: threading.Thread) -> None:
    """Wait for threads to end."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    assert not any(thread.is_alive() for thread in threads), "a thread hangs"


class Worker:
    """A consumer in another process."""

    def __init__(self, store: Store, name: str = "s") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.storage.subscription.worker", store.path, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            text=True,
        )

    def tell(self, *command: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()

    def answer(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def __call__(self, *command: object) -> Any:
        self.tell(*command)
        return self.answer()

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()
