"""A process that takes part in a history, what befell it, and what it gave to whoever reads its output.

Its output is read through a pipe, slowly, so that now and then something lies in it; a reader may also hang
up with that unread, as `head` does.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tests.soak.cast import Role

_TERMINATED = 143
_READ_BYTES = 8192
_PAUSE_SECONDS = 0.002
_LOOK_MS = 20
_END_SECONDS = 30.0


class PipeReader(threading.Thread):
    """Reads a pipe to its end, or until it is to hang up, and writes what it read to a file."""

    def __init__(self, pipe: IO[bytes], path: Path) -> None:
        super().__init__(name=f"reader of {path.name}", daemon=True)
        self._pipe = pipe
        self._path = path
        self._hang_up = threading.Event()
        self._busy_until = 0.0
        self.start()

    def run(self) -> None:
        poll = select.poll()
        poll.register(self._pipe, select.POLLIN)
        with self._pipe, self._path.open("ab", buffering=0) as file:
            while not self._hang_up.is_set():
                if not poll.poll(_LOOK_MS):
                    continue
                if self._hang_up.wait(self._busy_until - time.monotonic()):
                    return
                data = os.read(self._pipe.fileno(), _READ_BYTES)
                if not data:
                    return
                file.write(data)
                time.sleep(_PAUSE_SECONDS)

    def be_busy(self, seconds: float) -> None:
        """Read nothing for a while."""
        self._busy_until = time.monotonic() + seconds

    def hang_up(self) -> None:
        """Read nothing more of what is there or comes."""
        self._hang_up.set()


class Feeder(threading.Thread):
    """Writes pieces of input to a process, one every so often, until it takes no more of them."""

    def __init__(self, pipe: IO[bytes], pieces: Iterable[bytes], *, pause_seconds: float) -> None:
        super().__init__(name="feeder", daemon=True)
        self._pipe = pipe
        self._pieces = pieces
        self._pause_seconds = pause_seconds
        self.start()

    def run(self) -> None:
        try:
            with self._pipe:
                for piece in self._pieces:
                    time.sleep(self._pause_seconds)
                    os.write(self._pipe.fileno(), piece)
        except BrokenPipeError:
            return


@dataclass
class Part(Role):
    """A role whose output may be read through a pipe. `group` is the group that it is a member of.

    `processes` holds the number of the process of each incarnation, `disturbed` the incarnations that were
    killed, stopped or hung up on, or ended.
    """

    group: str | None = None
    processes: list[int] = field(default_factory=list)
    disturbed: set[int] = field(default_factory=set)
    readers: list[PipeReader] = field(default_factory=list)
    was_hung_up_on: bool = False
    was_terminated: bool = False

    def start(self) -> None:
        self.was_hung_up_on = False
        super().start()
        assert self.process is not None
        self.processes.append(self.process.pid)
        if self.process.stdout is not None:
            self.readers.append(PipeReader(self.process.stdout, self.output))

    def _may_end_with(self, code: int) -> bool:
        # Before the command line listens to signals it ends as any process does.
        if self.was_terminated and code in (_TERMINATED, -signal.SIGTERM):
            return True
        return (self.was_hung_up_on and code == 0) or super()._may_end_with(code)

    def kill(self) -> None:
        self.disturbed.add(self.incarnation)
        super().kill()

    def stop(self) -> None:
        self.disturbed.add(self.incarnation)
        super().stop()

    def hang_up(self) -> None:
        """Have nobody read its output any more."""
        self.disturbed.add(self.incarnation)
        self.was_hung_up_on = True
        self.readers[-1].hang_up()

    def end_politely(self) -> None:
        """Have it leave, and read what it still had to say."""
        if self.process is None:
            return
        self.disturbed.add(self.incarnation)
        self.was_terminated = True
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self.failures.append(f"{self.name}.{self.incarnation} does not end at SIGTERM")
        self.end()
        for reader in self.readers:
            reader.join(_END_SECONDS)
