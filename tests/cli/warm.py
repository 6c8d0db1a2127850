"""Commands without the start of an interpreter: a process that has imported `aegis` forks for each of them.

Most of what a short command takes is the start of Python and its imports, which are the same every time. So
one process does both once, and forks for each command: the child takes the descriptors, the surroundings, the
directory and the words of its command, runs `main` and ends like any other process. It has nothing of the
commands before it, since those ran in children of their own.

Commands that are given surroundings of their own do not come here, since some are read while `aegis` is
imported, and neither do those that a test keeps in its hands while they run: those start as they do anywhere.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import selectors
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

_LENGTH = struct.Struct("<Q")
_NUMBER = struct.Struct("<i")
# More than a process of a test may have open.
_DESCRIPTORS_MAX = 65_536


class WarmProcess:
    """The process that forks, seen from the tests."""

    def __init__(self) -> None:
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            # Its streams are pipes, as those of the commands are: Python looks at them when it starts.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.cli.warm", str(theirs.fileno())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=[theirs.fileno()],
                cwd=ROOT,
            )
        atexit.register(self.close)

    def close(self) -> None:
        """End it."""
        self._requests.close()
        self._process.communicate()

    def run(
        self,
        arguments: Sequence[str],
        *,
        stdin: bytes,
        environ: Mapping[str, str],
        directory: Path,
        timeout_seconds: float,
    ) -> tuple[int, bytes, bytes]:
        """The exit code, stdout and stderr of one command; `TimeoutError` if it takes longer."""
        # Words may be bytes, and no UTF-8.
        words = [os.fsdecode(word) for word in arguments]
        text = json.dumps({"arguments": words, "environ": dict(environ), "directory": str(directory)})
        request = text.encode()
        pipes = [os.pipe() for _ in range(3)]
        (read_in, write_in), (read_out, write_out), (read_err, write_err) = pipes
        mine, theirs = socket.socketpair()
        with mine:
            with theirs:
                given = [read_in, write_out, write_err]
                socket.send_fds(self._requests, [b"."], [*given, theirs.fileno()])
                for fd in given:
                    os.close(fd)
            mine.sendall(_LENGTH.pack(len(request)) + request)
            pid = _number(mine)
            try:
                out, err = _communicate(write_in, (read_out, read_err), stdin, timeout_seconds)
                mine.settimeout(timeout_seconds)
                return _number(mine), out, err
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                raise


def _communicate(
    write_fd: int, read_fds: tuple[int, int], data: bytes, timeout_seconds: float
) -> tuple[bytes, bytes]:
    """Write all of `data` and read until both ends are closed."""
    deadline = time.monotonic() + timeout_seconds
    found: dict[int, list[bytes]] = {fd: [] for fd in read_fds}
    rest = memoryview(data)
    os.set_blocking(write_fd, False)
    with selectors.DefaultSelector() as selector:
        for fd in read_fds:
            selector.register(fd, selectors.EVENT_READ)
        selector.register(write_fd, selectors.EVENT_WRITE)
        try:
            while selector.get_map():
                ready = selector.select(max(0.0, deadline - time.monotonic()))
                if not ready:
                    raise TimeoutError(f"not done after {timeout_seconds:.0f} s")
                for key, _ in ready:
                    if key.fd == write_fd:
                        rest = _write_some(write_fd, rest)
                        more = bool(rest)
                    else:
                        found[key.fd].append(os.read(key.fd, 1 << 20))
                        more = bool(found[key.fd][-1])
                    if not more:
                        selector.unregister(key.fd)
                        os.close(key.fd)
        except TimeoutError:
            for fd in list(selector.get_map()):
                os.close(fd)
            raise
    out, err = (b"".join(found[fd]) for fd in read_fds)
    return out, err


def _write_some(fd: int, data: memoryview) -> memoryview:
    """What is left of `data`; nothing where nobody reads it any more."""
    try:
        return data[os.write(fd, data[: 1 << 16]) :] if data else data
    except BrokenPipeError:
        return data[:0]


def _read_whole(stream: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = stream.recv(size - len(data))
        if not part:
            raise ConnectionError("the process that forks is gone")
        data += part
    return data


def _number(stream: socket.socket) -> int:
    number: int
    (number,) = _NUMBER.unpack(_read_whole(stream, _NUMBER.size))
    return number


def serve(requests: socket.socket) -> list[str]:
    """Fork for each request until there are no more; returns in each child, with the words of its command."""
    with selectors.DefaultSelector() as selector:
        selector.register(requests, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is not requests:
                    pid, reply = key.data
                    selector.unregister(key.fd)
                    os.close(key.fd)
                    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                    with reply:
                        reply.sendall(_NUMBER.pack(code))
                    continue
                came, fds, _, _ = socket.recv_fds(requests, 1, 4)
                if not came:
                    os._exit(0)
                pid = os.fork()
                if pid == 0:
                    return _become(fds)
                for fd in fds[:3]:
                    os.close(fd)
                selector.register(
                    os.pidfd_open(pid), selectors.EVENT_READ, (pid, socket.socket(fileno=fds[3]))
                )


def _become(fds: Sequence[int]) -> list[str]:
    """Take the place that the request describes, in a process that has just been forked."""
    reply = socket.socket(fileno=fds[3])
    reply.sendall(_NUMBER.pack(os.getpid()))
    (length,) = _LENGTH.unpack(_read_whole(reply, _LENGTH.size))
    request = json.loads(_read_whole(reply, length))
    for number, fd in enumerate(fds[:3]):
        os.dup2(fd, number)
    os.closerange(3, _DESCRIPTORS_MAX)
    reply.detach()
    os.environ.clear()
    os.environ.update(request["environ"])
    os.chdir(request["directory"])
    words: list[str] = request["arguments"]
    return words


if __name__ == "__main__":
    import tomllib  # noqa: F401 - every command reads a topic's settings

    import aegis_cli.__main__
    from aegis_cli.app import build

    build()
    # What is shared with the children is not to be copied because somebody looks for garbage in it.
    gc.freeze()
    sys.argv[1:] = serve(socket.socket(fileno=int(sys.argv[1])))
    sys.exit(aegis_cli.__main__.main())
