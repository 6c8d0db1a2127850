"""The processes that take part in something: each holds a kernel lock on a file of its own while it lives.

Promises: a process that dies is known to be dead at once, since the kernel frees its lock and the closing of
its file is an event; one that lives and does nothing is told by its beat, which a thread writes: a stopped
process writes none. A file is removed only by who holds its lock.
"""

from __future__ import annotations

import os
import struct
import threading
import time

from storage import files
from storage.names import check_name

# Where the system has it, the clock that goes on while the machine sleeps.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_BEAT = struct.Struct("<Q")
_BEATS_IN_TIMEOUT = 4
_TRIES = 100
_PAUSE_SECONDS = 0.002


def now_ns() -> int:
    """A clock that no one sets and that all processes of this boot share."""
    return time.clock_gettime_ns(_CLOCK)


class Presence:
    """This process's own file in `directory`, locked until `close`, with a beat every so often."""

    def __init__(self, directory: str, member_id: str, *, timeout_seconds: float) -> None:
        check_name(member_id)
        self.path = os.path.join(directory, member_id)
        files.make_directory(directory)
        self._fd = files.open_file(self.path, create=True)
        # Somebody who looks whether we live holds the lock for a moment, shared.
        for _ in range(_TRIES):
            if files.try_lock(self._fd):
                break
            time.sleep(_PAUSE_SECONDS)
        else:
            files.close_file(self._fd)
            raise FileExistsError(f"somebody else is '{member_id}'")
        self._stop = threading.Event()
        self.beat()
        self._thread = threading.Thread(
            target=self._beat_on, args=(timeout_seconds / _BEATS_IN_TIMEOUT,), name="beat", daemon=True
        )
        self._thread.start()

    def beat(self) -> None:
        """Say that this process is at work."""
        files.write_at(self._fd, _BEAT.pack(now_ns()), 0)

    def _beat_on(self, every_seconds: float) -> None:
        while not self._stop.wait(every_seconds):
            self.beat()

    def close(self) -> None:
        """Be gone: the file goes, and its lock with it."""
        if self._fd < 0:
            return
        self._stop.set()
        self._thread.join()
        files.unlink(self.path)
        files.close_file(self._fd)
        self._fd = -1


class Watcher:
    """Looks at the files of others. Keeps one descriptor for each of those it was asked about last."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self._fds: dict[str, int] = {}

    def is_dead(self, member_id: str) -> bool:
        """Whether no process holds this member's lock."""
        fd = self._fds.get(member_id)
        if fd is None:
            try:
                fd = files.open_file(os.path.join(self.directory, member_id), read_only=True)
            except FileNotFoundError:
                return True
            self._fds[member_id] = fd
        if not files.try_lock(fd, shared=True):
            return False
        files.unlock(fd)
        return True

    def silent_seconds(self, member_id: str) -> float:
        """How long ago this member's last beat was."""
        fd = self._fds.get(member_id)
        raw = os.pread(fd, _BEAT.size, 0) if fd is not None else b""
        if len(raw) < _BEAT.size:
            return 0.0
        (beat_ns,) = _BEAT.unpack(raw)
        return float(now_ns() - beat_ns) / 1e9

    def forget(self, member_id: str) -> None:
        """Close what was opened for one that is no member any more, and remove its file if it is dead."""
        fd = self._fds.pop(member_id, None)
        if fd is None:
            return
        path = os.path.join(self.directory, member_id)
        # Under the exclusive lock nobody lives who could still need the file.
        if files.try_lock(fd) and _is_same(fd, path):
            files.unlink(path)
        files.close_file(fd)

    def close(self) -> None:
        for fd in self._fds.values():
            files.close_file(fd)
        self._fds.clear()


def _is_same(fd: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False
