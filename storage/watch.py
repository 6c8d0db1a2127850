"""Waiting for a partition to grow: one small interface, and the best way to wait that the system has.

Linux tells at once through inotify, and an idle wait costs nothing; elsewhere watchfiles is asked in steps,
a short one while messages flow and a longer one in silence; where a file system notifies nobody, the reader
looks again at intervals. A wait may always end early: whoever waits looks again.

`AEGIS_WATCH` chooses `inotify`, `watchfiles` or `poll`.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable
from typing import Protocol

# From linux/inotify.h.
_IN_MODIFY = 0x00000002
_IN_MOVED_TO = 0x00000080
_IN_CREATE = 0x00000100
_IN_DELETE = 0x00000200
_IN_MOVE_SELF = 0x00000800
_DIRECTORY_EVENTS = _IN_CREATE | _IN_MOVED_TO | _IN_DELETE | _IN_MOVE_SELF
_SHORT_STEP_MS = 2
_LONG_STEP_MS = 50
_BUSY_SECONDS = 1.0
_EVENTS_BYTES = 64 * 1024


class Watch(Protocol):
    """Waits for changes below the directories, and of the files, that it was told of."""

    def add(self, directory: str, files: Iterable[str] = ()) -> None:
        """Wake for what appears in `directory` and for each write to one of `files`."""

    def wait(self, timeout_seconds: float) -> None:
        """Return when something may have changed since the last wait, or after the timeout."""

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

    def wait(self, timeout_seconds: float) -> None:
        if self._poll.poll(timeout_seconds * 1000):
            try:
                os.read(self.fd, _EVENTS_BYTES)
            except BlockingIOError:
                return

    def close(self) -> None:
        os.close(self.fd)


class WatchfilesWatch:
    """Asks watchfiles, in steps that grow with the silence."""

    def __init__(self) -> None:
        self._directories: list[str] = []
        self._notify: object | None = None
        self._last_change = time.monotonic()

    def add(self, directory: str, files: Iterable[str] = ()) -> None:
        if directory not in self._directories:
            self._directories.append(directory)
            self.close()

    def wait(self, timeout_seconds: float) -> None:
        from watchfiles._rust_notify import RustNotify

        if self._notify is None:
            self._notify = RustNotify(self._directories, False, False, 0, False, True)
        assert isinstance(self._notify, RustNotify)
        busy = time.monotonic() - self._last_change < _BUSY_SECONDS
        step_ms = _SHORT_STEP_MS if busy else _LONG_STEP_MS
        timeout_ms = max(1, int(timeout_seconds * 1000))
        changes = self._notify.watch(step_ms, min(step_ms, timeout_ms), timeout_ms, None)
        if isinstance(changes, set):
            self._last_change = time.monotonic()
        elif changes == "signal":
            raise KeyboardInterrupt

    def close(self) -> None:
        if self._notify is not None:
            self._notify.close()  # type: ignore[attr-defined]
            self._notify = None


class PollWatch:
    """Looks again at intervals, longer ones in silence: for file systems that notify nobody."""

    def __init__(self) -> None:
        self._sizes: dict[str, int] = {}
        self._paths: set[str] = set()
        self._last_change = time.monotonic()

    def add(self, directory: str, files: Iterable[str] = ()) -> None:
        self._paths.update((directory, *files))

    def wait(self, timeout_seconds: float) -> None:
        deadline = time.monotonic() + timeout_seconds
        while True:
            sizes = {path: _signature(path) for path in self._paths}
            now = time.monotonic()
            if sizes != self._sizes:
                self._sizes = sizes
                self._last_change = now
                return
            if now >= deadline:
                return
            busy = now - self._last_change < _BUSY_SECONDS
            time.sleep(min(deadline - now, (_SHORT_STEP_MS if busy else _LONG_STEP_MS) / 1000))

    def close(self) -> None:
        self._paths.clear()


def _signature(path: str) -> int:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return -1
    return status.st_size ^ status.st_mtime_ns
