"""What is wrong with a window of a pipeline file, and that what is not refused can be opened."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aegis_cli.pipeline.program import Program
from aegis_cli.pipeline.reading import loads
from tests.pipeline.refusals import TIMED, refused

WINDOWS = [
    ("{sliding: 5m}", 10, "no key 'sliding'", "there are: tumbling"),
    ("{tumbling: 5m, session: 3m}", 24, "both 'tumbling' and 'session'", ""),
    ("{tumbling: 5m, every: 1m}", 24, "'every' is not for tumbling windows", ""),
    ("{hopping: 5m}", 9, "has no 'every'", "every: 1m"),
    ("{hopping: 5m, every: 10m}", 30, "'every' is longer than the window", "shorter"),
    ("{hopping: 1h, every: 1s}", 30, "each record would be in 3600 windows", "longer"),
    ("{hopping: 5m, every: 0}", 30, "longer than '0'", ""),
    ("{hopping: 1001ms, every: 1ms}", 34, "each record would be in 1001 windows, and 1000 are", "longer"),
    ("{hopping: 0, every: 0}", 19, "longer than '0'", ""),
    ("{hopping: forever, every: 1m}", 19, "must have an end", ""),
    ("{tumbling: 0}", 20, "longer than '0'", ""),
    ("{session: 0}", 19, "longer than '0'", ""),
    ("{session: 5m, max: 0}", 28, "longer than '0'", ""),
    ("{count: -1}", 17, "'count' must be a whole number", ""),
    ("{count: 1000000001}", 17, "'count' must be 1 to", ""),
    ("{hopping: 5m, every: 1m, offset: 1m}", 42, "a whole one or more", "shorter than 'every'"),
    ("{hopping: 5m, every: 1m, offset: -2m}", 42, "a whole one or more", "shorter than 'every'"),
    ("{tumbling: 5m, offset: 5m}", 32, "a whole one or more", "shorter than the window"),
    ("{session: 5m, max: 1m}", 28, "'max' is shorter than the gap", ""),
    ("{count: 0}", 17, "'count' must be 1 to", ""),
    ("{offset: 1m}", 9, "needs one of 'tumbling'", ""),
    ("5 fortnights", 9, "no duration: '5 fortnights'", ""),
    ("99999999d", 9, "at most 36500d", ""),
]


@pytest.mark.parametrize(("text", "column", "reason", "hint"), WINDOWS)
def test_what_is_wrong_with_a_window_is_named(text: str, column: int, reason: str, hint: str) -> None:
    error = refused(f"{TIMED}window: {text}\naggregate: {{n: count}}")
    assert reason in error.reason
    assert hint in error.hint
    assert (4, column) == (error.line, error.column)


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(-5000, 5000))
def test_hopping_windows_that_are_not_refused_can_be_opened(
    size_ms: int, every_ms: int, offset_ms: int
) -> None:
    sign = "-" if offset_ms < 0 else ""
    window = f"{{hopping: {size_ms}ms, every: {every_ms}ms, offset: {sign}{abs(offset_ms)}ms}}"
    text = f"{TIMED}window: {window}\naggregate: {{n: count}}\n"
    makes_sense = every_ms <= size_ms <= 1000 * every_ms and abs(offset_ms) < every_ms
    if makes_sense:
        Program(loads(text, path="p.yaml"))
    else:
        assert 4 == refused(text).line
