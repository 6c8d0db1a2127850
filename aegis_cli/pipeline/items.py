"""What may be a list whose items become records."""

from __future__ import annotations

from typing import Any

import msgspec

from aegis_cli.pipeline.errors import RecordError

# A message of 10 MiB of commas is a list of millions: more than that many rows are made of no record.
_ITEMS_MAX = 100_000
# Each of those may hold all of the message once more, which would be 100 GB of a message of 1 MB.
MADE_BYTES_MAX = 32 << 20
TOO_MUCH_MADE = f"what becomes of its record has more than {MADE_BYTES_MAX >> 20} MiB; let the rows have less"
_encode = msgspec.json.Encoder().encode


def items_of(value: Any) -> list[Any]:
    """The items of a list; none where there is no list. Raises `RecordError` for what is something else."""
    if value is None:
        return []
    if type(value) is not list:
        raise RecordError("flat_map needs a list")
    if len(value) > _ITEMS_MAX:
        raise RecordError(f"flat_map makes no more than {_ITEMS_MAX} records of one")
    return value


def size_of(row: Any) -> int:
    """How many bytes a row of a table has as JSON."""
    return len(_encode(row))
