"""Tables of SQLite: which rows they take, what stops before a commit, and whose rows are whose."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aegis_cli.pipeline.errors import RecordRefusedError, SinkError
from aegis_cli.pipeline.reading import loads
from aegis_cli.pipeline.run import RunOptions, run_pipeline
from aegis_cli.pipeline.sinks.opening import in_order
from aegis_cli.pipeline.sinks.sqlite_database import SqliteDatabase
from tests.pipeline.runs import Runs

if TYPE_CHECKING:
    from sqlite3 import Connection


class Stopped:
    """Somebody who wants the run to end, from the beginning or when told."""

    def __init__(self) -> None:
        self.came: int | None = None
        self.fd, self._write_fd = os.pipe()

    def come(self) -> None:
        self.came = signal.SIGTERM
        os.write(self._write_fd, b"!")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out.db"


def connected(path: Path) -> Connection:
    import sqlite3

    return sqlite3.connect(path, isolation_level=None, check_same_thread=False)


def execute(path: Path, statement: str) -> list[tuple[object, ...]]:
    database = connected(path)
    try:
        return database.execute(statement).fetchall()
    finally:
        database.close()


def rows(path: Path, table: str = "t") -> list[tuple[object, ...]]:
    return execute(path, f"SELECT * FROM {table}")


def to_table(path: Path, options: str = "", *, steps: str = "") -> str:
    return f"source: a\n{steps}sink: {{sqlite: {path}, table: t{options}}}\n"


# -- what a table does not take ---------------------------------------------------------------------------


@pytest.mark.parametrize("steps", ["", "map: {n: n, m: m}\n"])
def test_what_a_constraint_refuses_stops_the_pipeline_before_the_commit(
    runs: Runs, path: Path, steps: str
) -> None:
    execute(path, "CREATE TABLE t (n INTEGER CHECK (n > 0), m)")
    runs.publish("a", [{"n": 1}, {"n": -1}, {"n": 2}])
    with pytest.raises(SinkError, match="CHECK constraint failed"):
        runs.run(to_table(path, steps=steps))
    assert [] == rows(path)
    # Nothing of it was committed, so the file can be set right.
    account = runs.run(to_table(path, steps=f"filter: n > 0\n{steps}"))
    assert ([(1, None), (2, None)], 1) == (rows(path), account.filtered)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"n": 1, "N": 2}, "SQLite takes the columns 'n' and 'N' for the same"),
        ({"x": 1, "X": 2}, "SQLite takes the columns 'x' and 'X' for the same"),
        ({"a\0b": 1}, "a field whose name holds a NUL"),
        ({f"f{number}": number for number in range(2001)}, "more than 2000 columns"),
    ],
)
def test_a_record_of_which_no_columns_can_be_made_is_refused(
    runs: Runs, path: Path, record: dict[str, object], reason: str
) -> None:
    runs.publish("a", [{"n": 1}, record, {"n": 2}])
    with pytest.raises(RecordRefusedError, match=reason):
        runs.run(to_table(path))
    account = runs.run(f"{to_table(path)}on_error: {{to: dead}}\n")
    assert [(1,), (2,)] == rows(path)
    assert (1, [record]) == (account.dead, runs.rows("dead"))


def test_letters_that_sqlite_knows_no_case_of_make_two_columns(runs: Runs, path: Path) -> None:
    runs.publish("a", [{"Ä": 1, "ä": 2}])
    runs.run(to_table(path))
    assert [(1, 2)] == rows(path)


def test_a_message_with_a_number_that_nothing_can_hold_is_refused(runs: Runs, path: Path) -> None:
    runs.publish_lines("a", b'{"n":1}\n{"n":' + b"1" * 5000 + b'}\n{"n":123456789012345678901234567890}\n', 3)
    account = runs.run(f"{to_table(path)}on_error: drop\n")
    assert ([(1,), ("123456789012345678901234567890",)], 1) == (rows(path), account.dead)


def test_a_field_that_a_table_computes_or_that_must_not_be_null_refuses_its_record(
    runs: Runs, path: Path
) -> None:
    execute(
        path, "CREATE TABLE t (i INTEGER PRIMARY KEY NOT NULL, n NOT NULL, d NOT NULL DEFAULT 7, c AS (n))"
    )
    runs.publish(
        "a", [{"n": 1}, {"n": None}, {"d": 1}, {"n": 2, "d": None}, {"n": 3, "c": 3}, {"n": 4, "d": 5}]
    )
    account = runs.run(f"{to_table(path)}on_error: {{to: dead}}\n")
    assert [(1, 1, 7, 1), (2, 4, 5, 4)] == rows(path)
    assert (2, 4) == (account.out, account.dead)


def test_a_column_that_must_be_there_and_is_not_refuses_its_record(runs: Runs, path: Path) -> None:
    execute(path, "CREATE TABLE t (n)")
    runs.publish("a", [{"n": 1}, {"m": 2}])
    account = runs.run(f"{to_table(path, ', create: false')}on_error: drop\n")
    assert ([(1,)], 1) == (rows(path), account.dead)


@pytest.mark.parametrize(
    ("options", "steps", "reason"),
    [
        (", create: false", "map: {n: n, m: n}\n", "the table has no column 'm', and 'create: false'"),
        ("", "map: {N: n}\n", "SQLite takes the columns 'n' and 'N' for the same"),
        (", key: n", "", "no unique index on exactly the columns of 'key'; give it one: CREATE UNIQUE INDEX"),
    ],
)
def test_a_table_that_no_row_could_go_to_is_refused_at_the_start(
    runs: Runs, path: Path, options: str, steps: str, reason: str
) -> None:
    execute(path, "CREATE TABLE t (n, k)")
    runs.topic("a")
    with pytest.raises(SinkError, match=reason):
        runs.run(to_table(path, options, steps=steps))


def test_a_key_may_be_any_unique_index_and_replaces_rows_of_that_key_alone(runs: Runs, path: Path) -> None:
    execute(path, "CREATE TABLE t (n, k, u DEFAULT 9, UNIQUE (n))")
    execute(path, "CREATE UNIQUE INDEX i ON t (k)")
    runs.publish("a", [{"n": 1, "k": 1}, {"n": 2, "k": 2, "u": 5}, {"n": 1, "k": 3}])
    runs.run(to_table(path, ", key: n"))
    assert [(1, 3, 9), (2, 2, 5)] == rows(path)
    runs.publish("a", [{"n": 3, "k": 2}])
    with pytest.raises(SinkError, match=r"UNIQUE constraint failed: t\.k"):
        runs.run(to_table(path, ", key: n"))
    assert [(1, 3, 9), (2, 2, 5)] == rows(path)


# -- whose rows are whose ---------------------------------------------------------------------------------


def test_a_pipeline_of_the_same_name_in_another_store_does_not_swallow_rows(
    runs: Runs, path: Path, tmp_path: Path
) -> None:
    runs.publish("a", [{"n": 1}])
    runs.run(to_table(path))
    other = Runs(tmp_path / "other")
    other.now_ms += 1000
    other.publish("a", [{"n": 10}])
    other.run(to_table(path))
    runs.publish("a", [{"n": 2}])
    with pytest.raises(
        SinkError, match="it holds commits of pipeline 'p' that this store does not know"
    ) as told:
        runs.run(to_table(path))
    assert "run it again" not in str(told.value)
    assert [(1,), (10,)] == rows(path)


def test_another_store_that_writes_while_a_run_goes_on_stops_it(
    runs: Runs, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs.publish("a", [{"n": 1}, {"n": 2}])
    runs.chunk_records = 1
    from aegis_cli.pipeline.pace import Pace

    monkeypatch.setattr(Pace, "is_due", lambda *_: execute_ahead(path))
    with pytest.raises(SinkError, match="that this store does not know"):
        runs.run(to_table(path))
    monkeypatch.undo()
    execute(path, "DELETE FROM aegis_pipelines")
    runs.run(to_table(path))
    assert [(1,), (2,)] == rows(path)


def execute_ahead(path: Path) -> bool:
    execute(path, f"INSERT OR REPLACE INTO aegis_pipelines VALUES ('p', 't', {1 << 62})")
    return True


@pytest.mark.parametrize("other", ["link.db", "./out.db"])
def test_one_table_by_two_names_of_its_database_is_refused(
    runs: Runs, path: Path, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    monkeypatch.chdir(path.parent)
    (path.parent / "link.db").symlink_to(path)
    runs.publish("a", [{"n": 1}])
    sinks = f"[{{sqlite: {path}, table: t}}, {{sqlite: {other}, table: T}}]"
    with pytest.raises(SinkError, match="another sink of it does"):
        runs.run(f"source: a\nsink: {sinks}\n")


def test_tables_of_one_database_get_their_rows_together(runs: Runs, path: Path) -> None:
    runs.publish("a", [{"n": 1}])
    sinks = f"[{{sqlite: {path}, table: t}}, {{sqlite: {path}, table: u}}, b]"
    runs.run(f"source: a\nsink: {sinks}\n")
    execute(path, "CREATE TRIGGER never BEFORE INSERT ON u BEGIN SELECT RAISE(ABORT, 'never'); END")
    runs.publish("a", [{"n": 2}])
    with pytest.raises(SinkError, match="never"):
        runs.run(f"source: a\nsink: {sinks}\n")
    assert [(1,)] == rows(path) == rows(path, "u") == runs.columns("b", "n")


def test_nothing_is_printed_of_rows_that_a_table_refuses(runs: Runs, path: Path) -> None:
    execute(path, "CREATE TABLE t (n CHECK (n > 0))")
    runs.publish("a", [{"n": -1}])
    read_fd, write_fd = os.pipe()
    definition = loads(f"name: p\nsource: a\nsink: [-, {{sqlite: {path}, table: t}}]\n", path="p.yaml")
    with pytest.raises(SinkError, match="CHECK constraint failed"):
        run_pipeline(runs.store, definition, RunOptions(once=True, stdout_fd=write_fd))
    os.close(write_fd)
    assert b"" == os.read(read_fd, 100)


def test_pipelines_that_name_databases_in_another_order_do_not_wait_for_each_other(tmp_path: Path) -> None:
    orders = []
    for names in (("x.db", "y.db"), ("y.db", "x.db")):
        sinks = ", ".join(
            f"{{sqlite: {tmp_path / name}, table: t{number}}}" for number, name in enumerate(names)
        )
        definition = loads(f"name: p\nsource: a\nsink: [b, {sinks}, -, c]\n", path="p.yaml")
        order = [definition.branches[number].sink.name for number in in_order(definition)]
        orders.append([Path(name).name for name in order])
    assert [["x.db", "y.db", "b", "c", "-"]] * 2 == orders


# -- a database that is locked ----------------------------------------------------------------------------


def test_a_run_that_shall_end_does_not_wait_for_a_database_that_is_locked(runs: Runs, path: Path) -> None:
    runs.publish("a", [{"n": 1}])
    runs.run(to_table(path))
    runs.publish("a", [{"n": 2}])
    holder = connected(path)
    stop = Stopped()
    threading.Timer(0.2, stop.come).start()
    began = time.monotonic()
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(SinkError, match="database is locked"):
        run_pipeline(runs.store, loads(to_table(path), path="p.yaml"), RunOptions(once=True), stop=stop)
    assert time.monotonic() - began < 10
    holder.close()
    runs.run(to_table(path))
    assert [(1,), (2,)] == rows(path)


def test_a_lock_that_is_given_back_is_waited_for(runs: Runs, path: Path) -> None:
    runs.publish("a", [{"n": 1}])
    runs.run(to_table(path))
    runs.publish("a", [{"n": 2}])
    holder = connected(path)
    holder.execute("BEGIN IMMEDIATE")
    threading.Timer(0.2, holder.close).start()
    runs.run(to_table(path))
    assert [(1,), (2,)] == rows(path)


def test_what_a_database_has_committed_outlives_a_power_cut(path: Path) -> None:
    database = SqliteDatabase(str(path), pipeline="p", stop=None)
    assert (3,) == database.connection.execute("PRAGMA synchronous").fetchone()
    database.close()
