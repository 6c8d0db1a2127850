"""Functions of times: milliseconds since 1970, UTC. Where a time is wanted, a text or number of one will do.

The generated code turns an argument of kind 'time' into milliseconds first (`milliseconds`), unless it is the
result of another function of times: a number that is known to be milliseconds is never taken for seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from functools import lru_cache
from typing import Any

from aegis_cli.pipeline.event_time import DAY_MS, EPOCH_DAY, event_time_ms
from aegis_cli.pipeline.expression.function import Family
from aegis_cli.pipeline.expression.values import kind_name

family = Family()
_HOUR_MS = 3_600_000
_MINUTE_MS = 60_000
_DIVISIONS = {"second": 1000, "minute": _MINUTE_MS, "hour": _HOUR_MS, "day": DAY_MS}
_PIECES_MAX = 200


def milliseconds(value: Any) -> int | None:
    """The milliseconds of a time; null stays null."""
    return None if value is None else event_time_ms(value)


def known_time(time_ms: int | None) -> int:
    """A time that is in milliseconds already. Raises RecordError for null."""
    return event_time_ms(None) if time_ms is None else time_ms


@lru_cache(maxsize=1024)
def _date(day: int) -> date:
    return date.fromordinal(day + EPOCH_DAY)


def _first_ms(day: date) -> int:
    return (day.toordinal() - EPOCH_DAY) * DAY_MS


@family.function("parse_time(value: time) -> time", ('parse_time("2026-03-01T12:00:00.5Z")', "1772366400500"))
def parse_time(value: Any) -> Any:
    """Milliseconds since 1970, of an ISO 8601 text (UTC without a zone) or number (seconds below 1e11)."""
    return value


@family.function("year(time: time) -> number", ('year("2026-03-01")', "2026"))
def year(time: Any) -> Any:
    """The year, in UTC."""
    return None if time is None else _date(time // DAY_MS).year


@family.function("month(time: time) -> number", ('month("2026-03-01")', "3"))
def month(time: Any) -> Any:
    """The month from 1 to 12, in UTC."""
    return None if time is None else _date(time // DAY_MS).month


@family.function("day(time: time) -> number", ('day("2026-03-01")', "1"))
def day_of_month(time: Any) -> Any:
    """The day of the month from 1 to 31, in UTC."""
    return None if time is None else _date(time // DAY_MS).day


@family.function("hour(time: time) -> number", ('hour("2026-03-01T12:34:56Z")', "12"))
def hour(time: Any) -> Any:
    """The hour from 0 to 23, in UTC."""
    return None if time is None else time // _HOUR_MS % 24


@family.function("minute(time: time) -> number", ('minute("2026-03-01T12:34:56Z")', "34"))
def minute(time: Any) -> Any:
    """The minute from 0 to 59."""
    return None if time is None else time // _MINUTE_MS % 60


@family.function("second(time: time) -> number", ('second("2026-03-01T12:34:56Z")', "56"))
def second(time: Any) -> Any:
    """The second from 0 to 59."""
    return None if time is None else time // 1000 % 60


@family.function("weekday(time: time) -> number", ('weekday("2026-03-01")', "7"))
def weekday(time: Any) -> Any:
    """The day of the week from 1 for Monday to 7 for Sunday, in UTC."""
    return None if time is None else _date(time // DAY_MS).isoweekday()


def _week_ms(time: int) -> int:
    day = time // DAY_MS
    # The first day of 1970 was a Thursday.
    return (day - (day + 3) % 7) * DAY_MS


def _month_ms(time: int) -> int:
    return _first_ms(_date(time // DAY_MS).replace(day=1))


def _quarter_ms(time: int) -> int:
    day = _date(time // DAY_MS)
    return _first_ms(date(day.year, (day.month - 1) // 3 * 3 + 1, 1))


def _year_ms(time: int) -> int:
    return _first_ms(_date(time // DAY_MS).replace(month=1, day=1))


_TRUNCATIONS: dict[str, Callable[[int], int]] = {
    "week": _week_ms,
    "month": _month_ms,
    "quarter": _quarter_ms,
    "year": _year_ms,
}


def _truncation(unit: object) -> Callable[[int], int]:
    if isinstance(unit, str) and unit in _DIVISIONS:
        size = _DIVISIONS[unit]
        return lambda time: time - time % size
    if isinstance(unit, str) and unit in _TRUNCATIONS:
        return _TRUNCATIONS[unit]
    raise ValueError(f"a unit is one of {', '.join([*_DIVISIONS, *_TRUNCATIONS])}")


@family.function(
    "date_trunc(unit: text, time: time) -> time",
    ('format_time(date_trunc("hour", "2026-03-01T12:34:56Z"))', '"2026-03-01T12:00:00.000Z"'),
    prepare={"unit": _truncation},
)
def date_trunc(unit: Any, time: Any) -> Any:
    """When the second, minute, hour, day, week (from Monday), month, quarter or year began, in UTC."""
    return None if time is None else unit(time)


_DIRECTIVES: dict[str, Callable[[int, date], str]] = {
    "Y": lambda time, day: f"{day.year:04d}",
    "m": lambda time, day: f"{day.month:02d}",
    "d": lambda time, day: f"{day.day:02d}",
    "j": lambda time, day: f"{day.timetuple().tm_yday:03d}",
    "u": lambda time, day: str(day.isoweekday()),
    "G": lambda time, day: f"{day.isocalendar().year:04d}",
    "V": lambda time, day: f"{day.isocalendar().week:02d}",
    "H": lambda time, day: f"{time // _HOUR_MS % 24:02d}",
    "M": lambda time, day: f"{time // _MINUTE_MS % 60:02d}",
    "S": lambda time, day: f"{time // 1000 % 60:02d}",
    "L": lambda time, day: f"{time % 1000:03d}",
    "s": lambda time, day: str(time // 1000),
    "F": lambda time, day: day.isoformat(),
    "T": lambda time, day: (
        f"{time // _HOUR_MS % 24:02d}:{time // _MINUTE_MS % 60:02d}:{time // 1000 % 60:02d}"
    ),
}
_Pieces = tuple[str | Callable[[int, date], str], ...]


def _time_pattern(pattern: object) -> _Pieces:
    if not isinstance(pattern, str):
        raise ValueError(f"a pattern is a text, not {kind_name(pattern)}")
    first, *others = pattern.split("%")
    pieces: list[str | Callable[[int, date], str]] = [first]
    escaped = False
    for other in others:
        # Between the two signs of '%%' there is nothing.
        if escaped:
            pieces.append(other)
            escaped = False
        elif not other:
            pieces.append("%")
            escaped = True
        elif other[0] in _DIRECTIVES:
            pieces += (_DIRECTIVES[other[0]], other[1:])
        else:
            raise ValueError(f"'%{other[0]}' means nothing; there are %{' %'.join(_DIRECTIVES)}")
    if escaped and not others[-1]:
        raise ValueError("a pattern does not end with '%'")
    if len(pieces) > _PIECES_MAX:
        raise ValueError(f"the pattern has more than {_PIECES_MAX} parts")
    return tuple(piece for piece in pieces if piece)


_ISO = _time_pattern("%FT%T.%LZ")


@family.function(
    "format_time(time: time, pattern: text?) -> text",
    ("format_time(1772366400123)", '"2026-03-01T12:00:00.123Z"'),
    ('format_time("2026-03-01T12:00:00Z", "%d.%m.%Y %H:%M")', '"01.03.2026 12:00"'),
    prepare={"pattern": _time_pattern},
)
def format_time(time: Any, pattern: Any = _ISO) -> Any:
    """The time in UTC as a text: %Y %m %d %H %M %S, %L milliseconds, %F date, %T time, %j %u %G %V %s %%."""
    if time is None:
        return None
    day = _date(time // DAY_MS)
    return "".join([piece if type(piece) is str else piece(time, day) for piece in pattern])
