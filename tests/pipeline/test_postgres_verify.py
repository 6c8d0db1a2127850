"""A table of PostgreSQL held against the history of its pipeline."""

from __future__ import annotations

import pytest

from aegis_cli.pipeline.reading import loads
from aegis_cli.pipeline.verify import UnverifiableError, verify_pipeline
from tests.pipeline.postgres_server import PostgresServer
from tests.pipeline.postgres_table import to
from tests.pipeline.runs import Runs


def verified(runs: Runs, text: str) -> tuple[int, list[str]]:
    found = verify_pipeline(runs.store, loads(text, path="p.yaml"), message_bytes_max=1 << 20)
    return found.compared, found.differences


@pytest.mark.parametrize("key", ["", ", key: [k, l]"])
def test_verify_compares_a_table_with_the_history_and_writes_nothing(
    runs: Runs, postgres: PostgresServer, key: str
) -> None:
    postgres.query("CREATE TABLE t (k text, l double precision, j json, id serial, m bigint DEFAULT 7)")
    if key:
        postgres.query("ALTER TABLE t ADD UNIQUE (k, l)")
    text = f"source: a\nsink: [{to(postgres, key)}, b]\n"
    for number in range(3):
        rows = [
            {"k": "x", "l": 0.1},
            {"k": "", "l": 1, "j": {"n": number}},
            {"k": "x", "l": 0.1, "m": number},
        ]
        runs.publish("a", rows)
        runs.run(text, flush=False)
    count = 2 if key else 9
    assert (count + 9, []) == verified(runs, text)
    before = postgres.rows("t")
    postgres.query("UPDATE t SET l = 0.2 WHERE id = 1; DELETE FROM t WHERE id = 2")
    postgres.query("INSERT INTO t (k) VALUES ('more')")
    compared, differences = verified(runs, text)
    assert count + 9 == compared
    assert 4 == len(differences)
    assert 't: {"k":"x","l":"0.1","j":null} is missing' in differences
    assert 't: {"k":"more","l":null,"j":null} is not expected' in differences
    assert len(before) == len(postgres.rows("t"))
    postgres.query("ALTER TABLE t DROP COLUMN j")
    assert ["t: there is no column 'j'"] == verified(runs, text)[1]
    postgres.query("DROP TABLE t")
    assert ["t: there is no such table"] == verified(runs, text)[1]


def test_verify_knows_what_was_refused_and_what_the_clock_decides(
    runs: Runs, postgres: PostgresServer
) -> None:
    runs.publish("a", [{"at": 1, "k": "x"}, {"at": 2}, {"at": 3, "k": "a\0"}, {"at": 4, "k": "y"}])
    text = f"source: a\non_error: drop\nsink: [{to(postgres, ', key: k')}, b]\n"
    runs.run(text)
    assert (4, []) == verified(runs, text)
    text = (
        "name: q\nsource: a\ntime: {field: at, idle: 1m}\ngroup_by: k\nwindow: 10s\n"
        f"aggregate: {{n: count()}}\non_error: drop\nsink: {to(postgres, ', key: k', 'u')}\n"
    )
    runs.run(text, name="q")
    with pytest.raises(UnverifiableError, match="with 'idle' its results depend on the clock"):
        verified(runs, text)
