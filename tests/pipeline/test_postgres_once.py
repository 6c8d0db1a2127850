"""Rows come into a table of PostgreSQL once, whatever ends a run, and whoever runs besides."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from aegis_cli.pipeline.errors import RecordRefusedError, SinkError, SinkTakenError, SinkUnreachableError
from aegis_cli.pipeline.program import Program
from aegis_cli.pipeline.reading import loads
from aegis_cli.pipeline.run import RunOptions, run_pipeline
from aegis_cli.pipeline.sinks import postgres_session
from aegis_cli.pipeline.state import PipelineLog
from storage import files
from tests.pipeline.postgres_server import PostgresServer
from tests.pipeline.postgres_table import DiedError, plain, to
from tests.pipeline.runs import Runs


def test_rows_that_a_table_did_not_get_before_the_end_of_a_run_come_with_the_next_one(
    runs: Runs, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs.publish("a", [{"n": 1}])
    text = f"source: a\nsink: {to(postgres)}\n"
    real = PipelineLog.commit

    def die(*arguments: Any) -> None:
        real(*arguments)
        raise DiedError

    with monkeypatch.context() as patched:
        patched.setattr(PipelineLog, "commit", die)
        with pytest.raises(DiedError):
            runs.run(text)
    assert [(None,)] == postgres.query("SELECT to_regclass('t')")
    # Meanwhile the server got another address, of which the file tells.
    text = text.replace("user=aegis", "application_name=other user=aegis")
    for _ in range(2):
        runs.run(text)
        assert [(1,)] == plain(postgres.rows("t"))


@pytest.mark.parametrize("is_there", [True, False])
def test_a_sink_that_has_rows_to_come_cannot_be_left_out_nor_renamed(
    runs: Runs, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch, is_there: bool
) -> None:
    runs.publish("a", [{"n": 1}])
    text = f"source: a\nsink: [{to(postgres)}, b]\n"
    step = files.step

    def die(name: str) -> None:
        step(name)
        if name == ("pipeline.table.committed" if is_there else "pipeline.table"):
            raise DiedError

    with monkeypatch.context() as patched:
        patched.setattr(files, "step", die)
        with pytest.raises(DiedError):
            runs.run(text)
    assert is_there == bool(postgres.query("SELECT 1 FROM pg_tables WHERE tablename = 't'"))
    others = ["source: a\nsink: b\n", text.replace("table: t", "table: u")]
    for other in others:
        with pytest.raises(SinkError, match="table t of PostgreSQL: rows for it are committed and may not"):
            runs.run(other)
    assert 1 == len(runs.rows("b"))
    runs.run(text)
    assert [(1,)] == plain(postgres.rows("t"))
    for other in others:
        runs.publish("a", [{"n": 2}])
        runs.run(other)
    assert [(1,)] == plain(postgres.rows("t"))
    assert [(2,)] == plain(postgres.rows("u"))
    assert 3 == len(runs.rows("b"))


@pytest.mark.parametrize("on_error", ["stop", "drop"])
def test_after_a_run_that_ended_well_or_at_a_record_another_table_gets_only_what_is_new(
    runs: Runs, postgres: PostgresServer, on_error: str
) -> None:
    runs.publish("a", [{"n": 1}, {"n": None}])
    text = f"source: a\nsink: {to(postgres, ', key: n')}\non_error: {on_error}\n"
    if on_error == "stop":
        with pytest.raises(RecordRefusedError):
            runs.run(text)
    else:
        runs.run(text)
    runs.publish("a", [{"n": 2}])
    runs.run(text.replace("table: t", "table: u").replace("stop", "drop"))
    assert [(1,)] == plain(postgres.rows("t"))
    assert [(2,)] == plain(postgres.rows("u"))


@pytest.mark.parametrize("is_committed", [True, False])
def test_where_it_is_not_certain_that_the_database_committed_its_number_tells(
    runs: Runs, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch, is_committed: bool
) -> None:
    from psycopg import OperationalError

    runs.publish("a", [{"n": 1}])
    real = postgres_session.PostgresSession.commit
    commits = 0

    def fail(session: postgres_session.PostgresSession) -> None:
        nonlocal commits
        commits += 1
        if commits == 2 and not is_committed:
            session.drop()
        if commits != 2 or is_committed:
            real(session)
        if commits == 2:
            raise OperationalError("the connection is lost")

    monkeypatch.setattr(postgres_session.PostgresSession, "commit", fail)
    runs.run(f"source: a\nsink: {to(postgres)}\n")
    assert 3 == commits
    assert [(1,)] == plain(postgres.rows("t"))


def test_a_run_that_another_one_followed_writes_nothing_more(
    runs: Runs, postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs.publish("a", [{"n": 1}])
    text = f"source: a\nsink: {to(postgres)}\n"
    others = Runs(tmp_path / "other")
    others.now_ms += 5
    others.publish("a", [{"n": 2}])
    real = PipelineLog.commit

    def be_followed(*arguments: Any) -> None:
        # As a copy of the store on another machine, which knows nothing of the lock of this one.
        real(*arguments)
        monkeypatch.setattr(PipelineLog, "commit", real)
        postgres.query(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = 'aegis p'"
        )
        others.run(text)

    monkeypatch.setattr(PipelineLog, "commit", be_followed)
    with others.store, pytest.raises(SinkTakenError, match="another run of the pipeline has begun to write"):
        runs.run(text)
    assert [(2,)] == plain(postgres.rows("t"))
    # And the one that was followed comes back with commits that are older than what is there.
    with pytest.raises(SinkError, match="holds commits of pipeline 'p' that this store does not know"):
        runs.run(text)
    assert [(2,)] == plain(postgres.rows("t"))


def test_a_pipeline_that_was_reset_writes_again(runs: Runs, postgres: PostgresServer) -> None:
    from aegis_cli.pipeline.admin import reset_pipeline

    runs.publish("a", [{"k": 1}])
    for _ in range(2):
        runs.run(f"source: a\nsink: {to(postgres)}\n")
        runs.now_ms += 1
        reset_pipeline(runs.store, "p")
    assert [(1,), (1,)] == plain(postgres.rows("t"))


def test_tables_of_one_name_in_two_databases_get_their_own_rows(runs: Runs, postgres: PostgresServer) -> None:
    postgres.query("DROP DATABASE IF EXISTS other")
    postgres.query("CREATE DATABASE other")
    other = to(postgres).replace("dbname=postgres", "dbname=other")
    runs.publish("a", [{"n": 1}])
    runs.run(f"source: a\nbranches:\n  - sink: {to(postgres)}\n  - {{map: {{m: n + 1}}, sink: {other}}}\n")
    assert [(1,)] == plain(postgres.rows("t"))
    assert [(2,)] == plain(postgres.query("SELECT m FROM t", database="other"))


def test_a_server_that_does_not_come_back_ends_the_run_and_loses_nothing(
    runs: Runs, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs.publish("a", [{"n": 1}])
    text = f"source: a\nsink: {to(postgres)}\n"
    real = PipelineLog.commit

    def be_alone(*arguments: Any) -> None:
        real(*arguments)
        postgres.kill()

    with monkeypatch.context() as patched:
        patched.setattr(postgres_session, "RETRY_SECONDS", 0.2)
        patched.setattr(PipelineLog, "commit", be_alone)
        with pytest.raises(SinkUnreachableError, match=r"postgresql://aegis@/\S*/postgres: connection"):
            runs.run(text)
    postgres.start()
    runs.run(text)
    assert [(1,)] == plain(postgres.rows("t"))


def test_a_pipeline_is_compiled_without_a_driver(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    from aegis_cli.pipeline.errors import PipelineFileError

    monkeypatch.setitem(sys.modules, "psycopg", None)
    runs.publish("a", [{"n": 1}])
    definition = loads("source: a\nsink: {postgres: postgresql://, table: t}\n", path="p.yaml")
    Program(definition)
    with pytest.raises(PipelineFileError, match=r"pip install 'aegis-streaming\[postgresql\]'"):
        run_pipeline(runs.store, definition, RunOptions(once=True))
