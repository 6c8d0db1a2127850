"""What may be a list whose items become records."""

from __future__ import annotations

from typing import Any

from aegis_cli.pipeline.errors import RecordError

# A message of 10 MiB of commas is a list of millions: more than that many rows are made of no record.
_ITEMS_MAX = 100_000


def items_of(value: Any) -> list[Any]:
    """The items of a list; none where there is no list. Raises `RecordError` for what is something else."""
    if value is None:
        return []
    if type(value) is not list:
        raise RecordError("flat_map needs a list")
    if len(value) > _ITEMS_MAX:
        raise RecordError(f"flat_map makes no more than {_ITEMS_MAX} records of one")
    return value
