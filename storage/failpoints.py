"""Failpoints: failures of the disk and of processes, at named moments, for tests of real processes.

`AEGIS_FAILPOINTS` holds points separated by `;`, each `NAME=ACTION`, or with `@N` for the N-th time only.

NAME is a step of the code (`STEPS`), or an operation, alone or narrowed by a pattern behind a colon:

    write allocate truncate rename unlink create mkdir    a glob for the end of the path: `write:*.index`
    sync                                                  a member of `storage.files.Sync`: `sync:BULK_DATA`

ACTION happens before the operation; after it for `create` and `mkdir`, since only then it is known to be one:

    kill        SIGKILL to this process
    stop        SIGSTOP to this process; it goes on after SIGCONT
    stall:MS    go on after so many milliseconds
    wait:PATH   make the file PATH.reached, go on when PATH exists; fails after 30 s
    eio enospc erofs    the operation fails with this error; not for steps
    short       write the first half, then fail as a full disk does; for `write`
    torn        write the first half, then SIGKILL; for `write`

Points are tried in the order given; all that match act. What cannot be read raises `SettingError` at once: a
failpoint that is ignored would make a test pass for nothing.
"""

from __future__ import annotations

import errno
import fnmatch
import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from storage.errors import SettingError
from storage.files import Sync, translated

STEPS = frozenset(
    {
        "append.locked",
        "append.released",
        "append.durable",
        "apply",
        "apply.index",
        "applied",
        "bulk.written",
        "bulk.synced",
        "bulk.cut",
        "checkpoint.applied",
        "checkpoint.synced",
        "combine.committed",
        "combine.done",
        "combine.durable",
        "combine.gathered",
        "combine.post",
        "combine.posted",
        "combine.taken",
        "head.marked",
        "journal.append",
        "journal.written",
        "journal.moved",
        "journal.switched",
        "journal.sync",
        "journal.synced",
        "recovery.applied",
        "recovery.done",
        "output.committed",
        "output.synced",
        "pipeline.committed",
        "pipeline.prepared",
        "pipeline.table",
        "pipeline.table.committed",
        "pipeline.table.written",
        "roll",
        "topic.create",
        "topic.deleted",
        "trim.unlinked",
    }
)
OPERATIONS = frozenset({"write", "allocate", "truncate", "sync", "rename", "unlink", "create", "mkdir"})
_ERRORS = {"eio": errno.EIO, "enospc": errno.ENOSPC, "erofs": errno.EROFS}
_POINTS_MAX = 100
_STALL_MS_MAX = 60_000
_WAIT_SECONDS_MAX = 30.0
_LOOK_SECONDS = 0.001


@dataclass(frozen=True, slots=True)
class Moment:
    """What is about to happen: a step (no path) or an operation; a write also brings what it would write."""

    name: str
    subject: str = ""
    fd: int = -1
    data: bytes | memoryview = b""
    position: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Point:
    name: str
    pattern: str
    act: Callable[[Moment], None]
    only: int | None
    passed: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def matches(self, moment: Moment) -> bool:
        if self.name != moment.name:
            return False
        if not self.pattern:
            return True
        if self.name == "sync":
            return self.pattern == moment.subject
        return fnmatch.fnmatchcase(moment.subject, "*" + self.pattern)

    def pass_by(self, moment: Moment) -> None:
        # Every passing counts, also in another thread: the counter is one call of the interpreter.
        number = next(self.passed)
        if self.only is None or self.only == number:
            self.act(moment)


