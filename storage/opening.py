"""Opening a store: is it one, may it be used here, and does it need recovery first?

Promises: two processes that make one store at the same time make one; recovery runs alone; a process that
only reads needs no right to write, and then sees what was last applied.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from storage import files
from storage.catalog import TRASH
from storage.checkpoint import full_files
from storage.epoch import Epoch, Identity, current_identity, read_epoch
from storage.errors import (
    LockTimeoutError,
    NewerFormatError,
    NotAStoreError,
    ReadOnlyStoreError,
    StoreNotFoundError,
    UnsafeFileSystemError,
)
from storage.files import Sync
from storage.journal import Journal
from storage.lock import UseLock, holder_of
from storage.shared_page import SharedPage, create_page, open_page
from storage.shelf import KINDS, TOPICS

STORE_FILE = "aegis.toml"
FORMAT_READ = 1
FORMAT_WRITE = 1
_JOURNAL = "journal"
_OWN_NAMES = {_JOURNAL, TOPICS, TRASH, "quarantine", *KINDS}
_PAUSE_SECONDS = 0.002
_VOUCHED_SECONDS = 0.1
# From linux/magic.h and the file systems' own headers: locks or syncs that do not reach what is shared.
_UNSAFE = {
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "fuse.sshfs", "fuse.glusterfs", "vboxsf",
    "fuse.s3fs", "fuse.rclone", "davfs", "ncpfs",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class OpenStore:
    """What an open store holds on to: the epoch, the shared page, the lock that keeps recovery away."""

    epoch: Epoch
    page: SharedPage
    use: UseLock

    def close(self) -> None:
        self.page.close()
        self.use.close()


def check_format(path: str, *, write: bool) -> str:
    """Read the store's identity; returns its id. Raises what keeps this program from using the store."""
    import tomllib

    file_name = os.path.join(path, STORE_FILE)
    try:
        with open(file_name, "rb") as file:
            table = tomllib.loads(file.read(1 << 20).decode())
        store = table["store"]
        reading, writing, store_id = int(store["format_read"]), int(store["format_write"]), str(store["id"])
    except FileNotFoundError:
        if not os.path.isdir(path) or not os.listdir(path):
            raise StoreNotFoundError(path) from None
        raise NotAStoreError(path, f"it has no {STORE_FILE}") from None
    except NotADirectoryError:
        raise NotAStoreError(path, "it is a file") from None
    except (ValueError, KeyError, TypeError) as error:
        raise NotAStoreError(path, f"{STORE_FILE} cannot be read ({error})") from error
    if reading > FORMAT_READ:
        raise NewerFormatError(path, reading, FORMAT_READ, action="read")
    if write and writing > FORMAT_WRITE:
        raise NewerFormatError(path, writing, FORMAT_WRITE, action="write")
    return store_id


def render_store_file(store_id: str) -> bytes:
    """The text of a new `aegis.toml`."""
    return (
        f"# An Aegis store. 'aegis config' reads and changes this file.\n\n[store]\n"
        f'format_read = {FORMAT_READ}\nformat_write = {FORMAT_WRITE}\nid = "{store_id}"\n'
    ).encode()


def create_store(path: str, *, lock_wait_seconds: float) -> None:
    """Make a store at `path` unless one is there. Raises `NotAStoreError` for a directory of other things."""
    if os.path.exists(os.path.join(path, STORE_FILE)):
        return
    if os.path.exists(path):
        if not os.path.isdir(path):
            raise NotAStoreError(path, "it is a file")
        # A process that died while it made the store may have left the file under its temporary name.
        names = {name for name in os.listdir(path) if not name.startswith(f"{STORE_FILE}.tmp")}
        if foreign := names - _OWN_NAMES:
            raise NotAStoreError(path, f"it holds '{min(foreign)}'")
    else:
        _make_directories(path)
    for name in (_JOURNAL, TOPICS, TRASH):
        files.make_directory(os.path.join(path, name))
    check_file_system(path)
    lock = _lock_use(path, lock_wait_seconds=lock_wait_seconds)
    try:
        if os.path.exists(os.path.join(path, STORE_FILE)):
            return
        files.sync_directory(path, Sync.STORE_CREATE)
        files.replace_file(os.path.join(path, STORE_FILE), render_store_file(os.urandom(12).hex()))
    finally:
        lock.close()


def _make_directories(path: str) -> None:
    parent = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(parent):
        _make_directories(parent)
    files.make_directory(path)
    files.sync_directory(parent, Sync.STORE_CREATE)


