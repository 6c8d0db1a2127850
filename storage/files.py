"""The only door to the disk: every write, sync, rename, truncation and lock of the store goes through here.

Promises:

- A write is complete or raises; a short write is continued.
- A full disk raises `DiskFullError`, a failed sync `SyncFailedError`, a store that cannot be written
  `ReadOnlyStoreError`; anything else is the `OSError` of the kernel.
- Each sync names the promise that it buys (`Sync`), so that a test can take that one sync away and see what
  breaks.
- `observer` sees every operation before it is carried out and may refuse it: this is where tests cut the
  power, fill the disk, fail a sync or stop a process. It is `None` outside of tests.

`AEGIS_FAILPOINTS` in the environment installs the observer of `storage.failpoints`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import threading
from enum import Enum
from typing import TYPE_CHECKING, NoReturn, Protocol

from storage.errors import DiskFullError, ReadOnlyStoreError, SyncFailedError

if TYPE_CHECKING:
    from mmap import mmap


class Sync(Enum):
    """What each sync of the store is for. Taking any one of them away loses something after a power cut."""

    JOURNAL_COMMIT = "what is acknowledged is on disk"
    JOURNAL_SWITCH = "the journal has no hole: a file is whole before its successor is written"
    JOURNAL_CREATE = "a journal file that holds commits can be found again"
    BULK_DATA = "a commit names only data that is on disk"
    BULK_META = "a commit names only metadata that is on disk"
    SEGMENT_CREATE = "a segment that bulk data is written to can be found again"
    CHECKPOINT_FILE = "a journal file is recycled only when all that it holds is in the segments"
    CHECKPOINT_DIRECTORY = "a journal file is recycled only when the removals it holds have happened"
    RECOVERY_JOURNAL = "recovery shows only what no further power cut can take back"
    RECOVERY_FILE = "a new epoch begins only when the old journal is in the segments"
    RECOVERY_DIRECTORY = "a new epoch begins only when what recovery made or removed stays so"
    EPOCH = "records of an old epoch never count again"
    STORE_CREATE = "a store that holds something can be found again"
    TOPIC_CREATE = "a topic that is acknowledged can be found again, and is whole"
    TOPIC_DELETE = "a topic whose deletion is acknowledged stays away"
    CEILING = "an offset that somebody may have read never names another message"
    SETTINGS = "a setting that is acknowledged is kept"
    OUTPUT_FILE = "a position that is committed has its messages in the file"


class Observer(Protocol):
    """What a test can put between the store and the disk. A method may raise instead of letting it happen."""

    def opened(self, fd: int, path: str) -> None: ...
    def closed(self, fd: int) -> None: ...
    def created(self, path: str) -> None: ...
    def write(self, fd: int, data: bytes | memoryview, position: int) -> None: ...
    def allocate(self, fd: int, position: int, length: int) -> None: ...
    def truncate(self, fd: int, length: int) -> None: ...
    def sync(self, fd: int, promise: Sync) -> None: ...
    def sync_directory(self, path: str, promise: Sync) -> None: ...
    def rename(self, source: str, target: str) -> None: ...
    def unlink(self, path: str) -> None: ...
    def make_directory(self, path: str) -> None: ...
    def step(self, name: str) -> None: ...


observer: Observer | None = None

# What `os.posix_fallocate` cannot say: reserve the blocks, keep the size. From linux/falloc.h.
_FALLOC_FL_KEEP_SIZE = 1
# Small for the kernel's cache, large enough to be soon done.
_PIECE_BYTES = 16 * 1024
_EXCLUSIVE = fcntl.LOCK_EX | fcntl.LOCK_NB
_SHARED = fcntl.LOCK_SH | fcntl.LOCK_NB
_PAGE_BYTES = 4096
_BEGIN_BYTES = 1024 * 1024
# So many at a time go to the kernel; it takes twice as many.
_PIECES_MAX = 512
_advise = getattr(os, "posix_fadvise", None)
# From fcntl.h: type, whence, start, length, process.
_FLOCK = struct.Struct("hhqqi4x")


def step(name: str) -> None:
    """Mark a moment between two operations, for failpoints."""
    if observer is not None:
        observer.step(name)


def open_file(path: str, *, create: bool = False, read_only: bool = False) -> int:
    """Open `path` close-on-exec; with `create`, make it when it is missing. Returns a descriptor."""
    flags = os.O_CLOEXEC | (os.O_RDONLY if read_only else os.O_RDWR)
    if create:
        try:
            fd = _open(path, flags | os.O_CREAT | os.O_EXCL)
        except FileExistsError:
            fd = _open(path, flags)
        else:
            if observer is not None:
                observer.created(path)
    else:
        fd = _open(path, flags)
    if observer is not None:
        observer.opened(fd, path)
    return fd


def _open(path: str, flags: int) -> int:
    try:
        return os.open(path, flags, 0o666)
    except OSError as error:
        _refuse(error, path)


def translated(error: OSError, path: str) -> Exception:
    """The store's own error for what the kernel said about `path`, or the kernel's own."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFullError(path)
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return ReadOnlyStoreError(path)
    return error


