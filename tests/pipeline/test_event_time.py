"""Times of records: exact, quick for what is usual, and refused where there is no time."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aegis_cli.pipeline import event_time
from aegis_cli.pipeline.errors import RecordError
from aegis_cli.pipeline.event_time import MAX_MS, MIN_MS, event_time_ms

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOON = 1_772_366_400_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-03-01T12:00:00Z", NOON),
        ("2026-03-01t12:00:00z", NOON),
        ("2026-03-01 12:00:00", NOON),
        ("2026-03-01T12:00", NOON),
        ("2026-03-01T12:00Z", NOON),
        ("2026-03-01", NOON - 43_200_000),
        ("2026-03-01T12:00:00.5Z", NOON + 500),
        ("2026-03-01T12:00:00,123Z", NOON + 123),
        ("2026-03-01T12:00:00.123999999Z", NOON + 123),
        ("2026-03-01T12:00:00.0009Z", NOON),
        ("2026-03-01T14:00:00+02:00", NOON),
        ("2026-03-01T14:00:00+0200", NOON),
        ("2026-03-01T14:00:00.250+02", NOON + 250),
        ("2026-03-01T06:30:00-05:30", NOON),
        ("1969-12-31T23:59:59.9999Z", -1),
        ("1970-01-01T00:00:00Z", 0),
        ("2024-02-29", 1_709_164_800_000),
        ("0001-01-01T00:00:00Z", MIN_MS),
        ("9999-12-31T23:59:59.999999Z", MAX_MS),
    ],
)
def test_a_text_of_iso_8601_is_a_time(text: str, expected: int) -> None:
    # The second time its parts are known.
    assert [expected, expected] == [event_time_ms(text), event_time_ms(text)]


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (0, 0),
        (1_772_366_400, NOON),
        (NOON, NOON),
        (99_999_999_999, 99_999_999_999_000),
        (100_000_000_000, 100_000_000_000),
        (-100_000_000_000, -100_000_000_000),
        (-1, -1000),
        (1_772_366_400.123, NOON + 123),
        (1.001, 1001),
        (0.0009, 0),
        (-0.0001, -1),
        (1_772_366_400_000.9, NOON),
        (-100_000_000_000.5, -100_000_000_001),
    ],
)
def test_a_number_counts_seconds_if_it_is_small_and_else_milliseconds(number: float, expected: int) -> None:
    assert expected == event_time_ms(number)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        [],
        {},
        math.nan,
        math.inf,
        -math.inf,
        1e300,
        2**63 - 1,
        MAX_MS + 1,
        MIN_MS - 1,
        "",
        "2026",
        "2026-3-1",
        "2026-02-30",
        "2025-02-29",
        "2026-13-01",
        "2026-03-01T24:00:00Z",
        "2026-03-01T12:60:00Z",
        "2026-03-01T12:00:60Z",
        "2026-03-01T12:00:00.Z",
        "2026-03-01T12:00:00ZZ",
        "2026-03-01T12:00:00 Z",
        "2026-03-01T12:00:00Z\n",
        "2026-03-01T12:00:00+24:00",
        "2026-03-01T12:00:00+",
        "2026-03-01T12:00:00.123456z!",
        "2026-03-01T12:00:00.\u0661\u0662\u0663\u0664Z",
        "\u0662026-03-01T12:00:00Z",
        "2026-03-01Z",
        "20260301T120000Z",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
        "1772366400",
        "yesterday",
        "x" * 100_000,
    ],
)
def test_anything_else_is_refused_however_often_it_comes(value: Any) -> None:
    event_time_ms("2026-03-01T12:00:00.123456Z")
    for _ in range(2):
        with pytest.raises(RecordError) as caught:
            event_time_ms(value)
        assert "time" in str(caught.value)
        assert len(str(caught.value)) < 200


@given(
    st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 12, 31)),
    st.sampled_from([None, 0, 60, -300, 330, 1439, -1439]),
    st.sampled_from(["auto", "seconds", "milliseconds", "microseconds", "minutes"]),
    st.sampled_from("T "),
)
def test_what_python_writes_is_read_back_exactly(
    moment: datetime, zone: int | None, precision: str, separator: str
) -> None:
    aware = moment.replace(tzinfo=UTC if zone is None else timezone(timedelta(minutes=zone)))
    text = aware.isoformat(separator, precision)
    expected = (datetime.fromisoformat(text) - EPOCH) // timedelta(milliseconds=1)
    assert expected == event_time_ms(text)
    assert expected == event_time_ms(text.replace("+00:00", "Z"))


@given(st.integers(-60_000_000_000_000, 99_000_000_000_000))
@example(1_700_000_000_123)
def test_seconds_with_a_fraction_are_the_milliseconds_that_were_written(time_ms: int) -> None:
    assert time_ms == event_time_ms(time_ms / 1000)


@given(st.floats(-6e10, 9e10))
def test_seconds_are_cut_off_downwards(seconds: float) -> None:
    written = Fraction(repr(seconds)) * 1000
    exact = Fraction(seconds) * 1000
    assert event_time_ms(seconds) in (math.floor(written), math.floor(exact))
    assert (
        math.floor(seconds) * 1000
        <= event_time_ms(seconds)
        <= math.floor(seconds) * 1000 + 999 + (seconds >= 2**43)
    )


def test_what_is_remembered_is_bounded() -> None:
    for minute in range(20_000):
        moment = EPOCH + timedelta(minutes=minute, milliseconds=minute)
        event_time_ms(moment.isoformat())
    remembered = [len(event_time._minutes), len(event_time._ends)]
    assert all(size <= 8192 for size in remembered)
