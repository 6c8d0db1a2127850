"""The seed's pipeline by customer, against DuckDB on one thread, jq, and Miller where it is installed."""

from __future__ import annotations

import json
import random
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.processes import BenchmarkError, Run, aegis, environment, run
from benchmarks.rows import Row, Settings, in_turn, ratios
from storage.store import Store

_TYPES = ("purchase", "view", "click", "search", "cart")
_CUSTOMERS = 5000
_START_MS = 1_772_366_400_000
_DISORDER_MS = 8000
# Tools that take a minute for what others do in a second are given a part.
_SLOW_LINES = 200_000
_BATCH = 100
_PIPELINE = """\
name: bench
source: raw-events
filter: type == "purchase"
map: {customer: customer_id, amount: total, timestamp: created_at}
time: {field: timestamp, watermark: 10s}
group_by: [customer]
window: {tumbling: 5m}
aggregate: {total_purchases: count(), total_amount: sum(amount)}
sink: purchase-metrics
"""
_DUCKDB = """
import sys, duckdb
duckdb.sql("SET threads TO 1")
duckdb.sql(f'''COPY (
    SELECT customer_id, floor(epoch_ms(created_at::TIMESTAMP) / 300000)::BIGINT * 300000 AS start,
           count(*) AS total_purchases, sum(total) AS total_amount
    FROM read_json('{sys.argv[1]}', format='newline_delimited',
         columns={{type: 'VARCHAR', customer_id: 'VARCHAR', total: 'DOUBLE', created_at: 'VARCHAR'}})
    WHERE type = 'purchase' GROUP BY 1, 2) TO '{sys.argv[2]}' (FORMAT JSON)''')
"""
_JQ = (
    'reduce inputs as $r ({}; if $r.type == "purchase" then ($r.customer_id + $r.created_at[:15]) as $k | '
    ".[$k] = (.[$k] // [0, 0] | [.[0] + 1, .[1] + $r.total]) else . end)"
)


