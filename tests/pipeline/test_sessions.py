"""Sessions: which records are of one, where it ends, what is late, and what late records change."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aegis_cli.pipeline.errors import RecordError
from aegis_cli.pipeline.windows.session import SessionWindows
from tests.pipeline.inlined import plan, taker
from tests.pipeline.window_model import LAYOUT, Moment, Record, Run, moments


def sessions(gap_ms: int, *, max_ms: int | None = None, allow_late_ms: int = 0) -> Run:
    return Run(
        lambda: SessionWindows(
            LAYOUT, gap_ms=gap_ms, max_ms=max_ms, allow_late_ms=allow_late_ms, pipeline="p"
        )
    )


def feed(run: Run, *times: int, bound_ms: int = 0) -> Run:
    records = [Record(time_ms, "a", 1) for time_ms in times]
    for record, moment in zip(records, moments(records, bound_ms=bound_ms), strict=True):
        run.take(record, moment)
    return run


def spans(run: Run) -> list[tuple[int, int, int]]:
    return [(start, end, results[0]) for start, end, _, _, results in run.out]


def revisions(run: Run) -> list[tuple[int, int, int, int]]:
    return [(start, end, revision, results[0]) for start, end, _, revision, results in run.out]


def flushed(run: Run) -> Run:
    run.flush()
    return run


def test_a_session_reaches_the_gap_beyond_its_last_record() -> None:
    run = flushed(feed(sessions(10), 2, 9, 20, 31))
    assert [(2, 19, 2), (20, 30, 1), (31, 41, 1)] == spans(run)


def test_at_a_distance_of_exactly_the_gap_it_is_one_session() -> None:
    assert [(2, 29, 3)] == spans(flushed(feed(sessions(10), 2, 9, 19, bound_ms=100)))
    assert [(2, 29, 3)] == spans(flushed(feed(sessions(10), 19, 9, 2, bound_ms=100)))
    assert [(2, 19, 2), (20, 30, 1)] == spans(flushed(feed(sessions(10), 20, 9, 2, bound_ms=100)))


def test_a_record_between_two_sessions_makes_them_one() -> None:
    run = flushed(feed(sessions(10), 0, 15, 40, 8, bound_ms=100))
    assert [(0, 25, 3), (40, 50, 1)] == spans(run)


def test_sessions_before_zero() -> None:
    assert [(-30, -15, 2), (-5, 8, 2)] == spans(flushed(feed(sessions(10), -30, -25, -5, -2)))


def test_keys_have_sessions_of_their_own() -> None:
    run = sessions(10)
    for record in [Record(1, "a", 1), Record(4, "b", 1), Record(9, "a", 1)]:
        run.take(record, Moment(-100, -100))
    run.flush()
    assert [("b", 4, 14), ("a", 1, 19)] == [(out[2][0], out[0], out[1]) for out in run.out]


def test_a_session_that_went_on_does_not_close_at_its_former_end() -> None:
    run = feed(sessions(10), 0, 8, 16, 24)
    run.close(34)
    assert [] == run.out
    run.close(35)
    assert [(0, 34, 4)] == spans(run)


def test_a_late_record_that_an_open_session_can_take_is_taken() -> None:
    run = feed(sessions(10), 0, 8, 16)
    # Alone it would have ended at 15, which is closed; the session still is open.
    run.take(Record(5, "a", 1), Moment(closed_ms=16, low_ms=16))
    run.take(Record(5, "b", 1), Moment(closed_ms=16, low_ms=16))
    run.flush()
    assert [(0, 26, 4)] == spans(run)
    assert ["b"] == [record.key for record in run.late]


def test_a_session_that_is_closed_takes_no_record_and_a_late_one_can_begin_another() -> None:
    run = feed(sessions(10), 0, 20, 9, 11)
    # 9 would have reached to 19, and is late; 11 reaches to 21, which is to come, and joins the one at 20.
    assert [9] == [record.time_ms for record in run.late]
    assert [(0, 10, 1), (11, 30, 2)] == spans(flushed(run))


def test_an_allowed_late_record_gives_its_session_out_at_once() -> None:
    run = feed(sessions(10, allow_late_ms=50), 0, 40, 5)
    assert [(0, 10, 0, 1), (0, 15, 1, 2)] == revisions(run)


def test_a_session_that_was_given_out_and_reaches_beyond_the_watermark_waits_for_it() -> None:
    run = feed(sessions(10, allow_late_ms=50), 0, 11)
    run.take(Record(8, "a", 1), Moment(closed_ms=11, low_ms=11))
    assert [(0, 10, 0, 1)] == revisions(run)
    run.close(21)
    assert [(0, 10, 0, 1)] == revisions(run)
    run.close(22)
    assert [(0, 10, 0, 1), (0, 21, 1, 3)] == revisions(run)


def test_sessions_that_were_given_out_and_become_one_come_out_as_its_next_revision() -> None:
    run = feed(sessions(10, allow_late_ms=100), 0, 20, 50, 25, 12, 10, bound_ms=0)
    assert [(0, 10, 0, 1), (20, 30, 0, 1), (20, 35, 1, 2), (12, 35, 2, 3), (0, 35, 3, 5)] == revisions(run)


def test_a_session_is_forgotten_when_nothing_late_is_allowed_any_more() -> None:
    run = feed(sessions(10, allow_late_ms=20), 0, 30)
    assert 2 == run.store.open
    run.close(31)
    assert 1 == run.store.open
    run.take(Record(5, "a", 1), Moment(closed_ms=40, low_ms=31))
    assert [5] == [record.time_ms for record in run.late]


def test_no_session_is_longer_than_its_longest_length() -> None:
    run = flushed(feed(sessions(10, max_ms=25), 0, 8, 16, 24, 32, 40))
    # At 24 there still is room, but not for the gap behind it; 32 begins another.
    assert [(0, 25, 4), (32, 50, 2)] == spans(run)


def test_a_record_at_the_longest_length_begins_another_session() -> None:
    run = flushed(feed(sessions(10, max_ms=10), 0, 9, 10, bound_ms=50))
    assert [(0, 10, 2), (10, 20, 1)] == spans(run)


def test_a_record_goes_into_the_earliest_session_that_has_room() -> None:
    run = flushed(feed(sessions(10, max_ms=20), 0, 8, 16, 24, 19, bound_ms=50))
    assert [(0, 20, 4), (24, 34, 1)] == spans(run)


def test_an_earlier_start_can_bring_the_end_of_a_limited_session_nearer() -> None:
    run = feed(sessions(10, max_ms=20), 10, 25, 19, bound_ms=20)
    run.take(Record(6, "a", 1), Moment(closed_ms=5, low_ms=27))
    assert [(6, 26, 4)] == spans(run)


@pytest.mark.parametrize("times", [(5,), (0, 15, 8), (8, 0), (0, 5, 5)])
@pytest.mark.parametrize("allow_late_ms", [0, 100])
def test_a_refused_record_leaves_no_trace_in_sessions(times: tuple[int, ...], allow_late_ms: int) -> None:
    run = sessions(10, allow_late_ms=allow_late_ms)
    for time_ms in times[:-1]:
        run.take(Record(time_ms, "a", 1), Moment(-100, -100))
    if allow_late_ms:
        run.close(50)
    before = json.dumps(run.store.snapshot()), run.store.open
    run.take(Record(times[-1], "a", "text"), Moment(-100, -100))
    assert before == (json.dumps(run.store.snapshot()), run.store.open)
    assert [] == run.store.close(50 if allow_late_ms else -50)


def test_a_session_goes_on_where_a_record_before_the_windows_was_refused() -> None:
    run = feed(sessions(10), 0, 8)
    run.refuse_before()
    assert [(0, 18, 2)] == spans(flushed(run))


def test_sessions_whose_aggregates_do_not_go_together_stay_two() -> None:
    layout = plan(least="min(x)")
    store = SessionWindows(layout, gap_ms=10, pipeline="p")
    take = taker(layout)
    values: list[tuple[int, Any]] = [(0, 1), (20, "text")]
    for time_ms, x in values:
        take(store.find(time_ms, ("a",), 0), {"x": x}, time_ms, store.touch)
    before = json.dumps(store.snapshot())
    with pytest.raises(RecordError, match="cannot compare"):
        store.find(10, ("a",), 0)
    store.undo()
    assert before == json.dumps(store.snapshot())
    assert [(0, 10, 1), (20, 30, "text")] == [
        (closed.start_ms, closed.end_ms, layout.results(closed.acc)[0]) for closed in store.flush()
    ]


def test_a_session_that_begins_earlier_is_stored_under_its_new_start_only() -> None:
    run = feed(sessions(10), 5, bound_ms=100)
    run.commit()
    run.take(Record(0, "a", 1), Moment(-100, -100))
    assert [[5, ["a"], None], [0, ["a"]]] == [
        row if row[2] is None else row[:2] for row in run.store.changes()
    ]
