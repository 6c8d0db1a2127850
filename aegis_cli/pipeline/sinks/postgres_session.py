"""A connection to PostgreSQL that is made anew when it is lost, and on which nothing waits without an end.

Promises: work is one transaction; where the connection is lost in it, it is done again from its beginning,
for a bounded time; a server that does not answer is given up after a bounded time, and soon once the run
shall end.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from aegis_cli.pipeline.conninfo import Conninfo
from aegis_cli.pipeline.errors import SinkError, SinkUnreachableError

if TYPE_CHECKING:
    from psycopg import Connection, Cursor

_T = TypeVar("_T")
CONNECT_SECONDS = 10
# A statement that takes longer has met a lock or a server that is gone.
STATEMENT_SECONDS = 60.0
# How long it is tried to get a connection back: a restart of a server takes seconds.
RETRY_SECONDS = 30.0
# Before a run has begun, whoever started it had better hear of a wrong address soon.
FIRST_RETRY_SECONDS = 2.0
# Once the run shall end, an answer is not waited for longer than this.
STOP_SECONDS = 2.0
_PAUSE_SECONDS = 0.1
_PAUSE_SECONDS_MAX = 5.0
# Errors of other classes than OperationalError that end when another server has taken over.
_PASSING = ("25006", "25P03", "25P04")
# Set in each transaction, since a pooler gives each another session. A server that was told to forget what it
# has committed would lose rows; one whose client stopped in a transaction would hold locks for ever.
_SETTINGS = f"""
SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'
UNION ALL SELECT set_config('statement_timeout', '{STATEMENT_SECONDS:.0f}s', true)
UNION ALL SELECT set_config('idle_in_transaction_session_timeout', '{STATEMENT_SECONDS:.0f}s', true)
"""


class Stop(Protocol):
    """Who wants the run to end: `came` is the signal's number once there was one; it makes `fd` readable."""

    came: int | None
    fd: int


class NoAnswerError(Exception):
    """The server did not answer in time."""


class PostgresSession:
    """Does work in transactions. Raises `SinkError`, `SinkUnreachableError`; needs psycopg."""

    def __init__(self, conninfo: Conninfo, *, pipeline: str, stop: Stop | None) -> None:
        self._conninfo = conninfo
        self._pipeline = pipeline
        self._stop = stop
        self._connection: Connection[Any] | None = None
        self._begun = False
        # How many connections there were.
        self.connections = 0

    @property
    def is_open(self) -> bool:
        """Whether a transaction was begun, and neither committed nor given up."""
        return self._connection is not None and self._begun

    def error(self, reason: str) -> SinkError:
        """An error of this database, for this reason."""
        return SinkError(self._pipeline, f"PostgreSQL at {self._conninfo.address}", reason)

    def work(self, do: Callable[[Cursor[Any]], _T], *, commit: bool, is_first: bool = False) -> _T:
        """Do it in a transaction, which stays open without `commit`; again, where the connection is lost."""
        end = time.monotonic() + (FIRST_RETRY_SECONDS if is_first else RETRY_SECONDS)
        pause = _PAUSE_SECONDS
        while True:
            try:
                done = do(self._cursor())
                if commit:
                    self.commit()
                return done
            except lost_errors() as error:
                self.drop()
                reason = _reason(error)
                if not _passes(error):
                    raise self.error(reason) from error
                left = end - time.monotonic()
                if left <= 0 or self._pause(min(pause, left)):
                    raise SinkUnreachableError(
                        self._pipeline, f"PostgreSQL at {self._conninfo.address}", reason
                    ) from error
                pause = min(2 * pause, _PAUSE_SECONDS_MAX)
            except BaseException:
                self.drop()
                raise

    def commit(self) -> None:
        """Commit what is open. Raises errors of psycopg: whether it was committed is not certain then."""
        assert self._connection is not None
        self._begun = False
        self._connection.commit()

    def drop(self) -> None:
        """Give up the connection and what is open on it, without a word to the server."""
        connection, self._connection, self._begun = self._connection, None, False
        if connection is not None:
            connection.close()

    def _pause(self, seconds: float) -> bool:
        """Wait; returns whether the run shall end."""
        if self._stop is None:
            time.sleep(seconds)
            return False
        if self._stop.came is None:
            select.select([self._stop.fd], [], [], seconds)
        return self._stop.came is not None

    def _cursor(self) -> Cursor[Any]:
        """A cursor in a transaction that has just begun."""
        if self._connection is None:
            self._connection = self._connected()
            self.connections += 1
        cursor = self._connection.cursor()
        self._begun = True
        cursor.execute(_SETTINGS)
        return cursor

    def _connected(self) -> Connection[Any]:
        from os import environ

        from psycopg import Connection, RawCursor

        guard = self._guarded

        class Guarded(Connection[Any]):
            """Every wait for the server passes here."""

            def wait(self, gen: Any, *arguments: Any, **named: Any) -> Any:
                return super().wait(guard(gen), *arguments, **named)

        told: dict[str, Any] = {"application_name": f"aegis {self._pipeline}", **self._conninfo.parameters}
        if "PGCONNECT_TIMEOUT" not in environ:
            told.setdefault("connect_timeout", CONNECT_SECONDS)
        # Values are sent as they are, and names of a pipeline may hold what a placeholder would.
        told |= {"client_encoding": "utf8", "cursor_factory": RawCursor, "prepare_threshold": None}
        return Guarded.connect(**told)

    def _guarded(self, waiting: Generator[Any, Any, _T]) -> Generator[Any, Any, _T]:
        """The same steps of waiting, which end when they take too long. Raises `NoAnswerError`."""
        end = time.monotonic() + STATEMENT_SECONDS + 1
        stopping = False
        try:
            wish = next(waiting)
            while True:
                ready = yield wish
                now = time.monotonic()
                if not stopping and self._stop is not None and self._stop.came is not None:
                    stopping = True
                    end = min(end, now + STOP_SECONDS)
                if now >= end:
                    raise NoAnswerError("the server does not answer")
                wish = waiting.send(ready)
        except StopIteration as stopped:
            result: _T = stopped.value
            return result


def lost_errors() -> tuple[type[Exception], ...]:
    """What a connection raises: what the server refuses, and that there is none."""
    import psycopg

    return psycopg.Error, NoAnswerError, OSError


def _passes(error: BaseException) -> bool:
    """Whether the same may succeed later."""
    import psycopg

    if isinstance(error, psycopg.Error) and error.sqlstate in _PASSING:
        return True
    return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError | NoAnswerError | OSError)


def _reason(error: BaseException) -> str:
    """What the server says, on one line."""
    import psycopg

    text = str(error) or type(error).__name__
    if isinstance(error, psycopg.Error) and error.diag.message_primary:
        told = error.diag
        where = (told.context or "").splitlines()[:1]
        text = "; ".join(filter(None, [told.message_primary, told.message_detail, *where]))
    return " ".join(text.split()).rstrip(".")
