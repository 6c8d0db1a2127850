"""Timestamps out of a field of each record: numbers of seconds or milliseconds, or ISO 8601 text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from storage.errors import InvalidRecordError
from storage.times import TimeError, parse_time

# The year 5138 in seconds, 1973 in milliseconds: a number below is seconds, one above is milliseconds.
_SECONDS_BELOW = 100_000_000_000
_REMEDY = "it must be ISO 8601 text, or seconds or milliseconds since 1970"


class TimestampField:
    """Reads one top-level field of each record as a time."""

    def __init__(self, name: str) -> None:
        self._name = name
        record: Any = msgspec.defstruct(
            "Timed", [("time", int | float | str | None, None)], rename={"time": name}, gc=False
        )
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(record)

    def read(self, lines: bytes, line_of: Callable[[int], int]) -> list[int]:
        """The time of each record, ms UTC. Raises `InvalidRecordError` for one without."""
        try:
            records = self._decoder.decode_lines(lines)
        except msgspec.DecodeError:
            records = [self._decode(raw, index, line_of) for index, raw in enumerate(lines.splitlines())]
        return [self._ms(record.time, index, line_of) for index, record in enumerate(records)]

    def _decode(self, raw: bytes, index: int, line_of: Callable[[int], int]) -> Any:
        try:
            return self._decoder.decode(raw)
        except msgspec.DecodeError:
            raise self._refuse(index, line_of) from None

    def _ms(self, value: int | float | str | None, index: int, line_of: Callable[[int], int]) -> int:
        if isinstance(value, str):
            try:
                return parse_time(value, now_ms=0)
            except TimeError:
                raise self._refuse(index, line_of) from None
        if value is None or not 0 <= value < 1e15:
            raise self._refuse(index, line_of)
        return int(value) if value >= _SECONDS_BELOW else int(value * 1000)

    def _refuse(self, index: int, line_of: Callable[[int], int]) -> InvalidRecordError:
        return InvalidRecordError(line_of(index), f"field '{self._name}' is no time", remedy=_REMEDY)
