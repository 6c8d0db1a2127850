"""What happened to a disk, in order: the operations that a recorder saw, and what was known in between.

Files and directories are named by the number of their inode, so that a rename changes no name here.
"""

# The seam speaks of plain strings and descriptors, as the store does.
# ruff: noqa: PTH116, PTH118, PTH123
from __future__ import annotations

import os
from dataclasses import dataclass, field

from storage.files import Sync


@dataclass(frozen=True, slots=True)
class Wrote:
    file: int
    position: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Truncated:
    file: int
    length: int


@dataclass(frozen=True, slots=True)
class SyncBegan:
    """A sync covers what was there when it began, and counts when it has ended."""

    ticket: int
    node: int
    is_directory: bool
    promise: Sync


@dataclass(frozen=True, slots=True)
class SyncEnded:
    ticket: int


@dataclass(frozen=True, slots=True)
class Linked:
    """A file or directory was made."""

    directory: int
    name: str
    node: int
    is_directory: bool


@dataclass(frozen=True, slots=True)
class Unlinked:
    directory: int
    name: str
    node: int


@dataclass(frozen=True, slots=True)
class Renamed:
    directory: int
    name: str
    target_directory: int
    target_name: str
    node: int


@dataclass(frozen=True, slots=True)
class Marked:
    """Something became known between two operations: see `promises`."""

    fact: object


Event = Wrote | Truncated | SyncBegan | SyncEnded | Linked | Unlinked | Renamed | Marked

# A disk as paths, relative to its root: the bytes of a file, `None` for a directory.
Tree = dict[str, bytes | None]


@dataclass(slots=True)
class Image:
    """A directory tree by inode number."""

    root: int
    directories: dict[int, dict[str, int]]
    contents: dict[int, bytes]


@dataclass(slots=True)
class Trace:
    """All that happened after `initial` was durable. `pages` is the mapped page as it was from an event on,
    `databases` what a database beside the store had committed; power is cut from event `start` on."""

    initial: Image
    events: list[Event] = field(default_factory=list)
    pages: list[tuple[int, bytes]] = field(default_factory=list)
    databases: list[tuple[int, bytes]] = field(default_factory=list)
    start: int = 0


def read_image(root: str) -> Image:
    """The tree below `root` as it is now."""
    image = Image(os.stat(root).st_ino, {}, {})
    for path, directories, names in os.walk(root):
        entries = image.directories[os.stat(path).st_ino] = {}
        for name in directories + names:
            child = os.path.join(path, name)
            entries[name] = os.stat(child).st_ino
            if name in names:
                with open(child, "rb") as file:
                    image.contents[entries[name]] = file.read()
    return image
