"""A table of a PostgreSQL database as a sink.

Rows go into a transaction of the database before the commit in the store, which holds them too, under its
number; after it the database commits, rows and number together. So what the database refuses stops the
pipeline before anything is committed, and what did not get there in the end comes with the next run, once:
its number tells whether it is there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from aegis_cli.pipeline import definition
from aegis_cli.pipeline.conninfo import parse_conninfo
from aegis_cli.pipeline.errors import RecordError, SinkError, SinkTakenError
from aegis_cli.pipeline.outgoing import Outgoing
from aegis_cli.pipeline.shape import Shape
from aegis_cli.pipeline.sinks.postgres_position import (
    POSITIONS,
    AheadError,
    FenceLostError,
    PostgresPosition,
)
from aegis_cli.pipeline.sinks.postgres_session import (
    PostgresSession,
    Stop,
    lost_errors,
)
from aegis_cli.pipeline.sinks.postgres_table import MisfitError, PostgresTable
from aegis_cli.pipeline.sinks.sink import Rows
from aegis_cli.pipeline.state import Facts
from storage import files

if TYPE_CHECKING:
    from psycopg import Cursor

_T = TypeVar("_T")
# Releases before it get no repairs any more.
_VERSION_MIN = 150000


class PostgresSink:
    """Writes rows into a table, which is made with the columns of the first rows. Raises `SinkError`.

    With a key, a later row replaces the earlier one of that key. `slot` names it among the sinks of the
    pipeline, and must be the same in each run.
    """

    def __init__(
        self, sink: definition.Sink, shape: Shape, *, pipeline: str, slot: str, stop: Stop | None
    ) -> None:
        self._sink = sink
        self._shape = shape
        self.slot = slot
        self._pipeline = pipeline
        schema = sink.table.rpartition(".")[0]
        conninfo = parse_conninfo(sink.name)
        self._where = f"table {sink.table} of {conninfo.address}"
        self._session = PostgresSession(conninfo, pipeline=pipeline, stop=stop)
        self._position = PostgresPosition(pipeline=pipeline, sink=sink.table, schema=schema)
        self._table = PostgresTable(sink.table, shape, key=sink.key, create=sink.create)
        # The commit whose rows are in the open transaction, and the connection that knows the table.
        self._written = -1
        self._loaded_by = 0

    def open(self, facts: Facts) -> None:
        last = self._work(self._begin, commit=True, is_first=True)
        if facts.number and last > facts.number:
            raise self._ahead()
        rows = facts.pending.get(self.slot)
        if rows and last < facts.number:
            facts.pending[self.slot] = [self._checked(row) for row in rows]
            self.finish(facts)

    def _checked(self, row: dict[str, Any]) -> dict[str, Any]:
        """A row that an earlier run left: it may be the first to have a column, as it was there."""
        try:
            return self._shape.settle(self._shape.check(row))
        except RecordError as error:
            raise self._session.error(
                f"a row that is still to come does not fit any more: {error}"
            ) from error

    def _begin(self, cursor: Cursor[Any]) -> int:
        info = cursor.connection.info
        if info.server_version < _VERSION_MIN:
            reason = f"it is PostgreSQL {info.server_version // 10000}, and 15 is the oldest that will do"
            raise self._session.error(reason)
        encoding = info.parameter_status("server_encoding")
        if encoding != "UTF8":
            raise self._session.error(f"the database holds text as {encoding}, and it must be UTF8")
        last = self._position.take(cursor)
        self._shape.learn(self._table.load(cursor))
        self._table.check(cursor)
        self._loaded_by = self._session.connections
        return last

    def prepare(self, rows: Rows, outgoing: Outgoing, facts: Facts) -> int:
        everything = [row for _, some in rows for row in some]
        if everything:
            self._work(lambda cursor: self._bring(cursor, everything, facts.number), commit=False)
            self._written = facts.number
            facts.pending[self.slot] = everything
        return len(everything)

    def finish(self, facts: Facts) -> None:
        rows = facts.pending.get(self.slot)
        if not rows:
            return
        files.step("pipeline.table")
        if not self._committed(facts.number):
            self._work(lambda cursor: self._bring(cursor, rows, facts.number), commit=True)
        files.step("pipeline.table.committed")

    def _committed(self, number: int) -> bool:
        """Commit what is open; returns False where it is not this commit, or not certain to be there."""
        if not self._session.is_open or self._written != number:
            return False
        try:
            self._session.commit()
        except lost_errors():
            self._session.drop()
            return False
        return True

    def _bring(self, cursor: Cursor[Any], rows: list[dict[str, Any]], number: int) -> None:
        """Write rows and the number of their commit, if that is not there already."""
        if self._position.advance(cursor, number):
            if self._loaded_by != self._session.connections:
                # What was made in a transaction that was given up is not there.
                self._table.load(cursor)
                self._loaded_by = self._session.connections
            self._table.write(cursor, rows)
            # What is only checked at the end is checked now, while nothing is committed anywhere.
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        files.step("pipeline.table.written")

    def _work(self, do: Callable[[Cursor[Any]], _T], *, commit: bool, is_first: bool = False) -> _T:
        try:
            return self._session.work(do, commit=commit, is_first=is_first)
        except MisfitError as error:
            raise self._session.error(str(error)) from error
        except FenceLostError as error:
            reason = "another run of the pipeline has begun to write there; stop one of them"
            raise SinkTakenError(self._pipeline, self._where, reason) from error
        except AheadError as error:
            raise self._ahead() from error

    def _ahead(self) -> SinkError:
        return self._session.error(
            f"it holds commits of pipeline '{self._pipeline}' that this store does not know, as when the "
            f"store is an older copy; empty the table, remove its row from {POSITIONS}, reset the pipeline"
        )

    def close(self) -> None:
        self._session.drop()
