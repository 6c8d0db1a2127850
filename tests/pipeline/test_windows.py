"""Windows one by one: where they begin and end, what is late, and what comes out anew."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aegis_cli.pipeline.definition import Window
from aegis_cli.pipeline.errors import StateTooLargeError
from aegis_cli.pipeline.windows.hopping import HoppingWindows
from aegis_cli.pipeline.windows.key import key_of
from aegis_cli.pipeline.windows.kinds import WINDOW_KINDS, open_windows
from aegis_cli.pipeline.windows.tumbling import TumblingWindows
from aegis_cli.pipeline.windows.windows import FOREVER_MS
from tests.pipeline.window_model import LAYOUT, Moment, Record, Run, moments

MINUTE = 60_000


def run_of(window: Window | None, **options: Any) -> Run:
    return Run(lambda: open_windows(window, LAYOUT, pipeline="metrics", **options))


def tumbling(size_ms: int, *, offset_ms: int = 0, allow_late_ms: int = 0) -> Run:
    return run_of(Window(kind="tumbling", size_ms=size_ms, offset_ms=offset_ms, allow_late_ms=allow_late_ms))


def hopping(size_ms: int, advance_ms: int, *, offset_ms: int = 0) -> Run:
    return run_of(Window(kind="hopping", size_ms=size_ms, advance_ms=advance_ms, offset_ms=offset_ms))


def feed(run: Run, *records: Record, bound_ms: int = 0) -> Run:
    """Let a run take records, with the watermark `bound_ms` behind the highest time of each partition."""
    for record, moment in zip(records, moments(records, bound_ms=bound_ms), strict=True):
        run.take(record, moment)
    return run


def at(*times_ms: int, key: Any = "a", x: int = 1) -> list[Record]:
    return [Record(time_ms, key, x) for time_ms in times_ms]


def spans(run: Run) -> list[tuple[int, int, int]]:
    """Start, end and count of what came out."""
    return [(start, end, results[0]) for start, end, _, _, results in run.out]


# Offers of an afternoon: minutes after two o'clock, and what was offered.
OFFERS = [
    Record(minute * MINUTE, None, price)
    for minute, price in [(5, 4), (7, 2), (9, 5), (11, 3), (13, 1), (17, 6)]
]


def in_minutes(run: Run) -> list[tuple[int, int, int]]:
    """Start, end and sum of what came out, in minutes."""
    return [(start // MINUTE, end // MINUTE, results[1]) for start, end, _, _, results in run.out]


def test_tumbling_windows_of_ten_minutes() -> None:
    run = feed(tumbling(10 * MINUTE), *OFFERS)
    run.flush()
    assert [(0, 10, 11), (10, 20, 10)] == in_minutes(run)


def test_hopping_windows_of_ten_minutes_every_five() -> None:
    run = feed(hopping(10 * MINUTE, 5 * MINUTE), *OFFERS)
    run.flush()
    assert [(0, 10, 11), (5, 15, 15), (10, 20, 10), (15, 25, 6)] == in_minutes(run)


def test_an_offset_moves_windows() -> None:
    run = feed(tumbling(10 * MINUTE, offset_ms=6 * MINUTE), *OFFERS)
    run.flush()
    assert [(-4, 6, 4), (6, 16, 11), (16, 26, 6)] == in_minutes(run)


@pytest.mark.parametrize(
    ("time_ms", "offset_ms", "start_ms"),
    [
        (0, 0, 0),
        (9, 0, 0),
        (10, 0, 10),
        (-1, 0, -10),
        (-10, 0, -10),
        (3, 5, -5),
        (5, 5, 5),
        (3, -5, -5),
        (3, 25, -5),
    ],
)
def test_a_window_begins_at_a_multiple_of_its_size_after_the_offset(
    time_ms: int, offset_ms: int, start_ms: int
) -> None:
    run = feed(tumbling(10, offset_ms=offset_ms), *at(time_ms))
    run.flush()
    assert [(start_ms, start_ms + 10, 1)] == spans(run)


def test_hopping_windows_before_zero() -> None:
    run = feed(hopping(10, 4, offset_ms=1), *at(-2))
    run.flush()
    assert [(-11, -1, 1), (-7, 3, 1), (-3, 7, 1)] == spans(run)


def test_a_record_at_the_end_of_a_window_is_in_the_next() -> None:
    run = feed(tumbling(10), *at(9, 10))
    assert [(0, 10, 1)] == spans(run)


def test_a_window_stays_open_until_the_watermark_reaches_its_end() -> None:
    run = feed(tumbling(10), *at(0, 12), bound_ms=3)
    assert [] == run.out
    run.close(10)
    assert [(0, 10, 1)] == spans(run)


def test_out_of_order_within_the_bound_is_not_late_and_beyond_it_is() -> None:
    run = feed(tumbling(10), *at(3, 14, 9, 15, 8, 25), bound_ms=5)
    assert [(0, 10, 2), (10, 20, 2)] == spans(run)
    assert at(8) == run.late


def test_a_record_is_late_by_the_watermark_of_its_own_partition() -> None:
    run = tumbling(10)
    run.take(Record(5, "a", 1), Moment(closed_ms=10, low_ms=0))
    run.take(Record(5, "a", 1), Moment(closed_ms=9, low_ms=0))
    assert 1 == len(run.late)
    assert 1 == run.store.open


def test_hopping_windows_take_a_record_that_is_late_for_some_of_them() -> None:
    run = feed(hopping(10, 5), *at(7, 21, 12, 30))
    # 12 is late for [5, 15), closed at 21, and also for [10, 20).
    assert [(0, 10, 1), (5, 15, 1), (15, 25, 1), (20, 30, 1)] == spans(run)
    assert at(12) == run.late
    run = feed(hopping(10, 5), *at(7, 16, 12, 30))
    assert [(0, 10, 1), (5, 15, 1), (10, 20, 2), (15, 25, 1)] == spans(run)
    assert [] == run.late


def test_a_late_record_that_is_allowed_gives_its_window_out_once_more() -> None:
    run = feed(tumbling(10, allow_late_ms=10), *at(5, 12, 6, 19, 7, 20, 8, 31))
    assert [(0, 10, 0, 1), (0, 10, 1, 2), (0, 10, 2, 3), (10, 20, 0, 2), (20, 30, 0, 1)] == [
        (start, end, revision, results[0]) for start, end, _, revision, results in run.out
    ]
    assert at(8) == run.late


def test_a_window_that_begins_with_an_allowed_late_record_comes_out_at_once() -> None:
    run = feed(tumbling(10, allow_late_ms=10), *at(15, 5))
    assert [(0, 10, ("a",), 0)] == [out[:4] for out in run.out]


def test_nothing_but_the_last_state_is_given_out_when_a_window_closes() -> None:
    # As with suppression until a window closes: one result a window, in the order of their ends.
    records = [
        Record(time_ms, key, 1)
        for time_ms, key in [(1, "b"), (2, "a"), (3, "b"), (11, "b"), (4, "a"), (40, "z")]
    ]
    run = feed(tumbling(10), *records, bound_ms=5)
    assert [(0, "a", 2), (0, "b", 2), (10, "b", 1)] == [(out[0], out[2][0], out[4][0]) for out in run.out]


def test_groups_of_one_window_come_out_in_order_of_null_booleans_numbers_and_text() -> None:
    keys = ["b", 2, True, None, "B", -1, 1.5, False, "10", 10]
    run = feed(tumbling(10), *[Record(1, key, 1) for key in keys])
    run.flush()
    assert [None, False, True, -1, 1.5, 2, 10, "10", "B", "b"] == [out[2][0] for out in run.out]


def test_a_float_that_is_a_whole_number_of_64_bits_is_shown_as_that() -> None:
    for value, shown in [(-(2.0**63), -(2**63)), (2.0**63, 2.0**63), (-0.0, 0), (1.5, 1.5)]:
        (part,) = key_of([value])
        assert (shown, type(shown)) == (part, type(part))


def test_one_and_true_and_the_text_are_three_groups_but_one_point_zero_is_one() -> None:
    run = feed(tumbling(10), *[Record(1, key, 1) for key in [1, True, "1", 1.0, "true"]])
    run.restart(0, whole=True)
    run.flush()
    assert [("true", 1), ("1", 2), ('"1"', 1), ('"true"', 1)] == [
        (json.dumps(out[2][0]), out[4][0]) for out in run.out
    ]


def test_count_windows_close_with_their_last_record() -> None:
    run = run_of(Window(kind="count", count=3))
    records = [Record(t, key, 1) for t, key in [(5, "a"), (9, "b"), (3, "a"), (7, "a"), (8, "a"), (1, "b")]]
    feed(run, *records)
    # The start and the end are the least and the greatest time, whatever the order.
    assert [(3, 7, 3)] == spans(run)
    run.flush()
    assert [(3, 7, 3), (8, 8, 1), (1, 9, 2)] == spans(run)
    assert [] == run.late


def test_a_refused_record_does_not_count_towards_a_count_window() -> None:
    run = run_of(Window(kind="count", count=2))
    feed(run, Record(1, "a", "text"), Record(2, "a", 1), Record(9, "a", "text"), Record(3, "a", 1))
    assert [(2, 3, 2)] == spans(run)
    assert 0 == run.store.open


def test_without_a_window_each_record_gives_its_group_out() -> None:
    run = run_of(None)
    feed(run, *at(5), *at(4, key="b"), *at(3), Record(2, "a", "text"))
    assert [("a", 0, 1), ("b", 0, 1), ("a", 1, 2)] == [(out[2][0], out[3], out[4][0]) for out in run.out]
    run.flush()
    assert 3 == len(run.out)
    run.restart(0, whole=False)
    run.take(Record(9, "a", 1), Moment(0, 0))
    assert ("a", 2, 3) == (run.out[-1][2][0], run.out[-1][3], run.out[-1][4][0])


@pytest.mark.parametrize("kind", [*WINDOW_KINDS, None])
def test_no_more_groups_are_open_than_the_limit(kind: str | None) -> None:
    window = kind and Window(kind=kind, size_ms=10, advance_ms=10, count=5)
    run = run_of(window or None, groups_max=2)
    feed(run, *at(1), *at(1, key="b"), *at(2))
    with pytest.raises(StateTooLargeError, match="'metrics' stops: it would hold more than 2 groups"):
        run.take(Record(3, "c", 1), Moment(0, 0))


@pytest.mark.parametrize("advance_ms", [0, 11, 1])
def test_hopping_windows_with_gaps_or_without_end_are_refused(advance_ms: int) -> None:
    with pytest.raises(ValueError, match="hopping windows advance"):
        HoppingWindows(LAYOUT, size_ms=10 if advance_ms != 1 else 1001, advance_ms=advance_ms, pipeline="p")


@pytest.mark.parametrize("kind", WINDOW_KINDS)
@pytest.mark.parametrize("allow_late_ms", [0, 100])
def test_flushed_windows_leave_nothing_behind_once_nothing_can_be_late(kind: str, allow_late_ms: int) -> None:
    run = run_of(Window(kind=kind, size_ms=10, advance_ms=5, count=5, allow_late_ms=allow_late_ms))
    feed(run, *at(1, 3, 30), *at(2, key=True))
    run.commit()
    run.flush()
    if allow_late_ms and kind != "count":
        assert 0 < run.store.open
        run.close(1000)
    assert 0 == run.store.open
    assert FOREVER_MS == run.store.next_end_ms
    run.commit()
    kept: dict[str, Any] = {}
    for rows in run.log:
        for start, key, state in json.loads(rows):
            kept[json.dumps([start, key])] = state
    assert not any(kept.values())


def make_tumbling() -> TumblingWindows:
    return TumblingWindows(LAYOUT, size_ms=10, pipeline="p")


def test_changes_tell_of_what_changed_since_they_were_asked_and_of_nothing_else() -> None:
    run = Run(make_tumbling)
    feed(run, *at(1), *at(2, key="b"))
    assert [[0, ["a"]], [0, ["b"]]] == [row[:2] for row in run.store.changes()]
    assert [] == run.store.changes()
    run.take(Record(3, "b", 1), Moment(0, 0))
    assert [[0, ["b"]]] == [row[:2] for row in run.store.changes()]
    run.close(10)
    assert [[0, ["a"], None], [0, ["b"], None]] == run.store.changes()
    assert [] == run.store.changes()


def test_a_window_that_opens_and_closes_between_two_commits_is_never_written() -> None:
    run = feed(Run(make_tumbling), *at(1, 12, 25))
    assert [[20, ["a"]]] == [row[:2] for row in run.store.changes()]


def test_a_run_that_never_commits_remembers_no_more_changes_than_groups() -> None:
    store = make_tumbling()
    for number in range(60_000):
        acc = store.make(number * 10, ("a",))
        store.touch(acc[0])
        store.close(number * 10 + 5)
    assert len(store._touched) < 20_000
    assert 1 == store.open


def test_rows_may_be_applied_twice() -> None:
    run = feed(Run(make_tumbling), *at(1, 2, 12))
    rows = run.store.changes()
    store = make_tumbling()
    store.apply(rows)
    store.apply(rows)
    assert run.store.snapshot() == store.snapshot()
    assert run.store.next_end_ms == store.next_end_ms


def test_an_engine_that_looks_into_the_groups_itself_finds_what_find_finds() -> None:
    store = make_tumbling()
    groups, make = store.groups, store.make
    acc = make(10, ("a",))
    store.touch(acc[0])
    assert acc is store.find(12, ("a",), 0)[0]
    assert acc is groups[10, "a"]
    store.close(20)
    assert {} == groups
    assert groups is store.groups


def test_a_window_made_for_a_refused_record_is_gone_and_an_older_one_stays() -> None:
    store = make_tumbling()
    kept = store.make(10, ("a",))
    store.touch(kept[0])
    store.make(20, ("a",))
    store.undo()
    store.undo()
    assert {(10, "a"): kept} == store.groups
    assert [(10, 20)] == [(closed.start_ms, closed.end_ms) for closed in store.flush()]


def test_hopping_windows_remember_nothing_of_those_that_are_closed() -> None:
    store = HoppingWindows(LAYOUT, size_ms=10, advance_ms=5, pipeline="p")
    for number in range(1000):
        for acc in store.find(number * 10, ("a",), number * 10 - 20):
            store.touch(acc[0])
        store.close(number * 10 - 10)
    assert len(store._found) < 10 > store.open
