"""A process that kills the commands of another one that is stopped, before its messages go to somebody else.

Who holds messages writes a beat into a file, and is taken for dead when it has not done so for a time. A
process that is stopped (SIGSTOP, Ctrl-Z, a machine that swaps) cannot end its commands; this one, which is
told of their process groups, reads the beat and does it after three quarters of that time.

Run as a script it needs nothing but the standard library, and starts in a few milliseconds.
"""

from __future__ import annotations

import os
import select
import signal
import struct
import subprocess
import sys
import time

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
# What `storage.members` writes at the beginning of the file: nanoseconds of the clock above.
_BEAT = struct.Struct("<Q")
_PATIENCE = 0.75
_LOOKS_IN_TIMEOUT = 16
_READ_BYTES = 64 * 1024


class Watchdog:
    """Watches over this process's beat in `beat_path` from a process of its own, until `close`.

    Without a file, `beat` is what it goes by.
    """

    def __init__(self, beat_path: str | None, *, timeout_seconds: float) -> None:
        self._words = [sys.executable, "-I", "-S", __file__, beat_path or "", str(timeout_seconds)]
        self._groups: set[int] = set()
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self._words,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            process_group=0,
            env={},
        )

    def begin(self, group: int) -> None:
        """A command may be in this process group from now on."""
        self._groups.add(group)
        self._tell(b"+%d\n" % group)

    def end(self, group: int) -> None:
        """The number of this group may soon be another one's."""
        self._groups.discard(group)
        self._tell(b"-%d\n" % group)

    def beat(self) -> None:
        """The time begins anew."""
        self._tell(b".\n")

    def _tell(self, line: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line)
        except BrokenPipeError:
            # Somebody has ended it: another one takes its place.
            self.close()
            self._process = self._start()
            assert self._process.stdin is not None
            self._process.stdin.write(b"".join(b"+%d\n" % group for group in self._groups))

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def watch_over(beat_path: str, timeout_seconds: float) -> None:
    """Until the end of stdin: kill the groups that it names while the beat is too old."""
    beat_fd = os.open(beat_path, os.O_RDONLY) if beat_path else -1
    beat_ns = time.clock_gettime_ns(_CLOCK)
    groups: set[int] = set()
    rest = b""
    while True:
        # All that was said is heard before anything is killed.
        wait_seconds = timeout_seconds / _LOOKS_IN_TIMEOUT
        while select.select([0], [], [], wait_seconds)[0]:
            data = os.read(0, _READ_BYTES)
            if not data:
                return
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                if line == b".":
                    beat_ns = time.clock_gettime_ns(_CLOCK)
                elif line[:1] == b"+":
                    groups.add(int(line[1:]))
                else:
                    groups.discard(int(line[1:]))
            wait_seconds = 0.0
        if beat_fd >= 0:
            (beat_ns,) = _BEAT.unpack(os.pread(beat_fd, _BEAT.size, 0))
        if time.clock_gettime_ns(_CLOCK) - beat_ns > timeout_seconds * _PATIENCE * 1e9:
            while groups:
                _kill(groups.pop())


def _kill(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return  # all of it has ended


if __name__ == "__main__":
    watch_over(sys.argv[1], float(sys.argv[2]))
