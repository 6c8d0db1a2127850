"""Functions of any value: null handling, conversions, JSON, hashes."""

from __future__ import annotations

import math
import re
from typing import Any

import msgspec

from aegis_cli.pipeline.canonical import canonical_json
from aegis_cli.pipeline.errors import RecordError
from aegis_cli.pipeline.expression.function import Family
from aegis_cli.pipeline.expression.values import KINDS, bounded, checked, kind_name, same
from storage.nesting import MAX_NESTING, is_deeper

family = Family()
_INT = re.compile(r"([+-]?)0*([0-9]{1,19})")
_INT_USUAL = 20
_FLOAT = re.compile(r"[+-]?(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][+-]?[0-9]++)?")
_WORDS = {"true": True, "false": False}
_encode = msgspec.json.Encoder().encode


def _shown(text: str) -> str:
    return ascii(text if len(text) <= 40 else f"{text[:39]}...")


@family.function("coalesce(values: any...) -> any", ("coalesce(null, 0, 1)", "0"))
def coalesce(*values: Any) -> Any:
    """The first that is not null. What stands behind it is not computed."""
    return next((value for value in values if value is not None), None)


@family.function("if_null(value: any, other: any) -> any", ('if_null(null, "-")', '"-"'))
def if_null(value: Any, other: Any) -> Any:
    """The value, or the other if it is null."""
    return other if value is None else value


@family.function(
    "null_if(value: any, nothing: any) -> any", ('null_if("", "")', "null"), ('null_if("a", "")', '"a"')
)
def null_if(value: Any, nothing: Any) -> Any:
    """Null where the value equals the other, else the value."""
    return None if value is None or (nothing is not None and same(value, nothing)) else value


@family.function("int(value: any) -> number", ('int("42")', "42"), ("int(-1.9)", "-1"))
def to_int(value: Any) -> Any:
    """A whole number from a number (its fraction cut off), a text of digits, true (1) or false (0)."""
    kind = type(value)
    if kind is int:
        return checked(value, "int")
    if kind is float:
        return checked(int(value), "int")
    if kind is str:
        match = _INT.fullmatch(value)
        if match is None:
            raise RecordError(f"{_shown(value)} is no whole number of 64 bits")
        # Python reads no more than some thousand digits, also where they are zeros.
        return checked(int(value if len(value) <= _INT_USUAL else match[1] + match[2]), "int")
    if kind is bool:
        return int(value)
    return _no_conversion("int", value)


@family.function("float(value: any) -> number", ('float("1e3")', "1000.0"))
def to_float(value: Any) -> Any:
    """A float from a number, from a text of one, from true (1.0) or false (0.0)."""
    kind = type(value)
    if kind is float or kind is int or kind is bool:
        return float(value)
    if kind is str:
        number = float(value) if _FLOAT.fullmatch(value) is not None else math.inf
        if not math.isfinite(number):
            raise RecordError(f"{_shown(value)} is no number")
        return number
    return _no_conversion("float", value)


@family.function("text(value: any) -> text", ("text(1.50)", '"1.5"'), ("text([1, true])", '"[1,true]"'))
def to_text(value: Any) -> Any:
    """A text stays, anything else becomes its JSON."""
    if type(value) is str or value is None:
        return value
    return _json("text", value)


@family.function("bool(value: any) -> bool", ('bool("true")', "true"), ("bool(0)", "false"))
def to_bool(value: Any) -> Any:
    """True or false, from one of them, from "true" or "false", from 1 or 0."""
    kind = type(value)
    if kind is bool:
        return value
    if (kind is int or kind is float) and (value == 0 or value == 1):
        return value == 1
    if kind is str and value in _WORDS:
        return _WORDS[value]
    return _no_conversion("bool", value)


def _no_conversion(name: str, value: object) -> None:
    if value is None:
        return
    shown = _shown(value) if isinstance(value, str) else kind_name(value)
    raise RecordError(f"{name} cannot be made of {shown}")


