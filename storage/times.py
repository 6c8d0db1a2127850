"""Times as people write them on a command line, turned into milliseconds UTC.

1700000000000             13 digits: milliseconds since 1970
1700000000                10 digits: seconds since 1970 (other counts of digits are refused as ambiguous)
2024-05-01                the first instant of that day
2024-05-01T10:30[:15[.250]]    a blank may stand for the T
...Z  ...+02:00           with a zone; without one a time is local
10:30[:15]                today
now  today  yesterday     today and yesterday mean their first instants
1h  -1h  1h ago           before now (units as in durations: 1d12h, 90s, 250ms)
+1h                       after now
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime, tzinfo

# The first instant of the year 10000: no later time can be written, so none is meant.
TIME_LIMIT_MS = 253_402_300_800_000
_SECONDS_DIGITS = 10
_MILLISECONDS_DIGITS = 13


class TimeError(ValueError):
    """A text that is no time; `reason` says why and `remedy` what to write instead."""

    def __init__(self, text: str, reason: str, *, remedy: str) -> None:
        self.text = text
        self.reason = reason
        self.remedy = remedy
        super().__init__(f"time {text!r} {reason}; {remedy}")


def parse_time(text: str, *, now_ms: int, local_zone: tzinfo | None = None) -> int:
    """Return the milliseconds UTC that `text` names.

    `now_ms` is what relative times count from; `local_zone` is the zone of times that carry none, `None` for
    the zone of this machine. Raises TimeError. Relative times before 1970 are 1970.
    """
    word = text.strip().lower()
    if word == "now":
        return now_ms
    if word in ("today", "yesterday"):
        return _midnight_ms(now_ms, days_ago=0 if word == "today" else 1, local_zone=local_zone)
    if word.isascii() and word.isdigit():
        return _since_epoch_ms(text, word)
    if is_relative(word):
        return _relative_ms(text, word, now_ms)
    return _clock_ms(text, word, now_ms, local_zone)


def is_relative(text: str) -> bool:
    """Tell whether `text` can only be a duration before or after now: `-1h`, `+5m`, `2d`, `1h ago`."""
    word = text.strip().lower()
    if word.startswith(("-", "+")):
        return True
    return word[:1].isdigit() and word[-1:].isalpha() and not _looks_like_date(word) and ":" not in word


def _looks_like_date(word: str) -> bool:
    return word[:4].isdigit() and word[4:5] == "-"


def _since_epoch_ms(text: str, digits: str) -> int:
    if len(digits) == _MILLISECONDS_DIGITS:
        return int(digits)
    if len(digits) == _SECONDS_DIGITS:
        return int(digits) * 1000
    raise TimeError(
        text,
        f"has {len(digits)} digits",
        remedy="write 13 digits for milliseconds since 1970, 10 for seconds, or a date as 2024-05-01",
    )


def _relative_ms(text: str, word: str, now_ms: int) -> int:
    from storage.errors import StorageError
    from storage.quantities import parse_duration_ms

    ahead = word.startswith("+")
    duration = word.removesuffix("ago").strip().lstrip("+-")
    try:
        duration_ms = parse_duration_ms(duration)
    except (ValueError, StorageError):
        raise TimeError(
            text, "is neither a time nor a duration", remedy="write '1h', '-90s', '2024-05-01' or 'now'"
        ) from None
    if ahead and now_ms + duration_ms >= TIME_LIMIT_MS:
        raise TimeError(text, "lies beyond the year 9999", remedy="write a shorter duration")
    return now_ms + duration_ms if ahead else max(0, now_ms - duration_ms)


def _clock_ms(text: str, word: str, now_ms: int, local_zone: tzinfo | None) -> int:
    from datetime import datetime

    remedy = "write '2024-05-01', '2024-05-01T10:30:00', '10:30', '-1h' or milliseconds since 1970"
    written = word.upper()
    if written[2:3] == ":":
        today = _local(now_ms, local_zone).date()
        written = f"{today.isoformat()}T{written}"
    # fromisoformat also reads week dates and times without minutes, which nobody means here.
    to_the_minute = len(written) == len("2024-05-01") or written[13:14] == ":"
    if not _looks_like_date(written) or written[7:8] != "-" or not to_the_minute:
        raise TimeError(text, "cannot be read", remedy=remedy)
    try:
        moment = datetime.fromisoformat(written)
    except ValueError as error:
        raise TimeError(text, f"cannot be read ({error})", remedy=remedy) from None
    return _utc_ms(text, moment, local_zone)


def _utc_ms(text: str, moment: datetime, local_zone: tzinfo | None) -> int:
    from datetime import UTC, datetime, timedelta

    try:
        if moment.tzinfo is None:
            # A zone of None makes astimezone take the machine's, summer time included.
            moment = moment.replace(tzinfo=local_zone).astimezone(UTC)
        ms = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    except (OverflowError, OSError, ValueError):
        ms = -1
    if not 0 <= ms < TIME_LIMIT_MS:
        raise TimeError(text, "lies outside 1970 to 9999", remedy="write a time within these years")
    return ms


def _local(now_ms: int, local_zone: tzinfo | None) -> datetime:
    from datetime import datetime

    return datetime.fromtimestamp(now_ms / 1000, tz=local_zone)


def _midnight_ms(now_ms: int, *, days_ago: int, local_zone: tzinfo | None) -> int:
    from datetime import timedelta

    day = _local(now_ms, local_zone).date() - timedelta(days=days_ago)
    return _clock_ms(day.isoformat(), day.isoformat(), now_ms, local_zone)
