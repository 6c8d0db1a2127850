"""A lock that excludes other processes and other threads: a kernel `flock` on a permanent file, and a mutex.

Promises: the kernel frees the lock when its holder dies, so no lock is ever stale and none is ever stolen;
waiting ends at a deadline with an error that names the holder; the file is never unlinked; a forked child
keeps no lock of its parent.
"""

from __future__ import annotations

import os
import threading
import time
import weakref

from storage import files
from storage.errors import LockTimeoutError

# A waiter looks again after this long at first, doubling up to the last value: most locks of the store are
# held for microseconds, and one whose holder is stopped should cost its waiters next to nothing.
_FIRST_PAUSE_SECONDS = 0.00005
_LONGEST_PAUSE_SECONDS = 0.002


class FileLock:
    """An exclusive lock on the file at `path`, which is made when it is missing. Not reentrant.

    Once it is held, `size_bytes` is the file's size, and `openings` grows when `fd` is another file's. Unless
    it `looks`, neither is known, nor whether the file still has the name.
    """

    def __init__(self, path: str, *, what: str, looks: bool = True) -> None:
        self.path = path
        self.what = what
        self._looks = looks
        self.size_bytes = 0
        self.openings = 0
        self._mutex = threading.Lock()
        self._open()
        _open_locks.add(self)

    def _open(self) -> None:
        self.fd = files.open_file(self.path, create=True)
        self.openings += 1

    def _try_lock(self) -> bool:
        """Lock the file that has the name now: one that somebody removed and made again is another lock."""
        while files.try_lock(self.fd):
            if not self._looks:
                return True
            status = os.fstat(self.fd)
            if status.st_nlink:
                self.size_bytes = status.st_size
                return True
            if not os.path.isdir(os.path.dirname(self.path)):
                return True  # gone with its directory, for good: whoever holds it finds out
            files.close_file(self.fd)
            self._open()
        return False

    def try_acquire(self) -> bool:
        """Take the lock if it is free."""
        if not self._mutex.acquire(False):
            return False
        # What `_try_lock` does, where nothing happened to the file: this is called a few times for an append.
        fd = self.fd
        if files.try_lock(fd):
            if not self._looks:
                return True
            status = os.fstat(fd)
            if status.st_nlink:
                self.size_bytes = status.st_size
                return True
            files.unlock(fd)
        if self._try_lock():
            return True
        self._mutex.release()
        return False

    def acquire(self, *, timeout_seconds: float) -> None:
        """Take the lock. Raises `LockTimeoutError`, naming the holder."""
        if self._mutex.acquire(False):
            if self._try_lock():
                return
            began = time.monotonic()
        else:
            began = time.monotonic()
            if not self._mutex.acquire(timeout=timeout_seconds):
                raise LockTimeoutError(self.what, f"process {os.getpid()} (this one)", timeout_seconds)
        pause = _FIRST_PAUSE_SECONDS
        while not self._try_lock():
            if time.monotonic() - began > timeout_seconds:
                self._mutex.release()
                raise LockTimeoutError(self.what, holder_of(self.fd), timeout_seconds)
            time.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    def release(self) -> None:
        """Give the lock back."""
        files.unlock(self.fd)
        self._mutex.release()

    def close(self) -> None:
        """Close the file; a lock that is held goes with it."""
        _open_locks.discard(self)
        if self.fd >= 0:
            files.close_file(self.fd)
            self.fd = -1


class UseLock:
    """The lock that says a process uses the store: shared by all who do, exclusive for recovery."""

    def __init__(self, path: str) -> None:
        self.fd = files.open_file(path, create=True)
        _open_locks.add(self)

    def try_shared(self) -> bool:
        return files.try_lock(self.fd, shared=True)

    def try_exclusive(self) -> bool:
        return files.try_lock(self.fd)

    def release(self) -> None:
        files.unlock(self.fd)

    def close(self) -> None:
        """Close the file, and give the lock back with it."""
        _open_locks.discard(self)
        if self.fd >= 0:
            files.close_file(self.fd)
            self.fd = -1


_open_locks: weakref.WeakSet[FileLock | UseLock] = weakref.WeakSet()


def _close_in_child() -> None:
    # A lock belongs to the open file, which a forked child shares: it would live on after its owner's death.
    for lock in list(_open_locks):
        if lock.fd >= 0:
            os.close(lock.fd)
            lock.fd = -1


os.register_at_fork(after_in_child=_close_in_child)


def holder_of(fd: int) -> str:
    """Who holds the lock on this file, in words: from /proc/locks where there is one."""
    status = os.fstat(fd)
    place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    try:
        with open("/proc/locks", encoding="ascii", errors="replace") as table:
            for row in table:
                fields = row.split()
                if "->" not in fields and len(fields) >= 6 and fields[5] == place:
                    return describe_process(int(fields[4]))
    except OSError:
        pass
    return "another process"


def describe_process(pid: int) -> str:
    """A process in words: its number and, where it can be known, its command line (80 characters of it)."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read(400).rstrip(b"\0").split(b"\0")
    except OSError:
        return f"process {pid}"
    command = b" ".join(words).decode("utf-8", "replace")[:80]
    return f"process {pid} ({command})" if command else f"process {pid}"
