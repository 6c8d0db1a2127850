"""Aggregates against plain computations over all records, also merged from sessions and stored between."""

from __future__ import annotations

import json
import math
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from aegis_cli.pipeline.aggregates.function import Accumulator
from tests.pipeline.inlined import plan, taken

LAYOUT = plan(
    n="count",
    m="count(x)",
    total="sum(x)",
    mean="avg(x)",
    least="min(x)",
    most="max(x)",
    f="first(y)",
    l="last(y)",
    different="count_distinct(x)",
    rank="percentile(x, 0.3)",
    top="top_n(3, x)",
    top_by="top_n(3, y, x)",
    all="collect(y)",
    early="collect(y, 2)",
)
# Halves and quarters are exact, so sums do not depend on the order of adding.
NUMBERS = st.one_of(st.none(), st.integers(-5, 5), st.integers(-20, 20).map(lambda number: number / 4))
RECORDS = st.lists(
    st.tuples(st.integers(0, 8), NUMBERS, st.one_of(st.none(), st.text("ab", max_size=2))), max_size=12
)

Row = tuple[int, Any, Any]


def plain(rows: list[Row]) -> tuple[Any, ...]:
    """The results of rows in the order in which they arrived."""
    xs = [x for _, x, _ in rows if x is not None]
    timed = sorted(((time_ms, y) for time_ms, _, y in rows if y is not None), key=lambda pair: pair[0])
    ys = [y for _, y in timed]
    ranked = sorted((row for row in rows if None not in row), key=lambda row: -row[1])
    return (
        len(rows),
        len(xs),
        sum(xs) if xs else None,
        sum(xs) / len(xs) if xs else None,
        min(xs, default=None),
        max(xs, default=None),
        ys[0] if ys else None,
        ys[-1] if ys else None,
        len(set(xs)),
        sorted(xs)[max(1, math.ceil(len(xs) * 3 / 10)) - 1] if xs else None,
        sorted(xs, reverse=True)[:3] or None,
        [y for _, _, y in ranked][:3] or None,
        ys or None,
        ys[:2] or None,
    )


def of(rows: list[Row]) -> Accumulator:
    return taken(LAYOUT, [(time_ms, {"x": x, "y": y}) for time_ms, x, y in rows])


def stored(acc: Accumulator) -> Accumulator:
    """The accumulator after it was written as JSON and read again."""
    return [None, *json.loads(json.dumps(acc[1:]))]


@settings(max_examples=400, deadline=None)
@given(RECORDS)
def test_aggregates_give_what_plain_computation_gives(rows: list[Row]) -> None:
    assert plain(rows) == LAYOUT.results(of(rows))


@settings(max_examples=400, deadline=None)
@given(RECORDS, st.integers(0, 12))
def test_an_accumulator_that_was_stored_goes_on_as_if_it_had_not_been(rows: list[Row], position: int) -> None:
    acc = of(rows)
    assert repr(acc) == repr(stored(acc))
    assert LAYOUT.results(acc) == LAYOUT.results(stored(acc))


@settings(max_examples=400, deadline=None)
@given(st.lists(RECORDS, min_size=1, max_size=4))
def test_sessions_merged_give_what_one_session_gives(sessions: list[list[Row]]) -> None:
    # Sessions follow on one another, so their times do not overlap.
    apart = [
        [(time_ms + 100 * number, x, y) for time_ms, x, y in rows] for number, rows in enumerate(sessions)
    ]
    parts = [of(rows) for rows in apart]
    before = json.dumps(parts)
    merged = LAYOUT.merged(parts)
    assert plain([row for rows in apart for row in rows]) == LAYOUT.results(merged)
    assert before == json.dumps(parts)
