"""What a commit of a pipeline appends to topics: batches by topic and partition, in the order of the rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from aegis_cli.pipeline.turn import Aside
from storage.batch import RecordBatch, merged
from storage.store import Append, Store

# A batch is read as a whole by who wants one record of it.
_ROWS_A_BATCH = 2000
_encoder = msgspec.json.Encoder()


def pieces(rows: Sequence[Any]) -> Iterator[tuple[bytes, int]]:
    """Rows as JSON lines, and how many: a row is an object, or the line of a message as it came."""
    for first in range(0, len(rows), _ROWS_A_BATCH):
        some = rows[first : first + _ROWS_A_BATCH]
        lines = b"\n".join(some) + b"\n" if type(some[0]) is bytes else _encoder.encode_lines(some)
        yield lines, len(some)


class Outgoing:
    """Collects what a commit appends."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._batches: dict[tuple[str, int], list[RecordBatch]] = {}

    def add(self, topic: str, partition: int, batches: Sequence[RecordBatch]) -> None:
        self._batches.setdefault((topic, partition), []).extend(batches)

    def put_aside(self, topic: str, asides: Sequence[Aside], *, pipeline: str) -> None:
        """Add records as they came, with where they are from and why they are there in their headers."""
        batches = [_aside(aside, pipeline) for aside in asides]
        self.add(topic, 0, batches)

    def appends(self) -> list[Append]:
        """All of it, one append a partition."""
        return [
            Append(topic=topic, partition=partition, batches=merged(batches))
            for (topic, partition), batches in self._batches.items()
        ]


def _aside(aside: Aside, pipeline: str) -> RecordBatch:
    facts = {"aegis-pipeline": pipeline, "aegis-source": aside.place}
    if aside.reason is not None:
        facts["aegis-error"] = aside.reason
    headers = _encoder.encode([{"key": name, "value": text} for name, text in facts.items()])
    return RecordBatch(lines=aside.line + b"\n", count=1, headers=[headers])
