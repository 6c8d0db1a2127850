"""Runs that write to PostgreSQL and are killed, lose their server, or hang with it: each row comes once.

The processes, the server and the kills are real.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from storage.batch import RecordBatch
from storage.store import Append, Store
from storage.topic import TopicSettings
from tests.pipeline.postgres_server import PostgresServer

ROOT = Path(__file__).resolve().parents[2]
_SECONDS_MAX = 60.0
_RECORDS, _BATCH = 1200, 40
# Where one run after the other is killed: at each step of a commit, of the store's and of the database's.
# What the table lacks after a commit of the store is what the next run begins with; it is killed at that too.
_KILLED = [
    *("pipeline.table.written@1", "pipeline.prepared@2", "append.durable@3", "pipeline.table@1"),
    *("pipeline.table.written@1", "pipeline.committed@2", "pipeline.table.committed@1"),
    *("pipeline.table.committed@4", "pipeline.table.written@5"),
]
_PIPELINE = """\
name: p
source: a
commit_interval: 1ms
time: at
group_by: k
window: 10s
aggregate: {{n: count(), s: sum(v), c: 'collect(v, 3)'}}
sink:
  - {{postgres: '{url}', table: results}}
  - {{sqlite: out.db, table: results}}
  - {{postgres: '{url}', table: newest, key: k}}
"""
_MESSAGES = "name: p\nsource: a\ncommit_interval: 1ms\nsink: {{postgres: '{url}', table: t}}\n"


def prepared(home: Path, text: str, *, records: int = _RECORDS) -> Path:
    """A store with messages, and the pipeline's file."""
    home.mkdir()
    (home / "p.yaml").write_text(text)
    with Store(home / "store", create=True) as store:
        store.create_topic("a", TopicSettings(durability="os"))
        publish(store, 0, records)
    return home


