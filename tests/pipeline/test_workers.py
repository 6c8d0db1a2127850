"""Workers prepare records for a run: whatever they are given and whatever becomes of them, nothing changes.

That they write the same bytes for random pipelines is in `test_exactly_once`.
"""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aegis_cli.pipeline.account import Account
from aegis_cli.pipeline.errors import RecordRefusedError, TooManyRefusedError, WorkerError
from aegis_cli.pipeline.explain import explanation
from aegis_cli.pipeline.prefix import Prepared, unpacked
from aegis_cli.pipeline.program import Program
from aegis_cli.pipeline.reading import loads
from aegis_cli.pipeline.run import RunOptions, run_pipeline
from aegis_cli.pipeline.workers import Worker, Workers
from tests.pipeline.runs import Runs
from tests.pipeline.test_reload import Asked

_VALUES = [1, 2.5, "t", None, True, 12345678901234567890123, {"x": [1]}, "é\u2028", -0.0, 1e300]
_BRANCHES = """\
source: a
flat_map: {items: items, as: item}
on_error: {to: dead}
branches:
  - {filter: v == 1, map: {v: v, item: item + 1}, sink: b}
  - {map: {all: item, v: v}, sink: b}
  - {filter: item > 2, sink: c}
"""
_WINDOWED = """\
source: a
on_error: {to: dead}
filter: k != 3
map: {at: at, k: k, half: v / 2}
time: {field: at, watermark: 2s}
dedup: {key: [at, k], within: 1m, dropped_to: twice}
group_by: k
window: 5s
aggregate: {n: count(), s: sum(half), c: collect(half)}
sink: b
"""
TEXTS = {
    "no step": "source: a\nsink: b\n",
    "a filter of messages": "source: a\nfilter: v\nsink: b\non_error: drop\n",
    "values as they are": "source: a\nmap: {v: v, k: k}\nsink: [b, {topic: c, key: k}]\n",
    "branches": _BRANCHES,
    "windows": _WINDOWED,
    "a time alone": "source: a\ntime: at\nmap: {v: v}\nsink: b\non_error: {to: dead}\n",
    "groups of everything": (
        "source: a\ngroup_by: [v, k]\naggregate: {n: count()}\nsink: b\non_error: {to: dead}\n"
    ),
}


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    found = Runs(tmp_path / "store")
    with found.store:
        found.topic("a", partitions=2)
        for batch in range(12):
            records: list[Any] = [
                {
                    "at": batch * 3 + number % 4,
                    "k": number % 5,
                    "v": _VALUES[(batch + number) % len(_VALUES)],
                    "items": [number, "x", batch][: number % 4],
                }
                for number in range(30)
            ]
            found.publish("a", [*records, None, [batch]], partition=batch % 2)
        yield found


def run(runs: Runs, text: str, name: str, **options: Any) -> tuple[Account | str, dict[str, list[Any]]]:
    """What a run tells, or stops with, and all that it wrote to topics of its own."""
    text = re.sub(r"(sink: |sink: \[|to: |topic: )(?=[a-z])", rf"\1{name}-", text)
    told: Account | str
    try:
        definition = loads(text, path=f"{name}.yaml")
        told = run_pipeline(runs.store, definition, RunOptions(once=True, flush=True, **options))
    except (RecordRefusedError, TooManyRefusedError) as error:
        told = str(error).replace(name, "p")
    found: dict[str, list[Any]] = {}
    for topic in runs.store.catalog.names():
        if topic.startswith(f"{name}-"):
            headers = [repr(message.headers).replace(name, "p") for message in runs.store.read(topic)]
            values = [(message.partition, message.key, message.value) for message in runs.store.read(topic)]
            found[topic.removeprefix(name)] = [*headers, *values]
    return told, found


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("workers", [2, 5])
def test_workers_change_nothing(runs: Runs, name: str, workers: int) -> None:
    text = TEXTS[name]
    alone = run(runs, text, "alone", chunk_records=7)
    assert alone == run(runs, text, "shared", chunk_records=7, workers=workers)
    assert any(alone[1].values())


@pytest.mark.parametrize("on_error", ["stop", "{to: dead, max_ratio: 0.2}"])
@pytest.mark.parametrize("text", ["source: a\nmap: {v: v + 1, k: k}\nsink: b\n", _WINDOWED])
def test_the_record_that_stops_a_pipeline_stops_it_at_the_same_place(
    runs: Runs, on_error: str, text: str
) -> None:
    text = text.replace("on_error: {to: dead}\n", "") + f"on_error: {on_error}\n"
    alone = run(runs, text, "alone", chunk_records=40)
    assert isinstance(alone[0], str)
    assert alone == run(runs, text, "shared", chunk_records=40, workers=2)


