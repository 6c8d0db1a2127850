"""A table of PostgreSQL as a sink: what it holds, which values its columns take, and what is refused."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from aegis_cli.pipeline.errors import RecordRefusedError, SinkError, SinkTakenError, SinkUnreachableError
from aegis_cli.pipeline.program import Program
from aegis_cli.pipeline.reading import loads
from aegis_cli.pipeline.run import RunOptions, run_pipeline
from aegis_cli.pipeline.shape import ROW_BYTES_MAX
from aegis_cli.pipeline.sinks import postgres_session
from aegis_cli.pipeline.state import PipelineLog
from aegis_cli.pipeline.verify import UnverifiableError, verify_pipeline
from storage import files
from tests.pipeline.postgres_server import PostgresServer
from tests.pipeline.runs import Runs


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    found = Runs(tmp_path / "store")
    with found.store:
        yield found


class DiedError(BaseException):
    """Stands for the end of the process."""


def plain(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Rows with numbers as Python has them."""
    return [
        tuple(
            (int(value) if value == int(value) else float(value)) if isinstance(value, Decimal) else value
            for value in row
        )
        for row in rows
    ]


def types(postgres: PostgresServer, table: str = "t") -> dict[str, str]:
    rows = postgres.query(
        "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
        f"WHERE attrelid = '{table}'::regclass AND attnum > 0 ORDER BY attnum"
    )
    return dict(rows)


def to(postgres: PostgresServer, more: str = "", table: str = "t") -> str:
    return f"{{postgres: '{postgres.url}', table: {table}{more}}}"


# -- what a table holds -----------------------------------------------------------------------------------


def test_a_table_is_made_for_the_values_that_come_and_gets_columns_that_come_later(
    runs: Runs, postgres: PostgresServer
) -> None:
    runs.publish("a", [{"n": 1, "x": [1, {"y": 2.5}], "b": True, "u": None}])
    runs.publish("a", [{"n": 2.5, "t": "é\t\\N\n'\""}, {}, {"n": 2**63, "x": {}, "u": "now"}])
    text = f"source: a\nsink: {to(postgres)}\n"
    for _ in range(2):
        runs.run(text)
        assert {
            "n": "numeric",
            "x": "jsonb",
            "b": "boolean",
            "t": "text",
            "u": "text",
        } == types(postgres)
        assert [
            (1, [1, {"y": 2.5}], True, None, None),
            (2.5, None, None, "é\t\\N\n'\"", None),
            (None, None, None, None, None),
            (2**63, {}, None, None, "now"),
        ] == plain(postgres.rows("t"))


def test_a_table_of_rows_without_fields(runs: Runs, postgres: PostgresServer) -> None:
    runs.publish("a", [{}, {}, {"n": None}])
    runs.run(f"source: a\nsink: {to(postgres)}\n")
    assert [(3,)] == postgres.rows("t", "count(*)")
    runs.publish("a", [{"n": 1}])
    runs.run(f"source: a\nsink: {to(postgres)}\n")
    assert [(None,)] * 3 + [(1,)] == plain(postgres.rows("t"))


@pytest.mark.parametrize("chunk_records", [1, 1 << 30])
def test_a_table_with_a_key_has_the_newest_row_of_each(
    runs: Runs, postgres: PostgresServer, chunk_records: int
) -> None:
    text = f"source: a\ncommit_interval: 1ms\nsink: {to(postgres, ', key: [k, l]')}\n"
    for first in range(3):
        rows: list[dict[str, Any]] = [{"k": n % 2, "l": "", "n": first + n} for n in range(3)]
        runs.publish("a", [*rows, {"k": 0, "l": "x", "n": first}, {"k": 1.0, "l": "", "m": first}])
        runs.chunk_records = chunk_records
        runs.run(text)
    expected = [(0, "", 4, None), (0, "x", 2, None), (1, "", None, 2)]
    assert expected == plain(postgres.rows("t ORDER BY k, l"))


