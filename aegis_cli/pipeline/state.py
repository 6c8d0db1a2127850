"""What a pipeline remembers, in a log of the store of its own: `pipelines/NAME`.

Promises: positions, watermarks, open groups, the account and what is still to be brought to a sink outside of
the store change in one record, which commits together with the messages that the pipeline wrote; only the
newest run of a pipeline can add one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from aegis_cli.pipeline.account import Account
from aegis_cli.pipeline.errors import PipelineNotFoundError, PipelineRunsError
from aegis_cli.pipeline.turn import NEVER_MS
from storage.errors import FencedError, LockTimeoutError, TopicNotFoundError
from storage.lock import FileLock
from storage.names import check_name
from storage.shelf import RUN_LOCK
from storage.state_log import Change, StateLog, open_state_log
from storage.store import Append, Store

KIND = "pipelines"
_TRIES = 100
# Who only looks whether a pipeline runs has the lock for a moment, and must not keep a run from beginning.
_LOCK_SECONDS = 0.25
# One record says all of the state when the changes since the last such are more than these.
_BYTES_MIN = 4 << 20
_TIMES_THE_STATE = 4
_COMMITS_MAX = 4096


class StateStore(Protocol):
    """A part of the state that lives in memory and is stored as changes."""

    @property
    def open(self) -> int:
        """How much it holds."""

    def changes(self) -> list[Any]:
        """What changed since the last call, as JSON can say it."""

    def apply(self, changes: list[Any]) -> None:
        """Take over what `changes` or `snapshot` gave."""

    def snapshot(self) -> list[Any]:
        """All of it, in the form of changes."""


class Facts(msgspec.Struct):
    """What a change says beside the stores. Each is the newest value, not a difference.

    `positions` are offsets of the next message by place, `high_ms` the highest event times by partition of
    the source, `closed_ms` up to where windows were given out, `reached_ms` the highest watermark there was.
    `pending` are rows of commit number `number` for sinks outside of the store, none where they are known to
    be there, as at the end of a run; `files` how long each is. `tails` tell what stands before its position
    in a file that is read. `basis` is what the state rests on, see `aegis_cli.pipeline.basis`, and `file`
    the definition's. `flushes` counts how often all windows were given out by hand; `flushed_last`: nothing
    came since.
    """

    positions: dict[str, int] = msgspec.field(default_factory=dict)
    tails: dict[str, int] = msgspec.field(default_factory=dict)
    high_ms: dict[str, int] = msgspec.field(default_factory=dict)
    closed_ms: int = NEVER_MS
    reached_ms: int = NEVER_MS
    bound_ms: int = 0
    account: Account = msgspec.field(default_factory=Account)
    open: dict[str, int] = msgspec.field(default_factory=dict)
    number: int = 0
    pending: dict[str, list[Any]] = msgspec.field(default_factory=dict)
    files: dict[str, int] = msgspec.field(default_factory=dict)
    basis: dict[str, dict[str, str]] = msgspec.field(default_factory=dict)
    source: str = ""
    file: str = ""
    time_ms: int = 0
    flushes: int = 0
    flushed_last: bool = False


class PipelineState:
    """The fold of a pipeline's log. Without `stores`, for who only looks, what they hold is left out.

    So is what was kept by another definition than `meanings` tells: it is gone by the end of the log, or the
    pipeline does not go on with it.
    """

    def __init__(
        self,
        stores: Mapping[str, StateStore] | None = None,
        meanings: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        self.facts = Facts()
        self._stores = stores
        self._meanings = meanings or {}

    def apply(self, change: Change, offset: int) -> None:
        if "facts" not in change:
            return  # the beginning of a run
        self.facts = msgspec.convert(change["facts"], Facts)
        self._apply_stores(change["stores"])

    def _apply_stores(self, changes: object) -> None:
        if self._stores is not None:
            assert isinstance(changes, dict)
            for name, part in changes.items():
                if name in self._stores and self.facts.basis.get(name) == self._meanings.get(name):
                    self._stores[name].apply(part)

    def snapshot(self) -> object:
        stores = self._stores or {}
        return {
            "facts": msgspec.to_builtins(self.facts),
            "stores": {name: store.snapshot() for name, store in stores.items()},
        }

    def restore(self, snapshot: object) -> None:
        assert isinstance(snapshot, dict)
        self.facts = msgspec.convert(snapshot["facts"], Facts)
        self._apply_stores(snapshot["stores"])


class PipelineLog:
    """One run of the pipeline `name`. Raises `PipelineRunsError` while there is another.

    `stores` hold the state, `meanings` says what of it is theirs.
    """

    def __init__(
        self,
        store: Store,
        name: str,
        stores: Mapping[str, StateStore],
        meanings: Mapping[str, Mapping[str, str]],
    ) -> None:
        check_name(name)
        self.name = name
        self._store = store
        self._stores = stores
        self.state = PipelineState(stores, meanings)
        self._log = open_state_log(store, f"{KIND}/{name}", self.state, create=True)
        path = f"{self._log.topic.directory}/{RUN_LOCK}"
        self._lock = FileLock(path, what=f"pipeline '{name}'")
        try:
            try:
                self._lock.acquire(timeout_seconds=_LOCK_SECONDS)
            except LockTimeoutError as error:
                raise PipelineRunsError(name, error.holder) from error
            self._run = self._begin()
            self._bytes = self._commits = self._state_bytes = 0
        except BaseException:
            self._lock.close()
            raise

    def _begin(self) -> int:
        """Append the record that begins the run; returns its fence."""
        log = self._log
        for _ in range(_TRIES):
            log.refresh()
            run = log.fence + 1
            record = {"run": run, "process": os.getpid(), "time_ms": self._store.clock_ms()}
            try:
                self._store.append([log.append([record], expect_fence=log.fence, fence=run)])
            except FencedError:
                continue
            # A commit of a run that died may not have been visible until now; nobody else can add one.
            log.refresh()
            return run
        raise PipelineRunsError(self.name, "other processes")

    def commit(self, appends: Sequence[Append], facts: Facts) -> None:
        """Append messages, and what is so from now on: all of it or nothing.

        Raises `PipelineRunsError` if another run has begun, and what `Store.append` raises.
        """
        changes = {name: store.changes() for name, store in self._stores.items()}
        change = {
            "facts": facts,
            "stores": {name: part for name, part in changes.items() if part},
        }
        state = self._log.append([change], expect_fence=self._run)
        try:
            receipt = self._store.append([*appends, state])[-1]
        except FencedError as error:
            if error.name != self._log.name:
                raise
            raise PipelineRunsError(self.name, "another process") from error
        self.state.facts = facts
        self._log.next_offset = receipt.last_offset + 1
        self._bytes += len(state.batches[0].lines)
        self._commits += 1

    def shorten_if_due(self) -> None:
        """Right after a commit, when nothing has changed since: say all in one record, if that saves much."""
        if (
            self._bytes > max(_BYTES_MIN, _TIMES_THE_STATE * self._state_bytes)
            or self._commits > _COMMITS_MAX
        ):
            self._state_bytes = self._log.shorten()
            self._bytes = self._commits = 0

    def close(self) -> None:
        """End the run; another one may begin."""
        self._lock.close()


def look(store: Store, name: str) -> tuple[StateLog, PipelineState]:
    """The state of a pipeline, for who only looks. Raises `PipelineNotFoundError`, `InvalidNameError`."""
    check_name(name)
    state = PipelineState()
    try:
        return StateLog(store, f"{KIND}/{name}", state), state
    except TopicNotFoundError:
        raise PipelineNotFoundError(name, store.catalog.names(KIND)) from None
