"""Joins with the row of a table as it was at the time of a record.

The cases are those that users know from Flink's temporal joins, by behaviour.
"""

from __future__ import annotations

import pytest

from aegis_cli.pipeline.admin import status_of
from aegis_cli.pipeline.errors import StateTooLargeError
from tests.pipeline.orders import AS_OF, joined, orders, users
from tests.pipeline.runs import Removal, Runs


@pytest.fixture
def runs(order_runs: Runs) -> Runs:
    return order_runs


def test_a_record_finds_the_row_of_its_time_and_not_the_newest(runs: Runs) -> None:
    runs.publish("users", users((1, "ann", 10), (1, "anna", 20), (1, "anne", 30)))
    runs.publish(
        "orders", orders((100, 1, 9.999), (101, 1, 10), (102, 1, 19.999), (103, 1, 20), (104, 1, 99))
    )
    runs.run(AS_OF)
    assert [(100, None), (101, "ann"), (102, "ann"), (103, "anna"), (104, "anne")] == joined(runs)


def test_rows_may_be_told_out_of_the_order_of_their_times(runs: Runs) -> None:
    runs.publish("users", users((1, "anne", 30), (1, "ann", 10)), partition=1)
    runs.publish("users", users((1, "anna", 20), (1, "anna 2", 20)))
    runs.publish("orders", orders((100, 1, 15), (101, 1, 25), (102, 1, 35)))
    runs.run(AS_OF)
    assert [(100, "ann"), (101, "anna 2"), (102, "anne")] == joined(runs)


def test_a_row_that_is_told_late_is_found_by_records_that_come_after_it(runs: Runs) -> None:
    runs.publish("users", users((1, "ann", 10)))
    runs.publish("orders", orders((100, 1, 25)))
    runs.publish("users", users((1, "anna", 20)))
    runs.publish("orders", orders((101, 1, 25), (102, 1, 19)))
    runs.run(AS_OF)
    assert [(100, "ann"), (101, "anna"), (102, "ann")] == joined(runs)


def test_a_removal_holds_from_the_time_of_its_message_on(runs: Runs) -> None:
    runs.publish("users", users((1, "ann", 10), Removal(1, 20_000), (1, "anna", 30)))
    runs.publish("orders", orders((100, 1, 19), (101, 1, 20), (102, 1, 29), (103, 1, 30)))
    runs.run(AS_OF)
    assert [(100, "ann"), (101, None), (102, None), (103, "anna")] == joined(runs)


def test_a_removal_without_a_time_of_its_own_holds_from_its_append_on(runs: Runs) -> None:
    runs.publish("users", users((1, "ann", 10), Removal(1)))
    runs.publish(
        "orders", orders((100, 1, runs.now_ms - 1), (101, 1, runs.now_ms), (102, 1, runs.now_ms + 1))
    )
    runs.run(AS_OF)
    assert [(100, "ann"), (101, None), (102, None)] == joined(runs)


def test_a_row_as_of_a_time_lives_for_its_ttl_in_the_time_of_records(runs: Runs) -> None:
    text = AS_OF.replace("as_of: since", "as_of: since, ttl: 5s")
    runs.publish("users", users((1, "ann", 10), (1, "anna", 30)))
    runs.publish("orders", orders((100, 1, 15), (101, 1, 15.001), (102, 1, 31), (103, 1, 36)))
    runs.run(text)
    assert [(100, "ann"), (101, None), (102, "anna"), (103, None)] == joined(runs)


def test_a_late_record_finds_a_row_only_if_it_is_still_the_one_at_the_watermark(runs: Runs) -> None:
    runs.publish("users", users((1, "ann", 0), (1, "anna", 30), (2, "bob", 0), (3, "cid", 35), (3, "cy", 90)))
    runs.publish("orders", orders((100, 1, 50), (101, 1, 20), (102, 2, 20), (103, 3, 34), (104, 3, 41)))
    runs.run(AS_OF)
    assert [(100, "anna"), (101, None), (102, "bob"), (103, None), (104, "cid")] == joined(runs)


def test_only_rows_that_a_record_can_still_ask_for_are_kept(runs: Runs) -> None:
    runs.publish("users", users(*((1, str(at), at) for at in range(100)), (2, "bob", 5), Removal(2, 6_000)))
    runs.publish("orders", orders((100, 1, 50)))
    runs.run(AS_OF)
    # Those of 41 to 99, and the one at the watermark, which is 40.
    assert 60 == status_of(runs.store, "p").open["table users"]
    runs.publish("orders", orders((101, 1, 200), (102, 1, 191)))
    runs.run(AS_OF)
    assert 1 == status_of(runs.store, "p").open["table users"]
    assert [(100, "50"), (101, "99"), (102, "99")] == joined(runs)


def test_the_limit_counts_all_rows_of_a_key(runs: Runs) -> None:
    text = f"{AS_OF}limits: {{groups: 10}}\n"
    runs.publish("users", users(*((1, str(at), at) for at in range(10))))
    runs.publish("orders", orders((100, 1, 19)))
    # All but one are forgotten when room is needed, whether or not there was a commit since.
    runs.publish("users", users(*((1, str(at), at) for at in range(20, 29))))
    runs.run(text)
    assert 10 == status_of(runs.store, "p").open["table users"]
    runs.publish("users", users((1, "29", 29)))
    with pytest.raises(StateTooLargeError, match="more than 10 rows of table 'users'"):
        runs.run(text)


def test_a_join_behind_a_left_join_of_streams_finds_the_row_of_the_record_s_time(runs: Runs) -> None:
    runs.topic("payments")
    runs.publish("users", users((1, "ann", 0), (1, "anna", 21)))
    runs.publish("payments", [{"order": 7, "at": 20}])
    runs.publish("orders", orders((100, 1, 20)))
    runs.publish("payments", [{"order": 7, "at": 90}])
    runs.publish("orders", orders((101, 1, 90)))
    runs.run(
        """
        source: orders
        tables: {users: {topic: users, key: id, as_of: since}}
        steps:
          - time: at
          - join: {topic: payments, as: paid, key: id, other_key: order, other_time: at, WITHIN}
          - join: {table: users, key: user, type: left}
          - map: {order: id, name: users.name}
        sink: out
        """.replace("WITHIN", "within: 10s, type: left")
    )
    assert [(100, "ann"), (101, "anna")] == joined(runs)
