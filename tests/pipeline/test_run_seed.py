"""The seed's pipeline, grouped by customer, against DuckDB over generated purchases: the same rows."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import pytest

from tests.pipeline.runs import Runs

_PIPELINE = """\
source: raw-events
filter: type == "purchase"
map: {customer: customer_id, amount: total, timestamp: created_at}
time: {field: timestamp, watermark: 10s}
group_by: [customer]
window: {tumbling: 5m}
aggregate: {total_purchases: count(), total_amount: sum(amount), most: max(amount), mean: avg(amount)}
sink: purchase-metrics
"""
_WINDOW_MS = 300_000
_START_MS = 1_772_365_800_000  # no multiple of the window
_RECORDS = 20_000


def purchases() -> list[dict[str, object]]:
    """Events of three hours, each at most 8 s out of order; totals are of quarters, so sums are exact."""
    dice = random.Random(1)
    made: list[dict[str, object]] = []
    for number in range(_RECORDS):
        event: dict[str, object] = {
            "type": dice.choice(("purchase", "purchase", "refund", None)),
            "customer_id": dice.choice((None, *(f"c{customer}" for customer in range(20)))),
            "total": dice.choice((None, dice.randrange(40_000) / 4, dice.randrange(10_000))),
            "created_at": _START_MS + number * 540 - dice.choice((0, 0, dice.randrange(8000))),
        }
        made.append({name: value for name, value in event.items() if value is not None})
    return made


@pytest.mark.parametrize("pieces", [1, 13])
def test_the_seed_s_pipeline_by_customer_gives_what_duckdb_gives(tmp_path: Path, pieces: int) -> None:
    import duckdb

    events = purchases()
    file = tmp_path / "events.jsonl"
    file.write_bytes(b"".join(msgspec.json.encode(event) + b"\n" for event in events))
    expected = duckdb.execute(
        """
        select (created_at // $window) * $window as start_ms, customer_id, count(*), sum(total), max(total),
               avg(total)
        from read_json($file, format = 'newline_delimited', columns = {type: 'varchar',
             customer_id: 'varchar', total: 'double', created_at: 'bigint'})
        where type = 'purchase' group by all order by start_ms, customer_id nulls first
        """,
        {"file": str(file), "window": _WINDOW_MS},
    ).fetchall()
    runs = Runs(tmp_path / "store")
    with runs.store:
        size = -(-len(events) // pieces)
        for first in range(0, len(events), size):
            runs.publish("raw-events", events[first : first + size])
            account = runs.run(_PIPELINE, flush=first + size >= len(events))
        names = ("window_start", "customer", "total_purchases", "total_amount", "most", "mean")
        found = runs.columns("purchase-metrics", *names)
    assert (_RECORDS, 0, 0) == (account.records_in, account.late, account.dead)
    shown = duckdb.execute(
        "select strftime(make_timestamp(unnest($starts) * 1000), '%Y-%m-%dT%H:%M:%SZ')",
        {"starts": [start_ms for start_ms, *_ in expected]},
    ).fetchall()
    wanted = [
        (start, *rest[1:-1], pytest.approx(rest[-1])) for (start,), rest in zip(shown, expected, strict=True)
    ]
    assert wanted == sorted(found, key=lambda row: (row[0], row[1] is not None, row[1]))