def _refuse(error: OSError, path: str) -> NoReturn:
    own = translated(error, path)
    if own is error:
        # As its own cause it would be a cycle, and keep what its frames hold until that is collected.
        raise error
    raise own from error


def close_file(fd: int) -> None:
    """Close a descriptor that `open_file` gave."""
    if observer is not None:
        observer.closed(fd)
    os.close(fd)


def write_at(fd: int, data: bytes | memoryview, position: int) -> None:
    """Write all of `data` at `position`, in as many writes as the kernel wants."""
    if observer is not None:
        observer.write(fd, data, position)
    try:
        done = os.pwrite(fd, data, position)
        if done == len(data):
            return
        rest = memoryview(data)
        while done < len(data):
            done += os.pwrite(fd, rest[done:], position + done)
    except OSError as error:
        _refuse(error, f"descriptor {fd}")


def write_in_pieces(fd: int, data: bytes) -> None:
    """Write `data` at the start of the file, in small pieces that the kernel keeps apart in its cache."""
    if observer is not None:
        observer.write(fd, data, 0)
    try:
        for position in range(0, len(data), _PIECE_BYTES):
            piece = data[position : position + _PIECE_BYTES]
            done = os.pwrite(fd, piece, position)
            if done < len(piece):
                write_at(fd, piece[done:], position + done)
    except OSError as error:
        _refuse(error, f"descriptor {fd}")


def write_pieces_at(fd: int, pieces: list[bytes], position: int) -> None:
    """Write the pieces one after another at `position`, a megabyte or 512 of them at a time.

    The disk begins with each megabyte at once. A sync that found all of it unwritten would have the disk
    wait for the processor first, and then the processor for the disk.
    """
    group: list[bytes] = []
    length = 0
    for piece in pieces:
        group.append(piece)
        length += len(piece)
        if length >= _BEGIN_BYTES or len(group) == _PIECES_MAX:
            _write_group_at(fd, group, length, position)
            if length >= _BEGIN_BYTES:
                from storage import libc

                libc.start_writing(fd, position, length)
            position += length
            group, length = [], 0
    if group:
        _write_group_at(fd, group, length, position)


def _write_group_at(fd: int, group: list[bytes], length: int, position: int) -> None:
    if observer is not None:
        observer.write(fd, b"".join(group), position)
    try:
        done = os.pwritev(fd, group, position)
        if done < length:
            write_at(fd, b"".join(group)[done:], position + done)
    except OSError as error:
        _refuse(error, f"descriptor {fd}")


def write_mapped(fd: int, page: mmap, data: bytes) -> None:
    """Write `data` at the start of a page that is mapped from `fd`."""
    if observer is not None:
        observer.write(fd, data, 0)
    page[: len(data)] = data


def allocate(fd: int, position: int, length: int) -> None:
    """Reserve blocks for a range without changing the file's size, so that writing there later finds room.

    File systems that cannot reserve are left alone: a full disk is then met by the write itself.
    """
    if observer is not None:
        observer.allocate(fd, position, length)
    try:
        _fallocate(fd, position, length)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
            return
        _refuse(error, f"descriptor {fd}")


