"""A process group whose members end, all of them, when this process does, whatever ends it.

Its leader is a shell that waits for the end of a pipe that only this process holds: when this process dies,
killed or not, the kernel closes the pipe, and the shell kills the group. A command is put into the group
before its first instruction, so there is no moment at which it could be left behind; what the command starts
itself is in the group as well.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess

from aegis_cli.delivery.watchdog import Watchdog

# The leader outlives a polite end of the others, so that the number of the group stays its own.
_LEADER = ("/bin/sh", "-c", "trap '' TERM INT HUP; read -r line; kill -KILL 0")
_REAP_SECONDS = 10.0


class ProcessGroup:
    """A group, begun when its `number` is first asked for and again after it was killed.

    The `watchdog` is told of each, before anything is in it.
    """

    def __init__(self, watchdog: Watchdog | None = None) -> None:
        self._watchdog = watchdog
        self._leader: subprocess.Popen[bytes] | None = None

    @property
    def number(self) -> int:
        """What a process joins; the leader lives as far as is known."""
        if self._leader is not None and self._leader.poll() is not None:
            self._forget()
        if self._leader is None:
            self._leader = subprocess.Popen(
                _LEADER,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                process_group=0,
                env={},
            )
            if self._watchdog is not None:
                self._watchdog.begin(self._leader.pid)
        return self._leader.pid

    def end(self) -> None:
        """Ask all of it but the leader to end."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End all of it at once."""
        self._signal(signal.SIGKILL)
        self._forget()

    def _signal(self, number: signal.Signals) -> None:
        if self._leader is not None:
            # The last of them may be gone already.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._leader.pid, number)

    def _forget(self) -> None:
        leader, self._leader = self._leader, None
        if leader is not None:
            if self._watchdog is not None:
                self._watchdog.end(leader.pid)
            assert leader.stdin is not None
            leader.stdin.close()
            leader.wait(_REAP_SECONDS)
