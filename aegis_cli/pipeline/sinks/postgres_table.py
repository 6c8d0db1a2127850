"""A table of a PostgreSQL database: which columns it has, making it, and bringing rows into it.

Rows go by COPY, into the table itself or, where a later row of a key replaces an earlier one, into a
temporary table and from there. That is several times as fast as INSERTs that are sent together, and twice
as fast as rows that are sent as JSON.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import msgspec

from aegis_cli.pipeline.shape import Shape, why_no_column
from aegis_cli.pipeline.table_column import TableColumn, column, generated_column

if TYPE_CHECKING:
    from psycopg import Cursor

_COLUMNS = """
SELECT a.attname, format_type(a.atttypid, a.atttypmod), coalesce(b.typname, t.typname),
    CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE a.atttypmod END,
    a.attnotnull OR t.typnotnull,
    a.atthasdef OR a.attidentity <> '' OR t.typdefault IS NOT NULL,
    a.attgenerated <> '' OR a.attidentity = 'a'
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_type b ON b.oid = nullif(t.typbasetype, 0)
WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""
# Whether an ON CONFLICT of exactly these columns finds what it needs.
_IS_UNIQUE = """
SELECT EXISTS (
    SELECT FROM pg_index i WHERE i.indrelid = to_regclass($1) AND i.indisunique AND i.indimmediate
        AND i.indpred IS NULL AND i.indexprs IS NULL AND $2 = (
            SELECT array_agg(a.attname::text ORDER BY a.attname::text COLLATE "C") FROM pg_attribute a
            WHERE a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey[0:i.indnkeyatts - 1])
        )
)
"""
_encode = msgspec.json.Encoder().encode


class MisfitError(Exception):
    """The table is not one that these rows can go to; its text says why."""


