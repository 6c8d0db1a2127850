from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.times import TimeError, parse_time

BERLIN = ZoneInfo("Europe/Berlin")
HOUR_MS = 3_600_000


def ms(*parts: int, zone: ZoneInfo | None = None) -> int:
    return round(datetime(*parts, tzinfo=zone or UTC).timestamp() * 1000)  # type: ignore[misc, arg-type]


NOW_MS = ms(2024, 5, 15, 12, 30)


def parsed(text: str) -> int:
    return parse_time(text, now_ms=NOW_MS, local_zone=BERLIN)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1700000000000", 1_700_000_000_000),
        ("1700000000", 1_700_000_000_000),
        ("now", NOW_MS),
        ("NOW", NOW_MS),
        ("2024-05-01", ms(2024, 5, 1, zone=BERLIN)),
        ("2024-05-01T10:30", ms(2024, 5, 1, 10, 30, zone=BERLIN)),
        ("2024-05-01 10:30:15", ms(2024, 5, 1, 10, 30, 15, zone=BERLIN)),
        ("2024-05-01T10:30:15.250", ms(2024, 5, 1, 10, 30, 15, 250_000, zone=BERLIN)),
        ("2024-05-01T10:30:15.123456789Z", ms(2024, 5, 1, 10, 30, 15) + 123),
        ("2024-05-01T10:30Z", ms(2024, 5, 1, 10, 30)),
        ("2024-05-01t10:30:00z", ms(2024, 5, 1, 10, 30)),
        ("2024-05-01T10:30:00-05:00", ms(2024, 5, 1, 15, 30)),
        ("10:30", ms(2024, 5, 15, 10, 30, zone=BERLIN)),
        ("10:30:15", ms(2024, 5, 15, 10, 30, 15, zone=BERLIN)),
        ("today", ms(2024, 5, 15, zone=BERLIN)),
        ("yesterday", ms(2024, 5, 14, zone=BERLIN)),
        ("1h", NOW_MS - HOUR_MS),
        ("-1h", NOW_MS - HOUR_MS),
        ("1h ago", NOW_MS - HOUR_MS),
        ("+1h", NOW_MS + HOUR_MS),
        ("1970-01-01T00:00Z", 0),
        ("40000d", 0),
    ],
)
def test_a_time_is_read(text: str, expected: int) -> None:
    assert expected == parsed(text)


def test_the_day_is_the_one_of_the_local_zone() -> None:
    late = ms(2024, 5, 15, 23, 30)
    assert ms(2024, 5, 16, zone=BERLIN) == parse_time("today", now_ms=late, local_zone=BERLIN)


def test_a_day_of_summer_time_change_starts_at_its_own_midnight() -> None:
    noon = ms(2024, 3, 31, 12)
    assert ms(2024, 3, 30, 23) == parse_time("today", now_ms=noon, local_zone=BERLIN)


def test_without_a_zone_given_the_machine_decides() -> None:
    expected = round(datetime(2024, 5, 1, 10, 30).timestamp() * 1000)
    assert expected == parse_time("2024-05-01T10:30", now_ms=NOW_MS)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "20240501",
        "17000000000000000",
        "2024-W01-1",
        "2024-13-01",
        "2024-02-30",
        "2024-05-01T10",
        "2024-05-01T25:00",
        "10:75",
        "1969-12-31T00:00Z",
        "0000-01-01",
        "tomorrowish",
        "-",
        "+",
        "-1",
        "1 fortnight",
        "+9000000d",
        "²",
    ],
)
def test_what_is_no_time_is_refused_with_a_remedy(text: str) -> None:
    with pytest.raises(TimeError) as caught:
        parsed(text)
    assert text == caught.value.text
    assert caught.value.remedy
    assert "\n" not in str(caught.value)


@given(st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(9999, 12, 30)))
def test_every_iso_time_with_a_zone_means_its_instant(moment: datetime) -> None:
    utc = moment.replace(tzinfo=UTC)
    expected = (utc - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    assert expected == parsed(utc.isoformat())


@given(st.text(max_size=30))
def test_any_text_is_a_time_or_refused(text: str) -> None:
    try:
        assert 0 <= parsed(text)
    except TimeError as error:
        assert error.remedy