@pytest.mark.parametrize("step", ["map: {k: k}", "map: {k: k, n: n}"])
def test_rows_of_a_key_alone_and_columns_that_the_rows_do_not_have(
    runs: Runs, postgres: PostgresServer, step: str
) -> None:
    postgres.query(
        "CREATE TABLE t (k bigint PRIMARY KEY, n bigint DEFAULT 7, note text, id serial, "
        "twice bigint GENERATED ALWAYS AS (k * 2) STORED)"
    )
    runs.publish("a", [{"k": 1, "n": 1}, {"k": 1, "n": 2}])
    runs.run(f"source: a\n{step}\nsink: {to(postgres, ', key: k, create: false')}\n")
    postgres.query("UPDATE t SET note = 'mine'")
    runs.publish("a", [{"k": 1, "n": 3}])
    runs.run(f"source: a\n{step}\nsink: {to(postgres, ', key: k, create: false')}\n")
    assert [(1, 3 if "n: n" in step else 7, "mine", 2)] == postgres.rows("t", "k, n, note, twice")


@pytest.mark.parametrize("chunk_records", [1, 1 << 30])
def test_a_default_is_for_messages_that_say_nothing_of_its_column(
    runs: Runs, postgres: PostgresServer, chunk_records: int
) -> None:
    runs.chunk_records = chunk_records
    postgres.query("CREATE TABLE t (id serial, n bigint DEFAULT 7, m bigint)")
    runs.publish("a", [{"n": 1}, {}, {"n": None}, {"m": 2}, {"n": 3}])
    runs.run(f"source: a\ncommit_interval: 1ms\nsink: {to(postgres)}\n")
    assert [(1, 1, None), (2, 7, None), (3, None, None), (4, 7, 2), (5, 3, None)] == postgres.rows("t")


def test_names_are_quoted_and_may_be_in_a_schema(runs: Runs, postgres: PostgresServer) -> None:
    postgres.query("CREATE SCHEMA s")
    odd = {'Se"lect': 1, "a b%s$1": "x", "aegis_order": 2, "\\.": 3, "é" * 31: 4}
    runs.publish("a", [odd])
    runs.run(f"source: a\nsink: {to(postgres, ', key: aegis_order', 's.Order')}\n")
    assert sorted(odd) == sorted(types(postgres, 's."Order"'))
    assert [(2,)] == plain(postgres.rows('s."Order"', "aegis_order"))
    assert [("p", "s.Order")] == postgres.rows("s.aegis_positions", "pipeline, sink")


def test_the_table_is_what_it_is_in_sqlite(runs: Runs, postgres: PostgresServer, tmp_path: Path) -> None:
    import sqlite3

    records = [
        {"at": number, "k": f"k{number % 7}", "v": number * 1.25 if number % 3 else number, "l": [number]}
        for number in range(500)
    ]
    runs.publish("a", records)
    path = tmp_path / "out.db"
    runs.run(
        "source: a\ntime: at\ngroup_by: k\nwindow: 20s\n"
        "aggregate: {n: count(), s: sum(v), c: 'collect(v, 3)', f: 'first(l)'}\n"
        f"sink:\n  - {{sqlite: {path}, table: t}}\n  - {to(postgres)}\n"
        f"  - {{sqlite: {path}, table: u, key: k}}\n  - {to(postgres, ', key: k', 'u')}\n"
    )
    database = sqlite3.connect(path)
    for table in ("t", "u"):
        order = f"{table} ORDER BY k, window_start"
        found = [
            tuple(
                json.dumps(value, separators=(",", ":")) if isinstance(value, list) else value
                for value in row
            )
            for row in plain(postgres.rows(order))
        ]
        assert database.execute(f"SELECT * FROM {order}").fetchall() == found
    assert 175 == len(postgres.rows("t")) and 7 == len(postgres.rows("u"))
    database.close()


# -- columns and values -----------------------------------------------------------------------------------

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