class Failpoints:
    """An observer (see `storage.files.Observer`) that acts at the points it was given."""

    def __init__(self, points: list[_Point]) -> None:
        self._points = points
        self._paths: dict[int, str] = {}

    @classmethod
    def from_environment(cls, text: str) -> Failpoints:
        """Read the points. Raises `SettingError`."""
        given = [part.strip() for part in text.split(";")]
        points = [_parse(part) for part in given if part]
        if len(points) > _POINTS_MAX:
            raise _refusal(text, f"has more than {_POINTS_MAX} points")
        return cls(points)

    def _reach(self, moment: Moment) -> None:
        for point in self._points:
            if point.matches(moment):
                point.pass_by(moment)

    # -- storage.files.Observer -----------------------------------------------------------------------

    def opened(self, fd: int, path: str) -> None:
        self._paths[fd] = path

    def closed(self, fd: int) -> None:
        self._paths.pop(fd, None)

    def created(self, path: str) -> None:
        self._reach(Moment("create", path))

    def write(self, fd: int, data: bytes | memoryview, position: int) -> None:
        self._reach(Moment("write", self._paths.get(fd, ""), fd, data, position))

    def allocate(self, fd: int, position: int, length: int) -> None:
        self._reach(Moment("allocate", self._paths.get(fd, "")))

    def truncate(self, fd: int, length: int) -> None:
        self._reach(Moment("truncate", self._paths.get(fd, "")))

    def sync(self, fd: int, promise: Sync) -> None:
        self._reach(Moment("sync", promise.name))

    def sync_directory(self, path: str, promise: Sync) -> None:
        self._reach(Moment("sync", promise.name))

    def rename(self, source: str, target: str) -> None:
        self._reach(Moment("rename", target))

    def unlink(self, path: str) -> None:
        self._reach(Moment("unlink", path))

    def make_directory(self, path: str) -> None:
        self._reach(Moment("mkdir", path))

    def step(self, name: str) -> None:
        self._reach(Moment(name))


# -- reading --------------------------------------------------------------------------------------------


def _refusal(point: str, reason: str) -> SettingError:
    return SettingError("AEGIS_FAILPOINTS", f"{reason} in '{point}'", remedy="see storage/failpoints.py")


def _parse(text: str) -> _Point:
    where, equals, what = text.partition("=")
    name, colon, pattern = where.partition(":")
    if not equals:
        raise _refusal(text, "has no action")
    if name not in STEPS and name not in OPERATIONS:
        raise _refusal(text, f"names no step or operation '{name}'")
    if colon and (name in STEPS or not pattern):
        raise _refusal(text, "has a pattern that means nothing")
    if colon and name == "sync" and pattern not in Sync.__members__:
        raise _refusal(text, f"names no sync '{pattern}'")
    action, only = _split_count(what, text)
    return _Point(name=name, pattern=pattern, act=_action(action, name, text), only=only)


def _split_count(what: str, text: str) -> tuple[str, int | None]:
    action, at, count = what.rpartition("@")
    if not at:
        return what, None
    if not count.isascii() or not count.isdigit() or int(count) < 1:
        raise _refusal(text, f"has no count '{count}'")
    return action, int(count)


def _action(text: str, name: str, point: str) -> Callable[[Moment], None]:
    kind, colon, argument = text.partition(":")
    if kind == "stall" and argument.isascii() and argument.isdigit() and int(argument) <= _STALL_MS_MAX:
        return lambda _moment: time.sleep(int(argument) / 1000)
    if kind == "wait" and argument:
        return lambda _moment: _wait(argument)
    if not colon:
        if kind in ("kill", "stop"):
            number = signal.SIGKILL if kind == "kill" else signal.SIGSTOP
            return lambda _moment: os.kill(os.getpid(), number)
        if kind in _ERRORS and name in OPERATIONS:
            return lambda moment: _fail(_ERRORS[kind], moment)
        if kind in ("short", "torn") and name == "write":
            return _short if kind == "short" else _torn
    raise _refusal(point, f"has no action '{text}' for '{name}'")


# -- acting ---------------------------------------------------------------------------------------------


def _fail(code: int, moment: Moment) -> None:
    error = OSError(code, os.strerror(code), moment.subject or None)
    # A failed sync is translated where it is called, with the path that this observer is not told.
    raise error if moment.name == "sync" else translated(error, moment.subject)


def _write_half(moment: Moment) -> None:
    os.pwrite(moment.fd, moment.data[: len(moment.data) // 2], moment.position)


def _short(moment: Moment) -> None:
    _write_half(moment)
    _fail(errno.ENOSPC, moment)


def _torn(moment: Moment) -> None:
    _write_half(moment)
    os.kill(os.getpid(), signal.SIGKILL)


def _wait(path: str) -> None:
    with open(path + ".reached", "ab"):
        pass
    deadline = time.monotonic() + _WAIT_SECONDS_MAX
    while not os.path.exists(path):
        if time.monotonic() > deadline:
            raise TimeoutError(f"nobody made {path} within {_WAIT_SECONDS_MAX:g} s")
        time.sleep(_LOOK_SECONDS)
