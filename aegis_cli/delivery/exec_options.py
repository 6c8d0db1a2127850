"""How messages are handed to a command, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecOptions:
    """How to hand over: to `command` in words, at most `batch` messages a run, `parallel` runs at once.

    A failed run is repeated `retries` times, the first time after `backoff_seconds` and then after twice as
    long each time, up to a minute; after that the messages go to the topic `dead_letter`, or it all ends. A
    run may take `timeout_seconds`. `limit` ends after so many messages, `idle_seconds` after so long without
    any. At the end runs may take `grace_seconds` to finish. `environ` is the process's own by default.
    """

    command: Sequence[str]
    batch: int = 1
    parallel: int = 1
    retries: int = 3
    backoff_seconds: float = 1.0
    timeout_seconds: float | None = None
    dead_letter: str | None = None
    limit: int | None = None
    idle_seconds: float | None = None
    commit_seconds: float = 0.1
    grace_seconds: float = 10.0
    environ: Mapping[str, str] | None = None


@dataclass(slots=True)
class Executed:
    """What came of it: messages that were handled, runs that failed, messages that became dead letters.

    `idle` says that it ended because nothing came for `idle_seconds`.
    """

    records: int = 0
    failed: int = 0
    dead_lettered: int = 0
    idle: bool = False
