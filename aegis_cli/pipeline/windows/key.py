"""The key of a group: a tuple of scalars, which are equal exactly where JSON would say so.

1 and 1.0 are one number and stand in a key as 1. True is not 1, though Python takes them for equal: a boolean
stands in a key as a tuple of one, `(True,)`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aegis_cli.pipeline.canonical import plain_number
from aegis_cli.pipeline.errors import RecordError

Key = tuple[Any, ...]


def part_of(value: Any) -> Any:
    """A value as a part of a key. Raises `RecordError` for a list or an object."""
    kind = type(value)
    if kind is str or kind is int or value is None:
        return value
    if kind is float:
        return plain_number(value)
    if kind is bool:
        return (value,)
    raise RecordError("a list or an object cannot be a key")


def key_of(values: Iterable[Any]) -> Key:
    """The key of these values. Raises `RecordError` for a list or an object among them."""
    return tuple([part_of(value) for value in values])


def values_of(key: Key) -> tuple[Any, ...]:
    """The values that a key stands for."""
    for part in key:
        if type(part) is tuple:
            return tuple([part[0] if type(part) is tuple else part for part in key])
    return key


def rank_of(key: Key) -> tuple[tuple[int, Any], ...]:
    """Something by which any two keys can be put in order: null, then booleans, numbers, text."""
    return tuple([_part_rank(part) for part in key])


def _part_rank(part: Any) -> tuple[int, Any]:
    if part is None:
        return 0, 0
    if type(part) is tuple:
        return 1, part
    return (3, part) if type(part) is str else (2, part)
