"""Joins of records to tables and to records, by the behaviour that users know from ksqlDB."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aegis_cli.pipeline.admin import status_of
from tests.pipeline.runs import Runs

LEFT = """
source: orders
tables: {users: {topic: users, key: id}}
join: {table: users, key: user, type: left}
map: {order: id, name: users.name, city: users.address.city}
sink: out
"""
INNER = LEFT.replace("type: left", "type: inner")


@pytest.fixture
def runs(order_runs: Runs) -> Runs:
    return order_runs


def users(*rows: tuple[Any, Any]) -> list[dict[str, Any]]:
    return [{"id": key, "name": name} for key, name in rows]


def orders(*rows: tuple[Any, Any]) -> list[dict[str, Any]]:
    return [{"id": number, "user": user} for number, user in rows]


def joined(runs: Runs) -> list[tuple[Any, ...]]:
    return runs.columns("out", "order", "name")


def test_a_left_join_lets_records_without_a_row_through(runs: Runs) -> None:
    runs.publish("users", users((1, "ann")))
    runs.publish("orders", orders((100, 1), (101, 2), (102, None)))
    account = runs.run(LEFT)
    assert [(100, "ann"), (101, None), (102, None)] == joined(runs)
    assert (0, 3) == (account.filtered, account.emitted)


def test_an_inner_join_filters_records_without_a_row(runs: Runs) -> None:
    runs.publish("users", users((1, "ann")))
    runs.publish("orders", orders((100, 1), (101, 2), (102, None)))
    account = runs.run(INNER)
    assert [(100, "ann")] == joined(runs)
    assert (2, 1) == (account.filtered, account.emitted)


def test_a_record_finds_the_row_that_was_appended_last_before_it(runs: Runs) -> None:
    runs.publish("orders", orders((100, 1)))
    runs.publish("users", users((1, "ann")))
    runs.publish("orders", orders((101, 1)))
    runs.publish("users", users((1, "anna")), partition=1)
    runs.publish("orders", orders((102, 1)), partition=1)
    runs.run(LEFT)
    assert [(100, None), (101, "ann"), (102, "anna")] == sorted(joined(runs))


def test_a_new_row_gives_nothing_out_for_records_that_passed(runs: Runs) -> None:
    runs.publish("users", users((1, "ann")))
    runs.publish("orders", orders((100, 1)))
    runs.run(LEFT)
    runs.publish("users", users((1, "anna"), (2, "bob")))
    account = runs.run(LEFT)
    assert [(100, "ann")] == joined(runs)
    assert 1 == account.emitted
    runs.publish("orders", orders((101, 1), (102, 2)))
    runs.run(LEFT)
    assert [(100, "ann"), (101, "anna"), (102, "bob")] == joined(runs)


def test_keys_are_equal_as_values_are(runs: Runs) -> None:
    runs.publish("users", users((1, "int"), ("1", "text"), (True, "bool"), ("", "empty"), (None, "null")))
    runs.publish("orders", orders((0, 1), (1, 1.0), (2, "1"), (3, True), (4, ""), (5, False), (6, " 1")))
    runs.run(LEFT)
    found = [name for _, name in joined(runs)]
    assert ["int", "int", "text", "bool", "empty", None, None] == found


def test_fields_of_a_row_that_is_not_there_are_null_at_any_depth(runs: Runs) -> None:
    runs.publish("users", [{"id": 1, "address": {"city": "Ulm"}}, {"id": 2, "address": None}, {"id": 3}])
    runs.publish("orders", orders((100, 1), (101, 2), (102, 3), (103, 4)))
    runs.run(LEFT)
    assert [("Ulm",), (None,), (None,), (None,)] == runs.columns("out", "city")


def test_two_tables_are_joined_one_after_the_other(runs: Runs) -> None:
    runs.publish("users", [{"id": 1, "name": "ann", "country": "de"}])
    runs.publish("countries", [{"code": "de", "name": "Germany"}])
    runs.publish("orders", orders((100, 1), (101, 2)))
    runs.run(
        """
        source: orders
        tables:
          user: {topic: users, key: id}
          land: {topic: countries, key: code}
        steps:
          - join: {table: user, key: user, type: left}
          - join: {table: land, key: user.country, type: left}
          - map: {order: id, name: land.name}
        sink: out
        """
    )
    assert [(100, "Germany"), (101, None)] == joined(runs)


def test_results_of_windows_are_joined_by_a_second_pipeline(runs: Runs) -> None:
    runs.publish("users", users((1, "ann")))
    runs.publish("orders", [{"id": 100, "user": 1, "at": 0}, {"id": 101, "user": 1, "at": 1}])
    runs.run(
        "source: orders\ntime: at\ngroup_by: user\nwindow: 1m\naggregate: {id: count()}\nsink: counts",
        name="first",
    )
    runs.run(LEFT.replace("source: orders", "source: counts"), name="second")
    assert [(2, "ann")] == joined(runs)


def test_a_null_key_has_no_row_also_where_the_table_has_one_of_that_key(runs: Runs) -> None:
    runs.publish("users", users((None, "nobody"), (1, "ann")))
    runs.publish("orders", orders((100, None), (101, 1)))
    assert 0 == runs.run(LEFT).filtered
    assert [(100, None), (101, "ann")] == joined(runs)
    account = runs.run(INNER, name="inner")
    assert (1, 1) == (account.filtered, account.out)


def test_rows_of_tables_are_no_records_of_the_stream(runs: Runs) -> None:
    runs.publish("users", users((1, "ann"), ([], "bad"), (2, "bob")))
    runs.publish("orders", orders((100, 1), (101, 3)))
    account = runs.run(f"{INNER}on_error: {{to: dead}}\n")
    assert (2, 1, 1, 0, 1) == (
        account.records_in,
        account.out,
        account.filtered,
        account.dead,
        account.emitted,
    )
    assert (3, 2, 1) == (account.table_rows, account.table_out, account.table_dead)
    assert str(account).endswith("; table rows 3 = kept 2 + dead 1; emitted 1")
    assert ["bad"] == [row["name"] for row in runs.rows("dead")]
    assert account == status_of(runs.store, "p").account


def test_times_of_rows_before_1973_are_in_order(runs: Runs) -> None:
    runs.publish("users", [{"id": 1, "name": "new", "at": "1979-01-01"}])
    runs.publish("users", [{"id": 1, "name": "old", "at": "1972-03-01"}])
    runs.publish("orders", [{"id": 100, "user": 1, "at": "1980-01-01"}])
    text = LEFT.replace("key: id}", "key: id, as_of: parse_time(at)}").replace("join:", "time: at\njoin:")
    runs.run(text)
    assert [(100, "new")] == joined(runs)


# -- joins of two streams -----------------------------------------------------------------------------

PAID = """
source: sales
time: {field: at, watermark: 5s}
join: {topic: payments, as: payment, key: id, other_key: sale, other_time: at, within: 10s, type: inner}
map: {id: id, at: at, paid: payment.at}
sink: out
"""
PAID_OR_NOT = PAID.replace("type: inner", "type: left")


def sales(*rows: tuple[Any, float]) -> list[dict[str, Any]]:
    return [{"id": key, "at": at} for key, at in rows]


def payments(*rows: tuple[Any, float]) -> list[dict[str, Any]]:
    return [{"sale": key, "at": at} for key, at in rows]


def pairs(runs: Runs) -> list[tuple[Any, ...]]:
    return sorted(runs.columns("out", "id", "at", "paid"), key=repr)


def test_records_match_up_to_the_distance_before_and_after(runs: Runs) -> None:
    runs.publish("sales", sales(("a", 20), ("b", 20), ("c", 20), ("d", 20)))
    runs.publish("payments", payments(("a", 10), ("b", 30), ("c", 9.999), ("d", 30.001)))
    runs.run(PAID)
    assert [("a", 20, 10), ("b", 20, 30)] == pairs(runs)


@pytest.mark.parametrize("text", [PAID, PAID_OR_NOT])
def test_it_does_not_matter_which_of_two_comes_first(runs: Runs, text: str) -> None:
    runs.publish("payments", payments(("a", 1)))
    runs.publish("sales", sales(("a", 2), ("b", 3)))
    runs.publish("payments", payments(("b", 4)))
    runs.run(text)
    assert [("a", 2, 1), ("b", 3, 4)] == pairs(runs)


def test_every_pair_of_a_key_comes_out_once(runs: Runs) -> None:
    runs.publish("sales", sales(("a", 1), ("a", 2)))
    runs.publish("payments", payments(("a", 3), ("b", 3), ("a", 4)))
    runs.publish("sales", sales(("a", 5)))
    account = runs.run(PAID)
    assert [("a", at, paid) for at in (1, 2, 5) for paid in (3, 4)] == pairs(runs)
    assert 6 == account.emitted


def test_a_left_join_says_that_nothing_matched_when_nothing_can_any_more(runs: Runs) -> None:
    runs.publish("payments", payments(("x", 0)))
    runs.publish("sales", sales(("a", 0), ("b", 1), ("z", 15)))
    runs.publish("payments", payments(("x", 15)))
    runs.run(PAID_OR_NOT, flush=False)
    assert [] == runs.rows("out")
    runs.publish("payments", payments(("b", 11), ("x", 30)))
    runs.publish("sales", sales(("z", 16.002)))
    runs.run(PAID_OR_NOT, flush=False)
    assert [("a", 0, None), ("b", 1, 11)] == pairs(runs)


def test_at_the_end_a_left_join_lets_out_what_is_kept(runs: Runs) -> None:
    runs.publish("sales", sales(("a", 0), ("b", 1)))
    runs.publish("payments", payments(("b", 2)))
    runs.run(PAID_OR_NOT)
    assert [("a", 0, None), ("b", 1, 2)] == pairs(runs)


def test_what_is_kept_of_both_sides_outlives_a_run(tmp_path: Path) -> None:
    found = []
    for times in (1, 2, 6):
        runs = Runs(tmp_path / str(times))
        with runs.store:
            runs.topic("sales")
            runs.topic("payments")
            steps = [
                ("payments", payments(("a", 0))),
                ("sales", sales(("a", 1), ("b", 2))),
                ("payments", payments(("b", 3), ("c", 4))),
                ("sales", sales(("c", 5), ("d", 6), ("d", 40))),
                ("payments", payments(("d", 45), ("e", 46))),
                ("sales", sales(("e", 47))),
            ]
            for number, (topic, records) in enumerate(steps, 1):
                runs.publish(topic, records)
                if number % (6 // times) == 0:
                    runs.run(PAID_OR_NOT, flush=False)
            found.append(runs.rows("out"))
    assert found[0] == found[1] == found[2]
    assert [("a", 0), ("b", 3), ("c", 4), ("d", None)] == [(row["id"], row["paid"]) for row in found[0]][:4]


@pytest.mark.parametrize(("text", "alone"), [(PAID, []), (PAID_OR_NOT, [(None, 1, None), (None, 2, None)])])
def test_null_equals_nothing_and_a_left_record_without_a_key_comes_out_at_once(
    runs: Runs, text: str, alone: list[tuple[Any, ...]]
) -> None:
    runs.publish("sales", sales((None, 1), ("a", 1)))
    runs.publish("payments", payments((None, 1), ("a", 2)))
    runs.publish("sales", sales((None, 2)))
    account = runs.run(text, flush=False)
    assert sorted([("a", 1, 2), *alone], key=repr) == pairs(runs)
    assert (5, 3 - len(alone), 0) == (account.records_in, account.filtered, account.waiting)


def test_records_that_matched_nothing_are_filtered_once_nothing_can_match_them(runs: Runs) -> None:
    runs.publish("sales", sales(("a", 1), ("b", 2), ("c", 3)))
    runs.publish("payments", payments(("a", 2), ("a", 3), ("x", 4)))
    account = runs.run(PAID, flush=False)
    # One and two became two pairs; two and one more wait.
    assert (6, -1, 2, 0, 3) == (
        account.records_in,
        account.expanded,
        account.out,
        account.filtered,
        account.waiting,
    )
    assert str(account).startswith("in 6 - 1 expanded = out 2 + filtered 0 ")
    assert " + waiting 3;" in str(account)
    runs.publish("sales", sales(("y", 60)))
    runs.publish("payments", payments(("z", 60)))
    account = runs.run(PAID, flush=False)
    assert (8, 3, 2) == (account.records_in, account.filtered, account.waiting)
    assert account == status_of(runs.store, "p").account
    assert (5, 0) == ((account := runs.run(PAID, flush=True)).filtered, account.waiting)


def test_of_a_left_join_only_records_of_the_other_side_are_filtered(runs: Runs) -> None:
    runs.publish("sales", sales(("a", 1), ("b", 2)))
    runs.publish("payments", payments(("a", 2), ("x", 4)))
    account = runs.run(PAID_OR_NOT, flush=True)
    assert [("a", 1, 2), ("b", 2, None)] == pairs(runs)
    assert (4, -1, 2, 1, 0) == (
        account.records_in,
        account.expanded,
        account.out,
        account.filtered,
        account.waiting,
    )


def test_after_a_flush_neither_side_of_a_join_is_kept(runs: Runs) -> None:
    runs.publish("payments", payments(("a", 1)))
    runs.publish("sales", sales(("b", 1)))
    runs.run(PAID, flush=True)
    runs.publish("sales", sales(("a", 2)))
    runs.publish("payments", payments(("b", 2)))
    assert (2, 2) == ((account := runs.run(PAID, flush=False)).filtered, account.waiting)
    assert [] == runs.rows("out")


def test_the_account_of_a_join_does_not_depend_on_how_often_it_ran(tmp_path: Path) -> None:
    found = []
    for times in (1, 3, 12):
        runs = Runs(tmp_path / str(times))
        with runs.store:
            for number in range(12):
                runs.publish("sales", sales((number % 5, number * 3), (number, number * 3 + 1)))
                runs.publish("payments", payments((number % 4, number * 3), (None, number)))
                if (number + 1) % (12 // times) == 0:
                    account = runs.run(PAID_OR_NOT, flush=False)
            found.append(account)
    assert found[0] == found[1] == found[2]
    assert found[0].waiting


def test_other_times_before_1973_match_those_of_records(runs: Runs) -> None:
    runs.publish("sales", [{"id": "a", "at": "1972-03-01T00:00:00Z"}])
    runs.publish("payments", [{"sale": "a", "at": "1972-03-01T00:00:05Z"}])
    text = PAID.replace("field: at", "field: parse_time(at)").replace(
        "other_time: at", "other_time: parse_time(at)"
    )
    runs.run(text)
    text = PAID.replace("other_time: at", "other_time: parse_time(at)")
    runs.run(text, name="texts")
    assert ["1972-03-01T00:00:05Z"] * 2 == [row["paid"] for row in runs.rows("out")]
