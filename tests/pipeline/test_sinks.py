"""Sinks outside of the store: what they hold after runs that ended early, and rows of odd shapes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from aegis_cli.pipeline.errors import RecordRefusedError, SinkError
from aegis_cli.pipeline.reading import loads
from aegis_cli.pipeline.run import RunOptions, run_pipeline
from aegis_cli.pipeline.sinks.file import FileSink
from aegis_cli.pipeline.state import PipelineLog
from tests.pipeline.runs import Runs


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    found = Runs(tmp_path / "store")
    with found.store:
        yield found


class DiedError(BaseException):
    """Stands for the end of the process."""


def table(path: Path, name: str = "t") -> list[tuple[object, ...]]:
    import sqlite3

    database = sqlite3.connect(path)
    try:
        return database.execute(f"SELECT * FROM {name}").fetchall()
    finally:
        database.close()


def test_what_a_file_got_before_the_first_commit_is_cut_off(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text('"before"\n')
    runs.publish("a", [{"n": 1}, {"n": 2}])
    text = f"source: a\nsink: {{file: {path}}}\n"
    real = FileSink.prepare

    def die(*arguments: object) -> int:
        count = real(*arguments)  # type: ignore[arg-type]
        if count:
            raise DiedError
        return count

    with monkeypatch.context() as patched:
        patched.setattr(FileSink, "prepare", die)
        with pytest.raises(DiedError):
            runs.run(text)
    assert path.read_text().count("\n") == 3
    runs.run(text)
    assert '"before"\n{"n":1}\n{"n":2}\n' == path.read_text()


def test_a_file_that_was_made_shorter_is_refused(runs: Runs, tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    runs.publish("a", [{"n": 1}])
    text = f"source: a\nsink: {{file: {path}}}\n"
    runs.run(text)
    path.write_text("")
    with pytest.raises(SinkError, match="it has 0 bytes, and 8 were committed"):
        runs.run(text)


def test_rows_that_a_table_did_not_get_before_the_end_of_a_run_come_with_the_next_one(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.db"
    runs.publish("a", [{"n": 1, "x": [1, {"y": 2.5}], "b": True}])
    text = f"source: a\nsink: {{sqlite: {path}, table: t}}\n"
    real = PipelineLog.commit

    def die(*arguments: object) -> None:
        real(*arguments)  # type: ignore[arg-type]
        raise DiedError

    with monkeypatch.context() as patched:
        patched.setattr(PipelineLog, "commit", die)
        with pytest.raises(DiedError):
            runs.run(text)
    for _ in range(2):
        runs.run(text)
        assert [(1, '[1,{"y":2.5}]', 1)] == table(path)


def test_rows_without_fields_and_fields_that_come_later_go_into_a_table(runs: Runs, tmp_path: Path) -> None:
    path = tmp_path / "out.db"
    runs.publish("a", [{"n": 1}, {}, {"m": 2}])
    runs.run(f"source: a\nsink: {{sqlite: {path}, table: t}}\n")
    assert [(1, None), (None, None), (None, 2)] == table(path)


def test_a_table_whose_first_row_has_no_field(runs: Runs, tmp_path: Path) -> None:
    path = tmp_path / "out.db"
    runs.publish("a", [{}, {"m": 2}])
    runs.run(f"source: a\nsink: {{sqlite: {path}, table: t}}\n")
    assert 2 == len(table(path))


def test_a_message_that_is_no_object_stops_before_a_table(runs: Runs, tmp_path: Path) -> None:
    path = tmp_path / "out.db"
    runs.publish("a", [{"n": 1}, 7])
    with pytest.raises(RecordRefusedError):
        runs.run(f"source: a\nsink: {{sqlite: {path}, table: t}}\n")
    assert [(1,)] == table(path)


def test_a_table_that_must_be_there_is_not_made(runs: Runs, tmp_path: Path) -> None:
    import sqlite3

    path = tmp_path / "out.db"
    runs.publish("a", [{"n": 1}])
    text = f"source: a\nsink: {{sqlite: {path}, table: t, create: false}}\n"
    with pytest.raises(SinkError, match="no table 't'"):
        runs.run(text)
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE t (n INTEGER)")
    database.close()
    runs.run(text)
    assert [(1,)] == table(path)


def test_a_table_with_a_key_has_the_newest_row_of_each(runs: Runs, tmp_path: Path) -> None:
    path = tmp_path / "out.db"
    for first in range(3):
        runs.publish("a", [{"k": number % 2, "n": first + number} for number in range(3)])
        runs.run(f"source: a\nsink: {{sqlite: {path}, table: t, key: k}}\n")
    assert [(0, 4), (1, 3)] == sorted(table(path))


@pytest.mark.parametrize("chunk_records", [1, 1000])
def test_a_file_with_blank_lines_and_several_objects_in_a_line(
    runs: Runs, tmp_path: Path, chunk_records: int
) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text('{"n":1}\n\n{"n":2}\n{"n":3}{"n":4}\n{"n":\n5}\n  \n{"n":6}\n')
    text = f"name: p\nsource: {{file: {path}}}\non_error: {{to: dead}}\nsink: b\n"
    definition = loads(text, path="p.yaml")
    account = run_pipeline(runs.store, definition, RunOptions(once=True, chunk_records=chunk_records))
    assert [(1,), (2,), (6,)] == runs.columns("b", "n")
    assert (6, 3) == (account.records_in, account.dead)
    assert ['{"n":3}{"n":4}', '{"n":', "5}"] == runs.rows("dead")


def test_columns_that_differ_only_in_case_are_refused_before_the_commit(runs: Runs, tmp_path: Path) -> None:
    path = tmp_path / "out.db"
    runs.publish("a", [{"a": 1, "A": 2}])
    with pytest.raises(SinkError, match="takes the columns 'A' and 'a' for the same"):
        runs.run(f"source: a\nsink: {{sqlite: {path}, table: t}}\n")
    runs.run(f"source: a\nmap: {{a: a, b: A}}\nsink: {{sqlite: {path}, table: t}}\n")
    assert [(1, 2)] == table(path)


def test_a_row_that_no_topic_would_take_is_refused(runs: Runs) -> None:
    runs.publish("a", [{"t": "x" * 600_000}])
    with pytest.raises(SinkError, match="a row was refused: it has 1200015 bytes, and 1048576 are allowed"):
        runs.run("source: a\nmap: {t: t, u: t}\nsink: b\n")
    assert [] == runs.rows("b")
