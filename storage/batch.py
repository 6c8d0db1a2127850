"""Batches: what is written to, and read from, one partition as a unit.

A batch is columnar. Its values are one buffer of JSON lines, exactly as they lie on disk; keys, headers and
timestamps are parallel lists and exist only where a record has them, so a bulk path that needs no metadata
never touches a single record.

Keys and headers are raw JSON text, so that nothing is lost on the way through: a key is a JSON string, a
number, `{"$base64": "…"}` for bytes, or `null`; headers are a JSON list of `{"key": …, "value": …}` objects,
in order, duplicates kept, or `null` for none.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordBatch:
    """Records on their way into one partition.

    `lines` is one or more JSON values, each ended by a newline, already validated. `keys`, `headers` (raw
    JSON text, `b"null"` where a record has none) and `timestamps_ms` (milliseconds UTC, -1 where a record
    has none of its own) are `None` or have `count` items.
    """

    lines: bytes
    count: int
    keys: list[bytes] | None = None
    headers: list[bytes] | None = None
    timestamps_ms: list[int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What an acknowledged append was given: its offsets, inclusive, and its append time in ms UTC."""

    topic: str
    partition: int
    base_offset: int
    last_offset: int
    append_time_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One record as read. `value` and `key` are raw JSON text without a newline; `headers` is raw JSON text.

    `timestamp_ms` is the record's own timestamp, or the time of its append where it has none.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    value: bytes
    key: bytes | None
    headers: bytes | None
