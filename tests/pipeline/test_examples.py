"""The pipelines of examples/: each says what it is for, its tests pass, and the seed's agrees with DuckDB."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import takewhile
from pathlib import Path

import pytest

from aegis_cli.pipeline.cases import run_case
from aegis_cli.pipeline.reading import load
from tests.pipeline.runs import Runs

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
FILES = sorted((EXAMPLES / "pipelines").glob("*.yaml"))
CASES = [
    pytest.param(file, number, id=f"{file.stem}: {case.name}")
    for file in FILES
    for number, case in enumerate(load(str(file)).cases)
]
PURCHASES = EXAMPLES / "purchases.jsonl"


def test_there_is_an_example_of_each_kind() -> None:
    expected = {
        "order-branches",
        "order-enrichment",
        "order-lines",
        "order-payments",
        "order-prices",
        "payments-dedup",
        "purchase-metrics",
        "sessions",
        "slow-requests",
    }
    assert set() == expected - {file.stem for file in FILES}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_example_says_what_it_is_for_is_named_as_its_file_and_has_a_test_with_a_crash(file: Path) -> None:
    lines = file.read_text().splitlines()
    comment = list(takewhile(lambda line: line.startswith("#"), lines))
    assert len(comment) >= 3 and comment[-1].endswith(".")
    definition = load(str(file))
    assert file.stem == definition.name
    assert definition.description
    assert any(case.crash_after is not None for case in definition.cases)


@pytest.mark.parametrize(("file", "number"), CASES)
def test_a_case_of_an_example_passes(file: Path, number: int) -> None:
    definition = load(str(file))
    outcome = run_case(definition, definition.cases[number])
    assert [] == outcome.differences


def test_the_demo_shows_what_the_pipeline_gives(tmp_path: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environ = {**os.environ, "PATH": path, "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    finished = subprocess.run(
        ["bash", str(EXAMPLES / "demo.sh")], capture_output=True, timeout=120, env=environ
    )
    assert 0 == finished.returncode, finished.stderr
    shown = finished.stdout.decode().splitlines()
    assert 13 == sum(line.startswith('{"window_start":') for line in shown)
    # Its store is gone.
    assert [] == list(tmp_path.glob("tmp.*"))


@pytest.mark.parametrize("partitions", [1, 3])
@pytest.mark.parametrize("chunk_records", [1, 7, 1 << 30])
def test_the_seed_s_pipeline_gives_what_duckdb_gives(
    tmp_path: Path, partitions: int, chunk_records: int
) -> None:
    import duckdb

    runs = Runs(tmp_path / "store", chunk_records=chunk_records)
    runs.topic("raw-events", partitions=partitions)
    lines = PURCHASES.read_bytes().splitlines(keepends=True)
    for first in range(0, len(lines), 10):
        some = lines[first : first + 10]
        partition = first // 10 % partitions
        runs.publish_lines("raw-events", b"".join(some), len(some), partition=partition)
    account = runs.run((EXAMPLES / "pipelines" / "purchase-metrics.yaml").read_text())
    expected = duckdb.execute(
        """
        select strftime(time_bucket(interval 5 minutes, created_at::timestamp), '%Y-%m-%dT%H:%M:%SZ')
                   as start,
               strftime(time_bucket(interval 5 minutes, created_at::timestamp) + interval 5 minutes,
                        '%Y-%m-%dT%H:%M:%SZ'),
               count(*), sum(total::decimal(18, 2))::double
        from read_json($file, columns = {type: 'varchar', created_at: 'varchar', total: 'double'})
        where type = 'purchase' group by all order by start
        """,
        {"file": str(PURCHASES)},
    ).fetchall()
    found = runs.columns("purchase-metrics", "window_start", "window_end", "total_purchases", "total_amount")
    # Prices are of whole cents; the sum of floating-point numbers is off by less than that.
    assert expected == sorted((*rest, round(amount, 2)) for *rest, amount in found)
    assert (200, 0, 0) == (account.records_in, account.late, account.dead)