@family.function("type_of(value: any) -> text", ("type_of(1.5)", '"float"'), ("type_of(null)", '"null"'))
def type_of(value: Any) -> Any:
    """'null', 'bool', 'int', 'float', 'text', 'list' or 'object'."""
    return KINDS[type(value)]


@family.function("json_parse(text: text) -> any", ('json_parse("[1, 2]")', "[1, 2]"))
def json_parse(text: Any) -> Any:
    """The value that a text holds as JSON."""
    if type(text) is not str:
        return family.refuse("json_parse", text)
    raw = text.encode()
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        raise RecordError(f"{_shown(text)} is no JSON") from None
    if is_deeper(raw, MAX_NESTING):
        raise RecordError(f"the JSON is nested deeper than {MAX_NESTING} levels")
    return value


def _json(name: str, value: object) -> str:
    try:
        return bounded(_encode(value).decode(), name)
    except RecursionError:
        raise RecordError(f"the value of {name} is nested too deep") from None


@family.function("json_text(value: any) -> text", ('json_text(["a", null])', '"[\\"a\\",null]"'))
def json_text(value: Any) -> Any:
    """The value as JSON, without spaces; of null it is null."""
    return None if value is None else _json("json_text", value)


@family.function("get(value: any, path: text) -> any", ('get(json_parse("{\\"a\\": [7, 8]}"), "a[-1]")', "8"))
def get(value: Any, path: Any) -> Any:
    """What lies at a path of names, `[numbers]` and `["names"]`; null where there is nothing."""
    raise AssertionError("paths are taken apart while the expression is read")


@family.function(
    "keys(object: object) -> list", ('keys(json_parse("{\\"b\\": 1, \\"a\\": 2}"))', '["b", "a"]')
)
def keys(value: Any) -> Any:
    """The names of an object's fields, in its order."""
    return list(value) if type(value) is dict else family.refuse("keys", value)


@family.function(
    "has(object: object, name: text) -> bool", ('has(json_parse("{\\"a\\": null}"), "a")', "true")
)
def has(value: Any, name: Any) -> Any:
    """Whether an object has a field of this name, also where that is null."""
    return name in value if type(value) is dict and type(name) is str else family.refuse("has", value, name)


@family.function("md5(text: text) -> text", ('md5("a")', '"0cc175b9c0f1b6a831c399e269772661"'))
def md5(text: Any) -> Any:
    """The MD5 of a text in UTF-8, in hexadecimal digits; for joining with other systems, not for safety."""
    from hashlib import md5 as digest

    if type(text) is not str:
        return family.refuse("md5", text)
    return digest(text.encode(), usedforsecurity=False).hexdigest()


@family.function(
    "sha256(text: text) -> text",
    ('sha256("a")', '"ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"'),
)
def sha256(text: Any) -> Any:
    """The SHA-256 of a text in UTF-8, in hexadecimal digits."""
    from hashlib import sha256 as digest

    return digest(text.encode()).hexdigest() if type(text) is str else family.refuse("sha256", text)


@family.function("crc32(text: text) -> number", ('crc32("a")', "3904355907"))
def crc32(text: Any) -> Any:
    """The CRC-32 of a text in UTF-8."""
    from zlib import crc32 as checksum

    return checksum(text.encode()) if type(text) is str else family.refuse("crc32", text)


@family.function("hash_bucket(value: any, buckets: int) -> number", ('hash_bucket("a", 8)', "3"))
def hash_bucket(value: Any, buckets: Any) -> Any:
    """A number from 0 to `buckets` - 1, the same for equal values: CRC-32 of a text, or of a value's JSON."""
    from zlib import crc32 as checksum

    if value is None or type(buckets) is not int:
        return family.refuse("hash_bucket", value, buckets)
    if buckets < 1:
        raise RecordError("hash_bucket needs at least one bucket")
    text = value if type(value) is str else canonical_json(value)
    return checksum(text.encode()) % buckets
