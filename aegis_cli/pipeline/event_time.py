"""The time of a record in milliseconds since 1970, UTC, from what its fields hold.

Text is ISO 8601 in its extended form: `2026-03-01`, `2026-03-01T12:00Z`, `2026-03-01 12:00:00.123456+02:00`.
A text without a zone is UTC, so that the answer never depends on the machine. A number below 10^11 in size
counts seconds, a larger one milliseconds. What is finer than a millisecond is cut off downwards, exactly: a
number of seconds with a fraction counts as the decimal number that it was written as.

This is called for each record. Times of one minute share their date, and most texts end in a few ways, so the
parts are looked up: only their first appearance is read with care.
"""

from __future__ import annotations

import re
from datetime import date
from typing import Any, NoReturn

from aegis_cli.pipeline.errors import RecordError

SECONDS_BELOW = 100_000_000_000
"""Numbers smaller than this count seconds: as milliseconds, they would be before March 1973."""
DAY_MS = 86_400_000
EPOCH_DAY = date(1970, 1, 1).toordinal()
MIN_MS = (1 - EPOCH_DAY) * DAY_MS
"""The first millisecond of the year 1."""
MAX_MS = (date(9999, 12, 31).toordinal() - EPOCH_DAY + 1) * DAY_MS - 1
"""The last millisecond of the year 9999."""

_REMEMBERED = 8192
_TEXT = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
    r"(?:[Tt ]([01][0-9]|2[0-3]):([0-5][0-9])(?::([0-5][0-9])(?:[.,]([0-9]{1,18}))?)?"
    r"(Z|z|[+-](?:[01][0-9]|2[0-3])(?::?[0-5][0-9])?)?)?"
)
_USUAL_LENGTH = len("2026-03-01T12:00:00Z")
_MINUTE_LENGTH = len("2026-03-01T12:00")
_SECOND_LENGTH = len("2026-03-01T12:00:00")
# What the first 16 characters of a text mean, its seconds, and all that follows; filled by texts that were
# read with care, so that parts which were valid once make a valid text again.
_minutes: dict[str, int] = {}
_seconds = {f":{second:02d}": second * 1000 for second in range(60)}
_ends = {"": 0, "Z": 0}
# The form that is used most needs two of these look-ups instead of three, and a third less time.
_usual_ends = {f"{text}Z": time_ms for text, time_ms in _seconds.items()}


def event_time_ms(value: Any) -> int:
    """Milliseconds since 1970. Raises RecordError for what is no time, or not of the years 1 to 9999."""
    if type(value) is str:
        try:
            if len(value) == _USUAL_LENGTH:
                return _minutes[value[:16]] + _usual_ends[value[16:]]
            if (end_ms := _ends.get(value[19:])) is not None:
                return _minutes[value[:16]] + _seconds[value[16:19]] + end_ms
        except KeyError:
            return _read(value)
    return _read(value)


def _read(value: Any) -> int:
    """The time of a number, or of a text whose parts are not known."""
    kind = type(value)
    if kind is int:
        time_ms: int = value * 1000 if -SECONDS_BELOW < value < SECONDS_BELOW else value
    elif kind is str:
        time_ms = _read_text(value)
    elif kind is float and value - value == 0.0:
        time_ms = _read_float(value)
    else:
        _refuse(value)
    if not MIN_MS <= time_ms <= MAX_MS:
        raise RecordError("a time is outside of the years 1 to 9999")
    return time_ms


def _read_float(value: float) -> int:
    if not -SECONDS_BELOW < value < SECONDS_BELOW:
        return int(value // 1)
    # 1.001 lies a little below what it says. It is the float nearest to 1001 / 1000, and that was meant.
    nearest = round(value * 1000)
    if nearest / 1000 == value:
        return nearest
    numerator, denominator = value.as_integer_ratio()
    return numerator * 1000 // denominator


def _read_text(text: str) -> int:
    known = _minutes.get(text[:_MINUTE_LENGTH])
    if known is not None and text[_MINUTE_LENGTH:_SECOND_LENGTH] in _seconds:
        micros = _read_micros(text[_SECOND_LENGTH:])
        if micros is not None:
            return known + _seconds[text[_MINUTE_LENGTH:_SECOND_LENGTH]] + micros
    match = _TEXT.fullmatch(text)
    if match is None:
        _refuse(text)
    try:
        day = date(int(match[1]), int(match[2]), int(match[3])).toordinal() - EPOCH_DAY
    except ValueError:
        _refuse(text)
    minute_ms = day * DAY_MS + int(match[4] or 0) * 3_600_000 + int(match[5] or 0) * 60_000
    end_ms = (int(match[7][:3].ljust(3, "0")) if match[7] else 0) - _zone_ms(match[8])
    if match[6] is not None:
        _remember(text, minute_ms, end_ms)
    return minute_ms + int(match[6] or 0) * 1000 + end_ms


def _read_micros(end: str) -> int | None:
    """Milliseconds of `.123456Z`, of which there are too many to remember; None for any other end."""
    digits = end[1:-1]
    if end[:1] == "." and end[-1:] == "Z" and 3 < len(digits) <= 18 and digits.isascii() and digits.isdigit():
        return int(digits[:3])
    return None


def _remember(text: str, minute_ms: int, end_ms: int) -> None:
    # At the edges of time a zone can lead out of it, so those days are read with care each time.
    if MIN_MS + DAY_MS <= minute_ms <= MAX_MS - DAY_MS:
        if len(_minutes) >= _REMEMBERED:
            _minutes.clear()
        _minutes[text[:_MINUTE_LENGTH]] = minute_ms
    end = text[_SECOND_LENGTH:]
    if len(_ends) >= _REMEMBERED:
        _ends.clear()
    _ends[end] = end_ms


def _zone_ms(zone: str | None) -> int:
    if zone is None or zone in "Zz":
        return 0
    minutes = int(zone[1:3]) * 60 + int(zone[-2:] if len(zone) > 3 else 0)
    return -minutes * 60_000 if zone[0] == "-" else minutes * 60_000


def _refuse(value: Any) -> NoReturn:
    if type(value) is str:
        shown = ascii(value if len(value) <= 40 else f"{value[:39]}...")
        raise RecordError(f"{shown} is no time; write it as in 2026-03-01T12:00:00Z")
    what = {type(None): "null", bool: "a bool", list: "a list", dict: "an object"}.get(
        type(value), "this number"
    )
    raise RecordError(f"{what} is no time; a time is an ISO 8601 text, or seconds or milliseconds since 1970")