# -- what is refused before anything is committed ---------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "steps", "more", "reason"),
    [
        ("", "map: {n: n}", ", create: false", "no table 't', and 'create: false' is given"),
        ("m bigint", "map: {n: n}", ", create: false", "table 't' has no column 'n', and 'create: false'"),
        ("n bigint", "map: {n: n}", ", key: n", "no unique index on exactly the columns of 'key'"),
        ("n bigint, m bigint, UNIQUE (n, m)", "map: {n: n}", ", key: n", "ADD UNIQUE"),
        ("", f"map: {{{'n' * 64}: n}}", "", "more than 63 bytes"),
        ("n bigint CHECK (n > 5)", "map: {n: n}", "", "violates check constraint"),
        ("n bigint REFERENCES other DEFERRABLE INITIALLY DEFERRED", "", "", "not present in table"),
        ("n bigint[]", "", "", "'n' is bigint\\[\\], and its value is a number"),
    ],
)
def test_what_a_table_cannot_take_stops_a_pipeline_before_its_commit(
    runs: Runs, postgres: PostgresServer, table: str, steps: str, more: str, reason: str
) -> None:
    postgres.query("CREATE TABLE other (n bigint PRIMARY KEY)")
    if table:
        postgres.query(f"CREATE TABLE t ({table})")
    runs.publish("a", [{"n": 1}])
    with pytest.raises((SinkError, RecordRefusedError), match=reason):
        runs.run(f"source: a\n{steps}\nsink: [{to(postgres, more)}, b]\n")
    assert [] == runs.rows("b")
    # Nothing stands in the way of another definition, or of another table.
    postgres.query("DROP TABLE IF EXISTS t")
    runs.run(f"source: a\nmap: {{n: n}}\nsink: [{to(postgres)}, b]\n")
    assert [(1,)] == plain(postgres.rows("t"))
    assert [(1,)] == runs.columns("b", "n")


def test_a_database_of_another_encoding_is_refused(runs: Runs, postgres: PostgresServer) -> None:
    postgres.query("DROP DATABASE IF EXISTS other")
    postgres.query("CREATE DATABASE other ENCODING 'LATIN1' TEMPLATE template0")
    runs.publish("a", [{"n": 1}])
    sink = to(postgres).replace("dbname=postgres", "dbname=other")
    with pytest.raises(SinkError, match="holds text as LATIN1, and it must be UTF8"):
        runs.run(f"source: a\nsink: {sink}\n")


# -- exactly once -----------------------------------------------------------------------------------------


