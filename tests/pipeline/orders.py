"""Orders that are joined with a table of users, as it is now, was then, or will soon be."""

from __future__ import annotations

from typing import Any

from tests.pipeline.runs import Removal, Runs

NEWEST = """
source: orders
tables: {users: {topic: users, key: id}}
join: {table: users, key: user, type: left}
map: {order: id, name: users.name}
sink: out
"""
AS_OF = """
source: orders
tables: {users: {topic: users, key: id, as_of: since}}
time: {field: at, watermark: 10s}
join: {table: users, key: user, type: left}
map: {order: id, name: users.name}
sink: out
"""
WAITING = """
source: orders
tables: {users: {topic: users, key: id}}
time: at
join: {table: users, key: user, type: left, wait: 5s}
map: {order: id, name: users.name}
sink: out
"""


def users(*rows: tuple[Any, ...]) -> list[Any]:
    """Rows of (key, name, since), or removals."""
    return [
        row if isinstance(row, Removal) else dict(zip(("id", "name", "since"), row, strict=False))
        for row in rows
    ]


def orders(*rows: tuple[Any, ...]) -> list[dict[str, Any]]:
    """Records of (number, user, at)."""
    return [dict(zip(("id", "user", "at"), row, strict=False)) for row in rows]


def joined(runs: Runs) -> list[tuple[Any, ...]]:
    return runs.columns("out", "order", "name")
