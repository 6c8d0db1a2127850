"""The events of `tests.pipeline.auctions`: in a store for pipelines, in DuckDB for what they must give."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aegis_cli.pipeline.account import Account
from tests.pipeline.auctions import auction_events
from tests.pipeline.runs import Runs

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

EVENTS = auction_events()


class House:
    """The events in a store, and in DuckDB."""

    def __init__(self, runs: Runs, tables: DuckDBPyConnection) -> None:
        self.runs = runs
        self.tables = tables
        for topic, some in EVENTS.batches:
            runs.publish(topic, some)

    def sql(self, query: str) -> list[tuple[Any, ...]]:
        """What DuckDB answers, in order of the rows."""
        return sorted(self.tables.execute(query).fetchall())

    def run(self, name: str, text: str) -> Account:
        """Run a pipeline; nothing is late, nothing cannot be processed."""
        account = self.runs.run(text, name=name)
        assert (0, 0) == (account.late, account.dead)
        return account

    def found(self, topic: str, *names: str) -> list[tuple[Any, ...]]:
        """What a topic holds, in order of the rows."""
        return sorted(self.runs.columns(topic, *names))
