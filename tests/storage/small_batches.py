"""What tests of combined appends share: a batch of some values."""

from __future__ import annotations

from storage.batch import RecordBatch


def lines(*values: str, key: bytes | None = None) -> RecordBatch:
    return RecordBatch(
        lines="".join(f"{value}\n" for value in values).encode(),
        count=len(values),
        keys=None if key is None else [key] * len(values),
    )
