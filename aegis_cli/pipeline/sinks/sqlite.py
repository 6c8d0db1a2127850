"""A table of a SQLite database as a sink.

Rows are part of the commit in the store, under its number; after it they go into the table in one transaction
of the database with that number, which tells a later run whether they are there.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from aegis_cli.pipeline import definition
from aegis_cli.pipeline.errors import SinkError
from aegis_cli.pipeline.outgoing import Outgoing
from aegis_cli.pipeline.sinks.sink import Rows
from aegis_cli.pipeline.state import Facts
from storage import files

_PROGRESS = "aegis_pipelines"
_DONE = f"SELECT number FROM {_PROGRESS} WHERE pipeline = ? AND sink = ?"
_SLOT = "sqlite "
_BUSY_SECONDS = 30.0
_INT64 = range(-(2**63), 2**63)


class SqliteSink:
    """Writes rows into a table, which is made with the columns of the first rows. Raises `SinkError`.

    With a key, a later row replaces the earlier one of that key.
    """

    def __init__(self, sink: definition.Sink, *, pipeline: str) -> None:
        import sqlite3

        self._sink = sink
        self._pipeline = pipeline
        # A pipeline may have several tables, and each commits by itself: rows are kept under what the table
        # is, wherever in the file it is named, and the database remembers its tables by their names.
        self._table = sink.table.lower()
        self.slot = f"{_SLOT}{self._table} {Path(sink.name).resolve()}"
        self._columns: list[str] | None = None
        try:
            self._database = sqlite3.connect(sink.name, timeout=_BUSY_SECONDS, isolation_level=None)
            self._database.execute("PRAGMA synchronous=FULL")
            self._database.execute(
                f"CREATE TABLE IF NOT EXISTS {_PROGRESS} "
                "(pipeline TEXT, sink TEXT, number INTEGER NOT NULL, PRIMARY KEY (pipeline, sink))"
            )
        except sqlite3.Error as error:
            raise self._error(error) from error

    def _error(self, error: Exception) -> SinkError:
        return SinkError(self._pipeline, f"SQLite database {self._sink.name}", str(error))

    def open(self, facts: Facts) -> None:
        if not self._sink.create:
            self._columns = self._existing()
            if not self._columns:
                reason = f"there is no table '{self._sink.table}', and 'create: false' is given"
                raise SinkError(self._pipeline, f"SQLite database {self._sink.name}", reason)
        self.finish(facts)

    def prepare(self, rows: Rows, outgoing: Outgoing, facts: Facts) -> int:
        everything = [row for _, some in rows for row in some]
        if everything and type(everything[0]) is bytes:
            everything = [json.loads(line) for line in everything]
        if everything:
            self._check(everything)
            facts.pending[self.slot] = everything
        return len(everything)

    def _check(self, rows: list[dict[str, Any]]) -> None:
        """Refuse rows before the commit that says that they will be in the table."""
        names = set().union(*rows)
        known = self._existing()
        columns = {name.lower(): name for name in known}
        for name in sorted(names):
            if columns.setdefault(name.lower(), name) != name:
                reason = f"SQLite takes the columns '{columns[name.lower()]}' and '{name}' for the same"
                raise SinkError(self._pipeline, f"table {self._sink.table}", reason)
        if not self._sink.create:
            unknown = names.difference(known)
            if unknown:
                reason = f"the table has no column '{min(unknown)}', and 'create: false' is given"
                raise SinkError(self._pipeline, f"table {self._sink.table}", reason)

    def finish(self, facts: Facts) -> None:
        import sqlite3

        rows = facts.pending.get(self.slot)
        if not rows:
            return
        files.step("pipeline.table")
        try:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                if self._done() < facts.number:
                    self._write(rows)
                    self._database.execute(
                        f"INSERT OR REPLACE INTO {_PROGRESS} VALUES (?, ?, ?)",
                        (self._pipeline, self._table, facts.number),
                    )
                files.step("pipeline.table.written")
                self._database.execute("COMMIT")
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise self._error(error) from error
        files.step("pipeline.table.committed")

    def _done(self) -> int:
        found = self._database.execute(_DONE, (self._pipeline, self._table)).fetchone()
        return -1 if found is None else int(found[0])

    def _write(self, rows: list[dict[str, Any]]) -> None:
        self._ensure_columns(dict.fromkeys(name for row in rows for name in row))
        assert self._columns is not None
        names = ", ".join(_quoted(name) for name in self._columns)
        marks = ", ".join("?" for _ in self._columns)
        verb = "INSERT OR REPLACE" if self._sink.key else "INSERT"
        self._database.executemany(
            f"{verb} INTO {_quoted(self._sink.table)} ({names}) VALUES ({marks})",
            [[_stored(row.get(name)) for name in self._columns] for row in rows],
        )

    def _ensure_columns(self, fields: dict[str, None]) -> None:
        """Make the table, or columns of it that these rows are the first to have."""
        table = _quoted(self._sink.table)
        if self._columns is None:
            self._columns = self._existing()
            if not self._columns:
                columns = list(dict.fromkeys([*self._sink.key, *fields])) or ["row"]
                key = ", ".join(_quoted(name) for name in self._sink.key)
                body = ", ".join(_quoted(name) for name in columns) + (
                    f", PRIMARY KEY ({key})" if key else ""
                )
                self._database.execute(f"CREATE TABLE {table} ({body})")
                self._columns = columns
        for name in fields:
            if name not in self._columns:
                self._database.execute(f"ALTER TABLE {table} ADD COLUMN {_quoted(name)}")
                self._columns.append(name)

    def _existing(self) -> list[str]:
        return [
            str(row[1]) for row in self._database.execute(f"PRAGMA table_info({_quoted(self._sink.table)})")
        ]

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
            raise SinkError(pipeline, f"SQLite database {path}", f"{reason}; {hint}")


def _done_in(path: str, table: str, pipeline: str) -> int:
    """The number of the last commit whose rows a table got; -1 where it cannot be found."""
    import sqlite3

    try:
        database = sqlite3.connect(f"{Path(path).as_uri()}?mode=ro", uri=True, timeout=_BUSY_SECONDS)
    except sqlite3.Error:
        return -1
    try:
        found = database.execute(_DONE, (pipeline, table)).fetchone()
    except sqlite3.Error:
        return -1
    finally:
        database.close()
    return -1 if found is None else int(found[0])


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _stored(value: Any) -> Any:
    """A value as SQLite stores it: lists and objects as JSON text, integers beyond 64 bits as text."""
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if isinstance(value, int) and value not in _INT64:
        return str(value)
    return value
