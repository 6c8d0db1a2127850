"""Aggregates: what each gives, what it refuses, and that a refused record is in none of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aegis_cli.pipeline.aggregate import AGGREGATES
from aegis_cli.pipeline.aggregates.limit import VALUES_MAX, GroupTooLargeError
from aegis_cli.pipeline.errors import ExpressionError, RecordError
from tests.pipeline.inlined import aggregate, plan, taken, taker


def of(text: str, *values: Any) -> Any:
    """The result of one aggregate of x, for records a millisecond apart."""
    return aggregate([(time_ms, {"x": value}) for time_ms, value in enumerate(values)], result=text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("count", 0),
        ("count(x)", 0),
        ("sum(x)", None),
        ("avg(x)", None),
        ("min(x)", None),
        ("max(x)", None),
        ("first(x)", None),
        ("last(x)", None),
        ("count_distinct(x)", 0),
        ("percentile(x, 0.5)", None),
        ("top_n(3, x)", None),
        ("collect(x)", None),
    ],
)
def test_of_nothing_counts_are_zero_and_all_else_is_null(text: str, expected: Any) -> None:
    assert expected == of(text)
    if text != "count":
        assert expected == of(text, None, None)


def test_count_counts_records_and_count_of_x_those_that_have_it() -> None:
    assert 3 == of("count", 1, None, "a")
    assert 2 == of("count(x)", 1, None, "a")


def test_integers_add_up_exactly() -> None:
    assert (1 << 63) - 1 == of("sum(x)", (1 << 62) - 1, 1 << 62)
    assert -(1 << 63) == of("sum(x)", -(1 << 62), None, -(1 << 62))
    assert 9007199254740993 == of("sum(x)", 9007199254740992, 1)


def test_a_sum_with_a_floating_point_number_is_one() -> None:
    assert "3.0" == json.dumps(of("sum(x)", 1, 2.0))
    assert "3" == json.dumps(of("sum(x)", 1, 2))
    assert "2.5" == json.dumps(of("sum(x)", 0.5, 2))


@pytest.mark.parametrize("text", ["sum(x)", "avg(x)"])
@pytest.mark.parametrize("values", [((1 << 63) - 1, 1), (-(1 << 63), -1), (1 << 63,), (1.7e308, 1.7e308)])
def test_a_sum_that_does_not_fit_refuses_the_record(text: str, values: tuple[Any, ...]) -> None:
    with pytest.raises(RecordError, match=r"^the sum "):
        of(text, *values)


@pytest.mark.parametrize("value", ["1", True, [1], {"a": 1}])
@pytest.mark.parametrize("before", [(), (1,), (1.5,)])
def test_only_numbers_are_added(value: Any, before: tuple[Any, ...]) -> None:
    with pytest.raises(RecordError, match=r"^sum and avg take numbers, not "):
        of("sum(x)", *before, value)


def test_an_average_is_a_floating_point_number_of_what_is_not_null() -> None:
    assert "2.0" == json.dumps(of("avg(x)", 1, None, 3))
    assert 1.75 == of("avg(x)", 1, 2.5)


def test_least_and_greatest_are_of_numbers_or_of_text() -> None:
    assert -2.5 == of("min(x)", 3, None, -2.5, 7)
    assert 7 == of("max(x)", 3, None, -2.5, 7)
    assert "B" == of("min(x)", "a", "B", "é")
    assert "é" == of("max(x)", "a", "B", "é")


@pytest.mark.parametrize("function", ["min(x)", "max(x)", "percentile(x, 0.5)", "top_n(2, x)"])
@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ((1, "a"), "cannot compare text with a number"),
        (("a", 1), "cannot compare a number with text"),
        ((True,), "compares numbers or text, not a boolean"),
        (([1],), "compares numbers or text, not a list"),
        ((1, {"a": 1}), "compares numbers or text, not an object"),
        ((float("nan"),), "compares numbers or text"),
    ],
)
def test_what_has_no_order_is_refused(function: str, values: tuple[Any, ...], reason: str) -> None:
    with pytest.raises(RecordError, match=reason):
        of(function, *values)


def test_first_and_last_go_by_event_time_then_by_arrival() -> None:
    times = [(5, "e1"), (3, "c1"), (9, "i1"), (3, "c2"), (9, "i2"), (4, "d"), (1, None), (11, None)]
    records = [(time_ms, {"x": value}) for time_ms, value in times]
    assert ("c1", "i2") == aggregate(records, f="first(x)", l="last(x)")


def test_different_values_are_counted_as_json_tells_them_apart() -> None:
    assert 1 == of("count_distinct(x)", 1, 1.0, 1)
    assert 4 == of("count_distinct(x)", 1, "1", True, "true")
    assert 1 == of("count_distinct(x)", {"a": 1, "b": [1.0]}, {"b": [1], "a": 1.0})
    assert 3 == of("count_distinct(x)", [1, 2], [2, 1], "[1,2]")
    assert 2 == of("count_distinct(x)", 1e300, 0.5, 1e300)
    assert 1 == of("count_distinct(x)", -(2**63), -(2.0**63))
    assert 2 == of("count_distinct(x)", 2**63 - 1, 2.0**63)


def test_a_value_nested_without_end_is_refused() -> None:
    value: Any = 1
    for _ in range(200):
        value = [value]
    with pytest.raises(RecordError, match="nested"):
        of("count_distinct(x)", value)


@pytest.mark.parametrize(
    ("share", "expected"),
    [("0", 15), ("0.05", 15), ("0.3", 20), ("0.4", 20), ("0.5", 35), ("0.75", 40), ("1", 50), ("1.0", 50)],
)
def test_a_percentile_is_the_value_of_nearest_rank(share: str, expected: int) -> None:
    assert expected == of(f"percentile(x, {share})", 50, 15, 40, 20, 35)


def test_a_rank_is_computed_from_the_number_as_it_was_written() -> None:
    # In binary floating point 0.07 * 100 is more than 7, and the 8th value would be taken.
    assert 7 == of("percentile(x, 0.07)", *range(1, 101))
    assert 95 == of("percentile(x, 0.95)", *range(100, 0, -1))
    assert "b" == of("percentile(x, 0.5)", "c", "a", "b")


def test_the_top_are_the_greatest_and_equal_ones_all_count() -> None:
    assert [9, 7, 7] == of("top_n(3, x)", 7, 1, 9, None, 7, 3)
    assert [2, 1] == of("top_n(3, x)", 1, 2)


def test_the_top_by_another_value_are_in_order_of_arrival_where_that_is_equal() -> None:
    rows = [("a", 1), ("b", 5), ("c", 5), ("d", 5), (None, 9), ("e", None), ("f", 2)]
    records = [(0, {"x": value, "y": by}) for value, by in rows]
    assert ["b", "c", "d", "f"] == aggregate(records, result="top_n(4, x, y)")
    assert ["b", "c"] == aggregate(records, result="top_n(2, x, y)")


def test_collected_values_are_by_event_time_then_by_arrival() -> None:
    records = [
        (time_ms, {"x": value}) for time_ms, value in [(5, "e"), (3, "c"), (5, "f"), (9, None), (4, [1])]
    ]
    assert ["c", [1], "e", "f"] == aggregate(records, result="collect(x)")
    assert ["c", [1]] == aggregate(records, result="collect(x, 2)")


@pytest.mark.parametrize("text", ["count_distinct(x)", "percentile(x, 0.5)", "collect(x)"])
def test_a_group_keeps_no_more_values_than_its_limit(text: str) -> None:
    layout = plan(result=text)
    records: list[tuple[int, dict[str, int]]] = [(0, {"x": number}) for number in range(VALUES_MAX)]
    acc = taken(layout, records)
    before = json.dumps(acc)
    with pytest.raises(GroupTooLargeError) as caught:
        taker(layout)([acc], {"x": VALUES_MAX}, 0, lambda group: None)
    assert VALUES_MAX == caught.value.limit
    assert before == json.dumps(acc)


@pytest.mark.parametrize("text", ["count_distinct(x)", "percentile(x, 0.5)", "collect(x)"])
def test_sessions_that_keep_too_much_together_are_not_merged(text: str) -> None:
    layout = plan(result=text)
    half = VALUES_MAX // 2

    def session(first: int, end: int) -> Any:
        return taken(layout, [(number, {"x": number}) for number in range(first, end)])

    one, other, more = session(0, half), session(half, VALUES_MAX), session(half, VALUES_MAX + 1)
    results = layout.results(one)
    assert layout.merged([one, other])
    with pytest.raises(GroupTooLargeError):
        layout.merged([one, more])
    assert results == layout.results(one)


def test_a_value_that_is_there_already_is_counted_in_a_full_group() -> None:
    assert VALUES_MAX == of("count_distinct(x)", *range(VALUES_MAX), 5)


EVERYTHING = {
    "n": "count",
    "m": "count(x)",
    "total": "sum(x)",
    "mean": "avg(x)",
    "least": "min(x)",
    "most": "max(x)",
    "f": "first(x)",
    "l": "last(x)",
    "different": "count_distinct(x)",
    "middle": "percentile(x, 0.5)",
    "top": "top_n(2, x)",
    "top_by": "top_n(2, y, x)",
    "all": "collect(x)",
    "early": "collect(x, 2)",
}


def test_a_record_that_the_last_aggregate_refuses_is_in_none() -> None:
    layout = plan(**EVERYTHING, wrong="sum(y)")
    records: list[tuple[int, dict[str, Any]]] = [(0, {"x": 1, "y": 2}), (1, {"x": 2.5, "y": 1})]
    acc = taken(layout, records)
    before = json.dumps(acc)
    with pytest.raises(RecordError):
        taker(layout)([acc], {"x": 3, "y": "text"}, 2, lambda group: None)
    assert before == json.dumps(acc)


def test_a_record_that_one_of_several_accumulators_refuses_is_in_none() -> None:
    layout = plan(n="count", least="min(x)")
    numbers, texts = taken(layout, [(0, {"x": 1})]), taken(layout, [(0, {"x": "a"})])
    with pytest.raises(RecordError):
        taker(layout)([numbers, texts], {"x": 0}, 1, lambda group: None)
    assert (1, 1) == layout.results(numbers)
    assert (1, "a") == layout.results(texts)


def test_every_function_is_tried_here() -> None:
    assert set(AGGREGATES) == {text.partition("(")[0] for text in EVERYTHING.values()}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("median(x)", "p.yaml:3:7: there is no aggregate 'median'; write percentile(x, 0.5)"),
        ("zzz(x)", "p.yaml:3:7: there is no aggregate 'zzz'; there are: count, sum, "),
        ("COUNT(x)", "p.yaml:3:7: there is no aggregate 'COUNT'; did you mean 'count'?"),
        ("MEDIAN(x)", "p.yaml:3:7: there is no aggregate 'MEDIAN'; write percentile(x, 0.5)"),
        ("summ(x)", "p.yaml:3:7: there is no aggregate 'summ'; did you mean 'sum'?"),
        ("sum", "p.yaml:3:7: 'sum' does not take 0 arguments; write sum(x)"),
        ("count(x, y)", "p.yaml:3:7: 'count' does not take 2 arguments; write count([x])"),
        ("percentile(x, p)", "p.yaml:1:1: p of percentile(x, p) is a number, written out"),
        ("percentile(x, nan)", "p.yaml:1:1: p of percentile(x, p) is a number, written out"),
        ("percentile(x, 95)", "p.yaml:3:7: in percentile(x, p), p is from 0 to 1; 0.95 is the 95th"),
        ("top_n(x, 3)", "p.yaml:1:1: n of top_n(n, x[, by]) is a number, written out"),
        ("top_n(0, x)", "p.yaml:3:7: in top_n(n, x[, by]), n is a whole number from 1 to 10000"),
        pytest.param(
            f"top_n({'9' * 400}, x)",
            "p.yaml:3:7: in top_n(n, x[, by]), n is a whole number from 1 to 10000",
            id="a number of 400 digits",
        ),
        ("top_n(2.5, x)", "p.yaml:3:7: in top_n(n, x[, by]), n is a whole number from 1 to 10000"),
        ("collect(x, 10001)", "p.yaml:3:7: in collect(x[, limit]), limit is a whole number from 1 to 10000"),
    ],
)
def test_a_call_that_is_not_understood_is_an_error_in_the_file(text: str, message: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        plan(result=text)
    assert str(caught.value).startswith(message)
