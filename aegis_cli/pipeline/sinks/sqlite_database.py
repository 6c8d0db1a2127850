"""A database of SQLite, on which nothing waits without an end.

Promises: the tables of one database share a connection in a run, so that what they get commits together and
none waits for another; one that somebody else has locked is waited for a bounded time, and only a moment once
the run shall end.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from aegis_cli.pipeline.errors import SinkError

if TYPE_CHECKING:
    from sqlite3 import Connection

    from aegis_cli.pipeline.around import Stop

_T = TypeVar("_T")
BUSY_SECONDS = 30.0
# Once the run shall end, a lock is not waited for longer than this.
STOP_SECONDS = 0.5
_PAUSE_SECONDS = 0.02


class SqliteDatabase:
    """The connection to the database at `path`. Raises `SinkError`."""

    def __init__(self, path: str, *, pipeline: str, stop: Stop | None) -> None:
        import sqlite3

        self.path = str(Path(path).resolve())
        self._shown = path
        self._pipeline = pipeline
        self._stop = stop
        try:
            # Waiting is done here, where a signal ends it.
            self.connection: Connection = sqlite3.connect(path, timeout=0, isolation_level=None)
        except sqlite3.Error as error:
            raise self.error(str(error)) from error
        try:
            # What the database has committed, the store forgets with its next commit. EXTRA syncs the
            # directory too: with FULL a power cut may bring back the rollback journal, which undoes it.
            self.work(lambda: self._patiently("PRAGMA synchronous=EXTRA"))
        except BaseException:
            self.close()
            raise

    def error(self, reason: str, *, hint: str | None = None) -> SinkError:
        """An error of this database, for this reason."""
        return SinkError(self._pipeline, f"SQLite database {self._shown}", reason, hint=hint)

    def work(self, do: Callable[[], _T]) -> _T:
        """Do it; where it fails, what is open is given up."""
        import sqlite3

        try:
            return do()
        except sqlite3.Error as error:
            self._give_up()
            raise self.error(str(error)) from error
        except BaseException:
            self._give_up()
            raise

    def _give_up(self) -> None:
        import sqlite3

        # What met a full disk has ended the transaction by itself.
        with suppress(sqlite3.Error):
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")

    def begin(self) -> None:
        """Begin a transaction that writes, unless one is open. Raises errors of sqlite3."""
        if not self.connection.in_transaction:
            self._patiently("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Commit what is open. Raises errors of sqlite3."""
        if self.connection.in_transaction:
            self._patiently("COMMIT")

    def _patiently(self, statement: str) -> None:
        """Execute it, again while somebody else has a lock."""
        import sqlite3

        end = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                self.connection.execute(statement)
                return
            except sqlite3.OperationalError as error:
                now = time.monotonic()
                if self._stop is not None and self._stop.came is not None:
                    end = min(end, now + STOP_SECONDS)
                # The lower byte says what it is, the others what of it.
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or now >= end:
                    raise
            self._pause()

    def _pause(self) -> None:
        if self._stop is not None and self._stop.came is None:
            select.select([self._stop.fd], [], [], _PAUSE_SECONDS)
        else:
            time.sleep(_PAUSE_SECONDS)

    def close(self) -> None:
        """Close it; what is open is given up. A second time does nothing."""
        self.connection.close()
