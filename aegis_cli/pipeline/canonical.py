"""One text for all values that are equal: what may be written in several ways is written in one."""

from __future__ import annotations

from typing import Any

import msgspec

from aegis_cli.pipeline.errors import RecordError
from storage.nesting import MAX_NESTING

# Whole numbers of 64 bits are from its negative to below it.
_BEYOND = 2.0**63


def plain_number(value: float) -> int | float:
    """The whole number of 64 bits that a float is equal to, else the float."""
    return int(value) if -_BEYOND <= value < _BEYOND and value.is_integer() else value


def canonical_json(value: Any) -> str:
    """JSON that two values share exactly when they are equal: 1 and 1.0, objects in any order of their names.

    Raises `RecordError` for a value that is nested deeper than messages may be.
    """
    return msgspec.json.encode(_plain(value, MAX_NESTING), order="sorted").decode()


def _plain(value: Any, depth: int) -> Any:
    kind = type(value)
    if kind is float:
        return plain_number(value)
    if kind is not list and kind is not dict:
        return value
    if depth == 0:
        raise RecordError(f"a value that is nested deeper than {MAX_NESTING} levels cannot be compared")
    if kind is list:
        return [_plain(item, depth - 1) for item in value]
    return {name: _plain(item, depth - 1) for name, item in value.items()}