def _fallocate(fd: int, position: int, length: int) -> None:
    # os.posix_fallocate would grow the file, and raw readers of a topic would then see zeros at its end.
    from storage import libc

    libc.fallocate(fd, _FALLOC_FL_KEEP_SIZE, position, length)


def truncate(fd: int, length: int) -> None:
    """Cut the file back, or extend it, to `length` bytes."""
    if observer is not None:
        observer.truncate(fd, length)
    os.ftruncate(fd, length)


def sync(fd: int, promise: Sync, path: str) -> None:
    """Make the data of `fd` durable. Raises `SyncFailedError`, after which nobody may believe this file."""
    try:
        if observer is not None:
            observer.sync(fd, promise)
        os.fdatasync(fd)
    except OSError as error:
        raise SyncFailedError(path, error.strerror or str(error)) from error


def start_writing(fd: int, position: int, length: int) -> None:
    """Have the disk begin with what was just written there, at most a page, before its sync asks for it.

    It promises nothing: where the kernel does not do it, the sync has more to wait for. Of more than a page
    the kernel would also drop what it holds in memory, which is what this call is for elsewhere.
    """
    if _advise is not None and length <= _PAGE_BYTES:
        try:
            _advise(fd, position, length, os.POSIX_FADV_DONTNEED)
        except OSError:
            return


def sync_directory(path: str, promise: Sync) -> None:
    """Make creations, renames and removals in a directory durable."""
    try:
        if observer is not None:
            observer.sync_directory(path, promise)
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        raise SyncFailedError(path, error.strerror or str(error)) from error


def sync_everything() -> None:
    """Make all that was ever written durable: the slow way, for when nobody knows what needs it."""
    os.sync()


def rename(source: str, target: str) -> None:
    """Rename, replacing `target` at once."""
    if observer is not None:
        observer.rename(source, target)
    os.rename(source, target)


def unlink(path: str) -> None:
    """Remove a file; one that is already gone is fine."""
    if observer is not None:
        observer.unlink(path)
    try:
        os.unlink(path)
    except FileNotFoundError:
        return


def make_directory(path: str) -> None:
    """Make a directory; one that exists is fine."""
    try:
        os.mkdir(path, 0o777)
    except FileExistsError:
        return
    except OSError as error:
        _refuse(error, path)
    if observer is not None:
        observer.make_directory(path)


def remove_directory(path: str) -> None:
    """Remove an empty directory; one that is gone is fine."""
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return


def replace_file(path: str, data: bytes, promise: Sync = Sync.SETTINGS) -> None:
    """Give `path` new contents in one step: after a power cut it holds all of the old or all of the new."""
    temporary = f"{path}.tmp{os.getpid()}-{threading.get_ident()}"
    fd = open_file(temporary, create=True)
    try:
        truncate(fd, 0)
        write_at(fd, data, 0)
        sync(fd, promise, path)
    finally:
        close_file(fd)
    rename(temporary, path)
    sync_directory(os.path.dirname(path), promise)


def try_lock(fd: int, *, shared: bool = False) -> bool:
    """Take the kernel's lock on `fd` if it is free."""
    try:
        fcntl.flock(fd, _SHARED if shared else _EXCLUSIVE)
    except BlockingIOError:
        return False
    return True


def try_lock_byte(fd: int, position: int) -> bool:
    """Take the kernel's lock on one byte of the open file `fd` if it is free; closing the file frees it.

    Raises OSError where the system has no such locks.
    """
    command = getattr(fcntl, "F_OFD_SETLK", None)
    if command is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    try:
        fcntl.fcntl(fd, command, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, position, 1, 0))
    except (BlockingIOError, PermissionError):
        return False
    return True


def unlock_byte(fd: int, position: int) -> None:
    """Give back a lock that `try_lock_byte` took."""
    fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_UNLCK, os.SEEK_SET, position, 1, 0))


def unlock(fd: int) -> None:
    """Give the kernel's lock back."""
    fcntl.flock(fd, fcntl.LOCK_UN)


if "AEGIS_FAILPOINTS" in os.environ:
    from storage.failpoints import Failpoints

    observer = Failpoints.from_environment(os.environ["AEGIS_FAILPOINTS"])
