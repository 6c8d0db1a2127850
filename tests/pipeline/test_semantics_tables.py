"""Tables that change while records come: removals, rows as of a time, and records that wait for rows.

The cases are those that users know from ksqlDB's table joins and Flink's temporal ones, by behaviour.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aegis_cli.pipeline.admin import status_of
from aegis_cli.pipeline.errors import RecordRefusedError, StateTooLargeError
from aegis_cli.pipeline.reading import loads
from aegis_cli.pipeline.run import CrashedError, RunOptions, run_pipeline
from tests.pipeline.runs import Removal, Runs

NEWEST = """
source: orders
tables: {users: {topic: users, key: id}}
join: {table: users, key: user, type: left}
map: {order: id, name: users.name}
sink: out
"""
AS_OF = """
source: orders
tables: {users: {topic: users, key: id, as_of: since}}
time: {field: at, watermark: 10s}
join: {table: users, key: user, type: left}
map: {order: id, name: users.name}
sink: out
"""
WAITING = """
source: orders
tables: {users: {topic: users, key: id}}
time: at
join: {table: users, key: user, type: left, wait: 5s}
map: {order: id, name: users.name}
sink: out
"""


@pytest.fixture(params=[1, 1 << 30], ids=["records one by one", "whole"])
def runs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Runs]:
    found = Runs(tmp_path / "store", chunk_records=request.param)
    with found.store:
        for topic in ("orders", "users"):
            found.topic(topic, partitions=2)
        yield found


def users(*rows: tuple[Any, ...]) -> list[Any]:
    """Rows of (key, name, since), or removals."""
    return [
        row if isinstance(row, Removal) else dict(zip(("id", "name", "since"), row, strict=False))
        for row in rows
    ]


def orders(*rows: tuple[Any, ...]) -> list[dict[str, Any]]:
    """Records of (number, user, at)."""
    return [dict(zip(("id", "user", "at"), row, strict=False)) for row in rows]


def joined(runs: Runs) -> list[tuple[Any, ...]]:
    return runs.columns("out", "order", "name")


# -- removals -----------------------------------------------------------------------------------------


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


# -- rows as of a time --------------------------------------------------------------------------------


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


# -- waiting ------------------------------------------------------------------------------------------


def test_a_record_waits_for_its_row_and_others_do_not(runs: Runs) -> None:
    runs.publish("users", users((2, "bob")))
    runs.publish("orders", orders((100, 1, 10), (101, 2, 11)))
    account = runs.run(WAITING, flush=False)
    assert [(101, "bob")] == joined(runs)
    assert (2, 1, 1) == (account.records_in, account.waiting, account.emitted)
    assert str(account).endswith("deduped 0 + waiting 1; table rows 1 = kept 1 + dead 0; emitted 1")
    assert 1 == status_of(runs.store, "p").open["wait for users"]
    runs.publish("users", users((1, "ann")))
    account = runs.run(WAITING, flush=False)
    assert [(101, "bob"), (100, "ann")] == joined(runs)
    assert (0, 2) == (account.waiting, account.out)


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
