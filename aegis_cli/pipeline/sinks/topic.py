"""A topic as a sink: rows are appended in the commit itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from aegis_cli.pipeline import definition
from aegis_cli.pipeline.errors import SinkError
from aegis_cli.pipeline.outgoing import Outgoing, pieces
from aegis_cli.pipeline.sinks.sink import Rows
from aegis_cli.pipeline.state import Facts
from storage.batch import RecordBatch
from storage.keys import partitions_for, route
from storage.store import Store

if TYPE_CHECKING:
    from storage.intake import Intake

_encoder = msgspec.json.Encoder()


class JointKeys:
    """The keys of rows whose key is several fields: a text, which is the JSON list of their values."""

    def __init__(self, names: tuple[str, ...]) -> None:
        fields = [(f"f{number}", Any) for number in range(len(names))]
        renamed = {f"f{number}": name for number, name in enumerate(names)}
        record = msgspec.defstruct("JointlyKeyed", fields, rename=renamed, gc=False)
        self._decoder = msgspec.json.Decoder(record)

    def of(self, lines: bytes) -> list[bytes]:
        """The key of each line, as JSON."""
        values = map(msgspec.structs.astuple, self._decoder.decode_lines(lines))
        texts = _encoder.encode_lines(list(values)).decode().split("\n")[:-1]
        return _encoder.encode_lines(texts).split(b"\n")[:-1]


class TopicSink:
    """Appends to a topic. A key chooses the partition; without one rows keep their partition's number.

    Whether a row has a key and is not too large was checked when it was made, see `aegis_cli.pipeline.fit`.
    """

    slot = ""

    def __init__(self, store: Store, sink: definition.Sink, *, pipeline: str, message_bytes_max: int) -> None:
        self._store = store
        self._topic = store.topic(sink.name)
        self._pipeline = pipeline
        self._keyed = bool(sink.key) or self._topic.settings.key is not None
        self._joint_keys = JointKeys(sink.key) if len(sink.key) > 1 else None
        self._key_field = sink.key[0] if sink.key else self._topic.settings.key
        self._message_bytes_max = self._topic.settings.max_message_bytes or message_bytes_max

    def open(self, facts: Facts) -> None:
        """Nothing to do: what was committed is there."""

    def prepare(self, rows: Rows, outgoing: Outgoing, facts: Facts) -> int:
        count = 0
        if self._keyed:
            intake = self._intake()
            for lines, size in pieces([row for _, some in rows for row in some]):
                if self._joint_keys is not None:
                    self._add_jointly_keyed(self._joint_keys, lines, size, outgoing)
                else:
                    self._add_keyed(intake, lines, outgoing)
                count += size
            return count
        for number, some in self._by_partition(rows).items():
            for lines, size in pieces(some):
                outgoing.add(self._topic.name, number, [RecordBatch(lines=lines, count=size)])
                count += size
        return count

    def _intake(self) -> Intake:
        from storage.intake import Intake, IntakeOptions

        options = IntakeOptions(max_record_bytes=self._message_bytes_max, key_field=self._key_field)
        return Intake(self._store, self._topic, options)

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
            reason = f"a row was refused: {error.reason}"
            raise SinkError(self._pipeline, f"topic '{self._topic.name}'", reason)
        for append in intake.appends(batches):
            outgoing.add(append.topic, append.partition, append.batches)

    def _add_jointly_keyed(self, keys: JointKeys, lines: bytes, count: int, outgoing: Outgoing) -> None:
        batch = RecordBatch(lines=lines, count=count, keys=keys.of(lines))
        assert batch.keys is not None
        chosen = partitions_for(batch.keys, self._topic.partitions)
        for number, part in route(batch, chosen).items():
            outgoing.add(self._topic.name, number, [part])

    def finish(self, facts: Facts) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""
