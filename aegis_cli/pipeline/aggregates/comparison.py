"""Which values an aggregate can put in order: numbers with numbers, and text with text."""

from __future__ import annotations

from typing import Any

from aegis_cli.pipeline.errors import RecordError

_KINDS = {type(None): "null", bool: "a boolean", str: "text", list: "a list", dict: "an object"}


def kind_of(value: object) -> str:
    """What a value is, in words."""
    return _KINDS.get(type(value), "a number")


def check_ordered(function: str, value: Any, other: Any) -> None:
    """Raise `RecordError` unless `value` has an order, and one with `other`, if that is not `None`."""
    kind = type(value)
    if kind is str:
        if other is None or type(other) is str:
            return
    # Not equal to itself is what is not a number at all.
    elif (kind is int or kind is float) and value == value:
        if other is None or type(other) is not str:
            return
    else:
        raise RecordError(f"{function} compares numbers or text, not {kind_of(value)}")
    raise RecordError(f"{function} cannot compare {kind_of(value)} with {kind_of(other)}")