def test_rows_that_a_table_did_not_get_before_the_end_of_a_run_come_with_the_next_one(
    runs: Runs, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs.publish("a", [{"n": 1}])
    text = f"source: a\nsink: {to(postgres)}\n"
    real = PipelineLog.commit

    def die(*arguments: Any) -> None:
        real(*arguments)
        raise DiedError

    with monkeypatch.context() as patched:
        patched.setattr(PipelineLog, "commit", die)
        with pytest.raises(DiedError):
            runs.run(text)
    assert [(None,)] == postgres.query("SELECT to_regclass('t')")
    # Meanwhile the server got another address, of which the file tells.
    text = text.replace("user=aegis", "application_name=other user=aegis")
    for _ in range(2):
        runs.run(text)
        assert [(1,)] == plain(postgres.rows("t"))


@pytest.mark.parametrize("is_there", [True, False])
def test_a_sink_that_has_rows_to_come_cannot_be_left_out_nor_renamed(
    runs: Runs, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch, is_there: bool
) -> None:
    runs.publish("a", [{"n": 1}])
    text = f"source: a\nsink: [{to(postgres)}, b]\n"
    step = files.step

    def die(name: str) -> None:
        step(name)
        if name == ("pipeline.table.committed" if is_there else "pipeline.table"):
            raise DiedError

    with monkeypatch.context() as patched:
        patched.setattr(files, "step", die)
        with pytest.raises(DiedError):
            runs.run(text)
    assert is_there == bool(postgres.query("SELECT 1 FROM pg_tables WHERE tablename = 't'"))
    others = ["source: a\nsink: b\n", text.replace("table: t", "table: u")]
    for other in others:
        with pytest.raises(SinkError, match="table t of PostgreSQL: rows for it are committed and may not"):
            runs.run(other)
    assert 1 == len(runs.rows("b"))
    runs.run(text)
    assert [(1,)] == plain(postgres.rows("t"))
    for other in others:
        runs.publish("a", [{"n": 2}])
        runs.run(other)
    assert [(1,)] == plain(postgres.rows("t"))
    assert [(2,)] == plain(postgres.rows("u"))
    assert 3 == len(runs.rows("b"))


@pytest.mark.parametrize("on_error", ["stop", "drop"])
def test_after_a_run_that_ended_well_or_at_a_record_another_table_gets_only_what_is_new(
    runs: Runs, postgres: PostgresServer, on_error: str
) -> None:
    runs.publish("a", [{"n": 1}, {"n": None}])
    text = f"source: a\nsink: {to(postgres, ', key: n')}\non_error: {on_error}\n"
    if on_error == "stop":
        with pytest.raises(RecordRefusedError):
            runs.run(text)
    else:
        runs.run(text)
    runs.publish("a", [{"n": 2}])
    runs.run(text.replace("table: t", "table: u").replace("stop", "drop"))
    assert [(1,)] == plain(postgres.rows("t"))
    assert [(2,)] == plain(postgres.rows("u"))


@pytest.mark.parametrize("is_committed", [True, False])
def test_where_it_is_not_certain_that_the_database_committed_its_number_tells(
    runs: Runs, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch, is_committed: bool
) -> None:
    from psycopg import OperationalError

    runs.publish("a", [{"n": 1}])
    real = postgres_session.PostgresSession.commit
    commits = 0

    def fail(session: postgres_session.PostgresSession) -> None:
        nonlocal commits
        commits += 1
        if commits == 2 and not is_committed:
            session.drop()
        if commits != 2 or is_committed:
            real(session)
        if commits == 2:
            raise OperationalError("the connection is lost")

    monkeypatch.setattr(postgres_session.PostgresSession, "commit", fail)
    runs.run(f"source: a\nsink: {to(postgres)}\n")
    assert 3 == commits
    assert [(1,)] == plain(postgres.rows("t"))


def test_a_run_that_another_one_followed_writes_nothing_more(
    runs: Runs, postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs.publish("a", [{"n": 1}])
    text = f"source: a\nsink: {to(postgres)}\n"
    others = Runs(tmp_path / "other")
    others.now_ms += 5
    others.publish("a", [{"n": 2}])
    real = PipelineLog.commit

    def be_followed(*arguments: Any) -> None:
        # As a copy of the store on another machine, which knows nothing of the lock of this one.
        real(*arguments)
        monkeypatch.setattr(PipelineLog, "commit", real)
        postgres.query(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = 'aegis p'"
        )
        others.run(text)

    monkeypatch.setattr(PipelineLog, "commit", be_followed)
    with others.store, pytest.raises(SinkTakenError, match="another run of the pipeline has begun to write"):
        runs.run(text)
    assert [(2,)] == plain(postgres.rows("t"))
    # And the one that was followed comes back with commits that are older than what is there.
    with pytest.raises(SinkError, match="holds commits of pipeline 'p' that this store does not know"):
        runs.run(text)
    assert [(2,)] == plain(postgres.rows("t"))


def test_a_pipeline_that_was_reset_writes_again(runs: Runs, postgres: PostgresServer) -> None:
    from aegis_cli.pipeline.admin import reset_pipeline

    runs.publish("a", [{"k": 1}])
    for _ in range(2):
        runs.run(f"source: a\nsink: {to(postgres)}\n")
        runs.now_ms += 1
        reset_pipeline(runs.store, "p")
    assert [(1,), (1,)] == plain(postgres.rows("t"))


def test_tables_of_one_name_in_two_databases_get_their_own_rows(runs: Runs, postgres: PostgresServer) -> None:
    postgres.query("DROP DATABASE IF EXISTS other")
    postgres.query("CREATE DATABASE other")
    other = to(postgres).replace("dbname=postgres", "dbname=other")
    runs.publish("a", [{"n": 1}])
    runs.run(f"source: a\nbranches:\n  - sink: {to(postgres)}\n  - {{map: {{m: n + 1}}, sink: {other}}}\n")
    assert [(1,)] == plain(postgres.rows("t"))
    assert [(2,)] == plain(postgres.query("SELECT m FROM t", database="other"))


def test_a_server_that_does_not_come_back_ends_the_run_and_loses_nothing(
    runs: Runs, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs.publish("a", [{"n": 1}])
    text = f"source: a\nsink: {to(postgres)}\n"
    real = PipelineLog.commit

    def be_alone(*arguments: Any) -> None:
        real(*arguments)
        postgres.kill()

    with monkeypatch.context() as patched:
        patched.setattr(postgres_session, "RETRY_SECONDS", 0.2)
        patched.setattr(PipelineLog, "commit", be_alone)
        with pytest.raises(SinkUnreachableError, match=r"postgresql://aegis@/\S*/postgres: connection"):
            runs.run(text)
    postgres.start()
    runs.run(text)
    assert [(1,)] == plain(postgres.rows("t"))


def test_a_pipeline_is_compiled_without_a_driver(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    from aegis_cli.pipeline.errors import PipelineFileError

    monkeypatch.setitem(sys.modules, "psycopg", None)
    runs.publish("a", [{"n": 1}])
    definition = loads("source: a\nsink: {postgres: postgresql://, table: t}\n", path="p.yaml")
    Program(definition)
    with pytest.raises(PipelineFileError, match=r"pip install 'aegis-streaming\[postgresql\]'"):
        run_pipeline(runs.store, definition, RunOptions(once=True))


# -- verifying --------------------------------------------------------------------------------------------


def verified(runs: Runs, text: str) -> tuple[int, list[str]]:
    found = verify_pipeline(runs.store, loads(text, path="p.yaml"), message_bytes_max=1 << 20)
    return found.compared, found.differences


@pytest.mark.parametrize("key", ["", ", key: [k, l]"])
def test_verify_compares_a_table_with_the_history_and_writes_nothing(
    runs: Runs, postgres: PostgresServer, key: str
) -> None:
    postgres.query("CREATE TABLE t (k text, l double precision, j json, id serial, m bigint DEFAULT 7)")
    if key:
        postgres.query("ALTER TABLE t ADD UNIQUE (k, l)")
    text = f"source: a\nsink: [{to(postgres, key)}, b]\n"
    for number in range(3):
        rows = [
            {"k": "x", "l": 0.1},
            {"k": "", "l": 1, "j": {"n": number}},
            {"k": "x", "l": 0.1, "m": number},
        ]
        runs.publish("a", rows)
        runs.run(text, flush=False)
    count = 2 if key else 9
    assert (count + 9, []) == verified(runs, text)
    before = postgres.rows("t")
    postgres.query("UPDATE t SET l = 0.2 WHERE id = 1; DELETE FROM t WHERE id = 2")
    postgres.query("INSERT INTO t (k) VALUES ('more')")
    compared, differences = verified(runs, text)
    assert count + 9 == compared
    assert 4 == len(differences)
    assert 't: {"k":"x","l":"0.1","j":null} is missing' in differences
    assert 't: {"k":"more","l":null,"j":null} is not expected' in differences
    assert len(before) == len(postgres.rows("t"))
    postgres.query("ALTER TABLE t DROP COLUMN j")
    assert ["t: there is no column 'j'"] == verified(runs, text)[1]
    postgres.query("DROP TABLE t")
    assert ["t: there is no such table"] == verified(runs, text)[1]


def test_verify_knows_what_was_refused_and_what_the_clock_decides(
    runs: Runs, postgres: PostgresServer
) -> None:
    runs.publish("a", [{"at": 1, "k": "x"}, {"at": 2}, {"at": 3, "k": "a\0"}, {"at": 4, "k": "y"}])
    text = f"source: a\non_error: drop\nsink: [{to(postgres, ', key: k')}, b]\n"
    runs.run(text)
    assert (4, []) == verified(runs, text)
    text = (
        "name: q\nsource: a\ntime: {field: at, idle: 1m}\ngroup_by: k\nwindow: 10s\n"
        f"aggregate: {{n: count()}}\non_error: drop\nsink: {to(postgres, ', key: k', 'u')}\n"
    )
    runs.run(text, name="q")
    with pytest.raises(UnverifiableError, match="with 'idle' its results depend on the clock"):
        verified(runs, text)
