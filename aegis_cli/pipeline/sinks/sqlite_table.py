"""A table of a SQLite database: which columns it has, making it, and bringing rows into it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from aegis_cli.pipeline.sqlite_shape import SqliteColumn, SqliteShape

if TYPE_CHECKING:
    from sqlite3 import Connection

_COMPUTED = (2, 3)
_INT64 = range(-(2**63), 2**63)


class MisfitError(Exception):
    """The table is not one that these rows can go to; its text says why."""


class SqliteTable:
    """The table `name`, with the columns of `shape`. After a transaction that was given up, `load` it."""

    def __init__(self, name: str, shape: SqliteShape, *, key: Sequence[str], create: bool) -> None:
        self.name = name
        self._quoted = quoted(name)
        self._shape = shape
        self._key = list(key)
        self._create = create
        self._columns: dict[str, SqliteColumn] = {}

    def load(self, connection: Connection) -> None:
        """Look what is there."""
        found = [_column(row) for row in connection.execute(f"PRAGMA table_xinfo({self._quoted})")]
        self._columns = {column.name: column for column in found}
        self._shape.learn(found)

    def check(self, connection: Connection) -> None:
        """After `load`: raise `MisfitError` where no row could go there."""
        if not self._columns and not self._create:
            raise MisfitError(f"there is no table '{self.name}', and 'create: false' is given")
        for reason in self._shape.misfits():
            raise MisfitError(reason)
        if self._columns and self._key and not self._is_unique(connection):
            key = ", ".join(map(quoted, self._key))
            raise MisfitError(
                f"table '{self.name}' has no unique index on exactly the columns of 'key'; "
                f"give it one: CREATE UNIQUE INDEX {quoted(self.name + '_key')} ON {self._quoted} ({key})"
            )

    def _is_unique(self, connection: Connection) -> bool:
        """Whether an ON CONFLICT of exactly the columns of the key finds what it needs."""
        rows = connection.execute(f"PRAGMA table_info({self._quoted})")
        if {row[1] for row in rows if row[5]} == set(self._key):
            return True
        for _, index, is_unique, _, is_partial in connection.execute(f"PRAGMA index_list({self._quoted})"):
            columns = {row[2] for row in connection.execute(f"PRAGMA index_info({quoted(index)})")}
            if is_unique and not is_partial and columns == set(self._key):
                return True
        return False

    def write(self, connection: Connection, rows: list[dict[str, Any]]) -> None:
        """Bring rows there, which the shape has checked; the table and its columns are made where missing."""
        self._make(connection, rows)
        for names, some in self._alike(rows):
            if not names:
                connection.executemany(f"INSERT INTO {self._quoted} DEFAULT VALUES", [()] * len(some))
                continue
            listed, marks = ", ".join(map(quoted, names)), ", ".join("?" * len(names))
            values = ([_stored(row.get(name)) for name in names] for row in some)
            connection.executemany(
                f"INSERT INTO {self._quoted} ({listed}) VALUES ({marks}){self._replacing(names)}", values
            )

    def comparable(self, given: set[str], always: set[str]) -> list[str]:
        """Of what some or all rows give: the columns that have it, and no value that the table made."""
        return [
            each.name
            for each in self._columns.values()
            if each.name in given and not each.is_computed and (not each.has_default or each.name in always)
        ]

    def _replacing(self, names: Sequence[str]) -> str:
        """What lets a later row of a key replace the earlier one, and no row of another key."""
        if not self._key:
            return ""
        changes = [f"{quoted(name)} = excluded.{quoted(name)}" for name in names if name not in self._key]
        action = f"UPDATE SET {', '.join(changes)}" if changes else "NOTHING"
        return f" ON CONFLICT ({', '.join(map(quoted, self._key))}) DO {action}"

    def _make(self, connection: Connection, rows: list[dict[str, Any]]) -> None:
        """Make the table, or columns of it that these rows are the first to have."""
        if self._columns and set().union(*rows) <= self._columns.keys():
            return
        names = dict.fromkeys(name for row in rows for name in row)
        if not self._columns:
            made = list(dict.fromkeys([*self._key, *names])) or ["row"]
            body = [quoted(name) for name in made]
            if self._key:
                body.append(f"PRIMARY KEY ({', '.join(map(quoted, self._key))})")
            connection.execute(f"CREATE TABLE {self._quoted} ({', '.join(body)})")
        else:
            made = [name for name in names if name not in self._columns]
            for name in made:
                connection.execute(f"ALTER TABLE {self._quoted} ADD COLUMN {quoted(name)}")
        self._columns.update({name: SqliteColumn(name) for name in made})

    def _alike(self, rows: list[dict[str, Any]]) -> Iterable[tuple[list[str], list[dict[str, Any]]]]:
        """Runs of rows that give values to the same columns, which mostly are all rows.

        A column with a default gets it where a row says nothing of it, whatever other rows there are.
        """
        columns = [each for each in self._columns.values() if not each.is_computed]
        odd = [each.name for each in columns if each.has_default]
        plain = [each.name for each in columns if not each.has_default]
        if not odd:
            yield plain, rows
            return
        for given, some in groupby(rows, lambda row: [name for name in odd if name in row]):
            yield [*plain, *given], list(some)


def quoted(name: str) -> str:
    """A name as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


def _column(row: Sequence[Any]) -> SqliteColumn:
    _, name, kind, not_null, default, key, hidden = row
    # Such a column is the number of the row, which null stands for.
    numbers_rows = bool(key) and str(kind).upper() == "INTEGER"
    return SqliteColumn(
        str(name),
        is_computed=hidden in _COMPUTED,
        takes_null=not not_null or numbers_rows or hidden in _COMPUTED,
        has_default=default is not None,
    )


def _stored(value: Any) -> Any:
    """A value as SQLite stores it: lists and objects as JSON text, integers beyond 64 bits as text."""
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if isinstance(value, int) and value not in _INT64:
        return str(value)
    return value
