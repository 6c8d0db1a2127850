"""Quarantine: bytes that no longer belong to a topic are set aside, never thrown away.

STORE/quarantine/<number>-<segment file>@<position>
"""

from __future__ import annotations

import os

from storage import files

QUARANTINE = "quarantine"
# An abandoned append is at most a few steps of a bulk publish; more than this is not copied.
_BYTES_MAX = 256 * 1024 * 1024
_PIECE_BYTES = 1 << 20


def set_aside(store_path: str, path: str, fd: int, position: int, length: int | None = None) -> str:
    """Copy the file's bytes from `position` on into the quarantine; returns the copy's path."""
    directory = os.path.join(store_path, QUARANTINE)
    files.make_directory(directory)
    number = len(os.listdir(directory))
    topic, partition, name = path.split(os.sep)[-3:]
    copy = os.path.join(directory, f"{number:06d}-{topic}-{partition}-{name}@{position}")
    end = min(os.fstat(fd).st_size if length is None else position + length, position + _BYTES_MAX)
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
    finally:
        files.close_file(target)
    return copy