def publish(store: Store, first: int, end: int) -> None:
    for begin in range(first, end, _BATCH):
        lines = [
            b'{"at":%d,"k":"k%d","v":%d}\n' % (number // 8, number % 5, number)
            for number in range(begin, min(end, begin + _BATCH))
        ]
        batch = RecordBatch(lines=b"".join(lines), count=len(lines))
        store.append([Append(topic="a", partition=0, batches=[batch])])


@contextmanager
def running(home: Path, *words: str, points: str = "", chunk: int = 50) -> Iterator[subprocess.Popen[bytes]]:
    """`aegis pipeline run` with these words."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("AEGIS_", "PG"))}
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "aegis_cli", "pipeline", "run", "p.yaml", *words),
            *("--chunk", str(chunk), "--quiet", "--store", "store"),
        ],
        cwd=home,
        env={**environ, "PYTHONPATH": str(ROOT), **({"AEGIS_FAILPOINTS": points} if points else {})},
        stderr=subprocess.PIPE,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=_SECONDS_MAX)


def run(home: Path, *words: str, points: str = "") -> tuple[int, str]:
    """Run it once; returns its exit code and what it said."""
    with running(home, "--once", *words, points=points) as process:
        _, error = process.communicate(timeout=_SECONDS_MAX)
        return process.returncode, error.decode()


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + _SECONDS_MAX
    while not condition():
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.01)


def count(postgres: PostgresServer, table: str = "t") -> int:
    """How many rows a table has; none where it is not there."""
    found = postgres.query(f"SELECT to_regclass('{table}') IS NOT NULL")
    return int(postgres.rows(table, "count(*)")[0][0]) if found[0][0] else 0


def check_once(postgres: PostgresServer, records: int = _RECORDS) -> None:
    """Each message is in the table once."""
    assert list(range(records)) == sorted(int(row[0]) for row in postgres.rows("t", "v"))


def check_results(home: Path, postgres: PostgresServer) -> None:
    """PostgreSQL holds what SQLite does, which has its own tests."""
    import sqlite3

    database = sqlite3.connect(home / "out.db")
    names = "window_start, k, n, s, c"
    expected = database.execute(f"SELECT {names} FROM results").fetchall()
    database.close()
    assert 75 == len(expected)
    found = [
        (start, k, int(n), int(s), json.dumps(c, separators=(",", ":")))
        for start, k, n, s, c in postgres.rows("results", names)
    ]
    assert expected == found
    newest = {row[1]: row[0] for row in expected}
    assert sorted(newest.items()) == sorted(postgres.rows("newest", "k, window_start"))


def test_killed_at_each_step_of_a_commit_it_goes_on_as_if_nothing_had_happened(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    home = prepared(tmp_path / "home", _PIPELINE.format(url=postgres.url))
    for point in _KILLED:
        step, number = point.split("@")
        assert -signal.SIGKILL == run(home, points=f"{step}=kill@{number}")[0], f"{point} was never reached"
    assert (0, "") == run(home, "--flush")
    check_results(home, postgres)


def test_a_server_that_is_restarted_in_the_middle_has_all_rows_once(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    home = prepared(tmp_path / "home", _MESSAGES.format(url=postgres.url))
    with running(home, "--once", chunk=2) as process:
        for rows in (150, 300, 450):
            wait_for(lambda rows=rows: count(postgres) > rows)
            assert process.poll() is None, "it was too fast for the test"
            postgres.restart()
        _, error = process.communicate(timeout=_SECONDS_MAX)
        assert (0, b"") == (process.returncode, error)
    check_once(postgres)


@pytest.mark.parametrize("step", ["pipeline.table.written", "pipeline.committed"])
def test_a_server_that_is_restarted_at_a_step_of_a_commit_has_all_rows_once(
    tmp_path: Path, postgres: PostgresServer, step: str
) -> None:
    home = prepared(tmp_path / "home", _MESSAGES.format(url=postgres.url))
    reached, go = Path(f"{home}/go.reached"), home / "go"
    with running(home, "--once", points=f"{step}=wait:{go}@3") as process:
        wait_for(reached.exists)
        postgres.restart()
        go.touch()
        _, error = process.communicate(timeout=_SECONDS_MAX)
        assert (0, b"") == (process.returncode, error)
    check_once(postgres)


def test_a_run_that_stood_still_while_another_one_began_writes_nothing_more(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    home = prepared(tmp_path / "home", _MESSAGES.format(url=postgres.url))
    with running(home, "--once", points="pipeline.committed=stop@3") as zombie:
        wait_for(lambda: _state(zombie.pid) == "T")
        # It holds a transaction open; only then its server process is told to let go of it.
        shutil.copytree(home, tmp_path / "copy")
        end_sessions(postgres)
        assert (0, "") == run(tmp_path / "copy")
        check_once(postgres)
        zombie.send_signal(signal.SIGCONT)
        _, error = zombie.communicate(timeout=_SECONDS_MAX)
        assert 4 == zombie.returncode
        assert b"another run of the pipeline has begun to write there" in error
        assert 1 == error.count(b"\n")
    check_once(postgres)


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def end_sessions(postgres: PostgresServer) -> None:
    postgres.query(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = 'aegis p'"
    )


def test_a_run_ends_soon_after_sigterm_also_when_the_database_hangs(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    home = prepared(tmp_path / "home", _MESSAGES.format(url=postgres.url), records=_BATCH)
    waits = "SELECT pid FROM pg_stat_activity WHERE application_name = 'aegis p' AND wait_event_type = 'Lock'"
    with running(home) as process, postgres.connect() as other:
        wait_for(lambda: count(postgres) == _BATCH)
        with other.transaction():
            other.execute("LOCK TABLE t")
            with Store(home / "store") as store:
                publish(store, _BATCH, _RECORDS)
            wait_for(lambda: postgres.query(waits))
            (pid,) = postgres.query(waits)[0]
            os.kill(pid, signal.SIGSTOP)
        try:
            process.send_signal(signal.SIGTERM)
            begun = time.monotonic()
            _, error = process.communicate(timeout=_SECONDS_MAX)
            assert time.monotonic() - begun < 15
        finally:
            os.kill(pid, signal.SIGCONT)
        assert (6, 1) == (process.returncode, error.count(b"\n"))
        assert b"the server does not answer; nothing is lost, run it again" in error
    assert (0, "") == run(home)
    check_once(postgres)


def test_a_server_that_is_not_there_and_a_password_in_the_file(tmp_path: Path) -> None:
    nowhere = "postgresql://me:s3cret@%2Fnowhere/m?connect_timeout=2"
    home = prepared(tmp_path / "home", _MESSAGES.format(url=nowhere))
    code, error = run(home)
    assert (6, 1) == (code, error.count("\n"))
    assert "cannot write to PostgreSQL at postgresql://me@/nowhere/m: connection" in error
    assert "s3cret" not in error
    # Nor is it in the store.
    files = [path for path in (home / "store").rglob("*") if path.is_file()]
    assert files and not any(b"s3cret" in path.read_bytes() for path in files)


def test_the_environment_says_what_the_file_does_not(tmp_path: Path, postgres: PostgresServer) -> None:
    home = prepared(tmp_path / "home", _MESSAGES.format(url="postgresql://"))
    service = home / "services"
    service.write_text(f"[metrics]\nhost={postgres.directory}\nuser=aegis\ndbname=postgres\n")
    environ: dict[str, Any] = {**os.environ, "PGSERVICEFILE": str(service), "PGSERVICE": "metrics"}
    words = ("pipeline", "run", "p.yaml", "--once", "--quiet", "--store", "store")
    subprocess.run(
        [sys.executable, "-m", "aegis_cli", *words],
        cwd=home,
        env={**environ, "PYTHONPATH": str(ROOT)},
        check=True,
        timeout=_SECONDS_MAX,
    )
    check_once(postgres)
