"""Joins of records to tables, by the behaviour that users know from ksqlDB and Kafka Streams."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.runs import Runs

LEFT = """
source: orders
tables: {users: {topic: users, key: id}}
join: {table: users, key: user, type: left}
map: {order: id, name: users.name, city: users.address.city}
sink: out
"""
INNER = LEFT.replace("type: left", "type: inner")


@pytest.fixture(params=[1, 1 << 30], ids=["records one by one", "whole"])
def runs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Runs]:
    found = Runs(tmp_path / "store", chunk_records=request.param)
    with found.store:
        for topic in ("orders", "users"):
            found.topic(topic, partitions=2)
        yield found


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
