"""A rig for the tests of the rules: a store, processes that work on it, and looks at its innards.

Nothing here sleeps for a guessed time: a test waits for a condition, until a deadline.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from storage import posts_file
from storage.batch import Batch
from storage.epoch import read_epoch
from storage.head import Head, read_head
from storage.shared_page import LANES, SharedPage, open_page
from storage.store import Store

ROOT = Path(__file__).resolve().parents[2]
# Nothing that a test waits for takes longer, on however busy a machine; what does hangs.
SECONDS_MAX = 60.0


class RefusedError(Exception):
    """The worker's command raised: `kind` is the error's class."""

    def __init__(self, kind: str, message: str) -> None:
        self.kind = kind
        self.message = message
        super().__init__(f"{kind}: {message}")


class DiedError(Exception):
    """The worker ended instead of answering."""


def until(condition: Callable[[], object], what: str) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + SECONDS_MAX
    while not condition():
        assert time.monotonic() < deadline, f"waited {SECONDS_MAX:g} s for {what}"
        time.sleep(0.001)


def process_state(pid: int) -> str:
    """The letter of a process's state: R, S, D, T (stopped), Z."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


class Worker:
    """A process of `tests.rules.worker`, told what to do one command at a time."""

    def __init__(self, store: Path, *, points: str, lock_wait: float, journal_bytes: int) -> None:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("AEGIS_")}
        environ["PYTHONPATH"] = str(ROOT)
        if points:
            environ["AEGIS_FAILPOINTS"] = points
        arguments = [str(store), str(lock_wait), str(journal_bytes)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.rules.worker", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environ,
            cwd=ROOT,
        )
        self.pid = self._process.pid
        self._rest = b""

    def ready(self) -> Worker:
        """Wait until it has opened the store."""
        assert "ready" == self.reply()
        return self

    def send(self, command: str, *arguments: object, **options: object) -> None:
        """Tell it what to do, and do not wait for it."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([command, arguments, options]).encode() + b"\n")
        self._process.stdin.flush()

    def has_answered(self) -> bool:
        assert self._process.stdout is not None
        return bool(self._rest) or bool(select.select([self._process.stdout], [], [], 0)[0])

    def reply(self) -> object:
        """Its next answer. Raises `RefusedError` for an error and `DiedError` if it ended."""
        assert self._process.stdout is not None
        fd = self._process.stdout.fileno()
        while b"\n" not in self._rest:
            assert select.select([fd], [], [], SECONDS_MAX)[0], "the worker does not answer"
            piece = os.read(fd, 65536)
            if not piece:
                raise DiedError(f"the worker ended with {self._process.wait()}")
            self._rest += piece
        line, _, self._rest = self._rest.partition(b"\n")
        answer = json.loads(line)
        if isinstance(answer, dict):
            raise RefusedError(answer["error"], answer["message"])
        return answer

    def do(self, command: str, *arguments: object, **options: object) -> object:
        self.send(command, *arguments, **options)
        return self.reply()

    def dies_in(self, command: str, *arguments: object, **options: object) -> None:
        """Tell it what to do and see it killed on the way."""
        self.send(command, *arguments, **options)
        with pytest.raises(DiedError):
            self.reply()
        assert -signal.SIGKILL == self._process.wait(SECONDS_MAX)

    def stops_in(self, command: str, *arguments: object, **options: object) -> None:
        """Tell it what to do and see it stopped on the way."""
        self.send(command, *arguments, **options)
        self.wait_stopped()

    def wait_stopped(self) -> None:
        until(lambda: process_state(self.pid) == "T" or self._process.poll() is not None, "a stop")
        assert self._process.poll() is None, "it ended instead of stopping"

    def stop(self) -> None:
        self._process.send_signal(signal.SIGSTOP)
        self.wait_stopped()

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def go_on_to_the_next_stop(self) -> None:
        """Continue it, and wait until it has stopped again or answered."""
        assert self._process.poll() is None
        os.waitpid(self.pid, os.WUNTRACED | os.WNOHANG)
        self.go_on()
        os.waitpid(self.pid, os.WUNTRACED)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(SECONDS_MAX)

    def close(self) -> None:
        if self._process.poll() is None:
            self.kill()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            try:
                stream.close()
            except BrokenPipeError:
                continue


@dataclass(frozen=True, slots=True)
class Innards:
    """The shared page and heads of a store, as they are in this moment."""

    path: Path

    def _page(self) -> SharedPage:
        page = open_page(str(self.path / "journal" / "shared"))
        assert page is not None
        return page

    @property
    def next_sequence(self) -> int:
        page = self._page()
        try:
            return page.tail.sequence
        finally:
            page.close()

    @property
    def journal_file(self) -> int:
        page = self._page()
        try:
            return page.tail.file
        finally:
            page.close()

    @property
    def synced(self) -> int:
        page = self._page()
        try:
            return page.synced
        finally:
            page.close()

    @property
    def intents(self) -> list[int | None]:
        page = self._page()
        try:
            return [page.intent(lane) for lane in range(LANES)]
        finally:
            page.close()

    @property
    def salt(self) -> int:
        epoch = read_epoch(str(self.path / "journal"))
        assert epoch is not None
        return epoch.salt

    def posted(self, topic: str, partition: int = 0) -> int:
        """How many requests are posted and not taken."""
        path = self.path / "topics" / topic / str(partition) / "posts"
        if not path.exists() or path.stat().st_size < posts_file.FILE_BYTES:
            return 0
        words = memoryview(path.read_bytes()).cast("Q")
        return sum(
            words[posts_file.POSTED + slot] not in (0, words[posts_file.TAKEN + slot])
            for slot in range(posts_file.SLOTS)
        )

    def head(self, topic: str, partition: int = 0) -> Head | None:
        fd = os.open(self.path / "topics" / topic / str(partition) / "head", os.O_RDONLY)
        try:
            return read_head(fd, salt=self.salt)
        finally:
            os.close(fd)


class Rig:
    """A store and everything that a test starts on it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / "store"
        self.innards = Innards(self.path)
        self.journal_bytes = 0
        self._workers: list[Worker] = []
        self._processes: list[subprocess.Popen[bytes]] = []

    def starting(self, points: str = "", *, lock_wait: float = 20.0, store: Path | None = None) -> Worker:
        """A worker that may still be opening the store."""
        worker = Worker(
            store or self.path, points=points, lock_wait=lock_wait, journal_bytes=self.journal_bytes
        )
        self._workers.append(worker)
        return worker

    def worker(self, points: str = "", *, lock_wait: float = 20.0, store: Path | None = None) -> Worker:
        return self.starting(points, lock_wait=lock_wait, store=store).ready()

    def aegis(self, *arguments: str, points: str = "") -> subprocess.Popen[bytes]:
        """The real command line."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith("AEGIS_")}
        environ |= {"AEGIS_STORE": str(self.path), "PYTHONPATH": str(ROOT)}
        if points:
            environ["AEGIS_FAILPOINTS"] = points
        process = subprocess.Popen(
            [sys.executable, "-m", "aegis_cli", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environ,
        )
        self._processes.append(process)
        return process

    def run(self, *arguments: str, points: str = "") -> tuple[int, str, str]:
        """The real command line to its end: exit code, stdout, stderr."""
        process = self.aegis(*arguments, points=points)
        out, err = process.communicate(timeout=SECONDS_MAX)
        return process.returncode, out.decode(), err.decode()

    def gate(self, name: str = "gate") -> Gate:
        return Gate(self.directory / name)

    def read(self, topic: str, partition: int = 0, *, store: Path | None = None) -> list[str]:
        """The values that a reader who never writes sees, from the start; offsets must have no holes.

        Damage raises `DamageError`.
        """
        with Store(store or self.path, read_only=True) as opened:
            reader = opened.reader(topic, partition)
            messages = list(opened.read(topic, partition=partition))
            start = reader.start_offset
            assert list(range(start, start + len(messages))) == [message.offset for message in messages]
            assert reader.end_offset == start + len(messages)
        return [message.value.decode() for message in messages]

    def batches(self, topic: str, partition: int = 0) -> list[Batch]:
        """The batches that a reader who never writes sees."""
        with Store(self.path, read_only=True) as opened:
            found = list(opened.batches(topic, partition))
            assert all(isinstance(batch, Batch) for batch in found)
            return found  # type: ignore[return-value]

    def raw(self, topic: str, partition: int = 0) -> bytes:
        """The bytes of all messages as raw readers find them."""
        directory = self.path / "topics" / topic / str(partition)
        return b"".join(path.read_bytes() for path in sorted(directory.glob("*.jsonl")))

    def copy(self, name: str = "copy") -> Path:
        """Another store with the same bytes: to it this is a reboot, since its identity is another."""
        target = self.directory / name
        shutil.copytree(self.path, target)
        return target

    def close(self) -> None:
        for worker in self._workers:
            worker.close()
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.communicate(timeout=SECONDS_MAX)


@dataclass(frozen=True, slots=True)
class Gate:
    """A place where a process waits: `points` of the form `NAME=wait:{gate.path}`."""

    path: Path

    def wait_reached(self) -> None:
        until(Path(f"{self.path}.reached").exists, f"a process at {self.path}")

    def open(self) -> None:
        self.path.touch()