class PostgresTable:
    """The table `name`, which may be in a schema ('s.t'), with the columns of `shape`.

    What a method makes is there when the transaction of its cursor commits; after one that did not, call
    `load` before anything else.
    """

    def __init__(self, name: str, shape: Shape, *, key: Sequence[str], create: bool) -> None:
        self.name = name
        self.quoted = ".".join(quoted(part) for part in name.split("."))
        self.is_there = False
        self._shape = shape
        self._key = list(key)
        self._create = create
        self._names: set[str] = set()
        self._token = os.urandom(6).hex()
        self._stages: dict[str, int] = {}

    def load(self, cursor: Cursor[Any]) -> list[TableColumn]:
        """Look what is there; returns the columns."""
        cursor.execute("SELECT to_regclass($1) IS NOT NULL", (self.quoted,))
        (self.is_there,) = cursor.fetchone() or (False,)
        cursor.execute(_COLUMNS, (self.quoted,))
        columns = [_column(*row) for row in cursor]
        self._names = {each.name for each in columns}
        return columns

    def check(self, cursor: Cursor[Any]) -> None:
        """After `load`: raise `MisfitError` where no row could go there."""
        fields = self._shape.fields
        if not self.is_there and not self._create:
            raise MisfitError(f"there is no table '{self.name}', and 'create: false' is given")
        missing = [name for name in fields or () if name not in self._names]
        if missing and not self._create:
            raise MisfitError(
                f"table '{self.name}' has no column '{missing[0]}', and 'create: false' is given"
            )
        for reason in filter(None, map(why_no_column, [*missing, *self._key])):
            raise MisfitError(reason)
        if self.is_there and self._key:
            cursor.execute(_IS_UNIQUE, (self.quoted, sorted(self._key)))
            (is_unique,) = cursor.fetchone() or (False,)
            if not is_unique:
                key = ", ".join(map(quoted, self._key))
                raise MisfitError(
                    f"table '{self.name}' has no unique index on exactly the columns of 'key'; "
                    f"give it one: ALTER TABLE {self.quoted} ADD UNIQUE ({key})"
                )

    def write(self, cursor: Cursor[Any], rows: list[dict[str, Any]]) -> None:
        """Bring rows there, which the shape has checked; the table and its columns are made where missing."""
        self._make(cursor, rows)
        for names, some in self._alike(rows):
            if not names:
                cursor.execute(
                    f"INSERT INTO {self.quoted} SELECT FROM generate_series(1, $1::bigint)", (len(some),)
                )
            elif self._key:
                self._upsert(cursor, names, some)
            else:
                self._copy(cursor, self.quoted, names, some)

    def _make(self, cursor: Cursor[Any], rows: list[dict[str, Any]]) -> None:
        known = self._shape.columns
        given = set().union(self._key, *rows)
        # Those of the key, then in the order in which the records had them first, whatever this commit has.
        order = [name for name in dict.fromkeys([*self._key, *known]) if name in given]
        wanted = [known[name] for name in order if name in known and name not in self._names]
        made = [f"{quoted(each.name)} {each.type}" for each in wanted]
        if not self.is_there:
            if self._key:
                made.append(f"PRIMARY KEY ({', '.join(map(quoted, self._key))})")
            cursor.execute(f"CREATE TABLE {self.quoted} ({', '.join(made)})")
            self.is_there = True
        elif made:
            added = ", ".join(f"ADD COLUMN {each}" for each in made)
            cursor.execute(f"ALTER TABLE {self.quoted} {added}")
        self._names.update(each.name for each in wanted)

    def _alike(self, rows: list[dict[str, Any]]) -> Iterable[tuple[list[str], list[dict[str, Any]]]]:
        """Runs of rows that give values to the same columns, which mostly are all rows.

        A column with a default gets it where a row says nothing of it, whatever other rows there are.
        """
        columns = [each for each in self._shape.columns.values() if each.name in self._names]
        if self._shape.fields is not None:
            # They all have the same; what an earlier run left may be of an earlier definition.
            fields = set().union(*rows)
            yield [each.name for each in columns if each.name in fields], rows
            return
        odd = [each.name for each in columns if each.has_default]
        plain = [each.name for each in columns if not each.has_default]
        for given, some in groupby(rows, lambda row: [name for name in odd if name in row]):
            yield [*plain, *given], list(some)

    def _copy(
        self, cursor: Cursor[Any], table: str, names: list[str], rows: list[dict[str, Any]], order: str = ""
    ) -> None:
        """Copy the columns `names` of rows into a table; in the column `order`, which number a row has."""
        columns = self._shape.columns
        places = [number for number, name in enumerate(names) if columns[name].is_json]
        listed = ", ".join(map(quoted, [*names, order] if order else names))
        with cursor.copy(f"COPY {table} ({listed}) FROM STDIN") as copy:
            for number, row in enumerate(rows):
                values = [row.get(name) for name in names]
                for place in places:
                    if values[place] is not None:
                        values[place] = _encode(values[place]).decode()
                if order:
                    values.append(number)
                copy.write_row(values)

    def _upsert(self, cursor: Cursor[Any], names: list[str], rows: list[dict[str, Any]]) -> None:
        order = "aegis_order"
        while order in names:
            order += "_"
        listed, key = ", ".join(map(quoted, names)), ", ".join(map(quoted, self._key))
        stage = self._stage(cursor, listed, order)
        self._copy(cursor, stage, names, rows, order)
        own = [name for name in names if name not in self._key]
        changes = [f"{quoted(name)} = excluded.{quoted(name)}" for name in own]
        action = f"UPDATE SET {', '.join(changes)}" if changes else "NOTHING"
        cursor.execute(
            f"INSERT INTO {self.quoted} ({listed}) SELECT DISTINCT ON ({key}) {listed} FROM {stage} "
            f"ORDER BY {key}, {quoted(order)} DESC ON CONFLICT ({key}) DO {action}"
        )
        cursor.execute(f"TRUNCATE {stage}")

    def _stage(self, cursor: Cursor[Any], listed: str, order: str) -> str:
        """A temporary table with the columns that are listed, which is empty.

        It stays for as long as the session, since making one for each commit would bloat the catalog. A
        pooler may give each transaction another session, and others the same: its name is of this run alone.
        """
        number = self._stages.setdefault(listed, len(self._stages))
        stage = f"aegis_rows_{self._token}_{number}"
        cursor.execute(
            f"CREATE TEMPORARY TABLE IF NOT EXISTS {stage} AS "
            f"SELECT {listed}, 0::bigint AS {quoted(order)} FROM {self.quoted} LIMIT 0"
        )
        return f"pg_temp.{stage}"


def quoted(name: str) -> str:
    """A name as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


def _column(
    name: str, kind: str, base: str, typmod: int, not_null: bool, has_default: bool, is_generated: bool
) -> TableColumn:
    if is_generated:
        return generated_column(name, kind)
    required = not_null and not has_default
    return column(name, kind, base=base, typmod=typmod, is_required=required, has_default=has_default)
