"""A process that works on a store as it is told: a JSON command a line in, a JSON answer a line out.

    python -m tests.rules.worker STORE LOCK_WAIT_SECONDS JOURNAL_BYTES

JOURNAL_BYTES of 0 keeps the size of journal files; all workers of one store must be given the same.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable

from storage import journal, recovery
from storage.batch import RecordBatch
from storage.checkpoint import checkpoint
from storage.errors import StorageError
from storage.store import Append, Store
from storage.topic import TopicSettings


def resize_journal(file_bytes: int) -> None:
    """Make journal files of another size, so that a test can fill one."""
    defaults = journal.Journal.__init__.__kwdefaults__
    assert defaults is not None
    defaults["file_bytes"] = file_bytes
    recovery.FILE_BYTES = file_bytes


def batch(values: list[str], key: str | None) -> RecordBatch:
    keys = None if key is None else [json.dumps(key).encode()] * len(values)
    return RecordBatch(lines="".join(f"{value}\n" for value in values).encode(), count=len(values), keys=keys)


class Worker:
    """What can be asked of the process. Receipts are returned as pairs of first and last offset."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def publish(
        self,
        topic: str,
        *values: str,
        partition: int = 0,
        key: str | None = None,
        expect_offset: int | None = None,
        times: int = 1,
    ) -> list[list[int]]:
        """One append of these JSON texts, `times` over."""
        append = Append(
            topic=topic, partition=partition, batches=[batch(list(values), key)], expect_offset=expect_offset
        )
        done = []
        for _ in range(times):
            done += [[receipt.base_offset, receipt.last_offset] for receipt in self._store.append([append])]
        return done

    def atomic(self, *parts: list[object]) -> list[list[int]]:
        """One append to several partitions: [topic, partition, value, expected offset or null] each."""
        appends = []
        for topic, partition, value, expect in parts:
            assert isinstance(topic, str) and isinstance(partition, int) and isinstance(value, str)
            assert expect is None or isinstance(expect, int)
            batches = [batch([value], None)]
            appends.append(Append(topic=topic, partition=partition, batches=batches, expect_offset=expect))
        return [[receipt.base_offset, receipt.last_offset] for receipt in self._store.append(appends)]

    def crowd(self, topic: str, partition: int = 0) -> None:
        """Post small appends from now on, as if many were at it."""
        self._store._company.combiner(self._store._log(topic, partition))._post_from_now_on()

    def sequence(self, topic: str, name: str, count: int, *, partition: int = 0) -> list[list[object]]:
        """Publish `count` messages one by one, some of them keyed; returns each with its offset."""
        done: list[list[object]] = []
        for number in range(count):
            value = f"{name}-{number}" + "x" * (number * 37 % 500)
            receipt = self._store.publish(topic, value, partition=partition, key=name if number % 3 else None)
            assert receipt.base_offset == receipt.last_offset
            done.append([value, receipt.base_offset])
        return done

    def create(self, topic: str, **settings: object) -> None:
        self._store.create_topic(topic, TopicSettings(**settings))  # type: ignore[arg-type]

    def alter(self, topic: str, **settings: object) -> None:
        self._store.alter_topic(topic, TopicSettings(**settings))  # type: ignore[arg-type]

    def delete(self, topic: str) -> None:
        self._store.delete_topic(topic)

    def clean(self, topic: str | None = None) -> int:
        return len(self._store.maintenance.clean(topic))

    def checkpoint(self) -> int:
        return checkpoint(self._store.journal, self._store.catalog.find)

    def open(self) -> None:
        """Open the store for writing, which recovers it where that is due."""
        _ = self._store.journal

    def fork(self) -> int:
        """Fork a child that does nothing; returns its process id."""
        child = os.fork()
        if child == 0:
            os.close(1)
            os.read(0, 1)  # until this process and the test have gone
            os._exit(0)
        return child


def main() -> None:
    path, lock_wait, journal_bytes = sys.argv[1:]
    if int(journal_bytes):
        resize_journal(int(journal_bytes))
    with Store(path, create=True, lock_wait_seconds=float(lock_wait)) as store:
        worker = Worker(store)
        answer("ready")
        for line in sys.stdin:
            name, arguments, options = json.loads(line)
            command: Callable[..., object] = getattr(worker, name)
            try:
                answer(command(*arguments, **options))
            except (StorageError, OSError) as error:
                answer({"error": type(error).__name__, "message": str(error)})


def answer(what: object) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")


if __name__ == "__main__":
    main()
