"""What tests of tables of PostgreSQL share: how a sink is written, and what a table holds."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from tests.pipeline.postgres_server import PostgresServer


class DiedError(BaseException):
    """Stands for the end of the process."""


def plain(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Rows with numbers as Python has them."""
    return [
        tuple(
            (int(value) if value == int(value) else float(value)) if isinstance(value, Decimal) else value
            for value in row
        )
        for row in rows
    ]


def types(postgres: PostgresServer, table: str = "t") -> dict[str, str]:
    rows = postgres.query(
        "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
        f"WHERE attrelid = '{table}'::regclass AND attnum > 0 ORDER BY attnum"
    )
    return dict(rows)


def to(postgres: PostgresServer, more: str = "", table: str = "t") -> str:
    return f"{{postgres: '{postgres.url}', table: {table}{more}}}"
