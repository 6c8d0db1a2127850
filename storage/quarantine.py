"""Quarantine: bytes that no longer belong to a topic are set aside, all of them, and never thrown away.

STORE/quarantine/<number>-<topic>-<partition>-<segment file>@<position>
"""

from __future__ import annotations

import os

from storage import files
from storage.files import Sync

QUARANTINE = "quarantine"
_PIECE_BYTES = 1 << 20
_NAME_CHARACTERS_MAX = 180


def set_aside(store_path: str, path: str, fd: int, position: int, length: int | None = None) -> str:
    """Copy the file's bytes from `position` on into the quarantine, durably; returns the copy's path.

    `length` bytes, or all that there are. Raises `DiskFullError` where they do not fit: nothing was changed.
    """
    topic, partition, name = path.split(os.sep)[-3:]
    size = os.fstat(fd).st_size
    end = size if length is None else min(position + length, size)
    return _copy(store_path, f"{topic}-{partition}-{name}@{position}", fd, position, end)


def keep_copy(store_path: str, path: str, name: str) -> str:
    """Copy a file into the quarantine, if there is one; returns the copy's path, or an empty text."""
    try:
        fd = files.open_file(path, read_only=True)
    except FileNotFoundError:
        return ""
    try:
        return _copy(store_path, name, fd, 0, os.fstat(fd).st_size)
    finally:
        files.close_file(fd)


def _copy(store_path: str, name: str, fd: int, position: int, end: int) -> str:
    copy = place_for(store_path, name)
    target = files.open_file(copy, create=True)
    try:
        written = 0
        while position < end:
            piece = os.pread(fd, min(_PIECE_BYTES, end - position), position)
            if not piece:
                break
            files.write_at(target, piece, written)
            written += len(piece)
            position += len(piece)
        # Whoever has them set aside may cut them off next.
        files.sync(target, Sync.RECOVERY_FILE, copy)
    finally:
        files.close_file(target)
    files.sync_directory(os.path.dirname(copy), Sync.RECOVERY_DIRECTORY)
    return copy


def place_for(store_path: str, name: str) -> str:
    """A path in the quarantine that nothing has, numbered above all that lies there."""
    if len(name) > _NAME_CHARACTERS_MAX:
        # The longest name of a topic fills a file's name by itself; the end says which file it was.
        name = f"{name[: _NAME_CHARACTERS_MAX - 80]}~{name[-79:]}"
    directory = os.path.join(store_path, QUARANTINE)
    files.make_directory(directory)
    # Not by their count: after somebody cleared some of it away, that is the number of another.
    numbers = [int(found[:6]) for found in os.listdir(directory) if found[:6].isdecimal()]
    return os.path.join(directory, f"{max(numbers, default=-1) + 1:06d}-{name}")
