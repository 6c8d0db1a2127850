"""Timestamps out of a field of each record: numbers of seconds or milliseconds, or ISO 8601 text."""

from __future__ import annotations

from typing import Any

import msgspec

from storage.errors import InvalidRecordError
from storage.times import TIME_LIMIT_MS, TimeError, parse_time

# The year 5138 in seconds, 1973 in milliseconds: a number below is seconds, one above is milliseconds.
_SECONDS_BELOW = 100_000_000_000
_REMEDY = "it must be ISO 8601 text, or seconds or milliseconds since 1970"
NO_TIME = -1
"""What stands for the time of a record that has none."""


class TimestampField:
    """Reads one top-level field of each record as a time."""

    def __init__(self, name: str) -> None:
        self._name = name
        try:
            record: Any = msgspec.defstruct(
                "Timed", [("time", int | float | str | None, None)], rename={"time": name}, gc=False
            )
        except ValueError:
            raise ValueError(
                f"a timestamp field's name has no quote, backslash or control character: {name!r}"
            ) from None
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(record)

    def read(self, lines: bytes) -> list[int]:
        """The time of each record, ms UTC; `NO_TIME` for a record whose field is none."""
        try:
            records = self._decoder.decode_lines(lines)
        except msgspec.DecodeError:
            return [self._time_of(line) for line in lines[:-1].split(b"\n")]
        return [_ms(record.time) for record in records]

    def refusal(self, line: int) -> InvalidRecordError:
        """The error for the record on this line of the input."""
        return InvalidRecordError(line, f"field '{self._name}' is no time", remedy=_REMEDY)

    def _time_of(self, line: bytes) -> int:
        try:
            return _ms(self._decoder.decode(line).time)
        except msgspec.DecodeError:
            return NO_TIME


def _ms(value: int | float | str | None) -> int:
    if isinstance(value, str):
        # A date comes first: "now" and "1h ago" say nothing about when a record was made.
        if not value[:4].isdigit() or value[4:5] != "-":
            return NO_TIME
        try:
            return parse_time(value, now_ms=0)
        except TimeError:
            return NO_TIME
    if value is None or not 0 <= value < TIME_LIMIT_MS:
        return NO_TIME
    return int(value) if value >= _SECONDS_BELOW else int(value * 1000)
