"""What `LineChecker` must do, written down the slow and obvious way with `json.loads`."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import NoReturn


@dataclass(frozen=True)
class Rules:
    """The options of a checker, as far as the model knows them."""

    max_record_bytes: int = 1_000_000
    max_nesting: int = 128
    key_field: str | None = None
    delimiter: bytes | None = None
    text: bool = False
    empty_is_null: bool = False
    skip: bool = False


@dataclass
class Expected:
    values: list[bytes] = field(default_factory=list)
    keys: list[object] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    bad_lines: list[int] = field(default_factory=list)
    blank_lines: int = 0


class _RefusedError(Exception):
    pass


def expected(given: bytes, rules: Rules) -> Expected:
    """What a checker with `rules` must make of `given`, all of the input."""
    result = Expected()
    given = given.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n")
    lines = given.split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    for number, line in enumerate(lines, 1):
        null_for_blank = rules.empty_is_null and rules.delimiter is None
        if line.strip(b" \t\r\n\x0b\x0c") == b"" and not rules.text and not null_for_blank:
            result.blank_lines += 1
            continue
        try:
            key, value = _record(line, rules)
        except _RefusedError:
            result.bad_lines.append(number)
            if not rules.skip:
                break
            continue
        result.values.append(value)
        result.keys.append(key)
        result.lines.append(number)
    return result


def _record(line: bytes, rules: Rules) -> tuple[object, bytes]:
    key: object = None
    if rules.delimiter is not None:
        head, found, line = line.partition(rules.delimiter)
        if not found:
            raise _RefusedError
        key = _text(head)
    if rules.text:
        text = _text(line)
        line = b"null" if rules.empty_is_null and not text else _encoded(text)
    elif rules.empty_is_null and line.strip(b" \t\r\n\x0b\x0c") == b"":
        line = b"null"
    if len(line) > rules.max_record_bytes:
        raise _RefusedError
    value = _parsed(line)
    if not rules.text and _depth(value) > rules.max_nesting:
        raise _RefusedError
    if rules.key_field is not None:
        if not isinstance(value, dict) or rules.key_field not in value:
            raise _RefusedError
        key = value[rules.key_field]
        if isinstance(key, bool) or not isinstance(key, (str, int, float)):
            raise _RefusedError
    return key, line


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise _RefusedError from None


def _encoded(text: str) -> bytes:
    """The shortest JSON string: only what must be escaped is."""
    short = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}
    return (
        '"' + "".join(short.get(c) or (f"\\u{ord(c):04x}" if c < " " else c) for c in text) + '"'
    ).encode()


def _parsed(line: bytes) -> object:
    try:
        value: object = json.loads(_text(line), parse_constant=_refuse)
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise _RefusedError from None
    return value


def _refuse(name: str) -> NoReturn:
    raise _RefusedError(name)


def _depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    return 0
