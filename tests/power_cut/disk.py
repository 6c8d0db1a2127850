"""A disk that can lose its power: what is durable, what is not yet, and what a cut could leave of that.

The model, per file: the bytes after each operation since the last sync that counts. After a cut every sector
holds what it held after *some* of these operations, each sector for itself; the size likewise. A sector that
was cut off and came back is never older than the cut that the size shows. Per directory: the entries as of
its last sync, and any subset of the creations, renames and removals since; a rename is one of them, and is
durable when both directories are. A file that no surviving entry names is gone, whatever was synced of it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from storage.files import Sync
from tests.power_cut.trace import (
    Image,
    Linked,
    Marked,
    Renamed,
    SyncBegan,
    SyncEnded,
    Trace,
    Tree,
    Truncated,
    Unlinked,
    Wrote,
)

SECTOR_BYTES = 512
PAGE_SECTORS = 4096 // SECTOR_BYTES
DirectoryChange = Linked | Unlinked | Renamed


@dataclass(slots=True)
class _File:
    """`versions[k]` are the bytes after `k` of the `spans`: first byte and end byte of each change."""

    versions: list[bytes]
    spans: list[tuple[int, int]] = field(default_factory=list)
    forgotten: int = 0

    def write(self, position: int, data: bytes) -> None:
        before = self.versions[-1]
        head = before[:position].ljust(position, b"\0")
        self._add(head + data + before[position + len(data) :], (position, position + len(data)))

    def truncate(self, length: int) -> None:
        before = self.versions[-1]
        if len(before) != length:
            span = (min(length, len(before)), max(length, len(before)))
            self._add(before[:length].ljust(length, b"\0"), span)

    def _add(self, content: bytes, span: tuple[int, int]) -> None:
        self.versions.append(content)
        self.spans.append(span)

    @property
    def count(self) -> int:
        return self.forgotten + len(self.spans)

    def persist(self, count: int) -> None:
        done = max(0, count - self.forgotten)
        del self.versions[:done]
        del self.spans[:done]
        self.forgotten += done

    def sectors(self, change: int) -> range:
        first, end = self.spans[change]
        return range(first // SECTOR_BYTES, -(-end // SECTOR_BYTES))

    def mixed(self, version_of: Callable[[int], int], size_version: int) -> bytes:
        """The bytes where each sector has the version that is asked for."""
        size = len(self.versions[size_version])
        out = bytearray(self.versions[0][:size].ljust(size, b"\0"))
        touched = {sector for change in range(len(self.spans)) for sector in self.sectors(change)}
        cuts = [k for k in range(1, size_version + 1) if len(self.versions[k]) < len(self.versions[k - 1])]
        for sector in touched:
            start = sector * SECTOR_BYTES
            if start >= size:
                continue
            version = version_of(sector)
            for cut in cuts:
                if cut > version and len(self.versions[cut]) < start + SECTOR_BYTES:
                    version = cut
            end = min(start + SECTOR_BYTES, size)
            out[start:end] = self.versions[version][start:end].ljust(end - start, b"\0")
        return bytes(out)


class Disk:
    """Follows a trace. Syncs for the promise `ignored` do not count."""

    def __init__(self, initial: Image) -> None:
        self.root = initial.root
        self.files = {node: _File([content]) for node, content in initial.contents.items()}
        self.directories = {node: dict(names) for node, names in initial.directories.items()}
        self.pending: list[tuple[DirectoryChange, set[int]]] = []
        self.ignored: Sync | None = None
        self._tickets: dict[int, tuple[SyncBegan, int, list[DirectoryChange]]] = {}

    def follow(self, event: object) -> None:
        """Let one event happen."""
        match event:
            case Wrote(file, position, data):
                if file in self.files:
                    self.files[file].write(position, data)
            case Truncated(file, length):
                if file in self.files:
                    self.files[file].truncate(length)
            case Linked(directory, _, node, is_directory):
                if is_directory:
                    self.directories[node] = {}
                else:
                    self.files[node] = _File([b""])
                self.pending.append((event, {directory}))
            case Unlinked(directory, _, _):
                self.pending.append((event, {directory}))
            case Renamed(directory, _, target, _, _):
                self.pending.append((event, {directory, target}))
            case SyncBegan():
                self._begin(event)
            case SyncEnded(ticket):
                self._end(ticket)
            case Marked():
                pass

    def _begin(self, event: SyncBegan) -> None:
        if event.promise is self.ignored:
            return
        if event.is_directory:
            covered = [change for change, waiting in self.pending if event.node in waiting]
            self._tickets[event.ticket] = event, 0, covered
        elif event.node in self.files:
            self._tickets[event.ticket] = event, self.files[event.node].count, []

    def _end(self, ticket: int) -> None:
        if ticket not in self._tickets:
            return
        event, count, covered = self._tickets.pop(ticket)
        if not event.is_directory:
            self.files[event.node].persist(count)
            return
        kept = []
        for change, waiting in self.pending:
            if any(change is one for one in covered):
                waiting.discard(event.node)
            if waiting:
                kept.append((change, waiting))
            else:
                _apply(self.directories, change)
        self.pending = kept

    # -- what a cut could leave -----------------------------------------------------------------------

    def build(self, choice: Choice) -> Tree:
        """The tree that this choice leaves."""
        directories = {node: dict(names) for node, names in self.directories.items()}
        for index, (change, _) in enumerate(self.pending):
            if index in choice.changes:
                _apply(directories, change)
        tree: Tree = {}
        self._walk(directories, self.root, "", choice, tree)
        return tree

    def _walk(
        self, directories: dict[int, dict[str, int]], node: int, path: str, choice: Choice, tree: Tree
    ) -> None:
        for name, child in directories[node].items():
            child_path = f"{path}/{name}" if path else name
            if child in directories:
                tree[child_path] = None
                self._walk(directories, child, child_path, choice, tree)
            else:
                tree[child_path] = choice.content(child, self.files[child])

    def choices(self, rng: random.Random, *, randoms: int) -> Iterator[Choice]:
        """What to look at: each loss alone, each survivor alone, tears, mixtures."""
        everything = frozenset(range(len(self.pending)))
        nothing: frozenset[int] = frozenset()
        unsynced = [node for node, file in self.files.items() if file.spans]
        yield Choice("nothing unsynced survives", nothing, oldest)
        yield Choice("everything survives", everything, newest)
        if self.pending:
            yield Choice("only files survive", nothing, newest)
        if unsynced:
            yield Choice("only entries of directories survive", everything, oldest)
        for node in unsynced:
            for change in range(len(self.files[node].spans)):
                yield from self._around_write(node, change, everything)
        for index in range(len(self.pending)):
            yield Choice(f"change {index} is lost", everything - {index}, newest)
            yield Choice(f"change {index} survives alone", frozenset({index}), newest)
            yield Choice(f"changes below {index} survive", frozenset(range(index)), newest)
        for number in range(randoms if unsynced or self.pending else 0):
            yield self._random(random.Random(rng.random()), number)

    def _around_write(self, node: int, change: int, everything: frozenset[int]) -> Iterator[Choice]:
        file = self.files[node]
        inside = file.sectors(change)
        for survives in (True, False):
            word = "survives alone" if survives else "is lost alone"
            yield Choice(
                f"change {change} of file {node} {word}", everything, _Around(node, change, inside, survives)
            )
        if len(inside) < 2:
            return
        borders = {inside[1], inside[-1], inside[len(inside) // 2]}
        borders |= {border for border in inside[1:] if border % PAGE_SECTORS == 0}
        for border in sorted(borders):
            for part in (range(inside.start, border), range(border, inside.stop)):
                for survives in (True, False):
                    yield Choice(
                        f"change {change} of file {node} torn: {part} {'alone' if survives else 'lost'}",
                        everything,
                        _Around(node, change, part, survives),
                    )

    def _random(self, rng: random.Random, number: int) -> Choice:
        count = len(self.pending)
        if rng.random() < 0.5:
            changes = frozenset(range(rng.randint(0, count)))
        else:
            changes = frozenset(index for index in range(count) if rng.random() < 0.5)
        return Choice(f"mixture {number}", changes, _Mixture(rng.random()))


Picker = Callable[[int, _File], bytes]


@dataclass(frozen=True, slots=True)
class Choice:
    """Which changes of directories survive, and what each file holds."""

    label: str
    changes: frozenset[int]
    content: Picker


def oldest(node: int, file: _File) -> bytes:
    """What was synced."""
    return file.versions[0]


def newest(node: int, file: _File) -> bytes:
    """What was written."""
    return file.versions[-1]


@dataclass(frozen=True, slots=True)
class _Around:
    """Of one change only these sectors survive, or only they are lost; the rest of the disk is the contrary
    for a survivor (as old as can be, in this file) and as new as can be for a loss."""

    node: int
    change: int
    sectors: range
    survives: bool

    def __call__(self, node: int, file: _File) -> bytes:
        if node != self.node:
            return file.versions[-1]
        if self.survives:
            size_version = self.change + 1
            return file.mixed(lambda s: self.change + 1 if s in self.sectors else 0, size_version)
        count = len(file.spans)
        return file.mixed(lambda s: self.change if s in self.sectors else count, count)


@dataclass(frozen=True, slots=True)
class _Mixture:
    """Every sector, or every page, or every file, as old as chance will have it."""

    seed: float

    def __call__(self, node: int, file: _File) -> bytes:
        count = len(file.spans)
        if not count:
            return file.versions[0]
        rng = random.Random(f"{self.seed} {node}")
        grain = rng.choice((1, PAGE_SECTORS, 1 << 40))
        versions: dict[int, int] = {}

        def version_of(sector: int) -> int:
            return versions.setdefault(sector // grain, rng.randint(0, count))

        size_version = rng.randint(0, count)
        return file.mixed(version_of, size_version)


def _apply(directories: dict[int, dict[str, int]], change: DirectoryChange) -> None:
    names = directories[change.directory]
    match change:
        case Linked(_, name, node, _):
            names[name] = node
        case Unlinked(_, name, node):
            if names.get(name) == node:
                del names[name]
        case Renamed(_, name, target, target_name, node):
            if names.get(name) == node:
                del names[name]
                directories[target][target_name] = node


def page_at(trace: Trace, event: int) -> bytes | None:
    """The mapped page as it was before this event."""
    found = None
    for index, page in trace.pages:
        if index > event:
            break
        found = page
    return found


def database_at(trace: Trace, event: int, *, before: bool) -> bytes | None:
    """What a database beside the store held then; between two events it may have committed, or not yet."""
    found = None
    for index, content in trace.databases:
        if index > event or (index == event and before):
            break
        found = content
    return found
