"""Columns of PostgreSQL: which values they take, and what becomes of rows that do not fit."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aegis_cli.pipeline.errors import RecordRefusedError
from aegis_cli.pipeline.shape import ROW_BYTES_MAX
from tests.pipeline.postgres_server import PostgresServer
from tests.pipeline.postgres_table import plain, to, types
from tests.pipeline.runs import Runs

_COLUMNS = {
    "i2": "smallint",
    "i4": "integer",
    "i8": "bigint",
    "f4": "real",
    "f8": "double precision",
    "num": "numeric",
    "price": "numeric(5, 2)",
    "flag": "boolean",
    "txt": "text",
    "vc": "varchar(3)",
    "doc": "jsonb",
    "raw": "json",
    "at": "timestamptz",
    "local": "timestamp",
    "day": "date",
    "hour": "time",
    "id": "uuid",
    "mood": "mood",
    "few": "few",
}
_TAKEN: list[tuple[str, Any, str]] = [
    ("i2", -32768, "-32768"),
    ("i4", 5.0, "5"),
    ("i8", 2**63 - 1, "9223372036854775807"),
    ("f4", 0.1, "0.1"),
    ("f8", 0.1, "0.1"),
    ("f8", 1.7976931348623157e308, "1.7976931348623157e+308"),
    ("f8", 3, "3"),
    ("num", 0.1, "0.1"),
    ("num", 2**64 - 1, "18446744073709551615"),
    ("num", 1e-7, "0.0000001"),
    ("price", 999.994, "999.99"),
    ("flag", False, "false"),
    ("txt", "", ""),
    ("txt", "\\N", "\\N"),
    ("vc", "äöü", "äöü"),
    ("doc", {"a": [1, None, "x"]}, '{"a": [1, null, "x"]}'),
    ("doc", "text", '"text"'),
    ("doc", 5, "5"),
    ("doc", "\\u0000", '"\\\\u0000"'),
    ("raw", {"b": 1, "a": 2}, '{"b":1,"a":2}'),
    ("at", "2026-03-01T00:00:00.5+02:00", "2026-02-28 22:00:00.5+00"),
    ("at", "2026-03-01T00:00:00Z", "2026-03-01 00:00:00+00"),
    ("local", "2026-03-01T00:00:00Z", "2026-03-01 00:00:00"),
    ("day", "2026-03-01", "2026-03-01"),
    ("hour", "10:30", "10:30:00"),
    ("id", "{A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11}", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
    ("mood", "fine", "fine"),
    ("few", 9, "9"),
]
_REFUSED: list[tuple[str, Any, str]] = [
    ("i2", 32768, "out of its range"),
    ("i4", 2.5, "no whole number"),
    ("i8", 2**63, "out of its range"),
    ("num", 2**64, "more than 64 bits"),
    ("i8", True, "a boolean"),
    ("i8", "5", "text"),
    ("f4", 1e39, "out of its range"),
    ("f4", 1e-60, "out of its range"),
    ("f8", "NaN", "text"),
    ("num", "Infinity", "text"),
    ("price", 999.995, "out of its range"),
    ("price", 1e300, "out of its range"),
    ("flag", 1, "a number"),
    ("txt", 5, "a number"),
    ("txt", "a\0b", "a NUL"),
    ("vc", "abcd", "too long"),
    ("doc", {"a": ["x\0"]}, "a NUL"),
    ("doc", {"x\0": 1}, "a NUL"),
    ("raw", "\0", "a NUL"),
    ("at", "2026-03-01T00:00:00", "without its zone"),
    ("at", "now", "no time of ISO 8601"),
    ("at", 5, "a number"),
    ("local", "2026-03-01T00:00:00+02:00", "another zone"),
    ("day", "yesterday", "no date"),
    ("hour", "10:30Z", "a zone"),
    ("id", "x", "no UUID"),
    ("mood", ["fine"], "a list"),
    ("new\0", 5, "name holds a NUL"),
    ("", 5, "a field without a name"),
    ("ä" * 32, 5, "more than 63 bytes"),
]


def test_each_type_takes_its_values_and_refuses_the_records_of_others(
    runs: Runs, postgres: PostgresServer
) -> None:
    postgres.query("DROP TYPE IF EXISTS mood CASCADE; DROP DOMAIN IF EXISTS few CASCADE")
    postgres.query("CREATE TYPE mood AS ENUM ('fine')")
    postgres.query("CREATE DOMAIN few AS smallint CHECK (value < 10)")
    columns = ", ".join(f"{name} {kind}" for name, kind in _COLUMNS.items())
    postgres.query(f"CREATE TABLE t (number bigint NOT NULL, {columns})")
    runs.publish("a", [{"number": number, name: value} for number, (name, value, _) in enumerate(_TAKEN)])
    runs.publish("a", [{"number": 0, name: value} for name, value, _ in _REFUSED])
    runs.publish("a", [{"i2": 1}, {"number": None}])
    account = runs.run(f"source: a\non_error: {{to: dead}}\nsink: {to(postgres)}\n")
    assert (len(_TAKEN), len(_REFUSED) + 2) == (account.out, account.dead)
    for number, (name, _, expected) in enumerate(_TAKEN):
        found = postgres.query(f"SET timezone = 'UTC'; SELECT {name}::text FROM t WHERE number = {number}")
        assert [(expected,)] == found, name
    reasons = [
        header["value"]
        for message in runs.store.read("dead")
        for header in json.loads(message.headers or b"[]")
        if header["key"] == "aegis-error"
    ]
    expected_reasons = [*(reason for _, _, reason in _REFUSED), *["'number' must not be null"] * 2]
    assert len(expected_reasons) == len(reasons)
    for expected, reason in zip(expected_reasons, reasons, strict=True):
        assert expected in reason


@pytest.mark.parametrize("chunk_records", [1, 1 << 30])
def test_the_first_value_of_a_field_says_its_type_wherever_commits_fall(
    runs: Runs, postgres: PostgresServer, chunk_records: int
) -> None:
    runs.chunk_records = chunk_records
    # The record that is refused for its second way out says nothing of the first.
    runs.publish("a", [{"x": None}, {"x": "a", "y": "no number"}, {"x": 1, "y": 1}, {"x": "b", "y": 1}])
    account = runs.run(
        "source: a\ncommit_interval: 1ms\non_error: drop\nbranches:\n"
        f"  - sink: {to(postgres)}\n  - {{map: {{z: y + 1}}, sink: b}}\n"
    )
    assert (2, 2) == (account.out, account.dead)
    assert {"x": "numeric", "y": "numeric"} == types(postgres)


def test_a_message_whose_text_is_none_stops_before_the_table(runs: Runs, postgres: PostgresServer) -> None:
    runs.publish("a", [{"n": 1}, {"n": "a\0"}])
    with pytest.raises(RecordRefusedError, match="stops at a/0@1: column 'n' is numeric"):
        runs.run(f"source: a\nsink: {to(postgres)}\n")
    assert [(1,)] == plain(postgres.rows("t"))


def test_a_result_that_does_not_fit_is_put_aside(runs: Runs, postgres: PostgresServer) -> None:
    runs.publish("a", [{"k": "a\0"}, {"k": "b"}])
    runs.run(
        f"source: a\ngroup_by: k\nwindow: {{count: 1}}\naggregate: {{n: count()}}\n"
        f"on_error: {{to: dead}}\nsink: {to(postgres)}\n"
    )
    assert [("b",)] == postgres.rows("t", "k")
    assert [["a\0"]] == [row["key"] for row in runs.rows("dead")]


def test_a_key_that_no_index_takes_refuses_its_record(runs: Runs, postgres: PostgresServer) -> None:
    runs.publish("a", [{"k": "x" * 3000}, {"k": "x" * 2500}])
    account = runs.run(f"source: a\non_error: drop\nsink: {to(postgres, ', key: k')}\n")
    assert (1, 1) == (account.out, account.dead)
    runs.publish("b", [{"k": list(range(800))}, {"k": list(range(100))}])
    sink = to(postgres, ", key: k", "u")
    account = runs.run(f"source: b\non_error: drop\nsink: {sink}\n", name="q")
    assert (1, 1) == (account.out, account.dead)


@pytest.mark.parametrize("mapped", ["", "map: {k: k, n: n}\n"])
def test_a_null_key_refuses_its_record_for_all_ways_out(
    runs: Runs, postgres: PostgresServer, mapped: str
) -> None:
    runs.publish("a", [{"k": 1, "n": 1}, {"k": None, "n": 2}, {"n": 3}, {"k": 1, "n": 4}])
    text = f"source: a\n{mapped}sink: [b, {to(postgres, ', key: k')}]\n"
    with pytest.raises(RecordRefusedError, match="stops at a/0@1: the key 'k' of a row is null"):
        runs.run(text)
    account = runs.run(f"{text}on_error: {{to: dead}}\n")
    assert [(1, 4)] == plain(postgres.rows("t"))
    assert [(1,), (4,)] == runs.columns("b", "n")
    assert [(2,), (3,)] == runs.columns("dead", "n")
    assert (4, 2, 2, 4) == (account.records_in, account.out, account.dead, account.emitted)


def test_a_row_that_a_table_does_not_take_makes_none_of_its_columns_and_goes_nowhere(
    runs: Runs, postgres: PostgresServer
) -> None:
    # The table takes the second record, and the topic does not.
    runs.publish("a", [{"n": 1}, {"x": True, "k": [1]}, {"n": "text"}, {"x": 5, "k": "k"}])
    account = runs.run(
        f"source: a\non_error: drop\nbranches:\n  - sink: {to(postgres)}\n"
        "  - {filter: k is not None, sink: {topic: b, key: k}}\n"
    )
    assert (4, 2, 2, 3) == (account.records_in, account.out, account.dead, account.emitted)
    assert {"n": "numeric", "x": "numeric", "k": "text"} == types(postgres)
    assert [{"x": 5, "k": "k"}] == runs.rows("b")


def test_a_result_that_a_table_does_not_take_counts_among_the_results(
    runs: Runs, postgres: PostgresServer
) -> None:
    postgres.query("CREATE TABLE t (k text PRIMARY KEY, n smallint, s smallint)")
    runs.publish("a", [{"k": "x", "v": 1}, {"v": 1}, {"k": "y", "v": 1 << 20}, {"k": "z", "v": -1}])
    account = runs.run(
        "source: a\ngroup_by: k\naggregate: {n: count(), s: sum(v)}\nfilter: s > 0\n"
        f"on_error: {{to: dead}}\nsink: [{to(postgres, ', key: k')}, b]\n"
    )
    assert [("x", 1, 1)] == postgres.rows("t")
    assert [("x",)] == runs.columns("b", "k")
    found = (account.results, account.results_out, account.results_filtered, account.results_dead)
    assert (4, 1, 1, 2) == found
    assert (4, 4, 0) == (account.records_in, account.out, account.dead)
    assert [[None], ["y"]] == [row["key"] for row in runs.rows("dead")]


def wide(columns: int, value: Any) -> dict[str, Any]:
    return {f"c{number}": value for number in range(columns)}


# Rows of values that take the most room for what they are: the greatest that goes in, and one column more.
_WIDE = [
    ("x" * 23, 330, 331),
    ("x" * 24, 440, 441),
    (0.12345678901234567, 496, 497),
    (5, 1000, 1001),
    (True, 1000, 1001),
    ([12345], 330, 331),
]


@pytest.mark.parametrize(("value", "taken", "refused"), _WIDE, ids=lambda value: str(value)[:12])
def test_a_row_with_more_columns_than_a_page_holds_refuses_its_record(
    runs: Runs, postgres: PostgresServer, value: Any, taken: int, refused: int
) -> None:
    runs.publish("a", [wide(refused, value), wide(taken, value)])
    account = runs.run(f"source: a\non_error: {{to: dead}}\nsink: {to(postgres)}\n")
    assert (1, 1) == (account.out, account.dead)
    assert taken == len(types(postgres))


@pytest.mark.parametrize("mapped", ["", "map: {t: t, u: 1}\n"])
def test_a_row_that_is_too_large_for_a_table_refuses_its_record(
    runs: Runs, postgres: PostgresServer, mapped: str
) -> None:
    runs.publish("a", [{"t": "x" * ROW_BYTES_MAX}, {"t": "x" * (ROW_BYTES_MAX - 20)}])
    account = runs.run(f"source: a\n{mapped}on_error: drop\nsink: {to(postgres)}\n")
    assert (1, 1) == (account.out, account.dead)
    assert [(ROW_BYTES_MAX - 20,)] == postgres.rows("t", "length(t)")
