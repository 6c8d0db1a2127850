"""What a pipeline writes does not depend on how it ran: chunks, commits, runs, and when its input came.

Random pipelines over random records: out of order, with nulls and wrong types, in several partitions. Each
way of running must write the same bytes to every topic, in the same order; the account must balance, and
running the history again must give the same. `AEGIS_PIPELINE_EXAMPLES` sets how many are tried.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from aegis_cli.pipeline.account import Account
from aegis_cli.pipeline.reading import loads
from aegis_cli.pipeline.run import RunOptions, run_pipeline
from aegis_cli.pipeline.verify import verify_pipeline
from storage.batch import Message
from tests.pipeline.runs import Removal, Runs

_EXAMPLES = int(os.environ.get("AEGIS_PIPELINE_EXAMPLES", "12"))

# -- pipelines --------------------------------------------------------------------------------------------

_WINDOWS = (
    "window: 5s",
    "window: {tumbling: 7s, offset: 2s}",
    "window: {hopping: 6s, every: 2s}",
    "window: {hopping: 7s, every: 3s, offset: 1s}",
    "window: {session: 3s}",
    "window: {session: 3s, max: 9s}",
    "window: {count: 3}",
    "",
)
_GROUPS = ("", "group_by: k", "group_by: [k, u]", "group_by: {half: floor(v / 2), k: k}")
_AGGREGATES = (
    "n: count()",
    "n: count(v), s: sum(v), m: avg(v)",
    "low: min(v), high: max(v), f: first(v), l: last(v)",
    "d: count_distinct(k), p: 'percentile(v, 0.5)'",
    "t: 'top_n(2, v)', c: 'collect(v, 4)'",
    "c: collect(k), t: 'top_n(2, k, v)'",
)


@st.composite
def pipelines(draw: st.DrawFn) -> str:
    """A pipeline file over the topics `a` and, for a table, `users`."""
    lines = ["name: p", "source: a", f"on_error: {draw(st.sampled_from(('drop', '{to: dead}')))}", "steps:"]
    join = draw(st.booleans())
    if draw(st.booleans()):
        lines.append("  - filter: v is not None and v != 3")
    temporal = join and draw(st.booleans())
    watermark = f"watermark: {draw(st.sampled_from(('0s', '2s', '10s')))}"
    flat = draw(st.sampled_from(("", "before", "behind")))
    if flat == "before":
        lines.append("  - flat_map: {items: items, as: item}")
    if temporal:
        lines.append(f"  - time: {{field: at, {watermark}}}")
    if join:
        lines += draw(_joins(temporal=temporal))
        lines.insert(0, draw(_tables(temporal=temporal)))
    if flat == "behind":
        lines.append("  - flat_map: {items: items, as: item}")
    name = "users.name" if join else "k"
    timed = temporal or draw(st.integers(0, 4)) > 0
    if timed:
        if draw(st.booleans()):
            lines.append(f"  - map: {{at: at, k: k, v: v + 0, u: {name}}}")
        else:
            lines.append("  - map: {at: at, k: k, v: v, u: k}")
        if not temporal:
            lines.append(f"  - time: {{field: at, {watermark}}}")
        if draw(st.booleans()):
            to = draw(st.sampled_from(("", ", dropped_to: twice")))
            lines.append(f"  - dedup: {{key: {draw(st.sampled_from(('k', '[k, v]')))}, within: 4s{to}}}")
        if draw(st.integers(0, 3)):
            lines += draw(_aggregates())
            lines.append(draw(st.sampled_from(("sink: b", "sink: [b, c]"))))
            return "\n".join(lines) + "\n"
    elif draw(st.booleans()):
        lines.append(f"  - map: {{k: k, v: v * 2, u: {name}}}")
    elif join:
        lines.append(f"  - map: {{u: {name}, k: k, v: v}}")
    if lines[-1] == "steps:":
        lines.pop()
    lines.append(draw(st.sampled_from((
        "sink: b",
        "branches:\n  - {filter: v > 3, sink: b}\n  - {map: {x: k}, sink: c}\n  - {filter: k == 1, sink: b}",
    ))))  # fmt: skip
    return "\n".join(lines) + "\n"


@st.composite
def _tables(draw: st.DrawFn, *, temporal: bool) -> str:
    """Two tables. Without a time of their own rows grow old by the clock of appends, in milliseconds."""
    tables = []
    for name in ("users", "places"):
        as_of = temporal and draw(st.booleans())
        ttl = draw(st.sampled_from(("", "", ", ttl: 4s", ", ttl: 15s") if as_of else ("", "", ", ttl: 3ms")))
        tables.append(f"{name}: {{topic: {name}, key: id{', as_of: since' if as_of else ''}{ttl}}}")
    return f"tables: {{{', '.join(tables)}}}"


@st.composite
def _joins(draw: st.DrawFn, *, temporal: bool) -> list[str]:
    """A join with the first table, and sometimes one with the second behind it."""
    joins = []
    for table, key in (("users", "k"), ("places", "v"))[: draw(st.sampled_from((1, 1, 2)))]:
        wait = draw(st.sampled_from(("", ", wait: 2s", ", wait: 9s", ", wait: 30s"))) if temporal else ""
        kind = draw(st.sampled_from(("inner", "left", "left")))
        joins.append(f"  - join: {{table: {table}, key: {key}, type: {kind}{wait}}}")
    return joins


@st.composite
def _aggregates(draw: st.DrawFn) -> list[str]:
    parts = [draw(st.sampled_from(_GROUPS)), draw(st.sampled_from(_WINDOWS))]
    if parts[1] and "count" not in parts[1]:
        if draw(st.booleans()):
            parts.append("allow_late: 3s")
        if draw(st.booleans()):
            parts.append(f"late: {{to: {draw(st.sampled_from(('late', 'dead')))}}}")
    parts.append(f"aggregate: {{{draw(st.sampled_from(_AGGREGATES))}}}")
    return [f"  - {part}" for part in parts if part]


# -- records ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Piece:
    """A batch: topic, partition, records."""

    topic: str
    partition: int
    records: list[Any]


@dataclass
class History:
    """Batches in their order, and how many partitions each topic has."""

    partitions: dict[str, int]
    pieces: list[Piece] = field(default_factory=list)


def history(number: int) -> History:
    """Random batches, always the same of the same number."""
    dice = random.Random(number)
    made = History({"a": dice.choice((1, 1, 3)), "users": dice.choice((1, 2)), "b": dice.choice((1, 2))})
    made.partitions["places"] = 1
    clock = 0
    for _ in range(dice.randrange(1, 12)):
        topic = dice.choice(("a", "a", "a", "users", "users", "places"))
        records: list[Any] = []
        for _ in range(dice.randrange(1, 20)):
            clock += dice.choice((0, 0, 1, 1, 2, 9 if dice.random() < 0.1 else 1))
            records.append(_record(dice, clock) if topic == "a" else _row(dice, clock))
        made.pieces.append(Piece(topic, dice.randrange(made.partitions[topic]), records))
    return made


def _record(dice: random.Random, clock: int) -> Any:
    if dice.random() < 0.02:
        return dice.choice((None, 7, "text", [1]))
    record: dict[str, Any] = {
        "at": clock - dice.choice((0, 0, 0, 1, 3, 15)),
        "k": dice.choice((1, 2, "a", "b", None, 1.0)),
        "v": dice.choice((dice.randrange(9), dice.randrange(9), 0.1, 2.5, None)),
        "items": dice.choice(([], [1], [1, 2], [{"x": 1}, None, "t"], None)),
    }
    if dice.random() < 0.1:
        record[dice.choice(("at", "k", "v", "items"))] = dice.choice((True, "no", {"x": 1}, [1]))
    if dice.random() < 0.1:
        del record[dice.choice(("at", "k", "v", "items"))]
    return record


def _row(dice: random.Random, clock: int) -> Any:
    """A row of a table, or the removal of one."""
    if dice.random() < 0.05:
        return dice.choice((None, 7, {"name": "no key"}))
    key = dice.choice((1, 2, 3, "a", "b"))
    since = clock - dice.choice((0, 0, 0, 2, 5, 20, -3))
    if dice.random() < 0.15:
        return Removal(dice.choice((key, str(key))), dice.choice((since * 1000, -1)))
    name = dice.choice(("x", "y", None, dice.randrange(9)))
    return {"id": key, "since": since, "name": name}


# -- ways of running --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Written:
    """All that a pipeline wrote: the messages of each topic by partition, and its account."""

    messages: dict[tuple[str, int], list[tuple[bytes, Any, bytes | None]]]
    account: Account

    @classmethod
    def of(cls, runs: Runs, account: Account) -> Written:
        found: dict[tuple[str, int], list[tuple[bytes, Any, bytes | None]]] = {}
        for name in runs.store.catalog.names():
            if name in ("a", "users", "places"):
                continue
            for number in range(runs.store.topic(name).partitions):
                messages = list(runs.store.read(name, partition=number))
                found[name, number] = [_said(message) for message in messages]
        return cls(found, account)


def _said(message: Message) -> tuple[bytes, Any, bytes | None]:
    return message.value, message.headers, message.key


def write(
    path: Path, text: str, made: History, *, between: float, flush: bool = True, **options: Any
) -> Written:
    """Publish the history and run the pipeline; between two batches too, at so many of a hundred places."""
    dice = random.Random(1)
    definition = loads(text, path="p.yaml")
    runs = Runs(path)
    with runs.store:
        for name, partitions in made.partitions.items():
            runs.topic(name, partitions=partitions)
        for piece in made.pieces:
            runs.publish(piece.topic, piece.records, partition=piece.partition)
            if dice.random() < between:
                run_pipeline(runs.store, definition, RunOptions(once=True, **options))
        account = run_pipeline(runs.store, definition, RunOptions(once=True, flush=flush, **options))
        assert account.balances, account
        found = verify_pipeline(runs.store, definition, message_bytes_max=1 << 20)
        assert [] == found.differences
        return Written.of(runs, account)


_WAYS: dict[str, dict[str, Any]] = {
    "records one by one": {"between": 0.0, "chunk_records": 1},
    "seven at a time, a commit after each": {"between": 0.0, "chunk_records": 7, "commit_interval_ms": 1},
    "many runs": {"between": 0.6, "chunk_records": 100_000},
    "a run after each batch, in pieces": {"between": 1.0, "chunk_records": 2, "commit_interval_ms": 1},
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory for all stores; in memory where that can be."""
    import shutil
    import tempfile

    memory = Path("/dev/shm")
    base = memory if memory.is_dir() else tmp_path_factory.mktemp("stores")
    path = Path(tempfile.mkdtemp(dir=base))
    yield path
    shutil.rmtree(path)


@seed(4)
@settings(
    max_examples=_EXAMPLES,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(text=pipelines(), number=st.integers(0, 1 << 30), flush=st.booleans())
def test_what_is_written_does_not_depend_on_how_a_pipeline_ran(
    place: Path, text: str, number: int, flush: bool
) -> None:
    import shutil

    made = history(number)
    root = place / "example"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    expected = write(root / "whole", text, made, between=0.0, flush=flush)
    for position, (name, way) in enumerate(_WAYS.items()):
        found = write(root / str(position), text, made, flush=flush, **way)
        assert expected == found, name
