"""What tests of pipelines share: the events of an auction house, in a store and in DuckDB."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.pipeline.auction_house import EVENTS, House
from tests.pipeline.postgres_server import PostgresServer
from tests.pipeline.runs import Runs

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


@pytest.fixture(scope="session")
def auction_tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DuckDBPyConnection]:
    import duckdb

    directory = tmp_path_factory.mktemp("events")
    with duckdb.connect() as connection:
        for name in ("persons", "auctions", "bids"):
            file = directory / f"{name}.jsonl"
            file.write_text("".join(json.dumps(event) + "\n" for event in getattr(EVENTS, name)))
            connection.execute(f"create table {name} as from read_json('{file}')")
        connection.execute(
            "create macro text(ms) as strftime(make_timestamp(ms::bigint * 1000), '%Y-%m-%dT%H:%M:%SZ')"
        )
        yield connection


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A server, which is started for the first test that wants one."""
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def postgres(postgres_server: PostgresServer) -> PostgresServer:
    """The server, with nothing in it."""
    postgres_server.clear()
    return postgres_server


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    """Runs over a store of their own, with no topic in it."""
    found = Runs(tmp_path / "store")
    with found.store:
        yield found


@pytest.fixture(params=[1, 1 << 30], ids=["records one by one", "whole"])
def order_runs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Runs]:
    """Runs over the topics `orders` and `users`, in one chunk or in as many as there are records."""
    found = Runs(tmp_path / "store", chunk_records=request.param)
    with found.store:
        for topic in ("orders", "users"):
            found.topic(topic, partitions=2)
        yield found


@pytest.fixture(params=[13, 1 << 30], ids=["chunks of 13", "whole"])
def house(
    request: pytest.FixtureRequest, tmp_path: Path, auction_tables: DuckDBPyConnection
) -> Iterator[House]:
    runs = Runs(tmp_path / "store", chunk_records=request.param)
    with runs.store:
        yield House(runs, auction_tables)
