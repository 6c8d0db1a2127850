"""A Redis server of our own with an append-only file, where Redis is installed: a peer of bulk publish."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.processes import BenchmarkError, Command

_START_SECONDS = 10.0


@contextmanager
def redis_client(directory: Path) -> Iterator[Command | None]:
    """The start of a `redis-cli` command for a server in `directory`; `None` where Redis is not installed."""
    server, client = shutil.which("redis-server"), shutil.which("redis-cli")
    if server is None or client is None:
        yield None
        return
    directory.mkdir()
    socket = directory / "socket"
    options = {"port": 0, "unixsocket": socket, "dir": directory, "appendonly": "yes", "save": ""}
    arguments = [str(part) for name, value in options.items() for part in (f"--{name}", value)]
    process = subprocess.Popen([server, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _await_socket(socket, process)
        yield [client, "-s", str(socket)]
    finally:
        process.kill()
        process.wait()


def _await_socket(socket: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not socket.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise BenchmarkError("redis-server does not start")
        time.sleep(0.01)


def write_protocol(lines: Path, target: Path, *, stream: str) -> None:
    """Write what adds each of `lines` to a stream, in Redis's own protocol."""
    with lines.open("rb") as source, target.open("wb") as file:
        for line in source:
            message = line[:-1]
            file.write(b"*5\r\n$4\r\nXADD\r\n$%d\r\n%b\r\n$1\r\n*\r\n" % (len(stream), stream.encode()))
            file.write(b"$1\r\nm\r\n$%d\r\n%b\r\n" % (len(message), message))
