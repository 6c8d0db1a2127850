"""What a table of PostgreSQL holds against what it should: the server compares, in a temporary table.

The rows that are expected go there as a sink would write them, and so through the same types and the same
key. All of it is in a transaction that is never committed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aegis_cli.pipeline import definition
from aegis_cli.pipeline.conninfo import parse_conninfo
from aegis_cli.pipeline.outgoing import Outgoing
from aegis_cli.pipeline.shape import Shape
from aegis_cli.pipeline.sinks.postgres_session import PostgresSession
from aegis_cli.pipeline.sinks.postgres_table import PostgresTable, quoted
from aegis_cli.pipeline.sinks.sink import Rows
from aegis_cli.pipeline.state import Facts

if TYPE_CHECKING:
    from psycopg import Cursor

_EXPECTED = "aegis_expected"


class PostgresComparison:
    """Collects the rows that the table of a sink should have; `differences` then says where it has others.

    Raises `SinkError`, `SinkUnreachableError`.
    """

    def __init__(self, sink: definition.Sink, shape: Shape, *, pipeline: str) -> None:
        self._sink = sink
        self._shape = shape
        self._rows: list[dict[str, Any]] = []
        self._session = PostgresSession(parse_conninfo(sink.name), pipeline=pipeline, stop=None)
        self._table = PostgresTable(sink.table, shape, key=sink.key, create=True)
        shape.learn(self._session.work(self._table.load, commit=True, is_first=True))

    def prepare(self, rows: Rows, outgoing: Outgoing, facts: Facts) -> int:
        """Take rows."""
        self._rows += [row for _, some in rows for row in some]
        return len(self._rows)

    def differences(self, shown_max: int) -> tuple[int, list[str]]:
        """How many rows were compared, and the first differences in words."""
        try:
            return self._session.work(lambda cursor: self._compare(cursor, shown_max), commit=False)
        finally:
            self._session.drop()

    def _compare(self, cursor: Cursor[Any], shown_max: int) -> tuple[int, list[str]]:
        name = self._sink.table
        held = {column.name for column in self._table.load(cursor)}
        if not self._table.is_there:
            return len(self._rows), [f"{name}: there is no such table"] if self._rows else []
        given = set().union(*self._rows)
        known = self._shape.columns
        missing = sorted(field for field in given if field in known and field not in held)
        if missing:
            return len(self._rows), [f"{name}: there is no column '{field}'" for field in missing[:shown_max]]
        cursor.execute(f"CREATE TEMPORARY TABLE {_EXPECTED} AS SELECT * FROM {self._table.quoted} LIMIT 0")
        if self._sink.key:
            key = ", ".join(map(quoted, self._sink.key))
            cursor.execute(f"ALTER TABLE {_EXPECTED} ADD UNIQUE ({key})")
        expected = PostgresTable(_EXPECTED, self._shape, key=self._sink.key, create=True)
        expected.load(cursor)
        expected.write(cursor, self._rows)
        # What a column gets by itself is not known here.
        names = [each for each in known if each in given and not self._is_made(each)]
        listed = ", ".join(f"{quoted(each)}::text" for each in names)
        wanted, found = f"SELECT {listed} FROM {_EXPECTED}", f"SELECT {listed} FROM {self._table.quoted}"
        cursor.execute(
            f"SELECT greatest((SELECT count(*) FROM ({wanted}) w), (SELECT count(*) FROM ({found}) f))"
        )
        (compared,) = cursor.fetchone() or (0,)
        differences = []
        for rest, what in (
            (f"{wanted} EXCEPT ALL {found}", "is missing"),
            (f"{found} EXCEPT ALL {wanted}", "is not expected"),
        ):
            cursor.execute(f"SELECT row_to_json(d)::text FROM ({rest}) d LIMIT $1::bigint", (shown_max,))
            differences += [f"{name}: {row[:200]} {what}" for (row,) in cursor]
        return int(compared), differences[:shown_max]

    def _is_made(self, name: str) -> bool:
        return self._shape.columns[name].has_default and not all(name in row for row in self._rows)
