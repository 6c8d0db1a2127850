"""When results come out, and what is late: by behaviour that users know from ksqlDB and Flink."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aegis_cli.pipeline.errors import RecordRefusedError
from aegis_cli.pipeline.event_time import MIN_MS
from aegis_cli.pipeline_progress import time_or_dash
from tests.pipeline.runs import Runs, seconds

# Whole results of windows of ten seconds; a record may be five seconds out of order.
TUMBLING = """
source: in
time: {field: at, watermark: 5s}
group_by: key
window: {tumbling: 10s}
late: {to: late}
aggregate: {count: count(), sum: sum(value)}
map: {start: parse_time(window_start) / 1000, key: key, count: count, sum: sum}
sink: out
"""
REVISED = (
    TUMBLING.replace("late: {to: late}", "allow_late: 10s\nlate: {to: late}")
    .replace("sum: sum}", "sum: sum, revision: revision}")
    .replace("out\n", "out\n")
)


@pytest.fixture(params=[1, 1 << 30], ids=["records one by one", "whole"])
def runs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Runs]:
    found = Runs(tmp_path / "store", chunk_records=request.param)
    with found.store:
        found.topic("in", partitions=2)
        yield found


def out(runs: Runs, *names: str) -> list[tuple[Any, ...]]:
    return sorted(runs.columns("out", *(names or ("start", "key", "count", "sum"))))


def test_nothing_comes_out_before_a_window_closes(runs: Runs) -> None:
    runs.publish("in", seconds((0, "a", 1), (1, "a", 2), (14.999, "a", 4)))
    account = runs.run(TUMBLING, flush=False)
    assert ([], 0, 3) == (runs.rows("out"), account.emitted, account.out)
    runs.publish("in", seconds((15, "b", 8)))
    runs.run(TUMBLING, flush=False)
    assert [(0, "a", 2, 3)] == out(runs)


def test_each_window_comes_out_once_however_many_records_it_has(runs: Runs) -> None:
    runs.publish("in", seconds(*((at / 10, "a", 1) for at in range(1000))))
    account = runs.run(TUMBLING)
    assert [(start, "a", 100, 100) for start in range(0, 100, 10)] == out(runs)
    assert (1000, 10) == (account.out, account.emitted)


def test_a_record_of_any_key_closes_the_windows_of_all_keys(runs: Runs) -> None:
    runs.publish("in", seconds((0, "a", 1), (2, "b", 2), (100, "c", 4)))
    runs.run(TUMBLING, flush=False)
    assert [(0, "a", 1, 1), (0, "b", 1, 2)] == out(runs)


def test_records_out_of_order_within_the_bound_count(runs: Runs) -> None:
    runs.publish("in", seconds((9, "a", 1), (14.999, "a", 2), (5, "a", 4), (20, "a", 8), (0, "a", 16)))
    account = runs.run(TUMBLING)
    assert [(0, "a", 2, 5), (10, "a", 1, 2), (20, "a", 1, 8)] == out(runs)
    assert (5, 4, 1) == (account.records_in, account.out, account.late)
    assert seconds((0, "a", 16)) == runs.rows("late")


def test_without_a_topic_for_them_late_records_are_only_counted(runs: Runs) -> None:
    runs.publish("in", seconds((0, "a", 1), (100, "a", 2), (1, "a", 4), (2, "b", 8)))
    account = runs.run(TUMBLING.replace("late: {to: late}\n", ""))
    assert [(0, "a", 1, 1), (100, "a", 1, 2)] == out(runs)
    assert (4, 2, 2) == (account.records_in, account.out, account.late)


def test_a_record_that_was_filtered_does_not_move_the_watermark(runs: Runs) -> None:
    filtered = TUMBLING.replace("source: in\n", "source: in\nfilter: value > 0\n")
    runs.publish("in", seconds((0, "a", 1), (100, "a", 0), (1, "a", 2)))
    account = runs.run(filtered, flush=False)
    assert ([], 0, 1) == (runs.rows("out"), account.late, account.filtered)
    runs.run(filtered)
    assert [(0, "a", 2, 3)] == out(runs)


def test_a_filter_behind_the_time_does_not_keep_the_watermark_from_moving(runs: Runs) -> None:
    filtered = TUMBLING.replace("group_by", "filter: value > 0\ngroup_by")
    runs.publish("in", seconds((0, "a", 1), (100, "a", 0), (1, "a", 2)))
    account = runs.run(filtered, flush=False)
    assert [(0, "a", 1, 1)] == out(runs)
    assert (1, 1) == (account.late, account.filtered)


def test_windows_wait_for_the_slowest_partition(runs: Runs) -> None:
    runs.publish("in", seconds((3, "a", 4)), partition=1)
    runs.publish("in", seconds((0, "a", 1), (100, "a", 2)), partition=0)
    account = runs.run(TUMBLING, flush=False)
    assert (0, 0) == (account.late, account.emitted)
    runs.publish("in", seconds((15, "a", 8), (4, "a", 16)), partition=1)
    account = runs.run(TUMBLING, flush=False)
    assert [(0, "a", 2, 5)] == out(runs)
    assert 1 == account.late


def test_a_partition_that_never_had_records_holds_nothing_back(runs: Runs) -> None:
    runs.publish("in", seconds((0, "a", 1), (100, "a", 2)), partition=0)
    runs.run(TUMBLING, flush=False)
    assert [(0, "a", 1, 1)] == out(runs)


def test_a_record_behind_its_own_partition_s_watermark_is_late_though_its_window_is_open(runs: Runs) -> None:
    runs.publish("in", seconds((0, "a", 1)), partition=1)
    runs.publish("in", seconds((0, "a", 2), (100, "a", 4), (1, "a", 8)), partition=0)
    account = runs.run(TUMBLING)
    assert [(0, "a", 2, 3), (100, "a", 1, 4)] == out(runs)
    assert 1 == account.late


def test_runs_one_after_another_give_what_one_run_gives(tmp_path: Path) -> None:
    times = [0, 3, 12, 7, 22, 16, 40, 18, 41, 60, 12, 61]
    records = seconds(*((at, "ab"[at % 2], 1 << number) for number, at in enumerate(times)))
    found = []
    for size in (1, 5, len(records)):
        runs = Runs(tmp_path / f"{size}")
        with runs.store:
            for first in range(0, len(records), size):
                runs.publish("in", records[first : first + size])
                account = runs.run(TUMBLING, flush=False)
            found.append((runs.rows("out"), runs.rows("late"), account))
    assert found[0] == found[1] == found[2]
    assert 0 < found[0][2].late


# -- results that are given out anew ------------------------------------------------------------------


def test_a_late_record_revises_a_window_until_it_is_forgotten(runs: Runs) -> None:
    records = [(0, "a", 1), (15, "b", 2), (3, "a", 4), (4, "a", 8), (24.999, "b", 16), (5, "a", 32)]
    runs.publish("in", seconds(*records, (25, "b", 64), (6, "a", 128)))
    account = runs.run(REVISED, flush=False)
    names = ("start", "key", "revision", "count", "sum")
    revisions = [(0, "a", 0, 1, 1), (0, "a", 1, 2, 5), (0, "a", 2, 3, 13), (0, "a", 3, 4, 45)]
    assert [*revisions, (10, "b", 0, 1, 2)] == out(runs, *names)
    assert seconds((6, "a", 128)) == runs.rows("late")
    assert (8, 7, 1, 5) == (account.records_in, account.out, account.late, account.emitted)


def test_a_late_record_of_a_new_key_makes_a_first_result(runs: Runs) -> None:
    runs.publish("in", seconds((0, "a", 1), (15, "a", 2), (3, "b", 4)))
    runs.run(REVISED, flush=False)
    assert [(0, "a", 0), (0, "b", 0)] == out(runs, "start", "key", "revision")


def test_a_session_that_late_records_join_to_another_comes_out_as_one(runs: Runs) -> None:
    text = """
    source: in
    time: {field: at, watermark: 0s}
    group_by: key
    window: {session: 10s}
    allow_late: 1m
    aggregate: {count: count()}
    map: {start: parse_time(window_start) / 1000, end: parse_time(window_end) / 1000, count: count,
          revision: revision}
    sink: out
    """
    runs.publish("in", seconds((0, "a", 0), (15, "a", 0), (40, "b", 0), (8, "a", 0)))
    runs.run(text, flush=False)
    expected = [(0, 10, 1, 0), (0, 25, 3, 1), (15, 25, 1, 0)]
    assert expected == out(runs, "start", "end", "count", "revision")


def test_without_a_window_every_record_gives_its_group_out_anew(runs: Runs) -> None:
    runs.publish("in", seconds((0, "a", 1), (0, "b", 2), (0, "a", 4)))
    text = "source: in\ngroup_by: key\naggregate: {n: count(), sum: sum(value)}\nsink: out"
    runs.run(text)
    assert [("a", 1, 1), ("b", 1, 2), ("a", 2, 5)] == runs.columns("out", "key", "n", "sum")
    runs.publish("in", seconds((0, "b", 8)))
    runs.run(text)
    assert ("b", 2, 10) == runs.columns("out", "key", "n", "sum")[-1]


# -- processing time, dedup, errors -------------------------------------------------------------------


def test_processing_time_is_that_of_the_append_also_when_a_run_comes_much_later(tmp_path: Path) -> None:
    runs = Runs(tmp_path / "store")
    text = """
    source: in
    time: {processing: true}
    window: 1m
    aggregate: {count: count()}
    map: {start: parse_time(window_start), count: count}
    sink: out
    """
    with runs.store:
        first_ms = runs.now_ms = 1_772_000_040_000
        runs.publish("in", [{}, {}])
        runs.now_ms += 30_000
        runs.publish("in", [{}])
        runs.now_ms += 30_000
        runs.publish("in", [{}])
        runs.now_ms += 86_400_000
        runs.run(text, flush=False)
        assert [(first_ms, 3)] == runs.columns("out", "start", "count")


def test_a_time_before_1973_that_is_known_to_be_milliseconds_is_not_taken_for_seconds(runs: Runs) -> None:
    runs.publish("in", [{"at": "1972-03-01T00:00:03Z"}])
    runs.run("source: in\ntime: parse_time(at)\nwindow: 10s\naggregate: {count: count()}\nsink: out\n")
    assert [("1972-03-01T00:00:00Z",)] == runs.columns("out", "window_start")


@pytest.mark.parametrize(
    ("order", "expected"), [("filter: value > 0\ntime: at", []), ("time: at\nfilter: value > 0", [(0, 1)])]
)
def test_a_partition_all_of_whose_records_are_dropped_holds_back_unless_they_have_their_times_before(
    runs: Runs, order: str, expected: list[tuple[int, int]]
) -> None:
    runs.publish("in", seconds((1, "a", 0), (30, "a", 0)), partition=1)
    runs.publish("in", seconds((1, "a", 1), (30, "a", 1)))
    text = f"source: in\n{order}\nwindow: 10s\naggregate: {{n: count()}}\n"
    text += "map: {start: parse_time(window_start), n: n}\nsink: out\n"
    runs.run(text, flush=False)
    assert expected == runs.columns("out", "start", "n")


def test_dedup_looks_before_and_after_a_record_s_time(runs: Runs) -> None:
    text = """
    source: in
    time: {field: at, watermark: 1m}
    dedup: {key: key, within: 10s, dropped_to: again}
    map: {key: key, at: at}
    sink: out
    """
    runs.publish(
        "in", seconds((20, "a", 0), (11, "a", 0), (10, "a", 0), (29, "a", 0), (30, "a", 0), (20, "b", 0))
    )
    account = runs.run(text)
    assert [("a", 10), ("a", 20), ("a", 30), ("b", 20)] == out(runs, "key", "at")
    assert [(11,), (29,)] == runs.columns("again", "at")
    assert (6, 4, 2) == (account.records_in, account.out, account.deduped)


DEDUP = "source: in\ntime: at\ndedup: {key: key, within: 1h}\non_error: drop\n"


def test_a_record_that_is_refused_behind_a_dedup_does_not_stand_for_its_key(runs: Runs) -> None:
    runs.publish("in", seconds((1, "a", "bad"), (2, "a", 1), (3, "a", 2), (4, "b", 1), (5, "b", "bad")))
    account = runs.run(f"{DEDUP}map: {{key: key, value: value + 0}}\nsink: out\n")
    assert [("a", 1), ("b", 1)] == runs.columns("out", "key", "value")
    assert (5, 2, 1, 2) == (account.records_in, account.out, account.dead, account.deduped)


def test_neither_does_one_that_an_aggregate_or_a_sink_refuses(runs: Runs) -> None:
    runs.publish("in", seconds((1, "a", "bad"), (2, "a", 1), (3, "a", 2)))
    account = runs.run(f"{DEDUP}window: 1m\naggregate: {{sum: sum(value)}}\nsink: out\n", name="sums")
    assert ([(1,)], 1, 1) == (runs.columns("out", "sum"), account.dead, account.deduped)
    runs.publish("in", seconds((4, "c", None), (5, "c", 5), (6, "c", 6)))
    account = runs.run(f"{DEDUP}filter: key == 'c'\nsink: {{topic: keyed, key: value}}\n", name="keyed")
    assert ([(5,)], 1) == (runs.columns("keyed", "value"), account.dead)


def test_a_record_of_which_an_item_is_refused_stands_for_its_key(runs: Runs) -> None:
    runs.publish("in", seconds((1, "a", [1, "bad"]), (2, "a", [2])))
    text = f"{DEDUP}flat_map: {{items: value, as: item}}\nmap: {{item: item + 0}}\nsink: out\n"
    account = runs.run(text)
    assert [(1,)] == runs.columns("out", "item")
    assert (2, 1, 1, 1, 1) == (
        account.records_in,
        account.expanded,
        account.out,
        account.dead,
        account.deduped,
    )


def test_of_items_before_a_dedup_each_is_refused_for_itself(runs: Runs) -> None:
    items = [{"k": 1, "v": 1}, {"k": [], "v": 0}, {"k": 2, "v": "bad"}, {"k": 2, "v": 2}, {"k": 1, "v": 3}]
    runs.publish("in", [{"at": 1, "items": items}])
    text = "source: in\ntime: at\nsteps:\n  - flat_map: {items: items, as: x}\n"
    text += "  - dedup: {key: x.k, within: 1h}\n  - map: {k: x.k, v: x.v + 0}\non_error: drop\nsink: out\n"
    account = runs.run(text)
    assert [(1, 1), (2, 2)] == runs.columns("out", "k", "v")
    assert (2, 2, 1) == (account.out, account.dead, account.deduped)


@pytest.mark.parametrize("at", [None, "yesterday", "2026-02-30T00:00:00Z", True, [1]])
def test_a_record_without_a_time_stops_the_pipeline_drops_or_goes_aside(runs: Runs, at: object) -> None:
    runs.publish("in", [{"at": 0, "key": "a", "value": 1}, {"at": at, "key": "a", "value": 2}])
    with pytest.raises(RecordRefusedError):
        runs.run(TUMBLING, name="stops")
    assert 1 == runs.run(TUMBLING + "on_error: drop\n", name="drops").dead
    assert 1 == runs.run(TUMBLING + "on_error: {to: dead}\n", name="puts-aside").dead
    assert [{"at": at, "key": "a", "value": 2}] == runs.rows("dead")
    assert [(0, "a", 1, 1)] * 2 == out(runs)


def test_a_watermark_before_the_year_1_is_shown_as_its_beginning() -> None:
    assert ("0001-01-01T00:00:00Z", "-") == (time_or_dash(MIN_MS - 10_000), time_or_dash(None))
