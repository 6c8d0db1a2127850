"""Records that wait for their row of a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aegis_cli.pipeline.admin import status_of
from aegis_cli.pipeline.errors import RecordRefusedError, StateTooLargeError
from aegis_cli.pipeline.reading import loads
from aegis_cli.pipeline.run import CrashedError, RunOptions, run_pipeline
from tests.pipeline.orders import WAITING, joined, orders, users
from tests.pipeline.runs import Removal, Runs


@pytest.fixture
def runs(order_runs: Runs) -> Runs:
    return order_runs


def test_a_record_waits_for_its_row_and_others_do_not(runs: Runs) -> None:
    runs.publish("users", users((2, "bob")))
    runs.publish("orders", orders((100, 1, 10), (101, 2, 11)))
    account = runs.run(WAITING, flush=False)
    assert [(101, "bob")] == joined(runs)
    assert (2, 1, 1) == (account.records_in, account.waiting, account.emitted)
    assert "deduped 0 + waiting 1; table rows 1 = kept 1 + dead 0; emitted 1" in str(account)
    assert 1 == status_of(runs.store, "p").open["wait for users"]
    runs.publish("users", users((1, "ann")))
    account = runs.run(WAITING, flush=False)
    assert [(101, "bob"), (100, "ann")] == joined(runs)
    assert (0, 2) == (account.waiting, account.out)


def test_a_record_that_waited_and_is_refused_is_a_dead_record_and_no_row_of_the_table(runs: Runs) -> None:
    runs.publish("orders", orders((100, 1, 10)))
    runs.publish("users", users((1, ["no", "text"])))
    text = WAITING.replace("users.name}", "upper(users.name)}")
    account = runs.run(f"{text}on_error: {{to: dead}}\n")
    assert (1, 0, 1, 0) == (account.records_in, account.out, account.dead, account.waiting)
    assert (1, 1, 0) == (account.table_rows, account.table_out, account.table_dead)
    assert [100] == [row["id"] for row in runs.rows("dead")]


@pytest.mark.parametrize(
    ("kind", "expected"), [("left", [(100, None), (101, "ann")]), ("inner", [(101, "ann")])]
)
def test_a_record_that_waited_for_nothing_is_treated_as_one_without_a_row(
    runs: Runs, kind: str, expected: list[tuple[Any, ...]]
) -> None:
    text = WAITING.replace("type: left", f"type: {kind}")
    runs.publish("orders", orders((100, 1, 10), (101, 1, 15)))
    runs.run(text, flush=False)
    # At the watermark of just `wait` past a record it waits still; one of a millisecond more lets it go.
    assert [] == joined(runs)
    runs.publish("orders", orders((102, 2, 15.001)))
    account = runs.run(text, flush=False)
    runs.publish("users", users((1, "ann")))
    runs.run(text, flush=False)
    assert expected == joined(runs)
    assert (kind == "inner") == bool(account.filtered)


def test_all_partitions_must_have_passed_a_record_that_waits(runs: Runs) -> None:
    runs.publish("orders", orders((100, 1, 10)))
    runs.publish("orders", orders((101, 1, 11)), partition=1)
    runs.publish("orders", orders((102, 1, 60)), partition=1)
    runs.run(WAITING, flush=False)
    assert [] == joined(runs)
    runs.publish("orders", orders((103, 2, 40)))
    runs.run(WAITING, flush=False)
    assert [(100, None), (101, None)] == sorted(joined(runs))


def test_what_is_let_go_comes_in_the_order_of_its_time_into_the_partition_it_is_of(runs: Runs) -> None:
    runs.topic("out", partitions=2)
    text = WAITING.replace("time: at", "time: {field: at, watermark: 10s}")
    runs.publish("orders", orders((100, 1, 12), (101, 1, 10), (102, 1, 11)))
    runs.publish("orders", orders((103, 1, 11.5), (104, 1, 9), (105, 1, 11)), partition=1)
    runs.publish("users", users((1, "ann")))
    runs.publish("orders", orders((106, 1, 1)), partition=1)
    runs.run(text, flush=False)
    found = [[message.value for message in runs.store.read("out", partition=number)] for number in (0, 1)]
    numbers = [[int(value[9:12]) for value in some] for some in found]
    assert [[101, 102, 100], [104, 105, 103, 106]] == numbers


def test_at_the_end_records_wait_no_more(runs: Runs) -> None:
    runs.publish("orders", orders((100, 1, 10), (101, 2, 9)))
    account = runs.run(WAITING, flush=True)
    assert [(101, None), (100, None)] == joined(runs)
    assert 0 == account.waiting
    runs.publish("users", users((1, "ann")))
    runs.publish("orders", orders((102, 1, 11), (103, 2, 12)))
    runs.run(WAITING, flush=False)
    assert [(102, "ann")] == joined(runs)[2:]


def test_a_record_without_a_key_waits_for_nothing(runs: Runs) -> None:
    runs.publish("orders", orders((100, None, 10)))
    assert 0 == runs.run(WAITING, flush=False).waiting
    assert [(100, None)] == joined(runs)


def test_a_record_that_is_too_late_to_wait_does_not(runs: Runs) -> None:
    runs.publish("orders", orders((100, 1, 50), (101, 1, 44.999), (102, 1, 45)))
    assert 2 == runs.run(WAITING, flush=False).waiting
    assert [(101, None)] == joined(runs)


def test_a_row_of_a_later_time_is_not_what_a_record_waits_for(runs: Runs) -> None:
    text = WAITING.replace("key: id}", "key: id, as_of: since}")
    runs.publish("orders", orders((100, 1, 10), (101, 1, 12)))
    runs.publish("users", users((1, "anne", 11)))
    runs.run(text, flush=False)
    assert [(101, "anne")] == joined(runs)
    runs.publish("users", users((1, "ann", 10), Removal(1, 9_000)))
    runs.run(text, flush=False)
    assert [(101, "anne"), (100, "ann")] == joined(runs)


def test_a_removal_lets_nothing_go(runs: Runs) -> None:
    runs.publish("users", users((1, "ann"), Removal(1)))
    runs.publish("orders", orders((100, 1, 10)))
    runs.publish("users", users(Removal(1)))
    assert 1 == runs.run(WAITING, flush=False).waiting


def test_a_message_that_waited_goes_out_byte_for_byte(runs: Runs) -> None:
    text = WAITING.replace("map: {order: id, name: users.name}\n", "")
    line = '{"user" : 1,  "at":10, "x":1.50, "ä":"\\u00e4"}\n'.encode()
    runs.publish_lines("orders", line, 1)
    runs.run(text, flush=False)
    runs.publish("users", users((1, "ann")))
    runs.run(text, flush=False)
    assert [line[:-1]] == [message.value for message in runs.store.read("out")]


def test_a_window_waits_for_records_that_wait(runs: Runs) -> None:
    text = """
        source: orders
        tables: {users: {topic: users, key: id}}
        time: at
        join: {table: users, key: user, type: left, wait: 5s}
        group_by: {name: users.name}
        window: 10s
        late: {to: late}
        aggregate: {n: count()}
        sink: out
    """
    runs.publish("users", users((2, "bob")))
    runs.publish("orders", orders((100, 1, 8), (101, 2, 9), (102, 2, 13), (106, 1, 9.5)))
    runs.run(text, flush=False)
    assert [] == runs.rows("out")
    runs.publish("orders", orders((103, 2, 5)))
    runs.publish("users", users((1, "ann")))
    runs.publish("orders", orders((104, 2, 15), (105, 2, 9)))
    account = runs.run(text, flush=False)
    assert [("ann", 2), ("bob", 2)] == runs.columns("out", "name", "n")
    assert [{"id": 105, "user": 2, "at": 9}] == runs.rows("late")
    assert 1 == account.late


def test_a_record_that_waited_and_cannot_be_processed_is_put_aside_as_it_came(runs: Runs) -> None:
    text = f"{WAITING.replace('name: users.name', 'name: id + users.name')}on_error: {{to: dead}}\n"
    runs.publish("orders", orders((100, 1, 10)), partition=1)
    runs.run(text, flush=False)
    runs.publish("users", users((2, "x"), (1, "ann"), (3, "y")))
    assert 1 == runs.run(text, flush=False).dead
    [message] = runs.store.read("dead")
    assert b'{"id":100,"user":1,"at":10}' == message.value
    assert message.headers is not None and b"orders/1@0" in message.headers


def test_a_record_that_waited_and_stops_the_pipeline_stops_it_before_the_row_that_came(runs: Runs) -> None:
    text = WAITING.replace("name: users.name", "name: id + users.name")
    runs.publish("orders", orders((100, 1, 10)))
    runs.publish("users", users((2, 7), (1, "ann"), (3, 8)))
    runs.publish("orders", orders((101, 2, 10)))
    for _ in range(2):
        with pytest.raises(RecordRefusedError, match="orders/0@0"):
            runs.run(text)
        assert {"table users": 1, "wait for users": 1} == status_of(runs.store, "p").open


def test_two_joins_may_wait_one_after_the_other(runs: Runs) -> None:
    text = """
        source: orders
        tables: {users: {topic: users, key: id}, towns: {topic: towns, key: id}}
        steps:
          - time: at
          - map: {at: at, order: id, user: user}
          - join: {table: users, key: user, type: left, wait: 5s}
          - filter: order != 0
          - join: {table: towns, key: users.town, type: left, wait: 10s}
          - map: {order: order, name: 'coalesce(towns.name, users.name)'}
        sink: out
    """
    runs.topic("towns")
    runs.publish("users", [{"id": 3, "name": "cid", "town": "u"}])
    runs.publish("orders", orders((100, 1, 10), (101, 2, 11), (0, 2, 11), (102, 3, 12)))
    runs.publish("users", [{"id": 1, "name": "ann", "town": "u"}])
    assert 4 == runs.run(text, flush=False).waiting
    runs.publish("orders", orders((103, 2, 17)))
    runs.run(text, flush=False)
    assert [(101, None)] == joined(runs)
    runs.publish("towns", [{"id": "u", "name": "Ulm"}])
    runs.publish("orders", orders((104, 4, 40)))
    account = runs.run(text, flush=False)
    assert [(101, None), (100, "Ulm"), (102, "Ulm"), (103, None)] == joined(runs)
    assert (1, 1) == (account.filtered, account.waiting)


def test_the_limit_counts_records_that_wait(runs: Runs) -> None:
    text = f"{WAITING}limits: {{groups: 2}}\n"
    runs.publish("orders", orders((100, 1, 10), (101, 1, 10), (102, 2, 10)))
    with pytest.raises(StateTooLargeError, match="more than 2 records that wait for table 'users'"):
        runs.run(text)


def test_a_run_that_was_killed_while_records_wait_goes_on_with_them(tmp_path: Path) -> None:
    found = []
    for crash_after in (None, 1, 2, 3, 4, 5, 6):
        runs = Runs(tmp_path / str(crash_after))
        with runs.store:
            runs.topic("users")
            runs.publish("orders", orders((100, 1, 10), (101, 2, 10)))
            runs.publish("users", users((1, "ann")))
            runs.publish("orders", orders((102, 3, 13), (103, 9, 15.5)))
            runs.publish("users", users((3, "cid")))
            definition = loads(WAITING, path="p.yaml")
            if crash_after is not None:
                options = RunOptions(
                    once=True, chunk_records=1, commit_interval_ms=1, crash_after=crash_after
                )
                with pytest.raises(CrashedError):
                    run_pipeline(runs.store, definition, options)
            runs.run(WAITING)
            found.append(joined(runs))
    assert [[(100, "ann"), (101, None), (102, "cid"), (103, None)]] * 7 == found
