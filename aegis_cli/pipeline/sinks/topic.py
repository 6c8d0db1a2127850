"""A topic as a sink: rows are appended in the commit itself."""

from __future__ import annotations

from typing import Any

from aegis_cli.pipeline import definition
from aegis_cli.pipeline.errors import SinkError
from aegis_cli.pipeline.outgoing import Outgoing, pieces
from aegis_cli.pipeline.sinks.sink import Rows
from aegis_cli.pipeline.state import Facts
from storage.batch import RecordBatch
from storage.intake import Intake, IntakeOptions
from storage.store import Store


class TopicSink:
    """Appends to a topic. A key chooses the partition; without one rows keep their partition's number."""

    def __init__(self, store: Store, sink: definition.Sink, *, pipeline: str, message_bytes_max: int) -> None:
        self._store = store
        self._topic = store.topic(sink.name)
        self._pipeline = pipeline
        limit = self._topic.settings.max_message_bytes or message_bytes_max
        keyed = bool(sink.key) or self._topic.settings.key is not None
        self._limit = limit
        self._options = IntakeOptions(
            max_record_bytes=limit, key_field=sink.key[0] if sink.key else self._topic.settings.key
        )
        self._keyed = keyed

    def open(self, facts: Facts) -> None:
        """Nothing to do: what was committed is there."""

    def prepare(self, rows: Rows, outgoing: Outgoing, facts: Facts) -> int:
        count = 0
        if self._keyed:
            intake = Intake(self._store, self._topic, self._options)
            for lines, size in pieces([row for _, some in rows for row in some]):
                self._add_keyed(intake, lines, outgoing)
                count += size
            return count
        for number, some in self._by_partition(rows).items():
            for lines, size in pieces(some):
                self._check_sizes(lines)
                outgoing.add(self._topic.name, number, [RecordBatch(lines=lines, count=size)])
                count += size
        return count

    def _check_sizes(self, lines: bytes) -> None:
        if len(lines) > self._limit:
            longest = max(map(len, lines.split(b"\n")))
            if longest > self._limit:
                raise self._refusal(f"it has {longest} bytes, and {self._limit} are allowed")

    def _refusal(self, reason: str) -> SinkError:
        return SinkError(self._pipeline, f"topic '{self._topic.name}'", f"a row was refused: {reason}")

    def _by_partition(self, rows: Rows) -> dict[int, list[Any]]:
        """The rows of each partition of the topic, in the order in which they were made."""
        if len(rows) == 1:
            return {rows[0][0] % self._topic.partitions: rows[0][1]}
        found: dict[int, list[Any]] = {}
        for number, some in rows:
            found.setdefault(number % self._topic.partitions, []).extend(some)
        return found

    def _add_keyed(self, intake: Intake, lines: bytes, outgoing: Outgoing) -> None:
        batches, error = intake.take(lines)
        if error is not None:
            raise self._refusal(error.reason)
        for append in intake.appends(batches):
            outgoing.add(append.topic, append.partition, append.batches)

    def finish(self, facts: Facts) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""
