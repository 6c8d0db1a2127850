"""One message on its way in: a value of Python, made into a record."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from storage.batch import RecordBatch

encode = msgspec.json.Encoder().encode


def record_of(
    value: object,
    key: str | int | float | None,
    headers: Mapping[str, str] | None,
    timestamp_ms: int | None,
    field: str | None,
) -> tuple[RecordBatch, bytes | None]:
    """The record, and the key (raw JSON text) that chooses its partition.

    `value` is anything that JSON can say; `field` is the one that the topic declares as its key.
    """
    if key is None and field is None and timestamp_ms is None and not headers:
        return RecordBatch(lines=encode(value) + b"\n", count=1), None
    raw_key = chosen_by = None if key is None else encode(key)
    lines = encode(value) + b"\n"
    if field is not None:
        # A declared key is read out of the value: it chooses the partition and is not stored again.
        from storage.keys import keys_of_lines

        declared = keys_of_lines(lines, field)[0]
        chosen_by = raw_key or declared
        raw_key = None if raw_key == declared else raw_key
    header_list = None
    if headers:
        header_list = [encode([{"key": name, "value": text} for name, text in headers.items()])]
    batch = RecordBatch(
        lines=lines,
        count=1,
        keys=None if raw_key is None else [raw_key],
        headers=header_list,
        timestamps_ms=None if timestamp_ms is None else [timestamp_ms],
    )
    return batch, chosen_by
