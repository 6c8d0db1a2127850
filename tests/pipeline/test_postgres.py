"""A table of PostgreSQL as a sink: what it holds, and what is refused before anything is committed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from aegis_cli.pipeline.errors import RecordRefusedError, SinkError
from tests.pipeline.postgres_server import PostgresServer
from tests.pipeline.postgres_table import plain, to, types
from tests.pipeline.runs import Runs

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
