from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.quantities import (
    UNLIMITED,
    format_duration,
    format_size,
    parse_duration_ms,
    parse_size_bytes,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7d", 604_800_000),
        ("1w", 604_800_000),
        ("500ms", 500),
        ("1h30m", 5_400_000),
        ("1H 30M", 5_400_000),
        ("1.5h", 5_400_000),
        ("0.001s", 1),
        ("0", 0),
        ("0s", 0),
        (" 10s ", 10_000),
        ("1m1ms", 60_001),
        ("forever", UNLIMITED),
    ],
)
def test_a_duration_is_read_in_milliseconds(text: str, expected: int) -> None:
    assert expected == parse_duration_ms(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a duration is empty"),
        ("7", "duration '7' has no unit after 7; use ms, s, m, h, d or w"),
        ("7y", "duration '7y' has an unknown unit 'y'; use ms, s, m, h, d or w"),
        ("-7d", "duration '-7d' is negative"),
        ("soon", "duration 'soon' has no number where one should be; write 7d, 1h30m or 500ms"),
        ("1m2h", "duration '1m2h' must have each unit once, from large to small"),
        ("1h1h", "duration '1h1h' must have each unit once, from large to small"),
        ("1.5ms", "duration '1.5ms' is not a whole number of milliseconds"),
        ("1..5s", "duration '1..5s' has no number where one should be; write 7d, 1h30m or 500ms"),
        ("99999999999999999d", "duration '99999999999999999d' is too large"),
        ("9" * 70 + "d", "a duration of 71 characters is too long"),
        ("٣d", "duration '٣d' has no number where one should be; write 7d, 1h30m or 500ms"),
    ],
)
def test_what_is_no_duration_is_refused_with_the_reason(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_duration_ms(text)
    assert message == str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("1048576", 1_048_576),
        ("1GB", 1_000_000_000),
        ("1gib", 1_073_741_824),
        ("64KiB", 65_536),
        ("1.1 GB", 1_100_000_000),
        ("1.5KiB", 1536),
        ("12B", 12),
        ("unlimited", UNLIMITED),
    ],
)
def test_a_size_is_read_in_bytes(text: str, expected: int) -> None:
    assert expected == parse_size_bytes(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("  ", "a size is empty"),
        ("-1", "size '-1' is negative"),
        ("1G", "size '1G' is ambiguous; write GB for powers of 1000 or GiB for 1024"),
        ("1PB", "size '1PB' has an unknown unit 'pb'; use B, kB, MB, GB, TB, KiB, MiB, GiB or TiB"),
        ("GB", "size 'GB' has no number where one should be; write 1048576, 64KiB or 1GB"),
        ("1.5", "size '1.5' is not a whole number of bytes"),
        ("1e6", "size '1e6' has an unknown unit 'e6'; use B, kB, MB, GB, TB, KiB, MiB, GiB or TiB"),
        ("10000000TB", "size '10000000TB' is too large"),
    ],
)
def test_what_is_no_size_is_refused_with_the_reason(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_size_bytes(text)
    assert message == str(caught.value)


@pytest.mark.parametrize(
    ("duration_ms", "expected"),
    [(0, "0"), (604_800_000, "7d"), (5_400_000, "1h30m"), (1, "1ms"), (UNLIMITED, "forever")],
)
def test_a_duration_is_written_short(duration_ms: int, expected: str) -> None:
    assert expected == format_duration(duration_ms)


@pytest.mark.parametrize(
    ("size_bytes", "expected"),
    [(0, "0B"), (1234, "1234B"), (65_536, "64KiB"), (5_000_000, "5MB"), (UNLIMITED, "unlimited")],
)
def test_a_size_is_written_short(size_bytes: int, expected: str) -> None:
    assert expected == format_size(size_bytes)


@given(st.integers(min_value=-1, max_value=2**62))
def test_what_was_written_is_read_back(number: int) -> None:
    assert number == parse_duration_ms(format_duration(number))
    assert number == parse_size_bytes(format_size(number))


@given(st.text(alphabet="0123456789.hmsdwkgib -", max_size=12))
def test_any_text_is_read_or_refused_with_one_line(text: str) -> None:
    for parse in (parse_duration_ms, parse_size_bytes):
        try:
            assert parse(text) >= 0
        except ValueError as error:
            assert "\n" not in str(error)
            assert "invalid literal" not in str(error)


@pytest.mark.parametrize("write", [format_duration, format_size])
def test_a_negative_quantity_is_not_written(write: object) -> None:
    with pytest.raises(ValueError, match="cannot be negative"):
        write(-2)  # type: ignore[operator]
