"""How far a pipeline got in a PostgreSQL database: a row of `aegis_positions`, changed with what is written.

Promises: a commit is in the database once, since its number is put there in the same transaction; a run that
another one has followed can commit nothing more, since it has another fence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from psycopg import Cursor

POSITIONS = "aegis_positions"


class FenceLostError(Exception):
    """Another run has taken the position over."""


class AheadError(Exception):
    """The database has commits that the store knows nothing of."""


class PostgresPosition:
    """The position of one sink of a pipeline. `take` it before anything else."""

    def __init__(self, *, pipeline: str, sink: str, schema: str) -> None:
        self._key = (pipeline, sink)
        self._table = f'"{schema}".{POSITIONS}' if schema else POSITIONS
        self._fence = 0

    def take(self, cursor: Cursor[Any]) -> int:
        """Make it this run's own; returns the number of the last commit, -1 before the first.

        Waits for a transaction of an earlier run that is still open.
        """
        cursor.execute("SELECT to_regclass($1) IS NULL", (self._table,))
        if _first(cursor):
            # Two that make it at the same time would be told of a conflict in the catalog.
            cursor.execute("SELECT pg_advisory_xact_lock(hashtext($1))", (POSITIONS,))
            cursor.execute(
                f"CREATE TABLE IF NOT EXISTS {self._table} (pipeline text, sink text, "
                "number bigint NOT NULL, fence bigint NOT NULL, PRIMARY KEY (pipeline, sink))"
            )
        cursor.execute(
            f"INSERT INTO {self._table} AS own VALUES ($1, $2, -1, 1) "
            "ON CONFLICT (pipeline, sink) DO UPDATE SET fence = own.fence + 1 RETURNING number, fence",
            self._key,
        )
        number, self._fence = _row(cursor)
        return int(number)

    def advance(self, cursor: Cursor[Any], number: int) -> bool:
        """Say that this commit is there; returns False where it was already.

        Raises `FenceLostError`, `AheadError`.
        """
        cursor.execute(
            f"UPDATE {self._table} SET number = $3 "
            "WHERE pipeline = $1 AND sink = $2 AND fence = $4 AND number < $3",
            (*self._key, number, self._fence),
        )
        if cursor.rowcount:
            return True
        cursor.execute(
            f"SELECT number, fence FROM {self._table} WHERE pipeline = $1 AND sink = $2", self._key
        )
        found = cursor.fetchone()
        if found is None or found[1] != self._fence:
            raise FenceLostError
        if found[0] > number:
            raise AheadError
        return False


def _row(cursor: Cursor[Any]) -> tuple[Any, ...]:
    row = cursor.fetchone()
    assert row is not None
    return tuple(row)


def _first(cursor: Cursor[Any]) -> Any:
    return _row(cursor)[0]
