"""Records that become many: how much of one may become, and that nothing else is refused for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aegis_cli.pipeline.account import Account
from aegis_cli.pipeline.reading import loads
from aegis_cli.pipeline.run import RunOptions, run_pipeline
from tests.pipeline.runs import Runs

_LIMIT_BYTES = 100_000
# Rows of about 1 kB, so that 100 of them are a few too many.
_GIVEN = [
    {"n": 0, "p": "x" * 1000, "items": list(range(20))},
    {"n": 1, "p": "x" * 1000, "items": [*range(60), "bad", *range(60)]},
    {"n": 2, "p": "x" * 1000, "items": list(range(20))},
    {"n": 3, "p": "y", "items": list(range(500))},
    {"n": 4, "p": "x" * 1000, "items": list(range(120))},
]
_STEPS = "flat_map: {items: items, as: i}\nfilter: n != 0 or i != 5\nmap: {p: p, j: i + 0, n: n}\n"
SINKS = {
    "topic": "sink: b\n",
    "branches": "branches: [{sink: b}, {map: {p: p, n: n}, sink: {file: out.jsonl}}]\n",
    "table": "sink: {sqlite: out.db, table: t}\n",
}


@pytest.fixture(autouse=True)
def _small_limit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("aegis_cli.pipeline.chain.MADE_BYTES_MAX", _LIMIT_BYTES)


def run(runs: Runs, text: str, **options: Any) -> Account:
    definition = loads(f"name: p\nsource: a\n{_STEPS}{text}on_error: {{to: dead}}\n", path="p.yaml")
    account = run_pipeline(runs.store, definition, RunOptions(once=True, **options))
    assert account.balances
    return account


@pytest.mark.parametrize("sink", SINKS)
def test_what_one_record_becomes_is_bounded_and_what_is_too_much_is_put_aside_once(
    tmp_path: Path, sink: str
) -> None:
    accounts = []
    for workers, chunk_records in ((1, 1000), (1, 1), (2, 1000), (2, 1)):
        runs = Runs(tmp_path / f"{workers} {chunk_records}")
        runs.publish("a", _GIVEN)
        for name in ("out.db", "out.jsonl"):
            Path(name).unlink(missing_ok=True)
        accounts.append(run(runs, SINKS[sink], workers=workers, chunk_records=chunk_records))
        # Once for all rows that were too much, and once for the item that is no number.
        assert [1, 1, 4] == [row["n"] for row in runs.rows("dead")]
    account = accounts[0]
    assert [account] * 4 == accounts
    row_bytes = 1021 if sink != "branches" else 2036
    # A row more or less: those with an item of two digits are longer.
    assert abs(account.out - (19 + 20 + 500 + 2 * (_LIMIT_BYTES // row_bytes))) <= 6
    assert (5, 776, 1) == (account.records_in, account.expanded, account.filtered)
    assert 780 - account.out == account.dead
