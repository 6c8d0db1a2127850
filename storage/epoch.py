"""The epoch: from one recovery to the next. Layout in FORMAT.md section 3.1.

An epoch belongs to an identity: this boot of the machine, this device, this journal directory, this mount.
Under another identity (a reboot, a copy, a restored snapshot) what the page cache held may be gone, so the
journal is replayed before anything is appended, and a new epoch with a new salt begins. Records of an older
epoch never count again, whatever the disk still shows of them.
"""

from __future__ import annotations

import os
import struct
from typing import NamedTuple

from storage import checksum, files
from storage.checksum import Check
from storage.files import Sync

EPOCH_FILE = "epoch"
_MAGIC = b"AEGISEPO"
_VERSION = 1
_CRC = struct.Struct("<I")
_BODY = struct.Struct("<I8sQQ16sQQQq48x")
EPOCH_BYTES = _CRC.size + _BODY.size


class Identity(NamedTuple):
    """Whose memory of the store can be trusted."""

    boot_id: bytes
    device: int
    inode: int
    mount: int


class Epoch(NamedTuple):
    """The salt of the epoch's records, and the sequence of its first one."""

    salt: int
    first_sequence: int
    identity: Identity
    began_ms: int


def current_identity(journal_path: str) -> Identity:
    """The identity under which this process sees the journal directory."""
    fd = os.open(journal_path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        status = os.fstat(fd)
        mount = _mount_id(fd)
    finally:
        os.close(fd)
    return Identity(_boot_id(), status.st_dev, status.st_ino, mount)


def _boot_id() -> bytes:
    try:
        with open("/proc/sys/kernel/random/boot_id", "rb") as file:
            return bytes.fromhex(file.read(40).strip().replace(b"-", b"").decode("ascii"))
    except OSError:
        return _boot_time()


def _boot_time() -> bytes:
    # Without /proc, the moment of the boot names it: the wall clock less the time since the boot.
    import time

    return int(time.time() - time.monotonic()).to_bytes(16, "little")


def _mount_id(fd: int) -> int:
    try:
        with open(f"/proc/self/fdinfo/{fd}", "rb") as file:
            for row in file:
                if row.startswith(b"mnt_id:"):
                    return int(row[7:])
    except OSError:
        pass
    return 0


def read_epoch(journal_path: str) -> Epoch | None:
    """The durable epoch, or `None` where there is none or it is damaged: recovery then begins a new one."""
    try:
        with open(os.path.join(journal_path, EPOCH_FILE), "rb") as file:
            raw = file.read(EPOCH_BYTES + 1)
    except FileNotFoundError:
        return None
    if len(raw) != EPOCH_BYTES:
        return None
    version, magic, salt, first, boot_id, device, inode, mount, began_ms = _BODY.unpack_from(raw, _CRC.size)
    if magic != _MAGIC or version != _VERSION:
        return None
    if not checksum.matches(Check.EPOCH, _CRC.unpack_from(raw)[0], raw[_CRC.size :]):
        return None
    return Epoch(salt, first, Identity(boot_id, device, inode, mount), began_ms)


def write_epoch(journal_path: str, epoch: Epoch) -> None:
    """Begin an epoch durably."""
    body = _BODY.pack(_VERSION, _MAGIC, epoch.salt, epoch.first_sequence, *epoch.identity, epoch.began_ms)
    raw = _CRC.pack(checksum.value(body)) + body
    files.replace_file(os.path.join(journal_path, EPOCH_FILE), raw, Sync.EPOCH)


def new_salt() -> int:
    """A salt that no record on this disk has: random, never zero."""
    return int.from_bytes(os.urandom(8), "little") | 1
