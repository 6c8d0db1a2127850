"""A column of a PostgreSQL table, and which values of JSON it takes.

Promises: what `fit` gives, the server takes without rounding it or changing what it says (but for the digits
that a `real`, `double precision` or `numeric(p, s)` column has); what it refuses would have failed there. Of
types that are not listed here, text is given to the server, which has the last word.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from math import isfinite
from typing import Any
from uuid import UUID

import msgspec

Fit = Callable[[Any], Any]
_TYPMOD_OFFSET = 4
_ESCAPED_NUL = b"\\u0000"
_LEAST, _GREATEST = -(1 << 63), (1 << 64) - 1
JSON_TYPES = ("json", "jsonb")


class UnfitError(ValueError):
    """A value does not go into a column; its text says why, with the value as its subject."""


@dataclass(frozen=True, slots=True)
class TableColumn:
    """A column: its type in words and as `fit` knows it, and what an INSERT must know of it.

    `is_required`: it must not be null, and gets no value by itself.
    """

    name: str
    type: str
    fit: Fit
    is_json: bool = False
    is_required: bool = False
    has_default: bool = False


def column_for(name: str, value: Any) -> TableColumn:
    """The column that is made for a field of which this is the first value; raises `UnfitError`."""
    kind = "text"
    if isinstance(value, bool):
        kind = "boolean"
    elif isinstance(value, int | float):
        # JSON has one kind of number: after 1 there may come 1.5, or one of a hundred digits.
        kind = "numeric"
    elif isinstance(value, dict | list):
        kind = "jsonb"
    return column(name, kind, base="bool" if kind == "boolean" else kind, typmod=-1)


def column(
    name: str, kind: str, *, base: str, typmod: int, is_required: bool = False, has_default: bool = False
) -> TableColumn:
    """A column of the type `kind`; `base` is what the server calls it in its catalog, with `typmod`."""
    return TableColumn(name, kind, _fit_of(base, typmod), base in JSON_TYPES, is_required, has_default)


def generated_column(name: str, kind: str) -> TableColumn:
    """A column that only the server writes."""

    def refuse(value: Any) -> Any:
        raise UnfitError("is made by the server itself")

    return TableColumn(name, kind, refuse, has_default=True)


def _fit_of(base: str, typmod: int) -> Fit:
    bits = {"int2": 16, "int4": 32, "int8": 64}.get(base)
    if bits is not None:
        return _whole(1 << (bits - 1))
    if base == "numeric" and typmod >= _TYPMOD_OFFSET:
        packed = typmod - _TYPMOD_OFFSET
        scale = packed & 0x7FF
        return _decimal(packed >> 16 & 0xFFFF, scale - 0x800 if scale & 0x400 else scale)
    if base in ("varchar", "bpchar") and typmod >= _TYPMOD_OFFSET:
        return _short_text(typmod - _TYPMOD_OFFSET)
    return _FITS.get(base, _text)


def _name_of(value: Any) -> str:
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "text"
    return "a list" if isinstance(value, list) else "an object"


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise UnfitError(f"is {_name_of(value)}")
    return value


def _number(value: Any) -> int | float:
    kind = type(value)
    if kind is float:
        if not isfinite(value):
            raise UnfitError("is no number that JSON has")
    elif kind is not int:
        raise UnfitError(f"is {_name_of(value)}")
    elif not _LEAST <= value <= _GREATEST:
        # Such a number could not be kept until it is there, nor go into a topic.
        raise UnfitError("has more than 64 bits")
    return value  # type: ignore[no-any-return]  # it is one of the two


def _whole(limit: int) -> Fit:
    def fit(value: Any) -> int:
        number = _number(value)
        if isinstance(number, float):
            if not number.is_integer():
                raise UnfitError("is no whole number")
            number = int(number)
        if not -limit <= number < limit:
            raise UnfitError("is out of its range")
        return number

    return fit


def _real(value: Any) -> int | float:
    number = _number(value)
    try:
        stored = struct.unpack("<f", struct.pack("<f", number))[0]
    except OverflowError:
        stored = 0.0
    if number and not stored:
        raise UnfitError("is out of its range")
    return number


def _decimal(precision: int, scale: int) -> Fit:
    limit = Decimal(10) ** (precision - scale)

    def fit(value: Any) -> int | float:
        number = _number(value)
        exact = Decimal(repr(number))
        # Rounding a number that is larger by far could take more digits than decimals have here.
        if abs(exact) >= limit or abs(round(exact, scale)) >= limit:
            raise UnfitError("is out of its range")
        return number

    return fit


def _text(value: Any) -> str:
    if type(value) is not str:
        raise UnfitError(f"is {_name_of(value)}")
    if "\0" in value:
        raise UnfitError("holds a NUL, which no text of PostgreSQL can")
    return value


def _short_text(characters: int) -> Fit:
    def fit(value: Any) -> str:
        text = _text(value)
        if len(text) > characters:
            raise UnfitError("is too long for it")
        return text

    return fit


def _json(value: Any) -> Any:
    if isinstance(value, float):
        _number(value)
    elif not isinstance(value, int) and _ESCAPED_NUL in msgspec.json.encode(value) and _has_nul(value):
        raise UnfitError("holds a NUL, which no text of PostgreSQL can")
    return value


def _has_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any("\0" in name or _has_nul(part) for name, part in value.items())
    return isinstance(value, list) and any(map(_has_nul, value))


def _moment(value: Any) -> datetime:
    try:
        return datetime.fromisoformat(_text(value))
    except ValueError as error:
        raise error if isinstance(error, UnfitError) else UnfitError("is no time of ISO 8601") from None


def _instant(value: Any) -> str:
    moment = _moment(value)
    if moment.tzinfo is None:
        raise UnfitError("is a time without its zone; add Z for UTC")
    return moment.isoformat()


def _local_time(value: Any) -> str:
    moment = _moment(value)
    if moment.utcoffset():
        # The server would drop the zone, and keep another time than the one that is meant.
        raise UnfitError("is a time of another zone than UTC; make the column timestamptz")
    return moment.replace(tzinfo=None).isoformat()


def _date(value: Any) -> str:
    try:
        return date.fromisoformat(_text(value)).isoformat()
    except ValueError as error:
        raise error if isinstance(error, UnfitError) else UnfitError("is no date of ISO 8601") from None


def _time(value: Any) -> str:
    try:
        found = time.fromisoformat(_text(value))
    except ValueError as error:
        raise error if isinstance(error, UnfitError) else UnfitError("is no time of ISO 8601") from None
    if found.tzinfo is not None:
        raise UnfitError("is a time with a zone")
    return found.isoformat()


def _uuid(value: Any) -> str:
    try:
        return str(UUID(_text(value)))
    except ValueError as error:
        raise error if isinstance(error, UnfitError) else UnfitError("is no UUID") from None


_FITS: dict[str, Fit] = {
    "bool": _boolean,
    "date": _date,
    "float4": _real,
    "float8": _number,
    "json": _json,
    "jsonb": _json,
    "numeric": _number,
    "time": _time,
    "timestamp": _local_time,
    "timestamptz": _instant,
    "uuid": _uuid,
}
