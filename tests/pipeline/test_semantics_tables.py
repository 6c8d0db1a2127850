"""Tables whose rows come and go while records come.

The cases are those that users know from ksqlDB's table joins, by behaviour.
"""

from __future__ import annotations

from typing import Any

import pytest

from aegis_cli.pipeline.admin import status_of
from aegis_cli.pipeline.errors import RecordRefusedError
from tests.pipeline.orders import NEWEST, joined, orders, users
from tests.pipeline.runs import Removal, Runs


@pytest.fixture
def runs(order_runs: Runs) -> Runs:
    return order_runs


def test_a_null_removes_the_row_that_its_message_s_key_names(runs: Runs) -> None:
    runs.publish("users", users((1, "ann"), ("b", "bob")))
    runs.publish("orders", orders((100, 1), (101, "b")))
    runs.publish("users", users(Removal(1)))
    runs.publish("orders", orders((102, 1), (103, "b")))
    runs.publish("users", users((1, "anna"), Removal("b")))
    runs.publish("orders", orders((104, 1), (105, "b")))
    account = runs.run(NEWEST)
    assert [(100, "ann"), (101, "bob"), (102, None), (103, "bob"), (104, "anna"), (105, None)] == joined(runs)
    assert (6, 6, 5, 5) == (account.records_in, account.out, account.table_rows, account.table_out)


def test_an_inner_join_finds_no_row_that_was_removed(runs: Runs) -> None:
    runs.publish("users", users((1, "ann"), Removal(1)))
    runs.publish("orders", orders((100, 1)))
    assert 1 == runs.run(NEWEST.replace("type: left", "type: inner")).filtered
    assert [] == joined(runs)


def test_a_row_that_was_removed_stays_removed_in_the_next_run(runs: Runs) -> None:
    runs.publish("users", users((1, "ann"), (2, "bob")))
    runs.run(NEWEST)
    runs.publish("users", users(Removal(1)))
    runs.run(NEWEST)
    assert 1 == status_of(runs.store, "p").open["table users"]
    runs.publish("orders", orders((100, 1), (101, 2)))
    runs.run(NEWEST)
    assert [(100, None), (101, "bob")] == joined(runs)


def test_a_removal_of_what_is_not_there_changes_nothing(runs: Runs) -> None:
    runs.publish("users", users(Removal(1), (2, "bob"), Removal("2 "), Removal(3.5), Removal("true")))
    runs.publish("orders", orders((100, 1), (101, 2)))
    runs.run(NEWEST)
    assert [(100, None), (101, "bob")] == joined(runs)


def test_a_key_of_text_names_the_row_of_that_text_and_that_of_the_number_it_reads_as(runs: Runs) -> None:
    runs.publish(
        "users", users((1, "int"), ("1", "text"), (2, "int"), ("2", "text"), (True, "yes"), ("", "e"))
    )
    runs.publish("users", users(Removal("1"), Removal(2.0), Removal("true"), Removal("")))
    runs.publish("orders", orders((0, 1), (1, "1"), (2, 2), (3, "2"), (4, True), (5, "")))
    runs.run(NEWEST)
    assert [None, None, None, "text", None, None] == [name for _, name in joined(runs)]


@pytest.mark.parametrize(("key", "reason"), [(None, "has no key"), ({"$base64": "AA=="}, "is bytes")])
def test_a_null_whose_key_names_no_row_is_refused(runs: Runs, key: Any, reason: str) -> None:
    runs.publish("users", users((1, "ann")))
    runs.publish("users", users(Removal(key)))
    with pytest.raises(RecordRefusedError, match=f"a null removes the row .* {reason}"):
        runs.run(NEWEST)
    assert 1 == runs.run(f"{NEWEST}on_error: drop\n").table_dead


def test_a_join_with_a_row_without_a_name_is_not_a_join_with_no_row(runs: Runs) -> None:
    runs.publish("users", users((1, None)))
    runs.publish("orders", orders((100, 1), (101, None)))
    assert 1 == runs.run(NEWEST.replace("type: left", "type: inner")).filtered
    assert [(100, None)] == joined(runs)


def test_a_row_is_there_for_as_long_as_its_ttl_by_the_times_of_appends(runs: Runs) -> None:
    text = NEWEST.replace("key: id}", "key: id, ttl: 1m}")
    runs.publish("users", users((1, "ann"), (2, "bob")))
    born_ms = runs.now_ms
    runs.now_ms = born_ms + 30_000 - 1
    runs.publish("users", users((2, "bobby")))
    runs.now_ms = born_ms + 60_000 - 1
    runs.publish("orders", orders((100, 1), (101, 2)))
    runs.publish("orders", orders((102, 1), (103, 2)))
    runs.run(text)
    runs.now_ms = born_ms + 90_000 - 1
    runs.publish("orders", orders((104, 1), (105, 2)))
    runs.publish("orders", orders((106, 1), (107, 2)))
    runs.run(text)
    names = ["ann", "bobby", None, "bobby", None, "bobby", None, None]
    assert list(zip(range(100, 108), names, strict=True)) == joined(runs)
    assert 0 == status_of(runs.store, "p").open["table users"]
