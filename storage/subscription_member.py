"""A consumer of a subscription: a file that is locked for as long as the consumer lives.

Promises: the kernel frees the lock when the process dies, so a consumer is dead exactly when its file is
unlocked or gone; a file is removed only under its own lock, so never that of one who lives.
"""

from __future__ import annotations

import os

from storage import files
from storage.lock import FileLock
from storage.shelf import MEMBERS

_LOCK_SECONDS = 10.0


class Presence:
    """This consumer, in the directory of the subscription."""

    def __init__(self, directory: str, name: str) -> None:
        path = members_path(directory)
        files.make_directory(path)
        _sweep(path)
        self._lock = FileLock(os.path.join(path, name), what=f"the consumer {name}")
        # Who looks for the dead may have it in hand between its making and its locking.
        self._lock.acquire(timeout_seconds=_LOCK_SECONDS)

    @classmethod
    def new_name(cls) -> str:
        """A name that no consumer ever had, so that no earlier one's claim is taken for this one's."""
        return os.urandom(8).hex()

    @property
    def fd(self) -> int:
        """The locked descriptor: a process that inherits it keeps the consumer alive."""
        return self._lock.fd

    def leave(self) -> None:
        """End this consumer."""
        if self._lock.fd >= 0:
            files.unlink(self._lock.path)
            self._lock.close()


def members_path(directory: str) -> str:
    """Where the files of the consumers lie, in the directory of the subscription."""
    return os.path.join(directory, MEMBERS)


def living(directory: str) -> list[str]:
    """The consumers that live now. Changes nothing."""
    path = members_path(directory)
    try:
        names = sorted(os.listdir(path))
    except FileNotFoundError:
        return []
    return [name for name in names if _is_locked(os.path.join(path, name))]


def _sweep(path: str) -> None:
    """Remove the files of consumers that died."""
    for name in os.listdir(path):
        file = os.path.join(path, name)
        try:
            # Closing a file that is open for writing would wake those who wait for a death.
            fd = files.open_file(file, read_only=True)
        except FileNotFoundError:
            continue
        try:
            if files.try_lock(fd):
                files.unlink(file)
        finally:
            files.close_file(fd)


def _is_locked(path: str) -> bool:
    try:
        fd = files.open_file(path, read_only=True)
    except FileNotFoundError:
        return False
    try:
        return not files.try_lock(fd, shared=True)
    finally:
        files.close_file(fd)
