"""What windows mean: the tables that Flink publishes for its windows, and the points in which systems differ.

The definitions are those of others, the records and tables here are written anew from them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from aegis_cli.pipeline.errors import PipelineFileError
from aegis_cli.pipeline.reading import loads
from tests.pipeline.runs import Runs, seconds

# Six bids in ten minutes and a bit.
BIDS = [
    {"bidtime": f"2020-04-15T08:{minute:02}:00Z", "price": price, "item": item}
    for minute, price, item in [
        (5, 4.0, "C"),
        (7, 2.0, "A"),
        (9, 5.0, "D"),
        (11, 3.0, "B"),
        (13, 1.0, "E"),
        (17, 6.0, "F"),
    ]
]
TUMBLING = [("08:00", "08:10", 11.0), ("08:10", "08:20", 10.0)]
HOPPING = [
    ("08:00", "08:10", 11.0),
    ("08:05", "08:15", 15.0),
    ("08:10", "08:20", 10.0),
    ("08:15", "08:25", 6.0),
]
SHIFTED = [("08:01", "08:11", 11.0), ("08:11", "08:21", 10.0)]
SIX_BIDS = [
    pytest.param("{tumbling: 10m}", TUMBLING, id="tumbling"),
    pytest.param("{hopping: 10m, every: 5m}", HOPPING, id="hopping"),
    pytest.param("{tumbling: 10m, offset: 1m}", SHIFTED, id="tumbling with an offset"),
]
# Bids on two items, out of order.
VISITS = [
    {"bidtime": f"2020-04-15T08:{minute:02}:00Z", "price": price, "item": item}
    for minute, price, item in [(7, 4.0, "A"), (6, 2.0, "A"), (9, 5.0, "B"), (8, 3.0, "A"), (17, 1.0, "B")]
]


@pytest.fixture(params=[1, 1 << 30], ids=["records one by one", "whole"])
def runs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Runs]:
    found = Runs(tmp_path / "store", chunk_records=request.param)
    with found.store:
        yield found


def sums(window: str, *, group_by: str = "[]", watermark: str = "0s", more: str = "") -> str:
    """A pipeline that adds up prices."""
    group = "" if group_by == "[]" else f"group_by: {group_by}\n"
    return (
        f"source: bids\ntime: {{field: bidtime, watermark: {watermark}}}\n{group}window: {window}\n{more}"
        "aggregate: {price: sum(price)}\nsink: sums\n"
    )


def clock(time: str) -> str:
    """The minutes of a time: 08:05."""
    return time[11:16]


def counts(window: str, *, watermark: str = "0s", more: str = "") -> str:
    """A pipeline that counts records by key."""
    return (
        f"source: in\ntime: {{field: at, watermark: {watermark}}}\ngroup_by: key\nwindow: {window}\n{more}"
        "aggregate: {count: count()}\n"
        "map: {start: parse_time(window_start) / 1000, end: parse_time(window_end) / 1000, key: key,"
        " count: count}\n"
        "sink: out\n"
    )


def counted(runs: Runs) -> list[tuple[Any, ...]]:
    return runs.columns("out", "start", "end", "key", "count")


# -- the published tables -----------------------------------------------------------------------------


@pytest.mark.parametrize(("window", "expected"), SIX_BIDS)
def test_windows_of_the_six_bids(runs: Runs, window: str, expected: list[Any]) -> None:
    runs.publish("bids", BIDS)
    runs.run(sums(window))
    found = runs.columns("sums", "window_start", "window_end", "price")
    assert expected == [(clock(start), clock(end), price) for start, end, price in found]


@pytest.mark.parametrize(("window", "expected"), SIX_BIDS)
def test_windows_of_the_six_bids_by_the_command_line(
    tmp_path: Path, window: str, expected: list[Any]
) -> None:
    file = tmp_path / "sums.yaml"
    file.write_text(sums(window).replace("sink: sums", "sink: '-'"))
    with Runs(tmp_path / "store").store as store:
        runs = Runs(Path(store.path))
        runs.publish("bids", BIDS)
    command = [sys.executable, "-m", "aegis_cli", "--store", str(tmp_path / "store"), "pipeline", "run"]
    finished = subprocess.run([*command, str(file), "--once", "--flush"], capture_output=True, timeout=60)
    assert 0 == finished.returncode, finished.stderr
    found = [json.loads(line) for line in finished.stdout.decode().splitlines()]
    assert expected == [(clock(row["window_start"]), clock(row["window_end"]), row["price"]) for row in found]


def test_sessions_of_each_item(runs: Runs) -> None:
    runs.publish("bids", VISITS)
    runs.run(sums("{session: 5m}", group_by="item", watermark="10m"))
    found = runs.columns("sums", "window_start", "window_end", "item", "price")
    assert [("08:06", "08:13", "A", 9.0), ("08:09", "08:14", "B", 5.0), ("08:17", "08:22", "B", 1.0)] == [
        (clock(start), clock(end), item, price) for start, end, item, price in found
    ]


def test_sessions_of_all_items_together(runs: Runs) -> None:
    runs.publish("bids", VISITS)
    runs.run(sums("{session: 5m}", watermark="10m"))
    found = runs.columns("sums", "window_start", "window_end", "price")
    assert [("08:06", "08:14", 14.0), ("08:17", "08:22", 1.0)] == [
        (clock(start), clock(end), price) for start, end, price in found
    ]


@pytest.mark.parametrize(
    ("offset", "expected"),
    [
        ("-6m", "2021-06-29T23:54:00Z"),
        ("-4m", "2021-06-29T23:56:00Z"),
        ("0s", "2021-06-30T00:00:00Z"),
        ("4m", "2021-06-29T23:54:00Z"),
        ("6m", "2021-06-29T23:56:00Z"),
    ],
)
def test_an_offset_moves_windows_of_ten_minutes(tmp_path: Path, offset: str, expected: str) -> None:
    runs = Runs(tmp_path / "store")
    with runs.store:
        runs.publish("bids", [{"bidtime": "2021-06-30T00:00:04Z", "price": 1}])
        runs.run(sums(f"{{tumbling: 10m, offset: {offset}}}"))
        assert [(expected,)] == runs.columns("sums", "window_start")


@pytest.mark.parametrize("offset", ["-16m", "16m", "10m"])
def test_an_offset_of_a_whole_window_or_more_is_refused(offset: str) -> None:
    with pytest.raises(PipelineFileError, match="make it shorter than the window"):
        loads(sums(f"{{tumbling: 10m, offset: {offset}}}"), path="p.yaml")


# -- sessions -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([2], [(2, 12, 1)]),
        ([2, 19], [(2, 12, 1), (19, 29, 1)]),
        ([19, 2], [(2, 12, 1), (19, 29, 1)]),
        ([2, 11], [(2, 21, 2)]),
        # At a distance of exactly the gap there is one session, as in Flink and Kafka Streams; Beam has two.
        ([2, 12], [(2, 22, 2)]),
        ([2, 12.001], [(2, 12, 1), (12.001, 22.001, 1)]),
        ([9, 19, 2], [(2, 29, 3)]),
        # The last one joins two sessions that were apart.
        ([2, 19, 11], [(2, 29, 3)]),
        ([19, 2, 9], [(2, 29, 3)]),
        ([0, 40, 20, 10, 30], [(0, 50, 5)]),
        ([0, 40, 20, 30], [(0, 10, 1), (20, 50, 3)]),
        ([5, 5, 5], [(5, 15, 3)]),
    ],
)
def test_sessions_are_of_records_that_are_near(
    runs: Runs, times: list[float], expected: list[tuple[float, float, int]]
) -> None:
    runs.publish("in", seconds(*((at, "k", 0) for at in times)))
    runs.run(counts("{session: 10s}", watermark="1h"))
    assert [(start, end, "k", count) for start, end, count in expected] == counted(runs)


def test_sessions_of_different_keys_do_not_merge(runs: Runs) -> None:
    runs.publish("in", seconds((0, "a", 0), (5, "b", 0), (9, "a", 0), (30, "b", 0)))
    runs.run(counts("{session: 10s}"))
    assert [(5, 15, "b", 1), (0, 19, "a", 2), (30, 40, "b", 1)] == counted(runs)


def test_of_equal_records_of_merged_sessions_those_of_the_earlier_come_first(runs: Runs) -> None:
    runs.publish("in", seconds((20, "k", "later"), (0, "k", "earlier"), (10, "k", "between")))
    head = "source: in\ntime: {field: at, watermark: 1h}\nwindow: {session: 10s}\n"
    runs.run(head + "aggregate: {top: 'top_n(3, value, 1)'}\nsink: out\n")
    assert [(["earlier", "later", "between"],)] == runs.columns("out", "top")


def test_aggregates_of_a_merged_session_are_those_of_its_records_by_time(runs: Runs) -> None:
    runs.publish("in", seconds((20, "k", 4), (0, "k", 1), (21, "k", None), (10, "k", 2), (1, "k", 8)))
    runs.run(
        """
        source: in
        time: {field: at, watermark: 1h}
        group_by: key
        window: {session: 10s}
        aggregate:
          records: count()
          values: count(value)
          sum: sum(value)
          mean: avg(value)
          least: min(value)
          greatest: max(value)
          first: first(value)
          last: last(value)
          different: count_distinct(value)
          median: percentile(value, 0.5)
          top: top_n(2, value)
          all: collect(value)
        sink: out
        """
    )
    assert [
        {
            "window_start": "1970-01-01T00:00:00Z",
            "window_end": "1970-01-01T00:00:31Z",
            "key": "k",
            "records": 5,
            "values": 4,
            "sum": 15,
            "mean": 3.75,
            "least": 1,
            "greatest": 8,
            "first": 1,
            "last": 4,
            "different": 4,
            "median": 2,
            "top": [8, 4],
            "all": [1, 8, 2, 4],
        }
    ] == runs.rows("out")


def test_a_session_ends_at_its_longest_length(runs: Runs) -> None:
    runs.publish("in", seconds(*((at, "k", 0) for at in range(0, 60, 5))))
    runs.run(counts("{session: 10s, max: 30s}"))
    assert [(0, 30, "k", 6), (30, 60, "k", 6)] == counted(runs)


# -- tumbling and hopping -----------------------------------------------------------------------------


def test_the_end_of_a_window_is_not_part_of_it(runs: Runs) -> None:
    runs.publish("in", seconds((0, "k", 0), (9.999, "k", 0), (10, "k", 0)))
    runs.run(counts("{tumbling: 10s}"))
    assert [(0, 10, "k", 2), (10, 20, "k", 1)] == counted(runs)


def test_windows_before_1970_begin_at_or_before_their_records(runs: Runs) -> None:
    runs.publish("in", seconds((-10.001, "k", 0), (-10, "k", 0), (-1, "k", 0), (0, "k", 0)))
    runs.run(counts("{tumbling: 10s}"))
    assert [(-20, -10, "k", 1), (-10, 0, "k", 2), (0, 10, "k", 1)] == counted(runs)


@pytest.mark.parametrize(
    ("window", "time", "starts"),
    [
        ("{tumbling: 1d}", "9999-12-30T12:00:00Z", ["9999-12-30T00:00:00Z"]),
        ("{tumbling: 1d}", "9999-12-31", []),
        ("{tumbling: 10d, offset: 1d}", "0001-01-01", []),
        ("{session: 1h}", "9999-12-31T23:30:00Z", []),
        ("{hopping: 2d, every: 1d}", "9999-12-30T12:00:00Z", ["9999-12-29T00:00:00Z"]),
        ("{hopping: 2d, every: 1d}", "0001-01-01", ["0001-01-01T00:00:00Z"]),
    ],
)
def test_the_result_of_a_window_that_leaves_the_years_of_texts_is_refused(
    runs: Runs, window: str, time: str, starts: list[str]
) -> None:
    runs.publish("in", [{"at": time}])
    steps = f"time: at\nwindow: {window}\naggregate: {{n: count()}}\n"
    account = runs.run(f"source: in\n{steps}on_error: drop\nsink: out\n")
    assert starts == [row["window_start"] for row in runs.rows("out")]
    assert account.results == account.results_dead + len(starts)


def test_a_record_that_one_of_its_windows_refuses_is_in_none_of_them(runs: Runs) -> None:
    runs.publish("in", seconds((25, "k", "text"), (15, "k", 1), (5, "k", 2)))
    head = "source: in\ntime: {field: at, watermark: 1h}\nwindow: {hopping: 20s, every: 10s}\n"
    text = head + "aggregate: {n: count(), least: min(value)}\non_error: {to: dead}\nsink: out\n"
    account = runs.run(text)
    assert [(1, 2), (1, 2), (1, "text"), (1, "text")] == runs.columns("out", "n", "least")
    assert ([15], 1) == ([row["at"] for row in runs.rows("dead")], account.dead)


def test_hopping_windows_with_an_offset_and_negative_times(runs: Runs) -> None:
    runs.publish("in", seconds((-7, "k", 0), (4, "k", 0)))
    runs.run(counts("{hopping: 10s, every: 5s, offset: 3s}"))
    assert [(-12, -2, "k", 1), (-7, 3, "k", 1), (-2, 8, "k", 1), (3, 13, "k", 1)] == counted(runs)


def test_hopping_windows_whose_length_is_no_multiple_of_their_step(runs: Runs) -> None:
    runs.publish("in", seconds((0, "k", 0), (7, "k", 0)))
    runs.run(counts("{hopping: 10s, every: 4s}"))
    assert [(-8, 2, "k", 1), (-4, 6, "k", 1), (0, 10, "k", 2), (4, 14, "k", 1)] == counted(runs)


def test_in_an_aggregate_the_name_of_a_group_means_the_group(runs: Runs) -> None:
    runs.publish("in", [{"v": 1.5, "w": 1}, {"v": 1.75, "w": 3}])
    runs.run("source: in\ngroup_by: {v: floor(v)}\naggregate: {sum: sum(v), other: sum(w)}\nsink: out\n")
    assert [(1, 1, 1), (1, 2, 4)] == runs.columns("out", "v", "sum", "other")


def test_windows_come_out_by_end_and_then_by_start_and_key(runs: Runs) -> None:
    runs.publish("in", seconds((12, "b", 0), (1, "b", 0), (11, "a", 0), (2, "a", 0), (3, "B", 0)))
    runs.run(counts("{tumbling: 10s}", watermark="1m"))
    expected = [(0, 10, "B"), (0, 10, "a"), (0, 10, "b"), (10, 20, "a"), (10, 20, "b")]
    assert expected == [row[:3] for row in counted(runs)]


def test_windows_without_records_do_not_come_out(runs: Runs) -> None:
    runs.publish("in", seconds((0, "k", 0), (100, "k", 0)))
    runs.run(counts("{tumbling: 10s}"))
    assert [(0, 10, "k", 1), (100, 110, "k", 1)] == counted(runs)


def test_windows_of_so_many_records_are_full_by_key_and_the_rest_stays_open(runs: Runs) -> None:
    runs.publish("in", [{"key": key, "value": value} for value, key in enumerate("aabababb")])
    account = runs.run(
        "source: in\ngroup_by: key\nwindow: {count: 3}\n"
        "aggregate: {sum: sum(value), last: last(value)}\nmap: {key: key, sum: sum, last: last}\nsink: out",
        flush=False,
    )
    assert [("a", 0 + 1 + 3, 3), ("b", 2 + 4 + 6, 6)] == runs.columns("out", "key", "sum", "last")
    assert (8, 8, 2) == (account.records_in, account.out, account.emitted)


# -- keys and nulls -----------------------------------------------------------------------------------


def test_null_is_a_group_and_values_of_different_types_are_different_groups(runs: Runs) -> None:
    keys: list[Any] = [None, 1, 1.0, "1", True, False, 0, "", None, "null"]
    runs.publish("in", [{"at": 0, "key": key} for key in keys] + [{"at": 1}])
    runs.run(counts("{tumbling: 10s}"))
    found = [(row["key"], type(row["key"]), row["count"]) for row in runs.rows("out")]
    expected: Sequence[tuple[Any, type, int]] = [
        (None, type(None), 3),
        (False, bool, 1),
        (True, bool, 1),
        (0, int, 1),
        (1, int, 2),
        ("", str, 1),
        ("1", str, 1),
        ("null", str, 1),
    ]
    assert sorted(expected, key=repr) == sorted(found, key=repr)


def test_aggregates_leave_nulls_out_and_a_group_of_nulls_has_none(runs: Runs) -> None:
    runs.publish("in", seconds((0, "a", None), (1, "a", 2), (2, "b", None)))
    runs.run(
        "source: in\ntime: at\ngroup_by: key\nwindow: 10s\n"
        "aggregate: {n: count(), of: count(value), sum: sum(value), mean: avg(value), least: min(value),"
        " first: first(value), distinct: count_distinct(value), all: collect(value)}\n"
        "sink: out"
    )
    names = ("key", "n", "of", "sum", "mean", "least", "first", "distinct")
    assert [("a", 2, 1, 2, 2.0, 2, 2, 1), ("b", 1, 0, None, None, None, None, 0)] == runs.columns(
        "out", *names
    )


@pytest.mark.parametrize("window", ["{tumbling: 10s}", "{hopping: 10s, every: 5s}", "{session: 5s}"])
def test_a_late_record_without_a_usable_key_is_refused_whatever_the_window(runs: Runs, window: str) -> None:
    runs.publish("a", [*seconds((100, "x", 1), (1, "y", 1)), {"at": 1, "key": ["y"], "value": 1}])
    text = "source: a\non_error: drop\ntime: {field: at, watermark: 0s}\ngroup_by: key\nsink: b\n"
    account = runs.run(text + f"window: {window}\naggregate: {{n: count()}}\n")
    assert (1, 1, 1) == (account.out, account.late, account.dead)
