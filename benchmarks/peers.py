"""SQLite as a log, in a process of its own.

python peers.py load DATABASE < LINES
python peers.py dump DATABASE > LINES
"""

from __future__ import annotations

import sys
from itertools import islice

_ROWS = 10_000


def load(path: str) -> None:
    """Insert each line of stdin as a row, 10,000 rows a transaction, the last of them on disk at the end."""
    import sqlite3

    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.execute("CREATE TABLE log (number INTEGER PRIMARY KEY, message TEXT NOT NULL)")
    lines = iter(sys.stdin.buffer)
    while rows := [(line,) for line in islice(lines, _ROWS)]:
        database.execute("BEGIN")
        database.executemany("INSERT INTO log (message) VALUES (?)", rows)
        database.execute("COMMIT")
    database.close()


def dump(path: str) -> None:
    """Print all rows in the order of their numbers."""
    import sqlite3

    database = sqlite3.connect(path)
    cursor = database.execute("SELECT message FROM log ORDER BY number")
    with open(1, "wb", closefd=False) as output:
        while rows := cursor.fetchmany(_ROWS):
            output.write(b"".join([row[0] for row in rows]))
    database.close()


if __name__ == "__main__":
    {"load": load, "dump": dump}[sys.argv[1]](sys.argv[2])
