"""Records what a store does to a directory, and lets a test act in the middle of it.

The store runs for real; only the syncs wait for no disk. Writers are *actors*: at a step of one of them an
action may run (another actor's work, a look at the store), or the actor dies. A dead actor can change nothing
any more; its locks are free as soon as its files are closed, as those of a killed process are.
"""

# The seam speaks of plain strings and descriptors, as the store does.
# ruff: noqa: PTH116, PTH118, PTH123, PTH206
from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from storage import files
from storage.files import Sync
from tests.power_cut.trace import (
    Event,
    Linked,
    Marked,
    Renamed,
    SyncBegan,
    SyncEnded,
    Trace,
    Truncated,
    Unlinked,
    Wrote,
    read_image,
)


class ProcessDiedError(BaseException):
    """Raised inside an actor to end it where it stands."""


def die() -> None:
    """The action that kills the actor at whose step it runs."""
    raise ProcessDiedError


@dataclass(slots=True)
class _Hook:
    actor: str
    step: str
    skip: int
    action: Callable[[], None]


class Recorder:
    """Observes one directory. `look`, if set, runs before every operation: a reader at every instant."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.trace = Trace(read_image(root))
        self.look: Callable[[], None] | None = None
        self.steps: set[str] = set()
        self._directories = {node: dict(names) for node, names in self.trace.initial.directories.items()}
        self._mutex = threading.RLock()
        self._local = threading.local()
        self._hooks: list[_Hook] = []
        self._tickets = 0
        self._looking = False
        # A database that keeps its own promises, and the step at which it has committed.
        self.database = ("", "")

    # -- actors ---------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def actor(self, name: str) -> Iterator[None]:
        """What the thread does here is this actor's doing, until it ends or dies."""
        before = getattr(self._local, "name", ""), getattr(self._local, "dead", False)
        self._local.name, self._local.dead = name, False
        try:
            yield
        except ProcessDiedError:
            pass
        finally:
            self._local.name, self._local.dead = before

    def at(self, actor: str, step: str, action: Callable[[], None], *, skip: int = 0) -> None:
        """Run `action` when the actor reaches the step, after passing it `skip` times; once."""
        self._hooks.append(_Hook(actor, step, skip, action))

    @property
    def unused_hooks(self) -> list[str]:
        return [f"{hook.actor} at {hook.step}" for hook in self._hooks]

    def _reach(self, step: str) -> None:
        if getattr(self._local, "dead", False):
            raise ProcessDiedError
        self.steps.add(step)
        actor = getattr(self._local, "name", "")
        for hook in self._hooks:
            if hook.actor == actor and hook.step == step:
                if hook.skip:
                    hook.skip -= 1
                    continue
                self._hooks.remove(hook)
                try:
                    hook.action()
                except ProcessDiedError:
                    self._local.dead = True
                    raise
                return

    # -- recording ------------------------------------------------------------------------------------

    def mark(self, fact: object) -> None:
        """Note something that is known from now on."""
        with self._mutex:
            self.trace.events.append(Marked(fact))

    @property
    def now(self) -> int:
        """How many events there are."""
        return len(self.trace.events)

    def _add(self, event: Event) -> None:
        self.trace.events.append(event)

    def _before(self, step: str) -> None:
        self._reach(step)
        if self.look is not None and not self._looking:
            self._looking = True
            try:
                self.look()
            finally:
                self._looking = False
        self._note_page()

    def _note_page(self) -> None:
        pages = self.trace.pages
        try:
            with open(os.path.join(self.root, "store", "journal", "shared"), "rb") as file:
                page = file.read()
        except FileNotFoundError:
            return
        if not pages or pages[-1][1] != page:
            pages.append((self.now, page))

    def _place(self, path: str) -> tuple[int, str]:
        parts = os.path.relpath(path, self.root).split(os.sep)
        directory = self.trace.initial.root
        for part in parts[:-1]:
            directory = self._directories[directory][part]
        return directory, parts[-1]

    def _link(self, path: str, *, is_directory: bool) -> None:
        with self._mutex:
            directory, name = self._place(path)
            node = os.stat(path).st_ino
            self._directories[directory][name] = node
            if is_directory:
                self._directories[node] = {}
            self._add(Linked(directory, name, node, is_directory))

    # -- storage.files.Observer -----------------------------------------------------------------------

    def opened(self, fd: int, path: str) -> None: ...

    def closed(self, fd: int) -> None: ...

    def allocate(self, fd: int, position: int, length: int) -> None: ...

    def created(self, path: str) -> None:
        self._before("created")
        self._link(path, is_directory=False)

    def make_directory(self, path: str) -> None:
        self._before("make_directory")
        self._link(path, is_directory=True)

    def write(self, fd: int, data: bytes | memoryview, position: int) -> None:
        self._before("write")
        with self._mutex:
            self._add(Wrote(os.fstat(fd).st_ino, position, bytes(data)))

    def truncate(self, fd: int, length: int) -> None:
        self._before("truncate")
        with self._mutex:
            self._add(Truncated(os.fstat(fd).st_ino, length))

    def sync(self, fd: int, promise: Sync) -> None:
        self._before(f"sync.{promise.name}")
        self._begin(os.fstat(fd).st_ino, promise, is_directory=False)

    def sync_directory(self, path: str, promise: Sync) -> None:
        self._before(f"sync_directory.{promise.name}")
        self._begin(os.stat(path).st_ino, promise, is_directory=True)

    def _begin(self, node: int, promise: Sync, *, is_directory: bool) -> None:
        with self._mutex:
            self._tickets += 1
            self._local.ticket = self._tickets
            self._add(SyncBegan(self._tickets, node, is_directory, promise))

    def sync_ended(self) -> None:
        """The kernel's call returned in this thread."""
        with self._mutex:
            self._add(SyncEnded(self._local.ticket))

    def rename(self, source: str, target: str) -> None:
        self._before("rename")
        with self._mutex:
            (directory, name), (target_directory, target_name) = self._place(source), self._place(target)
            node = self._directories[directory].pop(name)
            self._directories[target_directory][target_name] = node
            self._add(Renamed(directory, name, target_directory, target_name, node))

    def unlink(self, path: str) -> None:
        self._before("unlink")
        with self._mutex:
            directory, name = self._place(path)
            node = self._directories.get(directory, {}).pop(name, None)
            if node is not None:
                self._add(Unlinked(directory, name, node))

    def step(self, name: str) -> None:
        path, committed = self.database
        if name == committed:
            with open(path, "rb") as file:
                self.trace.databases.append((self.now, file.read()))
        self._reach(name)


@contextlib.contextmanager
def recording(root: str, *, on_sync: Callable[[], None] | None = None) -> Iterator[Recorder]:
    """Record everything below `root`; a sync only says that it was called, then runs `on_sync`."""
    recorder = Recorder(root)

    def end_sync(fd: int) -> None:
        if on_sync is not None:
            on_sync()
        recorder.sync_ended()

    real = os.fdatasync, os.fsync
    files.observer, os.fdatasync, os.fsync = recorder, end_sync, end_sync
    try:
        yield recorder
    finally:
        files.observer = None
        os.fdatasync, os.fsync = real