class Pipelines:
    """A topic of events, and what is computed of it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.directory = settings.directory / "pipeline"
        self.directory.mkdir()
        self.environment = environment(self.directory)
        self.input = self.directory / "events.jsonl"
        self.part = self.directory / "part.jsonl"
        self.file = self.directory / "bench.yaml"
        self.file.write_text(_PIPELINE)
        write_events(self.input, settings.lines)
        with self.input.open("rb") as source, self.part.open("wb") as target:
            for _ in range(min(_SLOW_LINES, settings.lines)):
                target.write(source.readline())
        run([aegis(), "topic", "create", "raw-events"], environment=self.environment)
        run([aegis(), "publish", "raw-events", "--file", self.input], environment=self.environment)

    def pipeline(self) -> Run:
        """The pipeline, from the beginning to the end of the topic."""
        with Store(Path(self.environment["AEGIS_STORE"])) as store:
            for name in ("pipelines/bench", "purchase-metrics"):
                if name in store.catalog.names() or store.catalog.names("pipelines"):
                    store.delete_topic(name)
        done = run(
            [aegis(), "pipeline", "run", self.file, "--once", "--flush", "--json"],
            environment=self.environment,
        )
        account = json.loads(done.output)
        if account["account"]["records_in"] != self.settings.lines or not account["balances"]:
            raise BenchmarkError(f"the pipeline's account is {done.output!r}")
        return done

    def duckdb(self) -> Run:
        target = self.directory / "duckdb.json"
        done = run([sys.executable, "-c", _DUCKDB, self.input, target], environment=self.environment)
        groups = len(target.read_bytes().splitlines())
        results = run([aegis(), "consume", "purchase-metrics"], environment=self.environment).output
        if groups != results.count(b"\n"):
            raise BenchmarkError(f"DuckDB has {groups} groups, and the pipeline {results.count(10)}")
        return done

    def jq(self) -> Run:
        return run(["jq", "-n", "-c", _JQ, self.part], environment=self.environment)

    def miller(self) -> Run:
        """The same by Miller, for whole days: its functions of time are not the point."""
        verbs = ["filter", '$type == "purchase"', "then", "stats1", "-a", "count,sum", "-f", "total"]
        command = [
            "mlr",
            "--ijson",
            "--ojson",
            "--nr-progress-mod",
            "1000000000",
            *verbs,
            "-g",
            "customer_id",
        ]
        return run([*command, self.part], environment=self.environment)


def write_events(path: Path, count: int) -> None:
    """Events of a shop, about 160 bytes each: a fifth are purchases, up to 8 s out of order."""
    dice = random.Random(7)
    now_ms = _START_MS
    with path.open("w") as target:
        for number in range(count):
            now_ms += dice.randrange(3)
            at = datetime.fromtimestamp((now_ms - dice.randrange(_DISORDER_MS)) / 1000, UTC)
            target.write(
                f'{{"event_id":{number},"type":"{dice.choice(_TYPES)}",'
                f'"customer_id":"c{dice.randrange(_CUSTOMERS):04d}","total":{dice.random() * 500:.2f},'
                f'"created_at":"{at:%Y-%m-%dT%H:%M:%SZ}","page":"/p/{dice.randrange(10_000)}",'
                f'"agent":"Mozilla/5.0 (X11)"}}\n'
            )


def measure(settings: Settings) -> Iterator[Row]:
    """Rows about the seed's pipeline."""
    pipelines = Pipelines(settings)
    part = min(_SLOW_LINES, settings.lines)
    works: dict[str, Callable[[], Run]] = {"aegis": pipelines.pipeline, "duckdb": pipelines.duckdb}
    works["jq"] = pipelines.jq
    if shutil.which("mlr"):
        works["mlr"] = pipelines.miller
    results = in_turn(settings.rounds, works)
    own = [settings.lines / one.cpu_seconds for one in results["aegis"]]
    yield Row(
        what="seed pipeline by customer: rows per CPU second",
        figures=[rate / 1e6 for rate in own],
        unit="M/s",
        must=0.7,
    )
    lines = {"duckdb": settings.lines, "jq": part, "mlr": part}
    names = {"duckdb": "DuckDB, one thread", "jq": "jq", "mlr": "Miller"}
    for name, count in lines.items():
        if name in results:
            rates = [count / one.cpu_seconds for one in results[name]]
            yield Row(
                what=f"the same, against {names[name]}: rows per CPU second",
                figures=ratios(own, rates),
                unit="x",
                aim=1 if name == "duckdb" else None,
            )
    memory = [one.memory_bytes / 1e6 for one in results["aegis"]]
    yield Row(what="seed pipeline: peak memory", figures=memory, unit="MB", must=100, better="less")
    yield Row(
        what="seed pipeline: 100 rows more in a batch",
        figures=small_batches(settings.rounds),
        unit="ms",
        must=1,
        better="less",
    )
    shutil.rmtree(pipelines.directory)


def small_batches(rounds: int) -> list[float]:
    """Milliseconds that a batch of 100 rows takes in a pipeline that runs, without its commit."""
    from aegis_cli.pipeline.program import Program
    from aegis_cli.pipeline.reading import loads

    program = Program(loads(_PIPELINE, path="bench.yaml"))
    turn = program.turn()
    row = '{"type":"purchase","customer_id":"c1","total":5.5,"created_at":"2026-03-01T12:00:00Z"}\n'
    lines = row.encode() * _BATCH
    figures = []
    for _ in range(max(5, rounds)):
        began = time.perf_counter()
        for _ in range(_BATCH):
            turn.begin("raw-events", 0, lines, range(_BATCH), _START_MS)
            rows = program.feeds["raw-events"].rows(lines)
            program.process("raw-events", rows, turn.turn_to(0), turn)
        figures.append((time.perf_counter() - began) * 1000 / _BATCH)
    return figures
