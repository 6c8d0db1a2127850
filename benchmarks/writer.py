"""One process that writes single messages durably, one after another, and counts them.

    python writer.py aegis|sqlite|bare DIRECTORY NAME SECONDS THREADS

It prints a line when it is ready, begins when stdin gives it one, and prints how many messages it wrote and
how many seconds that took. Each message says who wrote it and which of its messages it is.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_NOTE = "x" * 150
# The bare file is written all over before the clock runs, so that a sync need not also change its size.
_BARE_BYTES = 64 * 1024 * 1024

Write = Callable[[str, int], object]


@contextmanager
def aegis(directory: Path, name: str) -> Iterator[Write]:
    """The library, one message a call."""
    from storage.store import Store

    with Store(directory / "store") as store:
        yield lambda writer, number: store.publish("t", {"writer": writer, "number": number, "note": _NOTE})


@contextmanager
def sqlite(directory: Path, name: str) -> Iterator[Write]:
    """SQLite in its fastest durable mode, one row a transaction."""
    import sqlite3

    database = sqlite3.connect(directory / "durable.db", isolation_level=None, timeout=60)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.execute("CREATE TABLE IF NOT EXISTS log (number INTEGER PRIMARY KEY, message TEXT NOT NULL)")
    statement = "INSERT INTO log (message) VALUES (?)"
    yield lambda writer, number: database.execute(statement, (_message(writer, number),))
    database.close()


@contextmanager
def bare(directory: Path, name: str) -> Iterator[Write]:
    """A write and a sync, and nothing else: what the disk gives."""
    fd = os.open(directory / f"bare-{name}", os.O_RDWR | os.O_CREAT, 0o666)
    for position in range(0, _BARE_BYTES, 1 << 20):
        os.pwrite(fd, bytes(1 << 20), position)
    os.fsync(fd)

    def write(writer: str, number: int) -> None:
        message = _message(writer, number).encode()
        os.pwrite(fd, message, number * len(message) % (_BARE_BYTES - 4096))
        os.fdatasync(fd)

    yield write
    os.close(fd)


def _message(writer: str, number: int) -> str:
    return f'{{"writer":"{writer}","number":{number},"note":"{_NOTE}"}}\n'


def main(kind: str, directory: Path, name: str, seconds: float, threads: int) -> None:
    counts = [0] * threads

    def work(index: int, deadline: float) -> None:
        writer = f"{name}-{index}"
        while time.perf_counter() < deadline:
            write(writer, counts[index])
            counts[index] += 1

    with {"aegis": aegis, "sqlite": sqlite, "bare": bare}[kind](directory, name) as write:
        print("ready", flush=True)
        sys.stdin.readline()
        began = time.perf_counter()
        others = [threading.Thread(target=work, args=(i, began + seconds)) for i in range(1, threads)]
        for thread in others:
            thread.start()
        work(0, began + seconds)
        for thread in others:
            thread.join()
        print(sum(counts), time.perf_counter() - began, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], float(sys.argv[4]), int(sys.argv[5]))
