"""How much of what was written the next process has taken.

Promises: what counts as taken is in no buffer of the kernel's that a crash of its reader would empty. A pipe
says how many bytes lie in it; a file has taken what is synced; of anything else (a terminal, a socket) no one
can say more than that it was written.
"""

from __future__ import annotations

import array
import fcntl
import os
import stat
import termios
import time

from storage.output import Output

_F_GETPIPE_SZ = 1032  # from linux/fcntl.h
_FIRST_PAUSE_SECONDS = 0.0002
_LONGEST_PAUSE_SECONDS = 0.005


class Taken:
    """An output, and how far its reader is."""

    def __init__(self, output: Output) -> None:
        self.output = output
        mode = os.fstat(output.fd).st_mode
        self.is_pipe = stat.S_ISFIFO(mode)
        self.is_file = stat.S_ISREG(mode)
        self._room = self._pipe_bytes() if self.is_pipe else 0
        self._pause = _FIRST_PAUSE_SECONDS

    def _pipe_bytes(self) -> int:
        try:
            return fcntl.fcntl(self.output.fd, _F_GETPIPE_SZ)
        except OSError:
            return 4096

    def unread_bytes(self) -> int:
        """How many bytes lie in the pipe."""
        if not self.is_pipe:
            return 0
        count = array.array("i", [0])
        fcntl.ioctl(self.output.fd, termios.FIONREAD, count)
        return count[0]

    def taken_bytes(self) -> int:
        """How many of the bytes that were written are with the reader."""
        if self.is_file:
            os.fsync(self.output.fd)
        return self.output.written_bytes - self.unread_bytes()

    def has_room(self, size_bytes: int) -> bool:
        """Whether this much can be written without waiting for a reader, who may be stopped."""
        if not self.is_pipe:
            return True
        unread = self.unread_bytes()
        # Each write may leave a part of a page unused, so not all of the pipe can be counted on.
        return unread == 0 or unread + size_bytes <= self._room // 4 * 3

    def wait(self) -> None:
        """Let the reader work: no one is told when a pipe is read, so look again a little later each time.

        Raises BrokenPipeError when the reader has gone.
        """
        self.output.check_reader()
        time.sleep(self._pause)
        self._pause = min(self._pause * 2, _LONGEST_PAUSE_SECONDS)

    def moved(self) -> None:
        """The reader has taken something: look soon again."""
        self._pause = _FIRST_PAUSE_SECONDS
