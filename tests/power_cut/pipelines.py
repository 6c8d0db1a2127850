"""A pipeline while the power is cut: what it read, keeps and wrote are stored together or not at all.

The records of the source are given in their order, so what belongs into the topic of the results can be said
without a pipeline: see `expected`. What is found after recovery is run to the end: see `aftermath`.
"""

from __future__ import annotations

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


def run(store: Store, *, flush: bool = False) -> None:
    """A run of the pipeline to the end that is there now."""
    run_pipeline(store, loads(_PIPELINE, path="counted.yaml"), RunOptions(once=True, flush=flush))


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


def _prepared(stage: Stage) -> Store:
    store = observed(stage)
    store.create_topic("t", TopicSettings(partitions=1))
    store.create_topic("counts")
    _publish(store, 0, 6)
    run(store)
    return store


def _publish(store: Store, first: int, end: int, *, fill: str = "x") -> None:
    for number in range(first, end):
        store.publish("t", {"at": number * 4, "v": number, "fill": fill})


def pipeline(stage: Stage) -> None:
    """A pipeline runs again and again; one of its commits is bulk."""
    store = _prepared(stage)
    stage.begin()
    _publish(store, 6, 9)
    run(store)
    _publish(store, 9, 12, fill="y" * BULK_BYTES)
    run(store)
    _publish(store, 12, 14)
    run(store)


def _dies_running(step: str) -> Workload:
    def work(stage: Stage) -> None:
        """A run dies in the middle of a commit; the next one goes on."""
        store = _prepared(stage)
        _publish(store, 6, 12)
        stage.begin()
        # The first append of a run says that it began.
        stage.recorder.at("dying", step, die, skip=0 if step.startswith("pipeline") else 1)
        with stage.recorder.actor("dying"):
            run(store)
        stage.bury(store)
        other = observed(stage)
        _publish(other, 12, 14)
        run(other)
        assert expected(other)[: len(counts(other))] == counts(other)
        assert len(expected(other)) - 1 == len(counts(other))

    return work


PIPELINES: dict[str, Workload] = {"pipeline": pipeline}
PIPELINES |= {
    f"dies_running_at_{step}": _dies_running(step)
    for step in ("pipeline.prepared", "journal.written", "append.durable", "applied", "pipeline.committed")
}
