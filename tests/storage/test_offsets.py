from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.offsets import (
    END,
    OFFSET_MAX,
    START,
    OffsetError,
    Position,
    Range,
    parse_offset_spec,
    parse_offset_specs,
    resolve,
)
from storage.times import TimeError

NOW_MS = 1_715_776_200_000
HOUR_MS = 3_600_000
MAY_MS = round(datetime(2024, 5, 1, tzinfo=UTC).timestamp() * 1000)


def parsed(text: str) -> Range:
    return parse_offset_spec(text, now_ms=NOW_MS, local_zone=UTC)


def at(ms: int) -> Position:
    return Position("time", ms)


def absolute(offset: int) -> Position:
    return Position("absolute", offset)


@pytest.mark.parametrize("word", ["beginning", "start", "earliest", "oldest", "first", "Earliest"])
def test_every_spelling_of_the_start_is_known(word: str) -> None:
    assert Range(START) == parsed(word)


@pytest.mark.parametrize("word", ["end", "latest", "newest", "last", " end "])
def test_every_spelling_of_the_end_is_known(word: str) -> None:
    assert Range(END) == parsed(word)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", Range(absolute(0))),
        (str(OFFSET_MAX), Range(absolute(OFFSET_MAX))),
        ("+3", Range(Position("from-start", 3))),
        ("-3", Range(Position("from-end", 3))),
        ("5:9", Range(absolute(5), absolute(9))),
        ("5-9", Range(absolute(5), absolute(9))),
        ("5:", Range(absolute(5))),
        (":9", Range(START, absolute(9))),
        (":end", Range(START, END)),
        ("5:end", Range(absolute(5), END)),
        ("start:end", Range(START, END)),
        ("-10:-5", Range(Position("from-end", 10), Position("from-end", 5))),
        ("-10:end", Range(Position("from-end", 10), END)),
        ("5:@2024-05-01", Range(absolute(5), at(MAY_MS))),
        ("@1700000000000", Range(at(1_700_000_000_000))),
        ("@1700000000:1700000001", Range(at(1_700_000_000_000), at(1_700_000_001_000))),
        ("@2024-05-01", Range(at(MAY_MS))),
        ("@2024-05-01:", Range(at(MAY_MS))),
        ("@:2024-05-01", Range(START, at(MAY_MS))),
        ("@2024-05-01T10:30:15", Range(at(MAY_MS + 10 * HOUR_MS + 1_815_000))),
        ("@2024-05-01T01:00:2024-05-01T02:00:00", Range(at(MAY_MS + HOUR_MS), at(MAY_MS + 2 * HOUR_MS))),
        ("@2024-05-01T01:00+01:00:2024-05-01T02:00Z", Range(at(MAY_MS), at(MAY_MS + 2 * HOUR_MS))),
        ("@2024-05-01:1h", Range(at(MAY_MS), at(MAY_MS + HOUR_MS))),
        ("@2024-05-01:+1h", Range(at(MAY_MS), at(MAY_MS + HOUR_MS))),
        ("@-48h:-24h", Range(at(NOW_MS - 48 * HOUR_MS), at(NOW_MS - 24 * HOUR_MS))),
        ("@48h:24h", Range(at(NOW_MS - 48 * HOUR_MS), at(NOW_MS - 24 * HOUR_MS))),
        ("@-1h:end", Range(at(NOW_MS - HOUR_MS), END)),
        ("@-1h:now", Range(at(NOW_MS - HOUR_MS), at(NOW_MS))),
        ("@:-1h", Range(START, at(NOW_MS - HOUR_MS))),
        ("s@1700000000000", Range(at(1_700_000_000_000))),
        ("e@1700000000000", Range(START, at(1_700_000_000_000))),
    ],
)
def test_a_spec_is_read(text: str, expected: Range) -> None:
    assert expected == parsed(text)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "is empty"),
        (":", "neither end"),
        ("x", "cannot be read"),
        ("5-", "cannot be read"),
        ("--5", "cannot be read"),
        ("5:9:11", "cannot be read"),
        ("-1h", "@-1h"),
        ("1h", "@1h"),
        ("9:5", "ends before it starts"),
        ("9-5", "ends before it starts"),
        ("-5:-9", "ends before it starts"),
        ("5:+3", "-n"),
        ("@2024-05-02:2024-05-01", "ends before it starts"),
        ("@2024-05-01:-1h", "ends before it starts"),
        ("@10:00:00:11:00", "--since"),
        ("99999999999999999999", "too large"),
        ("9" * 5000, "too large"),
        ("%k %v", "-F"),
        ("stored", "--group"),
        ("json", "--json"),
    ],
)
def test_what_is_no_offset_is_refused_with_a_remedy(text: str, part: str) -> None:
    with pytest.raises(OffsetError) as caught:
        parsed(text)
    assert part in str(caught.value)
    assert caught.value.remedy


@pytest.mark.parametrize("text", ["@", "@:", "@x", "@5", "s@", "e@x", "@2024-05-01:x"])
def test_a_bad_time_within_a_spec_is_refused_as_a_time(text: str) -> None:
    with pytest.raises(TimeError):
        parsed(text)


def test_the_two_options_of_kcat_make_one_range() -> None:
    expected = Range(at(1_700_000_000_000), at(1_700_000_001_000))
    for texts in (["s@1700000000", "e@1700000001"], ["e@1700000001", "s@1700000000"]):
        assert expected == parse_offset_specs(texts, now_ms=NOW_MS, local_zone=UTC)
    assert Range(absolute(5)) == parse_offset_specs(["5"], now_ms=NOW_MS)
    for texts in (["5", "9"], ["s@1700000000", "s@1700000001"], ["s@1700000001", "e@1700000000"]):
        with pytest.raises(OffsetError):
            parse_offset_specs(texts, now_ms=NOW_MS)


@pytest.mark.parametrize(
    ("position", "expected"),
    [
        (START, 10),
        (END, 20),
        (absolute(15), 15),
        (absolute(3), 10),
        (absolute(99), 20),
        (Position("from-start", 4), 14),
        (Position("from-start", 400), 20),
        (Position("from-end", 4), 16),
        (Position("from-end", 400), 10),
        (Position("from-end", 0), 20),
        (at(12), 12),
        (at(1000), 20),
    ],
)
def test_a_position_is_clamped_to_the_partition(position: Position, expected: int) -> None:
    offset = resolve(position, start_offset=10, end_offset=20, offset_at_time=lambda ms: ms)
    assert expected == offset


@given(st.integers(0, OFFSET_MAX), st.integers(0, OFFSET_MAX))
def test_a_range_of_numbers_reads_back(first: int, second: int) -> None:
    low, high = sorted((first, second))
    expected = Range(absolute(low), absolute(high))
    assert expected == parsed(f"{low}:{high}") == parsed(f"{low}-{high}")


@given(st.text(alphabet="@:+-0123456789shaeT.Z endnow", max_size=24))
def test_any_text_is_a_range_or_refused(text: str) -> None:
    try:
        found = parsed(text)
    except (OffsetError, TimeError) as error:
        assert error.remedy
        return
    for position in (found.start, found.end or END):
        assert 10 <= resolve(position, start_offset=10, end_offset=20, offset_at_time=lambda ms: 15) <= 20
