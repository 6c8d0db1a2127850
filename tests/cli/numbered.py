"""What tests of `aegis consume` share: topics full of numbers, and the numbers that it prints."""

from __future__ import annotations

from typing import Any

from storage.batch import RecordBatch
from storage.store import Append, Store


def fill(store: Store, topic: str, numbers: range, *, partition: int = 0, **columns: Any) -> None:
    """Publish numbers, one batch each, so that reading starts and ends within batches and between them."""
    for number in numbers:
        batch = RecordBatch(
            lines=b"%d\n" % number, count=1, **{name: [value] for name, value in columns.items()}
        )
        store.append([Append(topic=topic, partition=partition, batches=[batch])])


def numbers_of(finished: Any) -> list[int]:
    assert (0, b"") == (finished.code, finished.stderr), finished
    return [int(line) for line in finished.lines]