def _lock_use(path: str, *, lock_wait_seconds: float) -> UseLock:
    """Be alone in the store."""
    lock = UseLock(os.path.join(path, _JOURNAL, "use.lock"))
    deadline = time.monotonic() + lock_wait_seconds
    while not lock.try_exclusive():
        if time.monotonic() > deadline:
            holder = holder_of(lock.fd)
            lock.close()
            raise LockTimeoutError(f"store {path}", holder, lock_wait_seconds)
        time.sleep(_PAUSE_SECONDS)
    return lock


def open_store(path: str, *, lock_wait_seconds: float, now_ms: int) -> OpenStore:
    """Open the store for writing, after recovery where it is needed. Raises `LockTimeoutError`."""
    journal_path = os.path.join(path, _JOURNAL)
    if not os.access(journal_path, os.W_OK):
        raise ReadOnlyStoreError(path)
    use = UseLock(os.path.join(journal_path, "use.lock"))
    page_path = os.path.join(journal_path, "shared")
    page: SharedPage | None = None
    identity = current_identity(journal_path)
    began = time.monotonic()
    try:
        while True:
            if use.try_shared():
                page = page or open_page(page_path)
                epoch = _current(journal_path, identity, page)
                # Where only the mount differs it may be the same one seen from another namespace, or one that
                # came after the device was lost. Somebody else who keeps the store open for longer than an
                # opening takes vouches for it: an open file keeps its mount alive.
                shared_with_others = time.monotonic() - began > _VOUCHED_SECONDS
                if (
                    page is not None
                    and epoch is not None
                    and (epoch.identity == identity or shared_with_others)
                ):
                    return OpenStore(epoch, page, use)
                use.release()
            if use.try_exclusive():
                if page is None:
                    create_page(page_path)
                    page = open_page(page_path)
                    assert page is not None, "nobody else is in the store"
                found = _current(journal_path, identity, page)
                if found is None or found.identity != identity:
                    # Once a boot; every other start does without it.
                    from storage.recovery import recover

                    recover(path, identity=identity, page=page, now_ms=now_ms)
                use.release()
                continue
            if time.monotonic() - began > max(lock_wait_seconds, 2 * _VOUCHED_SECONDS):
                raise LockTimeoutError(f"store {path}", holder_of(use.fd), lock_wait_seconds)
            time.sleep(_PAUSE_SECONDS)
    except BaseException:
        if page is not None:
            page.close()
        use.close()
        raise


def recovery_is_due(path: str) -> bool:
    """Whether a store was cut off and has to be brought up to its journal before it is read, and may be."""
    journal_path = os.path.join(path, _JOURNAL)
    epoch = read_epoch(journal_path)
    if epoch is not None and epoch.identity == current_identity(journal_path):
        return False
    return os.access(journal_path, os.W_OK)


def open_journal(path: str, opened: OpenStore, *, lock_wait_seconds: float) -> Journal:
    """The journal of a store that was opened."""
    journal = Journal(
        os.path.join(path, _JOURNAL),
        salt=opened.epoch.salt,
        page=opened.page,
        lock_wait_seconds=lock_wait_seconds,
    )
    # Who filled a journal file may have died before it was checkpointed.
    journal.wants_checkpoint = bool(full_files(journal))
    return journal


def _current(journal_path: str, identity: Identity, page: SharedPage | None) -> Epoch | None:
    """The epoch, if the page is of it and only the mount may differ; `None`: recovery comes first."""
    epoch = read_epoch(journal_path)
    if epoch is None or page is None or page.salt != epoch.salt:
        return None
    return epoch if epoch.identity._replace(mount=0) == identity._replace(mount=0) else None


def check_file_system(path: str) -> None:
    """Raise `UnsafeFileSystemError` where locks cannot be relied upon, unless the user insists."""
    if os.environ.get("AEGIS_FORCE_FILESYSTEM"):
        return
    kind = file_system_of(path)
    if kind in _UNSAFE:
        raise UnsafeFileSystemError(path, kind)


def file_system_of(path: str) -> str:
    """The kind of file system that holds `path`, as /proc/self/mountinfo names it; empty where unknown."""
    real = os.path.realpath(path)
    best, kind = "", ""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as table:
            for row in table:
                left, _, right = row.partition(" - ")
                point = left.split()[4].replace("\\040", " ")
                inside = real == point or real.startswith(point.rstrip("/") + "/")
                if inside and len(point) >= len(best):
                    best, kind = point, right.split()[0]
    except OSError:
        return ""
    return kind
