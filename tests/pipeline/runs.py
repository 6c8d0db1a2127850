"""Pipelines as tests run them: a store with a clock of its own, records in, records out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from aegis_cli.pipeline.account import Account
from aegis_cli.pipeline.reading import loads
from aegis_cli.pipeline.run import RunOptions, run_pipeline
from storage.batch import RecordBatch
from storage.store import Append, Store
from storage.topic import TopicSettings

START_MS = 1_772_000_000_000


@dataclass(frozen=True)
class Removal:
    """A message without a value: its key, `None` for none, and its own time, if it has one."""

    key: Any
    time_ms: int = -1

    def stored(self) -> bytes:
        return msgspec.json.encode(self.key)


class Runs:
    """A store in `path`. Its clock goes on by a millisecond with each batch, and else when a test says so."""

    def __init__(self, path: Path, *, chunk_records: int = 1 << 30) -> None:
        self.now_ms = START_MS
        self.chunk_records = chunk_records
        self.store = Store(path, create=True, clock_ms=lambda: self.now_ms)

    def topic(self, name: str, *, partitions: int = 1) -> None:
        """Make a topic, if it is not there."""
        self.store.create_topic(
            name, TopicSettings(partitions=partitions, durability="os"), if_not_exists=True
        )

    def publish(self, topic: str, records: Iterable[Any], *, partition: int = 0) -> None:
        """Append records as one batch; a `Removal` among them is a null with a key."""
        records = list(records)
        values = [None if isinstance(record, Removal) else record for record in records]
        lines = b"".join(msgspec.json.encode(value) + b"\n" for value in values)
        keys = times_ms = None
        if any(isinstance(record, Removal) for record in records):
            keys = [record.stored() if isinstance(record, Removal) else b"null" for record in records]
            times_ms = [record.time_ms if isinstance(record, Removal) else -1 for record in records]
        self.publish_lines(topic, lines, len(values), partition=partition, keys=keys, times_ms=times_ms)

    def publish_lines(
        self,
        topic: str,
        lines: bytes,
        count: int,
        *,
        partition: int = 0,
        keys: list[bytes] | None = None,
        times_ms: list[int] | None = None,
    ) -> None:
        """Append lines as one batch."""
        self.topic(topic)
        if count:
            self.now_ms += 1
            batch = RecordBatch(lines=lines, count=count, keys=keys, timestamps_ms=times_ms)
            self.store.append([Append(topic=topic, partition=partition, batches=[batch])])

    def run(self, text: str, *, flush: bool = True, name: str = "p") -> Account:
        """Run a pipeline once, up to the end that is there now. Its account must balance."""
        definition = loads(text, path=f"{name}.yaml")
        options = RunOptions(once=True, flush=flush, chunk_records=self.chunk_records)
        account = run_pipeline(self.store, definition, options)
        assert account.balances, account
        return account

    def rows(self, topic: str) -> list[Any]:
        """All records of a topic, partition by partition."""
        return [msgspec.json.decode(message.value) for message in self.store.read(topic)]

    def columns(self, topic: str, *names: str) -> list[tuple[Any, ...]]:
        """These fields of all records of a topic."""
        return [tuple(row[name] for name in names) for row in self.rows(topic)]


def seconds(*times: Sequence[Any]) -> list[dict[str, Any]]:
    """Records of (time in seconds, key, value)."""
    return [{"at": at, "key": key, "value": value} for at, key, value in times]
