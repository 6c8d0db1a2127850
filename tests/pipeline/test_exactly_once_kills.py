"""Runs of a pipeline that are killed with -9, and run again: each sink holds what an undisturbed run gives.

The processes are real, the kills too: at each step of a commit, and at random moments of long runs.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from aegis_cli.pipeline.admin import status_of
from aegis_cli.pipeline.reading import load
from aegis_cli.pipeline.run import RunOptions, run_pipeline
from storage.batch import RecordBatch
from storage.store import Append, Store
from storage.topic import TopicSettings

ROOT = Path(__file__).resolve().parents[2]
_KILLS = 20
_BATCHES, _RECORDS = 60, 50
# Each step of a commit: what is prepared, the append itself, and what the table gets after it.
_STEPS = (
    "pipeline.prepared",
    "append.locked",
    "journal.append",
    "journal.written",
    "journal.synced",
    "append.durable",
    "applied",
    "append.released",
    "pipeline.committed",
    "pipeline.table",
    "pipeline.table.written",
    "pipeline.table.committed",
)
_PIPELINE = """\
name: p
source: a
commit_interval: 1ms
time: {field: at, watermark: 5s}
group_by: k
window: 10s
allow_late: 5s
late: {to: late}
aggregate: {n: count(), s: sum(v), c: 'collect(v, 3)'}
sink:
  - b
  - {topic: keyed, key: k}
  - {file: out.jsonl}
  - {sqlite: out.db, table: results}
on_error: {to: dead}
"""


def prepared(home: Path) -> Path:
    """A store with messages, and the pipeline's file; always the same."""
    home.mkdir()
    (home / "p.yaml").write_text(_PIPELINE)
    dice = random.Random(9)
    # Each batch has a time of its own, so that the order of the partitions is the same each time.
    clock = itertools.count(1_772_000_000_000)
    with Store(home / "store", create=True, clock_ms=lambda: next(clock)) as store:
        for name, partitions in (("a", 2), ("keyed", 3), ("b", 1), ("late", 1), ("dead", 1)):
            store.create_topic(name, TopicSettings(partitions=partitions, durability="os"))
        for number in range(_BATCHES):
            lines = [
                b'{"at":%d,"k":"k%d","v":%s}\n'
                % (
                    number * 2 - dice.choice((0, 0, 0, 4, 30)),
                    dice.randrange(4),
                    dice.choice((b"1", b"2.5", b'"x"')),
                )
                for _ in range(_RECORDS)
            ]
            batch = RecordBatch(lines=b"".join(lines), count=_RECORDS)
            store.append([Append(topic="a", partition=number % 2, batches=[batch])])
    return home


def process(home: Path, points: str = "") -> subprocess.Popen[bytes]:
    """`aegis pipeline run --once`, three records at a time."""
    words = ["pipeline", "run", "p.yaml", "--once", "--chunk", "3", "--quiet", "--store", "store"]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("AEGIS_")}
    return subprocess.Popen(
        [sys.executable, "-m", "aegis_cli", *words],
        cwd=home,
        env={**environ, "PYTHONPATH": str(ROOT), **({"AEGIS_FAILPOINTS": points} if points else {})},
        stderr=subprocess.PIPE,
    )


def finish(home: Path) -> None:
    """Run it to the end."""
    run = process(home)
    _, error = run.communicate(timeout=60)
    assert (0, b"") == (run.returncode, error)


def held(home: Path) -> dict[str, object]:
    """All that the sinks hold, and the account."""
    import sqlite3

    found: dict[str, object] = {"file": (home / "out.jsonl").read_bytes()}
    database = sqlite3.connect(home / "out.db")
    found["table"] = database.execute("SELECT * FROM results").fetchall()
    database.close()
    with Store(home / "store") as store:
        for name in ("b", "keyed", "late", "dead"):
            found[name] = [(each.partition, each.value, each.key) for each in store.read(name)]
        status = status_of(store, "p")
        assert status.balances
        found["account"] = str(status.account)
    return found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What one run in this process gives, in one commit if it can."""
    home = prepared(tmp_path_factory.mktemp("undisturbed") / "home")
    before = Path.cwd()
    os.chdir(home)
    try:
        with Store(home / "store") as store:
            account = run_pipeline(store, load("p.yaml"), RunOptions(once=True, commit_interval_ms=60_000))
    finally:
        os.chdir(before)
    assert account.late and account.dead and account.out and account.emitted
    return held(home)


@pytest.mark.parametrize("step", _STEPS)
def test_killed_at_a_step_of_a_commit_it_goes_on_as_if_nothing_had_happened(
    tmp_path: Path, undisturbed: dict[str, object], step: str
) -> None:
    home = prepared(tmp_path / "home")
    # The first time: nothing was committed yet. Later: something was, in runs that were killed before.
    for number in (1, 3):
        run = process(home, f"{step}=kill@{number}")
        run.communicate(timeout=60)
        assert -signal.SIGKILL == run.returncode, "the step was never reached"
    finish(home)
    assert undisturbed == held(home)


def test_killed_at_random_moments_it_goes_on_as_if_nothing_had_happened(
    tmp_path: Path, undisturbed: dict[str, object]
) -> None:
    home = prepared(tmp_path / "home")
    dice = random.Random(20)
    killed = 0
    for _ in range(_KILLS):
        # Moments are counted in what the process does to the disk: on a slow machine they are the same ones.
        run = process(home, f"{dice.choice(('write', 'write:out.jsonl'))}=kill@{dice.randrange(1, 12)}")
        run.communicate(timeout=60)
        killed += run.returncode == -signal.SIGKILL
    finish(home)
    assert killed >= _KILLS // 2
    assert undisturbed == held(home)
