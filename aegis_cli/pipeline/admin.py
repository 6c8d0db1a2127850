"""Looking at pipelines from outside: what ran in a store, how far, and beginning anew."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from aegis_cli.pipeline.account import Account
from aegis_cli.pipeline.errors import PipelineNotFoundError, PipelineRunsError
from aegis_cli.pipeline.state import KIND, Facts, look
from storage.assignor import Place
from storage.errors import TopicNotFoundError
from storage.extent import Extents
from storage.lock import FileLock, holder_of
from storage.shelf import RUN_LOCK
from storage.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """How far a partition was read; `lag` is how many offsets lie ahead, `None` where the topic is gone."""

    topic: str
    partition: int
    offset: int
    lag: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """A pipeline as its last commit left it. Times are in milliseconds, UTC; `None` where there is none.

    `runs` says whether a process works on it, `file` where its definition stood, `open` what it holds by the
    kind of state.
    """

    name: str
    runs: bool
    source: str
    file: str
    positions: list[Position]
    lag: int
    watermark_ms: int | None
    closed_ms: int | None
    committed_ms: int | None
    open: dict[str, int]
    account: Account
    balances: bool


def pipeline_names(store: Store) -> list[str]:
    """The pipelines that have run in this store, sorted."""
    return store.catalog.names(KIND)


def status_of(store: Store, name: str) -> Status:
    """What a pipeline has done. Raises `PipelineNotFoundError`, `InvalidNameError`, `DamageError`."""
    log, state = look(store, name)
    facts = state.facts
    positions = _positions(store, facts)
    return Status(
        name=name,
        runs=_holder(log.topic.directory) is not None,
        source=facts.source,
        file=facts.file,
        positions=positions,
        lag=sum(each.lag or 0 for each in positions),
        watermark_ms=_watermark_ms(facts),
        closed_ms=_told(facts.closed_ms),
        committed_ms=facts.time_ms or None,
        open=facts.open,
        account=facts.account,
        balances=facts.account.balances,
    )


def _positions(store: Store, facts: Facts) -> list[Position]:
    extents = Extents(store)
    positions = []
    for key, offset in sorted(facts.positions.items()):
        topic, topic_id, number = key.rsplit("|", 2)
        end = extents.of(Place(topic, topic_id, int(number))).end_offset
        lag = None if end is None else max(0, end - offset)
        positions.append(Position(topic=topic, partition=int(number), offset=offset, lag=lag))
    return positions


def _watermark_ms(facts: Facts) -> int | None:
    marks = [_told(high_ms) for high_ms in facts.high_ms.values()]
    known = [mark for mark in marks if mark is not None]
    return min(known) - facts.bound_ms if known and len(known) == len(marks) else None


def _told(time_ms: int) -> int | None:
    """A time, or `None` for what stands before all times."""
    return None if abs(time_ms) >= 1 << 61 else time_ms


def _holder(directory: str) -> str | None:
    """Who runs the pipeline of this directory, in words."""
    path = Path(directory, RUN_LOCK)
    if not path.exists():
        return None
    lock = FileLock(str(path), what="a pipeline")
    try:
        return None if lock.try_acquire() else holder_of(lock.fd)
    finally:
        lock.close()


def reset_pipeline(store: Store, name: str) -> None:
    """Forget all that a pipeline remembers: its next run begins at the beginning. Its results stay.

    Raises `PipelineNotFoundError`, `PipelineRunsError`, `InvalidNameError`.
    """

    def check() -> None:
        holder = _holder(log.topic.directory)
        if holder is not None:
            raise PipelineRunsError(name, holder)

    log, _ = look(store, name)
    try:
        store.delete_topic(f"{KIND}/{name}", check=check)
    except TopicNotFoundError:
        raise PipelineNotFoundError(name, pipeline_names(store)) from None
