"""Processes that prepare chunks for a run: they hold no state, no lock and no file, and end with it.

Promises: what they prepare is taken in the order in which it was given to them; a bounded number of chunks is
under way; a worker that dies is an error and never a gap; none outlives the process that began them, however
that ended, since each waits on a socket whose other end only that process has.
"""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import select
import signal
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import NoReturn

from aegis_cli.pipeline.definition import Definition
from aegis_cli.pipeline.errors import WorkerError
from aegis_cli.pipeline.fit import Fit
from aegis_cli.pipeline.prefix import Prepared, unpacked
from aegis_cli.pipeline.program import Program

# Chunks that a worker has at once: one in work, and one that it goes on with.
_CHUNKS_A_WORKER = 2
_HEAD = struct.Struct("<cQ")
_DEFINE, _PREPARE, _PREPARED, _FAILED = b"D", b"P", b"+", b"!"
_READ_BYTES = 1 << 20
# A signal wakes nobody who waits for a worker; it is looked for this often.
_LOOK_MS = 100
# A chunk takes a part of a second: a worker that needs so long for one stands still.
ANSWER_SECONDS = 120.0


class Workers:
    """`count` processes, begun at once: a process that has threads must not be forked."""

    def __init__(self, count: int) -> None:
        self._workers: list[Worker] = []
        self._by_fd: dict[int, Worker] = {}
        self._poll = select.poll()
        try:
            for _ in range(count):
                worker = Worker()
                self._workers.append(worker)
                self._by_fd[worker.socket.fileno()] = worker
        except BaseException:
            self.close()
            raise

    @property
    def chunks_max(self) -> int:
        """How many chunks can be under way."""
        return len(self._workers) * _CHUNKS_A_WORKER

    def define(self, definition: Definition, fits: Sequence[Fit]) -> None:
        """From here on chunks are for this definition, whose sinks take so much; nobody wants others."""
        for worker in self._workers:
            worker.forget()
            worker.put(_DEFINE, pickle.dumps((definition, list(fits))))

    def put(self, lines: bytes) -> Worker:
        """Have a chunk prepared; `take` gives the results of a worker in the order of its chunks."""
        worker = min(self._workers, key=lambda each: each.owed)
        worker.owed += 1
        worker.put(_PREPARE, lines)
        self._go_on(0)
        return worker

    def take(self, worker: Worker, is_given_up: Callable[[], bool]) -> Prepared | None:
        """The next result of a worker; `None` if it was given up. Raises `WorkerError`."""
        end = time.monotonic() + ANSWER_SECONDS
        while not worker.answers:
            if is_given_up():
                return None
            if time.monotonic() > end:
                raise WorkerError(worker.pid, f"it gave no answer for {ANSWER_SECONDS:g} s")
            self._go_on(_LOOK_MS)
        worker.owed -= 1
        return unpacked(worker.answers.popleft())

    def _go_on(self, timeout_ms: int) -> None:
        """Write and read what can be written and read; with a timeout wait for something to be."""
        for fd, worker in self._by_fd.items():
            self._poll.register(fd, select.POLLIN | (select.POLLOUT if worker.unsent else 0))
        for fd, event in self._poll.poll(timeout_ms):
            worker = self._by_fd[fd]
            if event & select.POLLOUT:
                worker.send()
            if event & ~select.POLLOUT:
                worker.receive()

    def close(self) -> None:
        """End them. There is nothing that they could lose."""
        for worker in self._workers:
            worker.socket.close()
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker.pid, signal.SIGKILL)
        for worker in self._workers:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(worker.pid, 0)
        self._workers.clear()

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Worker:
    """One process: what is still to be sent to it, and what came from it.

    `owed` results of it are wanted and were not taken; before them come `stale` ones that nobody wants.
    """

    def __init__(self) -> None:
        self.socket, theirs = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            _serve(theirs)
        theirs.close()
        self.socket.setblocking(False)
        self.unsent: deque[memoryview] = deque()
        self.answers: deque[bytes] = deque()
        self.owed = self.stale = 0
        self._read = bytearray()

    def put(self, kind: bytes, data: bytes) -> None:
        self.unsent.append(memoryview(_HEAD.pack(kind, len(data))))
        self.unsent.append(memoryview(data))

    def forget(self) -> None:
        """Nobody wants any more what it has in work, or did."""
        self.stale += self.owed - len(self.answers)
        self.owed = 0
        self.answers.clear()

    def send(self) -> None:
        """Send what it takes."""
        try:
            while self.unsent:
                sent = self.socket.send(self.unsent[0])
                self.unsent[0] = self.unsent[0][sent:]
                if not self.unsent[0]:
                    self.unsent.popleft()
        except BlockingIOError:
            return
        except OSError:
            self._fail()

    def receive(self) -> None:
        """Take what it sent."""
        try:
            data = self.socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._fail()
        self._read += data
        while len(self._read) >= _HEAD.size:
            kind, size = _HEAD.unpack_from(self._read)
            end = _HEAD.size + size
            if len(self._read) < end:
                return
            answer = bytes(memoryview(self._read)[_HEAD.size : end])
            del self._read[:end]
            if kind == _FAILED:
                raise WorkerError(self.pid, answer.decode(errors="replace"))
            if self.stale:
                self.stale -= 1
            else:
                self.answers.append(answer)

    def _fail(self) -> NoReturn:
        reason = "it closed its socket"
        with contextlib.suppress(ChildProcessError):
            _, status = os.waitpid(self.pid, 0)
            code = os.waitstatus_to_exitcode(status)
            reason = f"killed by signal {-code}" if code < 0 else f"exit status {code}"
        raise WorkerError(self.pid, reason)


# -- in the worker ----------------------------------------------------------------------------------------


def _serve(link: socket.socket) -> NoReturn:
    """Be a worker, until the other end of the socket is closed."""
    try:
        # What the other process left to its collector is not for this one to finalize.
        gc.freeze()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # They are for the process that has the state, and its end ends this one.
            signal.signal(number, signal.SIG_IGN)
        _keep_only(link.fileno())
        _answer_all(link)
    except OSError:
        pass  # the process at the other end is gone
    finally:
        os._exit(0)


def _keep_only(fd: int) -> None:
    """Close all that belongs to the other process: its files, its locks, the sockets of other workers."""
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        if standard != fd:
            os.dup2(null, standard)
    os.closerange(3, fd)
    os.closerange(fd + 1, os.sysconf("SC_OPEN_MAX"))


def _answer_all(link: socket.socket) -> None:
    program: Program | None = None
    while (head := _received(link, _HEAD.size)) is not None:
        kind, size = _HEAD.unpack(head)
        data = _received(link, size)
        if data is None:
            return
        try:
            if kind == _DEFINE:
                # It comes from the process that this one was forked from.
                definition, fits = pickle.loads(data)
                program = Program(definition, split=True)
                assert program.prefix is not None
                program.prefix.fits = fits
                continue
            assert program is not None and program.prefix is not None
            kind, answer = _PREPARED, program.prefix.prepare(data).packed()
        except Exception as error:
            kind, answer = _FAILED, f"{type(error).__name__}: {error}".encode()
        link.sendall(_HEAD.pack(kind, len(answer)))
        link.sendall(answer)


def _received(link: socket.socket, size: int) -> bytes | None:
    """So many bytes; `None` at the end."""
    data = bytearray(size)
    view = memoryview(data)
    while view:
        count = link.recv_into(view)
        if not count:
            return None
        view = view[count:]
    return bytes(data)
