"""Stores of windows against windows computed the plain way, for any records in any order, however driven."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from aegis_cli.pipeline.windows.hopping import HoppingWindows
from aegis_cli.pipeline.windows.session import SessionWindows
from aegis_cli.pipeline.windows.tumbling import TumblingWindows
from aegis_cli.pipeline.windows.windows import FOREVER_MS, NEVER_MS
from tests.pipeline.window_model import (
    LAYOUT,
    AlignedModel,
    Moment,
    Out,
    Record,
    Run,
    SessionModel,
    moments,
)

KEYS = st.sampled_from([None, True, 1, 1.5, "1", "a"])
VALUES = st.one_of(st.none(), st.integers(-9, 9), st.just("not a number"))
RECORDS = st.lists(
    st.builds(Record, time_ms=st.integers(-60, 60), key=KEYS, x=VALUES, partition=st.integers(0, 1)),
    max_size=40,
)
FEW_KEYS = st.lists(
    st.builds(
        Record,
        time_ms=st.integers(-30, 60),
        key=st.sampled_from(["a", "a", "a", True]),
        x=st.one_of(st.integers(-9, 9), st.just("not a number")),
        partition=st.sampled_from([0, 0, 0, 1]),
    ),
    min_size=8,
    max_size=30,
)
BOUNDS = st.integers(0, 40)
# What happens between records: nothing, needless calls, commits, restarts. Bytes are drawn sooner than words.
EVENTS = ["", "", "close", "close earlier", "commit", "restart", "restart whole", "refuse", "flush"]
DRIVE = st.binary(min_size=41, max_size=41).map(lambda drawn: [EVENTS[byte % len(EVENTS)] for byte in drawn])


def after_flush(moment: Moment, flushed_ms: int) -> Moment:
    """The moment of a record, where all is closed that a flush gave out."""
    return Moment(max(moment.closed_ms, flushed_ms), max(moment.low_ms, flushed_ms))


def model_run(
    model: AlignedModel | SessionModel, records: list[Record], at: list[Moment], drive: list[str]
) -> tuple[list[Out], list[Record]]:
    out: list[Out] = []
    late: list[Record] = []
    flushed_ms = NEVER_MS
    for record, moment, event in zip(records, at, drive, strict=False):
        moment = after_flush(moment, flushed_ms)
        given_out = model.take(record, moment)
        if given_out is None:
            late.append(record)
        else:
            out += given_out
        out += model.close(moment.low_ms)
        if event == "flush":
            out += model.flush()
            flushed_ms = model.low_ms
    return out + model.flush(), late


def store_run(make: Callable[[], Any], records: list[Record], at: list[Moment], drive: list[str]) -> Run:
    run = Run(make)
    flushed_ms = NEVER_MS
    for record, moment, event in zip(records, at, drive, strict=False):
        moment = after_flush(moment, flushed_ms)
        run.take(record, moment)
        if event == "flush":
            run.flush()
            flushed_ms = run.store.closed_ms
        elif event.startswith("close"):
            run.close(moment.low_ms - (7 if event == "close earlier" else 0))
        elif event == "refuse":
            run.refuse_before()
        elif event == "commit":
            run.commit()
        elif event:
            run.restart(moment.low_ms, whole=event == "restart whole")
    run.flush()
    run.close(FOREVER_MS - 1)
    assert 0 == run.store.open
    return run


def assert_same(
    model: AlignedModel | SessionModel,
    make: Callable[[], Any],
    records: list[Record],
    bound_ms: int,
    drive: list[str],
) -> None:
    at = moments(records, bound_ms=bound_ms)
    out, late = model_run(model, records, at, drive)
    run = store_run(make, records, at, drive)
    assert out == run.out
    assert late == run.late


@settings(max_examples=300, deadline=None)
@given(RECORDS, BOUNDS, DRIVE, st.integers(1, 30), st.integers(-20, 20), st.sampled_from([0, 0, 5, 30]))
def test_tumbling_windows_give_what_the_model_gives(
    records: list[Record], bound_ms: int, drive: list[str], size_ms: int, offset_ms: int, allow_late_ms: int
) -> None:
    def make() -> TumblingWindows:
        return TumblingWindows(
            LAYOUT, size_ms=size_ms, offset_ms=offset_ms, allow_late_ms=allow_late_ms, pipeline="p"
        )

    model = AlignedModel(size_ms, size_ms, offset_ms, allow_late_ms)
    assert_same(model, make, records, bound_ms, drive)


@settings(max_examples=300, deadline=None)
@given(
    RECORDS,
    BOUNDS,
    DRIVE,
    st.integers(1, 12),
    st.integers(0, 25),
    st.integers(-20, 20),
    st.sampled_from([0, 0, 5, 30]),
)
def test_hopping_windows_give_what_the_model_gives(
    records: list[Record],
    bound_ms: int,
    drive: list[str],
    advance_ms: int,
    more_ms: int,
    offset_ms: int,
    allow_late_ms: int,
) -> None:
    def make() -> HoppingWindows:
        return HoppingWindows(
            LAYOUT,
            size_ms=advance_ms + more_ms,
            advance_ms=advance_ms,
            offset_ms=offset_ms,
            allow_late_ms=allow_late_ms,
            pipeline="p",
        )

    model = AlignedModel(advance_ms + more_ms, advance_ms, offset_ms, allow_late_ms)
    assert_same(model, make, records, bound_ms, drive)


@settings(max_examples=1000, deadline=None)
@given(
    FEW_KEYS,
    BOUNDS,
    DRIVE,
    st.integers(1, 15),
    st.one_of(st.none(), st.integers(1, 30)),
    st.sampled_from([0, 0, 5, 30]),
)
def test_sessions_give_what_the_model_gives(
    records: list[Record],
    bound_ms: int,
    drive: list[str],
    gap_ms: int,
    max_ms: int | None,
    allow_late_ms: int,
) -> None:
    def make() -> SessionWindows:
        return SessionWindows(LAYOUT, gap_ms=gap_ms, max_ms=max_ms, allow_late_ms=allow_late_ms, pipeline="p")

    assert_same(SessionModel(gap_ms, max_ms, allow_late_ms), make, records, bound_ms, drive)


def test_a_session_whose_end_came_nearer_is_forgotten_by_that_end() -> None:
    # Given out once, to be forgotten at 21; the record at -1 ends it at 14, so at 20 it is too late for more.
    times: list[tuple[int, int | str]] = [(0, 0), (2, 0), (58, "no"), (0, 0), (-1, 0), (0, "no")]
    records = [Record(time_ms, "a", x) for time_ms, x in times]
    assert_same(
        SessionModel(13, 15, 5),
        lambda: SessionWindows(LAYOUT, gap_ms=13, max_ms=15, allow_late_ms=5, pipeline="p"),
        records,
        38,
        [""] * len(records),
    )


@settings(max_examples=500, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 12)), max_size=20), st.integers(1, 12))
def test_disorder_within_the_bound_does_not_change_sessions(
    arrivals: list[tuple[int, int]], gap_ms: int
) -> None:
    def outs(times: list[int], bound_ms: int, *, closes_first: bool) -> list[tuple[int, int, int]]:
        run = Run(lambda: SessionWindows(LAYOUT, gap_ms=gap_ms, pipeline="p"))
        records = [Record(time_ms, "a", 1) for time_ms in times]
        for record, moment in zip(records, moments(records, bound_ms=bound_ms), strict=True):
            if closes_first:
                run.close(moment.low_ms)
            run.take(record, moment)
        run.flush()
        assert [] == run.late
        return [(start, end, count) for start, end, _, _, (count, *_) in run.out]

    # A record that is delayed by the bound at most is overtaken by none that is later than that.
    delayed = [time_ms for time_ms, _ in sorted(arrivals, key=lambda arrival: arrival[0] + arrival[1])]
    expected = outs(sorted(delayed), 0, closes_first=False)
    assert expected == outs(sorted(delayed), 0, closes_first=True)
    assert expected == outs(delayed, 12, closes_first=False)
    assert expected == outs(delayed, 12, closes_first=True)
