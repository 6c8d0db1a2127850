"""Functions of times against the standard library's calendar, at any time there is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aegis_cli.pipeline.event_time import DAY_MS, MAX_MS, MIN_MS
from tests.pipeline.expression.computing import compute

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PARTS = {
    "year": lambda moment: moment.year,
    "month": lambda moment: moment.month,
    "day": lambda moment: moment.day,
    "hour": lambda moment: moment.hour,
    "minute": lambda moment: moment.minute,
    "second": lambda moment: moment.second,
    "weekday": lambda moment: moment.isoweekday(),
}
DAY: dict[str, Any] = {"hour": 0, "minute": 0, "second": 0, "microsecond": 0}
TRUNCATED = {
    "second": lambda moment: moment.replace(microsecond=0),
    "minute": lambda moment: moment.replace(second=0, microsecond=0),
    "hour": lambda moment: moment.replace(minute=0, second=0, microsecond=0),
    "day": lambda moment: moment.replace(**DAY),
    "week": lambda moment: moment.replace(**DAY) - timedelta(days=moment.weekday()),
    "month": lambda moment: moment.replace(day=1, **DAY),
    "quarter": lambda moment: moment.replace(month=(1, 4, 7, 10)[(moment.month - 1) // 3], day=1, **DAY),
    "year": lambda moment: moment.replace(month=1, day=1, **DAY),
}
# What both call the same; of years before 1000 the library leaves the zeros out.
DIRECTIVES = "%m %d %H %M %S %j %u %V %T %%"


def moment_of(time_ms: int) -> datetime:
    return EPOCH + timedelta(milliseconds=time_ms)


# Text, since small numbers would be seconds.
def text_of(time_ms: int) -> str:
    return moment_of(time_ms).isoformat(timespec="milliseconds")


TIMES = st.one_of(st.integers(MIN_MS, MAX_MS), st.integers(-400, 400).map(lambda day: day * DAY_MS))


@given(TIMES)
@example(MIN_MS)
@example(MAX_MS)
@example(-1)
def test_parts_of_a_time_are_those_of_the_calendar(time_ms: int) -> None:
    for name, part in PARTS.items():
        assert part(moment_of(time_ms)) == compute(f"{name}(t)", t=text_of(time_ms))
    assert time_ms == compute("parse_time(t)", t=text_of(time_ms))


@pytest.mark.parametrize("unit", TRUNCATED)
@given(time_ms=TIMES)
@example(time_ms=MIN_MS)
@example(time_ms=MAX_MS)
@example(time_ms=-1)
def test_a_time_is_cut_off_where_its_unit_began(unit: str, time_ms: int) -> None:
    began = TRUNCATED[unit](moment_of(time_ms))
    assert text_of((began - EPOCH) // timedelta(milliseconds=1)) == compute(
        f'format_time(date_trunc("{unit}", t), "%FT%T.%L+00:00")', t=text_of(time_ms)
    )


@given(TIMES)
@example(MIN_MS)
@example(MAX_MS)
def test_a_time_is_written_as_the_library_writes_it(time_ms: int) -> None:
    moment = moment_of(time_ms)
    assert moment.strftime(DIRECTIVES) == compute(f'format_time(t, "{DIRECTIVES}")', t=text_of(time_ms))
    years = f"{moment.year:04d} {moment.isocalendar().year:04d} {time_ms // 1000}"
    assert years == compute('format_time(t, "%Y %G %s")', t=text_of(time_ms))
