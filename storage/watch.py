"""Waiting for a partition to grow: one small interface, and the best way to wait that the system has.

Linux tells at once through inotify, and an idle wait costs nothing; elsewhere watchfiles is asked in steps,
a short one while messages flow and a longer one in silence; where a file system notifies nobody, the reader
looks again at intervals. A wait may always end early: whoever waits looks again.

`AEGIS_WATCH` chooses `inotify`, `watchfiles` or `poll`.
"""

from __future__ import annotations

import os
import struct
import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from watchfiles._rust_notify import RustNotify

# From linux/inotify.h.
_IN_MODIFY = 0x00000002
_IN_CLOSE_WRITE = 0x00000008
_IN_MOVED_TO = 0x00000080
_IN_CREATE = 0x00000100
_IN_DELETE = 0x00000200
_IN_MOVE_SELF = 0x00000800
_DIRECTORY_EVENTS = _IN_CREATE | _IN_MOVED_TO | _IN_DELETE | _IN_MOVE_SELF
_SHORT_STEP_MS = 2
_LONG_STEP_MS = 50
_BUSY_SECONDS = 1.0
_MODIFIED = 2  # watchfiles.Change.modified
_EVENTS_BYTES = 64 * 1024
# struct inotify_event: watch, mask, cookie, length of the name that follows.
_EVENT = struct.Struct("iIII")


class Watch(Protocol):
    """Waits for changes below the directories, and of the files, that it was told of."""

    def add(self, directory: str, files: Iterable[str] = ()) -> None:
        """Wake for what appears in `directory` and for each write to one of `files`."""

    def add_closing(self, directory: str) -> None:
        """Wake as well when a process closes a file of `directory`, as far as the system tells."""

    def wait(self, timeout_seconds: float) -> bool:
        """Return when something may have changed since the last wait, or after the timeout.

        Says whether files may have come or gone, so that there are others to be told of.
        """

    def close(self) -> None:
        """Let go of what the system keeps for this."""


def open_watch(kind: str | None = None) -> Watch:
    """The best watch here, or the one that `kind` or `AEGIS_WATCH` names."""
    kind = kind or os.environ.get("AEGIS_WATCH") or ("inotify" if sys.platform == "linux" else "watchfiles")
    if kind == "inotify":
        try:
            return InotifyWatch()
        except OSError:
            return PollWatch()
    return PollWatch() if kind == "poll" else WatchfilesWatch()


class InotifyWatch:
    """Woken by the kernel."""

    def __init__(self) -> None:
        import ctypes
        import select

        self._libc = ctypes.CDLL(None, use_errno=True)
        self.fd = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        self._poll = select.poll()
        self._poll.register(self.fd, select.POLLIN)

    def add(self, directory: str, files: Iterable[str] = ()) -> None:
        self._libc.inotify_add_watch(self.fd, os.fsencode(directory), _DIRECTORY_EVENTS)
        for path in files:
            self._libc.inotify_add_watch(self.fd, os.fsencode(path), _IN_MODIFY)

    def add_closing(self, directory: str) -> None:
        self._libc.inotify_add_watch(self.fd, os.fsencode(directory), _DIRECTORY_EVENTS | _IN_CLOSE_WRITE)

    def wait(self, timeout_seconds: float) -> bool:
        if not self._poll.poll(timeout_seconds * 1000):
            return False
        try:
            events = os.read(self.fd, _EVENTS_BYTES)
        except BlockingIOError:
            return False
        at = masks = 0
        while at + _EVENT.size <= len(events):
            _, mask, _, name_bytes = _EVENT.unpack_from(events, at)
            masks |= mask
            at += _EVENT.size + name_bytes
        return bool(masks & ~_IN_MODIFY)

    def close(self) -> None:
        os.close(self.fd)


class WatchfilesWatch:
    """Asks watchfiles, in steps that grow with the silence."""

    def __init__(self) -> None:
        # A directory that was made anew under the same name has another inode.
        self._directories: dict[str, int] = {}
        self._notify: RustNotify | None = None
        self._last_change = time.monotonic()

    def add(self, directory: str, files: Iterable[str] = ()) -> None:
        inode = _inode(directory)
        if self._directories.get(directory) != inode:
            self._directories[directory] = inode
            self.close()

    def add_closing(self, directory: str) -> None:
        self.add(directory)

    def wait(self, timeout_seconds: float) -> bool:
        if self._notify is None:
            self._notify = self._open()
            if self._notify is None:
                time.sleep(min(timeout_seconds, _LONG_STEP_MS / 1000))
            return True
        busy = time.monotonic() - self._last_change < _BUSY_SECONDS
        step_ms = _SHORT_STEP_MS if busy else _LONG_STEP_MS
        timeout_ms = max(1, int(timeout_seconds * 1000))
        changes = self._notify.watch(step_ms, min(step_ms, timeout_ms), timeout_ms, None)
        if changes == "signal":
            raise KeyboardInterrupt
        if not isinstance(changes, set):
            return False
        self._last_change = time.monotonic()
        return any(change != _MODIFIED for change, _ in changes)

    def _open(self) -> RustNotify | None:
        from watchfiles._rust_notify import RustNotify

        there = [directory for directory in self._directories if _inode(directory)]
        try:
            return RustNotify(there, False, False, 0, False, True) if there else None
        except FileNotFoundError:
            return None

    def close(self) -> None:
        if self._notify is not None:
            self._notify.close()
            self._notify = None


class PollWatch:
    """Looks again at intervals, longer ones in silence: for file systems that notify nobody."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}
        self._directories: set[str] = set()
        self._last_change = time.monotonic()

    def add(self, directory: str, files: Iterable[str] = ()) -> None:
        self._directories.add(directory)
        for path in (directory, *files):
            self._seen.setdefault(path, 0)

    def add_closing(self, directory: str) -> None:
        self.add(directory)

    def wait(self, timeout_seconds: float) -> bool:
        deadline = time.monotonic() + timeout_seconds
        while True:
            changed = [path for path, before in self._seen.items() if before != _signature(path)]
            now = time.monotonic()
            if changed:
                self._seen.update({path: _signature(path) for path in changed})
                self._last_change = now
                return not self._directories.isdisjoint(changed)
            if now >= deadline:
                return False
            busy = now - self._last_change < _BUSY_SECONDS
            time.sleep(min(deadline - now, (_SHORT_STEP_MS if busy else _LONG_STEP_MS) / 1000))

    def close(self) -> None:
        self._seen.clear()


def _inode(path: str) -> int:
    """The number of the file's inode, 0 where there is none."""
    try:
        return os.stat(path).st_ino
    except FileNotFoundError:
        return 0


def _signature(path: str) -> int:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return -1
    return hash((status.st_ino, status.st_size, status.st_mtime_ns))
