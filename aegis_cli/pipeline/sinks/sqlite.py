"""A table of a SQLite database as a sink.

Rows go into a transaction of the database before the commit in the store, which holds them too, under its
number; after it the database commits, rows and number together. So what the database refuses stops the
pipeline before anything is committed, and what did not get there in the end comes with the next run, once:
its number tells whether it is there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aegis_cli.pipeline import definition
from aegis_cli.pipeline.errors import RecordError, SinkError
from aegis_cli.pipeline.outgoing import Outgoing
from aegis_cli.pipeline.sinks.sink import Rows
from aegis_cli.pipeline.sinks.sqlite_database import BUSY_SECONDS, SqliteDatabase
from aegis_cli.pipeline.sinks.sqlite_table import MisfitError, SqliteTable
from aegis_cli.pipeline.sqlite_shape import SqliteShape
from aegis_cli.pipeline.state import Facts
from storage import files

_PROGRESS = "aegis_pipelines"
_DONE = f"SELECT number FROM {_PROGRESS} WHERE pipeline = ? AND sink = ?"
_SLOT = "sqlite "


class SqliteSink:
    """Writes rows into a table, which is made with the columns of the first rows. Raises `SinkError`.

    With a key, a later row replaces the earlier one of that key. `database` is that of all sinks with the
    same file.
    """

    def __init__(
        self, sink: definition.Sink, shape: SqliteShape, database: SqliteDatabase, *, pipeline: str
    ) -> None:
        self._shape = shape
        self._pipeline = pipeline
        self._database = database
        # A pipeline may have several tables: rows are kept under what the table is, wherever in the file it
        # is named, and the database remembers its tables by their names.
        self._sink = sink.table.lower()
        self.slot = f"{_SLOT}{self._sink} {database.path}"
        self._table = SqliteTable(sink.table, shape, key=sink.key, create=sink.create)
        # The commit whose rows are in the open transaction.
        self._written = -1

    def open(self, facts: Facts) -> None:
        last = self._database.work(self._begin)
        if facts.number and last > facts.number:
            raise self._ahead()
        rows = facts.pending.get(self.slot)
        if rows and last < facts.number:
            facts.pending[self.slot] = [self._checked(row) for row in rows]
            self.finish(facts)

    def _begin(self) -> int:
        """Look what is there; returns the number of the last commit, -1 before the first."""
        connection = self._database.connection
        self._database.begin()
        connection.execute(
            f"CREATE TABLE IF NOT EXISTS {_PROGRESS} "
            "(pipeline TEXT, sink TEXT, number INTEGER NOT NULL, PRIMARY KEY (pipeline, sink))"
        )
        self._table.load(connection)
        try:
            self._table.check(connection)
        except MisfitError as error:
            raise self._database.error(str(error)) from error
        last = self._done()
        self._database.commit()
        return last

    def _checked(self, row: dict[str, Any]) -> dict[str, Any]:
        """A row that an earlier run left: it may be the first to have a column, as it was there."""
        try:
            return self._shape.settle(self._shape.check(row))
        except RecordError as error:
            raise self._database.error(
                f"a row that is still to come does not fit any more: {error}"
            ) from error

    def prepare(self, rows: Rows, outgoing: Outgoing, facts: Facts) -> int:
        everything = [row for _, some in rows for row in some]
        if everything:
            self._database.work(lambda: self._bring(everything, facts.number))
            self._written = facts.number
            facts.pending[self.slot] = everything
        return len(everything)

    def finish(self, facts: Facts) -> None:
        rows = facts.pending.get(self.slot)
        if not rows:
            return
        files.step("pipeline.table")
        if self._written != facts.number:
            self._database.work(lambda: self._bring(rows, facts.number))
        self._database.work(self._database.commit)
        files.step("pipeline.table.committed")

    def _bring(self, rows: list[dict[str, Any]], number: int) -> None:
        """Write rows and the number of their commit, if that is not there already."""
        self._database.begin()
        last = self._done()
        if last > number:
            raise self._ahead()
        if last < number:
            self._table.write(self._database.connection, rows)
            self._database.connection.execute(
                f"INSERT OR REPLACE INTO {_PROGRESS} VALUES (?, ?, ?)", (self._pipeline, self._sink, number)
            )
        files.step("pipeline.table.written")

    def _done(self) -> int:
        found = self._database.connection.execute(_DONE, (self._pipeline, self._sink)).fetchone()
        return -1 if found is None else int(found[0])

    def _ahead(self) -> SinkError:
        return self._database.error(
            f"it holds commits of pipeline '{self._pipeline}' that this store does not know, as when another "
            "store has a pipeline of that name which writes there, or this store is an older copy",
            hint="give one of them another name, or empty the table, remove its row from "
            f"{_PROGRESS}, and reset the pipeline",
        )

    def close(self) -> None:
        self._database.close()


def check_nothing_is_left(facts: Facts, left: list[str], *, pipeline: str) -> None:
    """Raise `SinkError` where rows were committed for a table that is no sink any more, and are not in it.

    `left` are the slots of `pending` that no sink has.
    """
    for slot in left:
        if not slot.startswith(_SLOT):
            continue
        table, _, path = slot.removeprefix(_SLOT).partition(" ")
        if _done_in(path, table, pipeline) < facts.number:
            reason = f"rows for table '{table}' are committed and not there yet, and it is no sink any more"
            hint = "name it as one in a run with --once before it goes"
            raise SinkError(pipeline, f"SQLite database {path}", reason, hint=hint)


def _done_in(path: str, table: str, pipeline: str) -> int:
    """The number of the last commit whose rows a table got; -1 where it cannot be found."""
    import sqlite3

    try:
        database = sqlite3.connect(f"{Path(path).as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS)
    except sqlite3.Error:
        return -1
    try:
        found = database.execute(_DONE, (pipeline, table)).fetchone()
    except sqlite3.Error:
        return -1
    finally:
        database.close()
    return -1 if found is None else int(found[0])
