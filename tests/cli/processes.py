"""Processes that a test keeps in its hands while they run: what they print, waited for with a deadline."""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

# Nothing that a test waits for takes longer; what does hangs.
DEADLINE_SECONDS = 30.0


class Running:
    """A process whose streams are pipes. `stdout` and `stderr` hold what was read of them so far."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.pid = process.pid
        self.stdout = b""
        self.stderr = b""
        self._selector = selectors.DefaultSelector()
        for name in ("stdout", "stderr"):
            stream: IO[bytes] | None = getattr(process, name)
            if stream is not None:
                self._selector.register(stream, selectors.EVENT_READ, name)

    def feed(self, data: bytes) -> None:
        """Write to its stdin at once."""
        assert self.process.stdin is not None
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self.process.stdin.fileno(), rest) :]

    def end_input(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    def read_until(self, condition: Callable[[Running], bool]) -> float:
        """Read its output until the condition holds; returns how many seconds that took."""
        began = time.monotonic()
        while not condition(self):
            left = began + DEADLINE_SECONDS - time.monotonic()
            assert left > 0, f"waited in vain; stdout {self.stdout[-2000:]!r}, stderr {self.stderr[-2000:]!r}"
            self._read(left)
        return time.monotonic() - began

    def lines_are(self, *lines: bytes) -> None:
        """Wait until its stdout is exactly these lines."""
        wanted = b"".join(line + b"\n" for line in lines)
        self.read_until(lambda here: len(here.stdout) >= len(wanted))
        assert wanted == self.stdout

    def says(self, text: str) -> None:
        """Wait until its stderr holds `text`."""
        self.read_until(lambda here: text in here.stderr.decode())

    def wait(self) -> int:
        """Read all that is left and return the exit code."""
        while self._selector.get_map():
            self._read(DEADLINE_SECONDS)
        return self.process.wait(DEADLINE_SECONDS)

    def _read(self, timeout_seconds: float) -> None:
        ready = self._selector.select(timeout_seconds)
        assert ready, f"silent for {timeout_seconds:.0f} s; stderr {self.stderr[-2000:]!r}"
        for key, _ in ready:
            data = os.read(key.fd, 1 << 20)
            if data:
                setattr(self, key.data, getattr(self, key.data) + data)
            else:
                self._selector.unregister(key.fileobj)


@contextmanager
def running(
    aegis: Any, *arguments: str, environ: Mapping[str, str] | None = None, **options: Any
) -> Iterator[Running]:
    """`aegis` with these arguments, killed at the end if it still runs."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    process = subprocess.Popen(
        aegis.command(*arguments),
        env={**aegis.environ, **(environ or {})},
        cwd=aegis.home,
        bufsize=0,
        **pipes,
    )
    try:
        yield Running(process)
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()


class Promptness:
    """Whether somebody is woken, rather than looking from time to time, which takes a second.

    A busy machine lets everyone wait, so each wait is compared with what another process takes to give back
    a byte at the same time.
    """

    def __init__(self, echo: subprocess.Popen[bytes]) -> None:
        self._echo = echo
        self._echoes: list[float] = []
        self._waits: list[float] = []

    def add(self, seconds: float) -> None:
        """A wait that just ended."""
        assert self._echo.stdin is not None and self._echo.stdout is not None
        began = time.monotonic()
        os.write(self._echo.stdin.fileno(), b".")
        os.read(self._echo.stdout.fileno(), 1)
        self._echoes.append(time.monotonic() - began)
        self._waits.append(seconds)

    def check(self) -> None:
        """Who is not woken is late every time; who is woken may be held up now and then."""
        usual = sorted(self._echoes)[len(self._echoes) // 2]
        assert sorted(self._waits)[len(self._waits) // 4] < 0.1 + 10 * usual, (self._waits, self._echoes)


@contextmanager
def promptness() -> Iterator[Promptness]:
    """A measure for waits, with the process that it compares them with."""
    script = "import os\nwhile byte := os.read(0, 1): os.write(1, byte)"
    command = [sys.executable, "-S", "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as echo:
        yield Promptness(echo)


def wait_for(condition: Callable[[], Any]) -> Any:
    """Wait until the condition gives something true, and return it."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)
    return found


def runs_still(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def waits_for_the_lock(pid: int, path: Path) -> bool:
    """Whether the process has the file open, which it does only to lock it."""
    return any(Path(entry).resolve() == path for entry in Path(f"/proc/{pid}/fd").iterdir())
