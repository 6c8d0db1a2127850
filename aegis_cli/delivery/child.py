"""One run of a command: lines on its stdin, and its stdout, if that is wanted, kept up to a limit.

It never waits: `Poller` calls `handle` when one of its descriptors is ready. The command has descriptors 0, 1
and 2 and no other of this process, and belongs to a process group that ends with this process.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import shlex
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence

from aegis_cli.delivery.process_group import ProcessGroup

_F_SETPIPE_SZ = 1031  # from linux/fcntl.h
# A pipe that holds this much lets the command work while this process does something else.
_PIPE_BYTES = 1024 * 1024
_PIPE_BYTES_USUAL = 64 * 1024
_READ_BYTES = 1024 * 1024
# How long a command that is out of time may take to end by itself.
_GRACE_SECONDS = 2.0
_STARTS = 3


def command_of(text: str, *, shell: bool) -> list[str]:
    """The words of a command line; with `shell` it is the shell's to understand.

    Raises ValueError for quotes that do not end, and for nothing at all.
    """
    words = ["/bin/sh", "-c", text] if shell else shlex.split(text)
    if not words or not text.strip():
        raise ValueError("the command is empty")
    return words


def check_command(words: Sequence[str]) -> None:
    """Raise `FileNotFoundError` unless there is such a command, before anything depends on it."""
    if shutil.which(words[0]) is None:
        raise FileNotFoundError(2, "no such command, or it cannot be executed", words[0])


class Child:
    """A command at work. `output_bytes_max` asks for its stdout; else that is this process's own.

    `status` is its exit status, negative for a signal, once it has `ended`. Its group must hold no other.
    Raises OSError where it cannot be started.
    """

    def __init__(
        self,
        words: Sequence[str],
        lines: bytes,
        *,
        group: ProcessGroup,
        environ: Mapping[bytes, bytes] | None = None,
        timeout_seconds: float | None = None,
        output_bytes_max: int | None = None,
    ) -> None:
        self._group = group
        self._rest = memoryview(lines)
        self._output_bytes_max = output_bytes_max
        self._parts: list[bytes] = []
        self._output_bytes = 0
        self._timeout_seconds = timeout_seconds
        self.timed_out = False
        self.output_too_large = False
        self._process = self._start(words, environ, captured=output_bytes_max is not None)
        self._pidfd = os.pidfd_open(self._process.pid) if hasattr(os, "pidfd_open") else -1
        self.deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        self._input = _descriptor(self._process.stdin, size_bytes=len(lines))
        self._output = _descriptor(self._process.stdout, size_bytes=len(lines))
        self._feed()

    def _start(
        self, words: Sequence[str], environ: Mapping[bytes, bytes] | None, *, captured: bool
    ) -> subprocess.Popen[bytes]:
        for attempt in range(_STARTS):
            try:
                return subprocess.Popen(
                    words,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE if captured else None,
                    bufsize=0,
                    env=environ,
                    process_group=self._group.number,
                )
            except (ProcessLookupError, subprocess.SubprocessError):
                # Somebody ended the leader of the group; without it nothing can join.
                self._group.kill()
                if attempt == _STARTS - 1:
                    raise
            except PermissionError as error:
                if error.filename is not None or attempt == _STARTS - 1:
                    raise
                self._group.kill()
        raise AssertionError("the last attempt returns or raises")

    # -- what happens to it ---------------------------------------------------------------------------

    def register(self, poll: select.poll) -> list[int]:
        """Have `poll` wake for it; returns the descriptors."""
        wanted = []
        if self._input >= 0:
            poll.register(self._input, select.POLLOUT)
            wanted.append(self._input)
        if self._output >= 0:
            poll.register(self._output, select.POLLIN)
            wanted.append(self._output)
        if self._pidfd >= 0 and self._process.returncode is None:
            poll.register(self._pidfd, select.POLLIN)
            wanted.append(self._pidfd)
        return wanted

    @property
    def needs_looks(self) -> bool:
        """Whether its end is not an event here, so that one has to look."""
        return self._pidfd < 0 and self._process.returncode is None

    def handle(self, fd: int) -> None:
        """Go on with what a descriptor is ready for."""
        if fd == self._input:
            self._feed()
        elif fd == self._output:
            self._collect()
        else:
            self.look()

    def look(self) -> None:
        """Take note of its end."""
        if self._process.poll() is not None:
            self._close_input()
            if self._pidfd >= 0:
                os.close(self._pidfd)
                self._pidfd = -1

    @property
    def ended(self) -> bool:
        """Whether it has exited, and its output has an end."""
        return self._process.returncode is not None and self._output < 0

    @property
    def status(self) -> int:
        assert self._process.returncode is not None, "it is asked only of those that ended"
        return self._process.returncode

    def reason(self) -> str:
        """In words, how it ended."""
        if self.timed_out:
            return f"it did not end within {self._timeout_seconds:g} s"
        if self.status < 0:
            return f"killed by signal {-self.status}"
        return f"exit status {self.status}"

    def output(self) -> bytes:
        """All that it wrote, ended by a newline."""
        if self._parts and not self._parts[-1].endswith(b"\n"):
            self._parts.append(b"\n")
        return b"".join(self._parts)

    # -- its descriptors ------------------------------------------------------------------------------

    def _feed(self) -> None:
        try:
            while self._rest:
                self._rest = self._rest[os.write(self._input, self._rest) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            pass  # it does not want to read any further, and its exit status says what it made of it
        self._close_input()

    def _close_input(self) -> None:
        self._rest = memoryview(b"")
        if self._input >= 0:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._input = -1

    def _collect(self) -> None:
        try:
            part = os.read(self._output, _READ_BYTES)
        except BlockingIOError:
            return
        if not part:
            self._close_output()
            return
        self._parts.append(part)
        self._output_bytes += len(part)
        assert self._output_bytes_max is not None, "only wanted output is collected"
        if self._output_bytes > self._output_bytes_max:
            self.output_too_large = True
            self._parts.clear()
            self.kill()

    def _close_output(self) -> None:
        if self._output >= 0:
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._output = -1

    # -- its end --------------------------------------------------------------------------------------

    def check_time(self, now: float) -> None:
        """End it when it is out of time: first politely, then not."""
        if self.deadline is None or now < self.deadline or self.ended:
            return
        if self.timed_out:
            self.kill()
            return
        self.timed_out = True
        self.deadline = now + _GRACE_SECONDS
        self._group.end()

    def kill(self) -> None:
        """End it and all that it has started, now; it is gone when this returns."""
        self._group.kill()
        self.deadline = None
        self._process.wait()
        self.look()
        self._close_output()


def _descriptor(stream: object, *, size_bytes: int) -> int:
    """The descriptor of our end of a pipe, not waiting, and with room for much where there is much."""
    fileno = getattr(stream, "fileno", None)
    if fileno is None:
        return -1
    fd = int(fileno())
    os.set_blocking(fd, False)
    if size_bytes > _PIPE_BYTES_USUAL:
        # Not on other systems, nor with too many pages in pipes already: it goes in smaller steps then.
        with contextlib.suppress(OSError):
            fcntl.fcntl(fd, _F_SETPIPE_SZ, _PIPE_BYTES)
    return fd
