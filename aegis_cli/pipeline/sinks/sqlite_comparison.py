"""What a table of SQLite holds against what it should: SQLite compares, in a temporary database.

The rows that are expected go there as a sink would write them, into a table made by the same words, and so
through the same types, key and collations. The database itself is only read.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aegis_cli.pipeline import definition
from aegis_cli.pipeline.errors import SinkError
from aegis_cli.pipeline.outgoing import Outgoing
from aegis_cli.pipeline.sinks.sink import Rows
from aegis_cli.pipeline.sinks.sqlite_table import SqliteTable, quoted
from aegis_cli.pipeline.sqlite_shape import SqliteShape
from aegis_cli.pipeline.state import Facts

if TYPE_CHECKING:
    from sqlite3 import Connection

_BUSY_SECONDS = 30.0
# How the database is made: its table first, then what makes keys unique.
_MADE_BY = (
    "SELECT sql FROM held.sqlite_master WHERE sql IS NOT NULL AND type IN ('table', 'index') "
    "AND tbl_name = ? COLLATE NOCASE ORDER BY type = 'index'"
)


class SqliteComparison:
    """Takes the rows that the table of a sink should have; `differences` then says where it has others.

    Raises `SinkError`.
    """

    def __init__(self, sink: definition.Sink, shape: SqliteShape, *, pipeline: str) -> None:
        import sqlite3

        self._sink = sink
        self._pipeline = pipeline
        # What all rows give, and what some of them do.
        self._always: set[str] | None = None
        self._given: set[str] = set()
        self._rows = 0
        # A database of no name is a file of its own that is removed with the connection.
        self._connection: Connection = sqlite3.connect(
            "", timeout=_BUSY_SECONDS, isolation_level=None, uri=True
        )
        self._table = SqliteTable(sink.table, shape, key=sink.key, create=True)
        try:
            self._is_there = self._copy()
            self._table.load(self._connection)
            # One look at the database, however long the comparison takes.
            self._connection.execute("BEGIN")
        except sqlite3.Error as error:
            self._connection.close()
            raise self._error(error) from error

    def _copy(self) -> bool:
        """Make an empty table like the one that is there; whether there is one."""
        path = Path(self._sink.name).resolve()
        if not path.exists():
            return False
        self._connection.execute("ATTACH ? AS held", (f"{path.as_uri()}?mode=ro",))
        made_by = self._connection.execute(_MADE_BY, (self._sink.table,)).fetchall()
        for (statement,) in made_by:
            self._connection.execute(statement)
        return bool(made_by)

    def _error(self, error: Exception) -> SinkError:
        return SinkError(self._pipeline, f"SQLite database {self._sink.name}", str(error))

    def prepare(self, rows: Rows, outgoing: Outgoing, facts: Facts) -> int:
        """Take rows."""
        import sqlite3

        taken = [row for _, some in rows for row in some]
        if taken:
            names = [row.keys() for row in taken]
            self._given = self._given.union(*names)
            self._always = set(names[0] if self._always is None else self._always).intersection(*names)
            try:
                self._table.write(self._connection, taken)
            except sqlite3.Error as error:
                raise self._error(error) from error
        self._rows += len(taken)
        return len(taken)

    def differences(self, shown_max: int) -> tuple[int, list[str]]:
        """How many rows were compared, and the first differences in words."""
        import sqlite3

        try:
            return self._compare(shown_max)
        except sqlite3.Error as error:
            raise self._error(error) from error
        finally:
            self._connection.close()

    def _compare(self, shown_max: int) -> tuple[int, list[str]]:
        name = self._sink.table
        if not self._is_there:
            return self._rows, [f"{name}: there is no such table"] if self._rows else []
        held = {row[1] for row in self._connection.execute(f"PRAGMA held.table_xinfo({quoted(name)})")}
        missing = sorted(self._given - held)
        if missing:
            return self._rows, [f"{name}: there is no column '{field}'" for field in missing[:shown_max]]
        names = self._table.comparable(self._given, self._always or set())
        # Equal rows may be there several times; what differs only in the case of letters is not equal.
        columns = ", ".join(f"{quoted(each)} COLLATE BINARY AS {quoted(each)}" for each in names)
        counted = f"{columns}, count(*)" if names else "count(*)"
        grouped = f" GROUP BY {', '.join(str(number + 1) for number in range(len(names)))}" if names else ""
        expected, held_table = f"main.{quoted(name)}", f"held.{quoted(name)}"
        wanted, found = (f"SELECT {counted} FROM {each}{grouped}" for each in (expected, held_table))
        counts = ", ".join(f"(SELECT count(*) FROM {each})" for each in (expected, held_table))
        (compared,) = self._connection.execute(f"SELECT max({counts})").fetchone()
        differences: list[str] = []
        for rest, what in (
            (f"{wanted} EXCEPT {found}", "is missing"),
            (f"{found} EXCEPT {wanted}", "is not expected"),
        ):
            for row in self._connection.execute(f"{rest} LIMIT ?", (shown_max,)):
                differences.append(f"{name}: {_shown(names, row)} {what}")
        return int(compared), differences[:shown_max]


def _shown(names: list[str], row: tuple[Any, ...]) -> str:
    """A row and how often it is there."""
    text = json.dumps(dict(zip(names, row, strict=False)), ensure_ascii=False, default=repr)[:200]
    return text if row[-1] == 1 else f"{text}, {row[-1]} times,"
