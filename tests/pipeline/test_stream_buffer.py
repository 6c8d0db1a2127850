"""One side of a join of two streams: what matches, what nothing matched, and what is forgotten."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aegis_cli.pipeline.errors import StateTooLargeError
from aegis_cli.pipeline.stream_buffer import StreamBuffer
from aegis_cli.pipeline.windows.key import key_of
from aegis_cli.pipeline.windows.windows import FOREVER_MS

A = ("a",)
NEVER = -(1 << 62)


def buffer(*rows: tuple[int, str], keeps_unmatched: bool = False) -> StreamBuffer:
    made = StreamBuffer(within_ms=10, pipeline="p", keeps_unmatched=keeps_unmatched)
    for time_ms, row in rows:
        made.add(A, time_ms, row)
    return made


def test_rows_match_at_most_the_distance_away_by_time_then_by_arrival() -> None:
    side = buffer((20, "d"), (10, "b"), (9, "a"), (30, "e"), (31, "f"), (10, "c"))
    assert ["b", "c", "d", "e"] == side.matches(A, 20, NEVER)
    assert [] == side.matches(("b",), 20, NEVER)
    assert [] == side.matches(A, 42, NEVER)


def test_true_does_not_match_one() -> None:
    side = StreamBuffer(within_ms=10, pipeline="p")
    side.add(key_of((1,)), 0, "one")
    assert [] == side.matches(key_of((True,)), 0, NEVER)
    assert ["one"] == side.matches(key_of((1.0,)), 0, NEVER)


def test_a_row_is_kept_until_the_watermark_is_more_than_the_distance_past_it() -> None:
    side = buffer((10, "a"))
    assert [] == side.expire(20)
    assert ["a"] == side.matches(A, 20, 20)
    assert [] == side.expire(21)
    assert 0 == side.open


def test_a_row_of_the_other_side_that_is_too_late_finds_nothing_whenever_rows_are_forgotten() -> None:
    for expires in (False, True):
        side = buffer((10, "a"))
        if expires:
            side.expire(21)
        assert [] == side.matches(A, 10, 21)


def test_rows_that_nothing_matched_are_handed_out_in_order_when_nothing_can() -> None:
    side = buffer((12, "c"), (10, "a"), (11, "b"), (12, "d"), (30, "e"), keeps_unmatched=True)
    assert 21 == side.next_end_ms
    assert ["a"] == side.matches(A, 0, NEVER)
    side.add(A, 9, "z", matched=True)
    assert [(11, A, "b")] == side.expire(22)
    assert [(12, A, "c"), (12, A, "d")] == side.expire(23)
    assert 41 == side.next_end_ms
    assert [(30, A, "e")] == side.flush()
    assert FOREVER_MS == side.next_end_ms


def test_the_side_that_comes_out_with_a_match_only_hands_nothing_out() -> None:
    side = buffer((10, "a"))
    assert FOREVER_MS == side.next_end_ms
    assert [] == side.flush()


def test_no_more_rows_are_kept_than_the_limit() -> None:
    side = StreamBuffer(within_ms=10, pipeline="pairs", rows_max=1)
    side.add(A, 0, "a")
    with pytest.raises(StateTooLargeError, match="'pairs' stops: it would hold more than 1 rows"):
        side.add(A, 0, "b")


def test_a_row_that_comes_and_goes_between_two_commits_is_never_written() -> None:
    side = buffer((10, "a"), (50, "b"))
    side.expire(40)
    assert [[1, [["a"], 50, "b", False]]] == side.changes()
    side.flush()
    assert [[1, None]] == side.changes()
    assert [] == side.changes()


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.sampled_from(["a", True]), st.integers(0, 80)), max_size=30),
    st.integers(0, 15),
    st.integers(0, 30),
    st.lists(st.sampled_from(["", "", "commit", "restart", "restart whole"]), min_size=30, max_size=30),
)
def test_matches_and_the_unmatched_are_those_of_a_plain_search(
    records: list[tuple[bool, object, int]], within_ms: int, bound_ms: int, drive: list[str]
) -> None:
    def make() -> StreamBuffer:
        return StreamBuffer(within_ms=within_ms, pipeline="p", keeps_unmatched=True)

    side, log = make(), []
    rows: list[dict[str, Any]] = []
    mark = NEVER
    for (is_own, key, time_ms), event in zip(records, drive, strict=False):
        if is_own:
            side.add(key_of((key,)), time_ms, len(rows))
            rows.append({"n": len(rows), "t": time_ms, "k": json.dumps(key), "alone": True})
        else:
            near = [
                row
                for row in rows
                if row["k"] == json.dumps(key)
                and abs(row["t"] - time_ms) <= within_ms
                and row["t"] + within_ms >= mark
            ]
            for row in near:
                row["alone"] = False
            expected = [row["n"] for row in sorted(near, key=lambda row: (row["t"], row["n"]))]
            assert expected == side.matches(key_of((key,)), time_ms, mark)
        mark = max(mark, time_ms - bound_ms)
        over = [row for row in rows if row["alone"] and row["t"] + within_ms < mark]
        for row in over:
            row["alone"] = False
        unmatched = side.expire(mark) if mark >= side.next_end_ms else []
        assert sorted((row["t"], row["n"]) for row in over) == [(t, n) for t, _, n in unmatched]
        if event:
            log.append(json.dumps(side.changes()))
        if event.startswith("restart"):
            log = [json.dumps(side.snapshot())] if event == "restart whole" else log
            side = make()
            for changes in log:
                side.apply(json.loads(changes))
