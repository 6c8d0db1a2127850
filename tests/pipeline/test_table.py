"""What is kept of a table: rows by key, rows by key and time, and records that wait for them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aegis_cli.pipeline.errors import RecordError, StateTooLargeError
from aegis_cli.pipeline.state import StateStore
from aegis_cli.pipeline.table import TableStore, removed_keys
from aegis_cli.pipeline.table_versions import VersionedTable
from aegis_cli.pipeline.waiting import Kept, Waiting
from aegis_cli.pipeline.windows.windows import FOREVER_MS

TRUE = (True,)


def newest(*, ttl_ms: int | None = None, rows_max: int = 100) -> TableStore:
    return TableStore("p", "t", rows_max=rows_max, ttl_ms=ttl_ms)


def versioned(*, ttl_ms: int | None = None, rows_max: int = 100) -> VersionedTable:
    return VersionedTable("p", "t", rows_max=rows_max, ttl_ms=ttl_ms)


def waiting(*, rows_max: int = 100) -> Waiting:
    return Waiting("p", "t", wait_ms=10, rows_max=rows_max)


def add(side: Waiting, key: Any, time_ms: int, name: str) -> None:
    side.add(key, time_ms, 0, 0, b"{}", "", (name,))


def names(found: list[tuple[Kept, Any]]) -> list[Any]:
    return [kept.values[0] for kept, _ in found]


def through_json(changes: list[Any]) -> list[Any]:
    found: list[Any] = json.loads(json.dumps(changes))
    return found


# -- keys of messages ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (b"1", [1]),
        (b"1.0", [1]),
        (b"1.5", [1.5]),
        (b'"ab"', ["ab"]),
        (b'""', [""]),
        (b'"1"', ["1", 1]),
        (b'"1e1"', ["1e1", 10]),
        (b'"01"', ["01"]),
        (b'" 1"', [" 1"]),
        (b'"true"', ["true", TRUE]),
        (b'"null"', ["null"]),
        (b'"[1]"', ["[1]"]),
        (b'"' + b"[" * 5000 + b'"', ["[" * 5000]),
    ],
)
def test_the_key_of_a_message_names_rows(stored: bytes, expected: list[Any]) -> None:
    assert expected == removed_keys(stored)


@pytest.mark.parametrize("stored", [None, b'{"$base64":"AA=="}'])
def test_a_key_that_names_no_row_is_refused(stored: bytes | None) -> None:
    with pytest.raises(RecordError):
        removed_keys(stored)


# -- the newest rows ----------------------------------------------------------------------------------


def test_the_row_that_was_read_last_counts() -> None:
    table = newest()
    for row, time_ms in (("a", 5), ("b", 5), ("c", 4)):
        table.put(1, row, time_ms)
    assert "c" == table.get(1)
    assert table.get("1") is None
    table.put(1, None, 6)
    assert table.get(1) is None
    assert 0 == table.open


def test_rows_that_are_too_old_are_not_found_whether_or_not_they_are_forgotten() -> None:
    for expires in (False, True):
        table = newest(ttl_ms=10)
        table.put(1, "a", 0)
        table.put(2, "b", 5)
        assert ["a", "b"] == [table.get_at(key, 10) for key in (1, 2)]
        if expires:
            table.expire()
        assert [None, "b"] == [table.get_at(key, 11) for key in (1, 2)]
        if expires:
            table.expire()
        # The time of what is read does not go back.
        assert [None, "b"] == [table.get_at(key, 3) for key in (1, 2)]


def test_the_time_of_what_was_read_and_the_order_of_rows_outlive_a_run() -> None:
    table, again = newest(ttl_ms=10), newest(ttl_ms=10)
    for key, time_ms in ((1, 0), (2, 2), (1, 3)):
        table.put(key, "a", time_ms)
    table.get_at(1, 12)
    again.apply(through_json(table.changes()))
    assert again.get_at(2, 0) == table.get_at(2, 0) == "a"
    again.get_at(1, 13)
    again.expire()
    assert (1, None, "a") == (again.open, again.get_at(2, 0), again.get_at(1, 0))
    assert [[2, None, None], [13]] == through_json(again.changes())
    assert [] == again.changes()


def test_rows_that_are_too_old_make_room() -> None:
    table = newest(ttl_ms=10, rows_max=2)
    table.put(1, "a", 0)
    table.put(2, "b", 5)
    table.put(3, "c", 11)
    assert 2 == table.open
    with pytest.raises(StateTooLargeError, match="more than 2 rows of table 't'"):
        table.put(4, "d", 15)


# -- rows by time -------------------------------------------------------------------------------------


def test_the_row_of_a_time_is_the_latest_of_that_time_and_before() -> None:
    table = versioned()
    for time_ms, row in ((20, "b"), (10, "a"), (30, None), (40, "d"), (20, "c")):
        table.put(1, row, time_ms)
    found = [table.get_as_of(1, time_ms) for time_ms in (9, 10, 19, 20, 29, 30, 39, 40, 99)]
    assert [None, "a", "a", "c", "c", None, None, "d", "d"] == found
    assert (4, None) == (table.open, table.get_as_of(TRUE, 20))


def test_a_row_that_comes_and_goes_between_two_commits_is_never_written() -> None:
    table = versioned()
    for time_ms, row in ((10, "a"), (20, "b"), (30, "c")):
        table.put(TRUE, row, time_ms)
    table.floor_ms = 20
    table.expire()
    assert [[[True], 20, "b"], [[True], 30, "c"], [20]] == through_json(table.changes())
    table.floor_ms = 35
    table.expire()
    assert [[[True], 20], [35]] == through_json(table.changes())
    assert [] == table.changes()
    again = versioned()
    again.apply(through_json(table.snapshot()))
    assert ("c", 35) == (again.get_as_of(TRUE, 40), again.floor_ms)


def test_a_removal_is_forgotten_when_the_watermark_has_passed_it() -> None:
    for expires in (False, True):
        table = versioned()
        table.put(1, "a", 10)
        table.put(1, None, 20)
        table.floor_ms = 25
        if expires:
            table.expire()
            assert 0 == table.open
        assert table.get_as_of(1, 30) is None
        # What comes after that is new, whatever its time.
        table.put(1, "z", 15)
        assert "z" == table.get_as_of(1, 30)
        table.put(1, "y", 14)
        assert ("z", 1) == (table.get_as_of(1, 30), table.open)


def test_what_no_record_can_ask_for_makes_room() -> None:
    table = versioned(rows_max=3)
    for time_ms in (1, 2, 3):
        table.put(1, "a", time_ms)
    table.floor_ms = 2
    table.put(2, "b", 9)
    with pytest.raises(StateTooLargeError, match="more than 3 rows of table 't'"):
        table.put(2, "c", 10)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 40), st.booleans(), st.integers(0, 4)), max_size=40),
    st.sampled_from([None, 0, 7, 20]),
    st.lists(st.sampled_from(["", "expire", "commit", "restart", "whole"]), min_size=40, max_size=40),
)
def test_what_is_found_does_not_depend_on_commits_and_is_that_of_a_plain_search(
    puts: list[tuple[int, int, bool, int]], ttl_ms: int | None, drive: list[str]
) -> None:
    plain, driven = versioned(ttl_ms=ttl_ms), versioned(ttl_ms=ttl_ms)
    log: list[list[Any]] = []
    floor, late = 0, False
    rows: list[tuple[int, int, Any]] = []
    plain.floor_ms = driven.floor_ms = floor
    for number, (key, time_ms, removes, step) in enumerate(puts):
        row = None if removes else number
        late = late or time_ms <= floor
        rows.append((key, time_ms, row))
        for table in (plain, driven):
            table.put(key, row, time_ms)
            table.floor_ms = floor + step
        floor += step
        driven = _driven(drive[number], driven, log, ttl_ms)
        for key in (0, 1):
            for asked in range(0, 60, 3):
                found = plain.get_as_of(key, asked)
                assert found == driven.get_as_of(key, asked)
                if asked >= floor and not late:
                    before = [each for each in rows if each[0] == key and each[1] <= asked]
                    newest_row = max(before, key=lambda each: each[1:2], default=(0, 0, None))
                    latest = [each for each in before if each[1] == newest_row[1]][-1:]
                    expected = latest[0][2] if latest else None
                    if ttl_ms is not None and asked - newest_row[1] > ttl_ms:
                        expected = None
                    assert expected == found


def _driven(event: str, table: VersionedTable, log: list[list[Any]], ttl_ms: int | None) -> VersionedTable:
    """Let time pass for a table as a run does: forget, commit, or begin anew from what was committed."""
    if not event:
        return table
    table.expire()
    if event == "expire":
        return table
    log.append(through_json(table.changes()))
    if event == "commit":
        return table
    if event == "whole":
        log[:] = [through_json(table.snapshot())]
    again = versioned(ttl_ms=ttl_ms)
    for changes in log:
        again.apply(changes)
    assert table.open == again.open
    return again


# -- records that wait --------------------------------------------------------------------------------


def test_records_wait_until_the_watermark_is_more_than_the_wait_past_them() -> None:
    side = waiting()
    assert FOREVER_MS == side.due_ms
    for key, time_ms, name in ((1, 12, "d"), (2, 10, "b"), (1, 9, "a"), (1, 10, "c")):
        add(side, key, time_ms, name)
    assert 19 == side.due_ms
    assert [] == side.expire(19)
    assert ["a", "b", "c"] == names(side.expire(21))
    assert (1, 22) == (side.open, side.due_ms)
    assert ["d"] == names(side.flush())
    assert FOREVER_MS == side.due_ms


def test_those_that_have_a_row_go_in_the_order_of_their_times() -> None:
    side = waiting()
    for key, time_ms, name in ((1, 12, "c"), (TRUE, 10, "x"), (1, 9, "a"), (1, 10, "b")):
        add(side, key, time_ms, name)
    found = side.take(1, lambda time_ms: time_ms if time_ms < 12 else None)
    assert [("a", 9), ("b", 10)] == [(kept.values[0], row) for kept, row in found]
    assert (2, 20) == (side.open, side.due_ms)
    assert [] == side.take(3, lambda time_ms: 1)


def test_a_record_that_comes_and_goes_between_two_commits_is_never_written() -> None:
    side = waiting()
    add(side, 1, 10, "a")
    add(side, TRUE, 50, "b")
    side.expire(40)
    assert [[1, [[True], 50, 0, 0, "{}", "", ["b"]]]] == through_json(side.changes())
    side.flush()
    assert [[1, None]] == side.changes()
    assert [] == side.changes()


def test_no_more_records_wait_than_the_limit() -> None:
    side = waiting(rows_max=1)
    add(side, 1, 10, "a")
    with pytest.raises(StateTooLargeError, match="more than 1 records that wait for table 't'"):
        add(side, 1, 10, "b")


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 40), st.integers(0, 3)), max_size=30),
    st.lists(st.sampled_from(["", "commit", "restart", "whole"]), min_size=30, max_size=30),
)
def test_records_that_wait_outlive_runs(events: list[tuple[int, int, int]], drive: list[str]) -> None:
    side, log = waiting(), []
    expected: list[tuple[int, int]] = []
    keys: dict[int, int] = {}
    for number, ((key, time_ms, what), event) in enumerate(zip(events, drive, strict=False)):
        if what > 1:
            add(side, key, time_ms, str(number))
            expected.append((time_ms, number))
            keys[number] = key
        else:
            gone = [each for each in expected if (keys[each[1]] == key if what else each[0] + 10 < time_ms)]
            expected = [each for each in expected if each not in gone]
            found = side.take(key, lambda _: 1) if what else side.expire(time_ms)
            assert [str(name) for _, name in sorted(gone)] == names(found)
        assert min((each[0] + 10 for each in expected), default=FOREVER_MS) == side.due_ms
        if event:
            log.append(through_json(side.changes()))
        if event in ("restart", "whole"):
            log = [through_json(side.snapshot())] if event == "whole" else log
            side = waiting()
            for changes in log:
                side.apply(changes)
        assert len(expected) == side.open


def test_all_of_them_are_states_of_a_pipeline() -> None:
    stores: list[StateStore] = [newest(), versioned(), waiting()]
    assert [0, 0, 0] == [store.open for store in stores]
