"""Files and tables of SQLite held against the history of their pipeline."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from aegis_cli.pipeline.errors import SinkError
from aegis_cli.pipeline.reading import loads
from aegis_cli.pipeline.verify import verify_pipeline
from tests.pipeline.runs import Runs

ROWS = [{"k": "x", "n": 1}, {"k": "y", "n": 2, "list": [1, "\N{SNOWMAN}"]}, {"k": "x", "n": 1}]


def verified(runs: Runs, text: str) -> tuple[int, list[str]]:
    found = verify_pipeline(runs.store, loads(text, path="p.yaml"), message_bytes_max=1 << 20)
    return found.compared, found.differences


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out.db"


def change(path: Path, statements: str) -> None:
    import sqlite3

    with closing(sqlite3.connect(path)) as database:
        database.executescript(statements)


def to_table(path: Path, rest: str = "") -> str:
    return f"source: a\nsink: {{sqlite: '{path}', table: t{rest}}}\n"


def test_rows_of_a_table_without_a_key_are_counted(runs: Runs, path: Path) -> None:
    text = to_table(path)
    for _ in range(2):
        runs.publish("a", ROWS)
        runs.run(text, flush=False)
    before = path.read_bytes()
    assert (6, []) == verified(runs, text)
    assert before == path.read_bytes()
    change(path, "DELETE FROM t WHERE rowid = 1; UPDATE t SET list = '[]' WHERE rowid = 2")
    assert (
        6,
        [
            't: {"k": "x", "n": 1, "list": null}, 4 times, is missing',
            't: {"k": "y", "n": 2, "list": "[1,\\"\N{SNOWMAN}\\"]"}, 2 times, is missing',
            't: {"k": "x", "n": 1, "list": null}, 3 times, is not expected',
            't: {"k": "y", "n": 2, "list": "[1,\\"\N{SNOWMAN}\\"]"} is not expected',
            't: {"k": "y", "n": 2, "list": "[]"} is not expected',
        ],
    ) == verified(runs, text)
    change(path, "ALTER TABLE t DROP COLUMN list")
    assert ["t: there is no column 'list'"] == verified(runs, text)[1]
    change(path, "DROP TABLE t")
    assert ["t: there is no such table"] == verified(runs, text)[1]
    path.unlink()
    assert ["t: there is no such table"] == verified(runs, text)[1]
    assert not path.exists()


def test_a_table_that_somebody_made_is_compared_by_its_own_types_key_and_defaults(
    runs: Runs, path: Path
) -> None:
    change(
        path,
        "CREATE TABLE t (id INTEGER PRIMARY KEY, k TEXT COLLATE NOCASE, n TEXT, at DEFAULT CURRENT_TIMESTAMP,"
        "twice GENERATED ALWAYS AS (n || n)); CREATE UNIQUE INDEX k ON t (k)",
    )
    text = to_table(path, ", key: k")
    for number in range(3):
        runs.publish("a", [{"k": "x", "n": number}, {"k": "X", "n": number + 10}, {"k": "y", "n": 1.5}])
        runs.run(text, flush=False)
    assert (2, []) == verified(runs, text)
    change(path, "UPDATE t SET k = 'X' WHERE k = 'x'; UPDATE t SET n = '1.50' WHERE k = 'y'")
    differences = verified(runs, text)[1]
    assert 't: {"k": "x", "n": "12"} is missing' in differences
    assert 't: {"k": "y", "n": "1.50"} is not expected' in differences
    assert 4 == len(differences)


def test_a_database_that_is_none_is_named(runs: Runs, path: Path) -> None:
    text = to_table(path)
    runs.publish("a", ROWS)
    runs.run(text)
    path.write_bytes(b"no database at all, " * 100)
    with pytest.raises(SinkError, match=f"SQLite database {path}: file is not a database"):
        verified(runs, text)


def test_the_committed_end_of_a_file_is_compared_line_by_line(runs: Runs, tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("this stood there before\n")
    text = f"source: a\nmap: {{n: n}}\nsink: {{file: '{path}'}}\n"
    for number in range(3):
        runs.publish("a", [{"n": number}])
        runs.run(text, flush=False)
    assert (3, []) == verified(runs, text)
    with path.open("a") as target:
        target.write('{"n":"what a killed run leaves"}\n')
    assert (3, []) == verified(runs, text)
    path.write_text(path.read_text().replace('{"n":1}', '{"n":7}'))
    assert (3, [f'{path}, line 2 of the pipeline: {{"n":7}}, expected {{"n":1}}']) == verified(runs, text)
    path.write_text("")
    assert 3 == len(verified(runs, text)[1])
    path.unlink()
    assert (3, [f"{path}: there is no such file"]) == verified(runs, text)
