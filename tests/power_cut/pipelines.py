"""A pipeline while the power is cut: what it read, keeps and wrote are stored together or not at all.

The records of the source are given in their order, so what belongs into the topic of the results can be said
without a pipeline: see `expected`. What is found after recovery is run to the end: see `aftermath`.
"""

# The seam speaks of plain strings and descriptors, as the store does.
# ruff: noqa: PTH108, PTH118, PTH123
from __future__ import annotations

import atexit
import contextlib
import os
import tempfile

import msgspec

from aegis_cli.pipeline.reading import loads
from aegis_cli.pipeline.run import RunOptions, run_pipeline
from storage import Store
from storage.topic import TopicSettings
from tests.power_cut.observed import observed
from tests.power_cut.recorder import die
from tests.power_cut.stage import BULK_BYTES, Stage
from tests.power_cut.workloads import Workload

NAME = "counted"
_PIPELINE = f"""\
name: {NAME}
source: t
time: at
window: 10s
aggregate: {{n: count(), s: sum(v), f: 'max(fill)'}}
map: {{start: window_start, n: n, s: s, f: f}}
sink: counts
"""
TABLED = "tabled"
# Rows that are still to come are kept under the path of their database, so it has one path in every disk.
DATABASE = os.path.join(tempfile.gettempdir(), f"aegis-power-cut-{os.getpid()}.db")
_TABLE_PIPELINE = _PIPELINE.replace(NAME, TABLED).replace(
    "sink: counts", f"sink: [{{sqlite: '{DATABASE}', table: counts}}, counts]"
)
_COMMITTED = "pipeline.table.committed"


def run(store: Store, *, name: str = NAME, flush: bool = False) -> None:
    """A run of the pipeline to the end that is there now."""
    text = _PIPELINE if name == NAME else _TABLE_PIPELINE
    run_pipeline(store, loads(text, path=f"{name}.yaml"), RunOptions(once=True, flush=flush))


def rows() -> list[tuple[int, int, str]]:
    """What the pipeline wrote into the table, each row as often as it is there."""
    import sqlite3

    with contextlib.closing(sqlite3.connect(DATABASE)) as database:
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'counts'").fetchall():
            return []
        found = database.execute("SELECT n, s, f FROM counts ORDER BY rowid").fetchall()
    return [(int(count), int(total), str(fill)) for count, total, fill in found]


def place_database(content: bytes | None) -> None:
    """Let the database be as a power cut left it; it keeps its own promises, so that it is whole."""
    for path in (DATABASE, f"{DATABASE}-journal"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    if content is not None:
        with open(DATABASE, "wb") as file:
            file.write(content)


def counts(store: Store) -> list[tuple[int, int, str]]:
    """What the pipeline wrote."""
    rows = [msgspec.json.decode(message.value) for message in store.read("counts")]
    return [(row["n"], row["s"], row["f"]) for row in rows]


def expected(store: Store) -> list[tuple[int, int, str]]:
    """What it must have written when it has run to the end of what the source holds, and was flushed."""
    windows: dict[int, list[tuple[int, str]]] = {}
    for message in store.read("t"):
        record = msgspec.json.decode(message.value)
        windows.setdefault(record["at"] // 10, []).append((record["v"], record["fill"]))
    return [
        (len(some), sum(value for value, _ in some), max(fill for _, fill in some))
        for _, some in sorted(windows.items())
    ]


atexit.register(place_database, None)


def _prepared(stage: Stage, name: str = NAME) -> Store:
    if name == TABLED:
        place_database(None)
        stage.recorder.database = DATABASE, _COMMITTED
    store = observed(stage)
    store.create_topic("t", TopicSettings(partitions=1))
    store.create_topic("counts")
    _publish(store, 0, 6)
    run(store, name=name)
    return store


def _publish(store: Store, first: int, end: int, *, fill: str = "x") -> None:
    for number in range(first, end):
        store.publish("t", {"at": number * 4, "v": number, "fill": fill})


def _runs(name: str) -> Workload:
    def work(stage: Stage) -> None:
        """A pipeline runs again and again; one of its commits is bulk."""
        store = _prepared(stage, name)
        stage.begin()
        _publish(store, 6, 9)
        run(store, name=name)
        _publish(store, 9, 12, fill="y" * BULK_BYTES)
        run(store, name=name)
        _publish(store, 12, 14)
        run(store, name=name)

    return work


def _dies_running(step: str, name: str = NAME) -> Workload:
    def work(stage: Stage) -> None:
        """A run dies in the middle of a commit; the next one goes on."""
        store = _prepared(stage, name)
        _publish(store, 6, 12)
        stage.begin()
        # The first append of a run says that it began.
        stage.recorder.at("dying", step, die, skip=0 if step.startswith("pipeline") else 1)
        with stage.recorder.actor("dying"):
            run(store, name=name)
        stage.bury(store)
        other = observed(stage)
        _publish(other, 12, 14)
        run(other, name=name)
        assert expected(other)[: len(counts(other))] == counts(other)
        assert len(expected(other)) - 1 == len(counts(other))
        if name == TABLED:
            assert counts(other) == rows()

    return work


_STEPS = ("pipeline.prepared", "journal.written", "append.durable", "applied", "pipeline.committed")
PIPELINES: dict[str, Workload] = {"pipeline": _runs(NAME), "pipeline_with_a_table": _runs(TABLED)}
PIPELINES |= {f"dies_running_at_{step}": _dies_running(step) for step in _STEPS}
PIPELINES |= {
    f"dies_with_a_table_at_{step}": _dies_running(step, TABLED)
    for step in ("pipeline.table.written", *_STEPS, "pipeline.table", _COMMITTED)
}