def test_a_worker_that_dies_stops_the_run_and_the_next_one_goes_on(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = TEXTS["windows"]
    alone = run(runs, text, "alone", chunk_records=5)
    put, puts = Workers.put, []

    def put_and_kill(workers: Workers, lines: bytes) -> Any:
        worker = put(workers, lines)
        puts.append(worker)
        if len(puts) == 20:
            os.kill(worker.pid, signal.SIGKILL)
        return worker

    with monkeypatch.context() as patch:
        patch.setattr(Workers, "put", put_and_kill)
        with pytest.raises(WorkerError, match="killed by signal 9; nothing is lost, run it again"):
            run(runs, text, "shared", chunk_records=5, workers=2, commit_interval_ms=1)
    assert alone == run(runs, text, "shared", chunk_records=5, workers=2)
    assert 2 == len({worker.pid for worker in puts})
    for pid in {worker.pid for worker in puts}:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


class AskedInWork(Asked):
    """Wants its files to be read while chunks are under way: before every fifth one."""

    _looks = 0

    @property
    def came(self) -> bool:
        self._looks += 1
        return bool(self.texts) and self._looks % 5 == 0

    @came.setter
    def came(self, value: bool) -> None:
        """A look at the texts is enough."""


@pytest.mark.parametrize("wait", [False, True], ids=["at once", "when all was prepared"])
def test_a_file_that_is_read_again_is_the_workers_too(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, wait: bool
) -> None:
    """What they had in work by the old one is done again by the new one, once."""
    take = Workers.take

    def take_late(workers: Workers, worker: Worker, is_given_up: Callable[[], bool]) -> Any:
        # All that is under way lies there when the file changes.
        while wait and len(worker.answers) < worker.owed:
            workers._go_on(10)
        return take(workers, worker, is_given_up)

    monkeypatch.setattr(Workers, "take", take_late)
    texts = [f"source: a\nmap: {{n: {number}, at: at}}\nsink: b\non_error: drop\n" for number in range(6)]
    asked = AskedInWork(texts[1:])
    options = RunOptions(once=True, chunk_records=9, workers=2)
    account = run_pipeline(runs.store, loads(texts[0], path="p.yaml"), options, reload=asked)
    assert [["map"]] * 5 == asked.told
    assert (384, 360, 24) == (account.records_in, account.out, account.dead)
    rows = runs.rows("b")
    assert set(range(6)) == {row["n"] for row in rows}
    alone = run(runs, texts[0].replace("n: 0, ", ""), "alone")[1]["-b"]
    assert sorted(row["at"] for row in rows) == sorted(
        json.loads(value)["at"] for _, _, value in alone[len(alone) // 2 :]
    )


def test_an_error_of_a_worker_is_told(runs: Runs) -> None:
    with Workers(2) as workers:
        worker = workers.put(b"{}\n")
        with pytest.raises(WorkerError, match="AssertionError"):
            workers.take(worker, lambda: False)


def test_nobody_waits_for_a_worker_when_the_run_is_to_end() -> None:
    with Workers(1) as workers:
        workers.define(loads(TEXTS["no step"], path="p.yaml"), [])
        worker = workers.put(b"{}\n")
        os.kill(worker.pid, signal.SIGSTOP)
        looks = iter((False, False, True))
        assert workers.take(worker, lambda: next(looks)) is None


@pytest.mark.parametrize("name", TEXTS)
def test_what_is_prepared_of_a_chunk_survives_the_way_between_processes(name: str) -> None:
    program = Program(loads(TEXTS[name], path="p.yaml"), split=True)
    assert program.prefix is not None
    lines = b'{"at":1,"k":9223372036854775808,"v":-0.0,"items":[1,{"a":[2.5]}]}\nnull\n{"at":2,"v":true}\n'
    prepared = program.prefix.prepare(lines)
    again = unpacked(prepared.packed())
    for field in set(Prepared.__slots__) - {
        "fits",
        "made_bytes",
        "made_of",
        "outs",
        "raw",
        "shares",
        "split",
    }:
        assert repr(getattr(prepared, field)) == repr(getattr(again, field))
    assert 3 == again.count


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        (_WINDOWED, ["filter", "map", "time"]),
        (_BRANCHES, ["flat_map", "filter", "map", "map", "filter"]),
        ("source: a\ntime: {processing: true}\nwindow: 1s\naggregate: {n: count()}\nsink: b\n", []),
        (
            "source: a\nsteps:\n  - filter: v\n  - time: at\n"
            "  - join: {topic: o, as: o, key: k, other_key: k, other_time: at, within: 1s}\n"
            "  - map: {k: k}\nsink: b\n",
            [],
        ),
    ],
)
def test_explain_says_which_steps_run_in_workers(text: str, steps: list[str]) -> None:
    assert steps == explanation(Program(loads(text, path="p.yaml"))).workers


def test_a_worker_that_gives_no_answer_is_not_waited_for_without_an_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("aegis_cli.pipeline.workers.ANSWER_SECONDS", 0.2)
    with Workers(1) as workers:
        workers.define(loads("name: p\nsource: a\nsink: b\n", path="p.yaml"), [])
        worker = workers.put(b"{}\n")
        os.kill(worker.pid, signal.SIGSTOP)
        with pytest.raises(
            WorkerError, match=f"worker {worker.pid} of the pipeline failed: it gave no answer"
        ):
            for _ in range(2):
                workers.take(worker, lambda: False)
                workers.put(b"{}\n")
