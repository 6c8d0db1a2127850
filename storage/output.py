"""The way out: bytes to a descriptor, at the speed that its kind allows.

Messages as they lie on disk go from file to pipe inside the kernel (`sendfile`) after their checksum was
verified; what has to be rendered is written. `sys.stdout` has no part in it: where it is unbuffered each line
would be a system call.
"""

from __future__ import annotations

import errno
import os
import select
import stat

_F_SETPIPE_SZ = 1031  # from linux/fcntl.h
_PIPE_BYTES = 1024 * 1024
# Below this a copy is cheaper than a second system call's worth of kernel work.
_SENDFILE_BYTES_MIN = 16 * 1024


class Output:
    """A descriptor to which messages go. Raises BrokenPipeError when its reader has gone."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.written_bytes = 0
        mode = os.fstat(fd).st_mode
        self._sends = stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)
        if stat.S_ISFIFO(mode):
            self._widen()

    def _widen(self) -> None:
        import fcntl

        try:
            fcntl.fcntl(self.fd, _F_SETPIPE_SZ, _PIPE_BYTES)
        except OSError:
            return

    def check_reader(self) -> None:
        """Raise BrokenPipeError if a pipe's reader has gone, also when there is nothing to write."""
        poll = select.poll()
        poll.register(self.fd, 0)
        for _, events in poll.poll(0):
            if events & select.POLLERR:
                raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    def write(self, data: bytes) -> None:
        """Write all of `data`."""
        rest = memoryview(data)
        while rest:
            try:
                done = os.write(self.fd, rest)
            except BlockingIOError:
                self._wait()
                continue
            self.written_bytes += done
            rest = rest[done:]

    def send(self, source_fd: int, position: int, length: int) -> bool:
        """Copy a range of a file without its bytes passing through here; `False` if that cannot be done."""
        if not self._sends or length < _SENDFILE_BYTES_MIN:
            return False
        end = position + length
        while position < end:
            try:
                done = os.sendfile(self.fd, source_fd, position, end - position)
            except BlockingIOError:
                self._wait()
                continue
            except BrokenPipeError:
                raise
            except OSError:
                # A file opened for appending, or a file system that cannot: write instead.
                self._sends = False
                self._copy(source_fd, position, end)
                return True
            if not done:
                break
            self.written_bytes += done
            position += done
        return True

    def _copy(self, source_fd: int, position: int, end: int) -> None:
        while position < end:
            piece = os.pread(source_fd, min(_PIPE_BYTES, end - position), position)
            if not piece:
                return
            self.write(piece)
            position += len(piece)

    def _wait(self) -> None:
        # Somebody made the descriptor non-blocking; it is shared with us.
        select.select([], [self.fd], [])
