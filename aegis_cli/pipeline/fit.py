"""Whether a row fits where it is to go: checked before it goes there, so that its record can be refused.

What a topic or a table will not take must not come to light in a commit: by then no record stands for it, and
the pipeline would stop there in each of its runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from aegis_cli.pipeline.definition import Sink
from aegis_cli.pipeline.errors import RecordError
from storage.nesting import MAX_NESTING, harmless_bytes, is_deeper

_decode = msgspec.json.Decoder(dict[str, Any]).decode
_KINDS = {type(None): "null", bool: "a bool", list: "a list", dict: "an object"}


class Fit:
    """What a topic takes. A row of `harmless_bytes` or less fits in any case; `limit_bytes` is the most."""

    def __init__(self, topic: str, limit_bytes: int) -> None:
        self.harmless_bytes = min(limit_bytes, harmless_bytes(MAX_NESTING))
        self._topic = topic
        self._limit_bytes = limit_bytes

    def check(self, row: bytes) -> None:
        """Raises `RecordError` for a row that the topic does not take."""
        if len(row) > self._limit_bytes:
            raise RecordError(
                f"what it becomes has {len(row)} bytes, and topic '{self._topic}' takes {self._limit_bytes}"
            )
        if is_deeper(row, MAX_NESTING):
            raise RecordError(f"what it becomes is nested deeper than {MAX_NESTING}, which no topic takes")


class TableShape(Protocol):
    """What a table takes."""

    def expect(self, fields: Sequence[str]) -> None:
        """Every row has these fields."""

    def check(self, given: dict[str, Any] | bytes) -> dict[str, Any]:
        """A row, or the line of a message, as the table takes it. Raises `RecordError`."""

    def settle(self, row: dict[str, Any]) -> dict[str, Any]:
        """The row that was checked last goes into the table."""


def shape_of(sink: Sink) -> TableShape | None:
    """What the table of a sink takes; `None` where a row has no columns to fit into."""
    if sink.kind == "postgres":
        from aegis_cli.pipeline.shape import Shape

        return Shape(create=sink.create, key=sink.key)
    if sink.kind == "sqlite":
        from aegis_cli.pipeline.sqlite_shape import SqliteShape

        return SqliteShape(create=sink.create)
    return None


def row_of(line: bytes) -> dict[str, Any]:
    """The row that the line of a message is. Raises `RecordError`."""
    try:
        row: dict[str, Any] = _decode(line)
        return row
    except (msgspec.DecodeError, RecursionError):
        raise RecordError("it is no JSON object of which all can be read") from None


def check_message_key(value: Any, name: str) -> None:
    """Raises `RecordError` for what cannot be a message's key, nor a part of it: all but text and numbers."""
    kind = _KINDS.get(type(value))
    if kind is not None:
        raise RecordError(f"the key '{name}' of a message is {kind}, and must be a text or a number")


def check_row_key(value: Any, name: str) -> None:
    """Raises `RecordError` for null in the primary key of a table, which would not replace itself."""
    if value is None:
        raise RecordError(f"the key '{name}' of a row is null")
