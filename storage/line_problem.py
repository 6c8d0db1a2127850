"""Why an input line is not one record, in words that help.

The bulk path only learns that some line of a chunk does not pass. This module looks at that one line again,
slowly, and says what is wrong and what to do. Nothing here runs for good input, so `json`, whose messages
name the place of an error better than msgspec's, is imported only here and only then.
"""

from __future__ import annotations

from typing import NamedTuple, NoReturn

import msgspec

from storage.nesting import is_deeper

_DECODE = msgspec.json.Decoder(msgspec.Raw).decode
_DECODE_LINES = msgspec.json.Decoder(msgspec.Raw).decode_lines
_EXCERPT_CHARACTERS = 40

_ONE_A_LINE = "put each value on one line, for example with jq -c ."
_FIX_OR_SKIP = "correct it, or leave such lines out with --on-error skip, or pass --text for lines of text"


class Problem(NamedTuple):
    """What is wrong with a line, and what its owner can do: the two halves of an InvalidRecordError."""

    reason: str
    remedy: str


def json_problem(value: bytes, *, max_record_bytes: int, max_nesting: int) -> Problem | None:
    """Why `value`, one line without its line end, is not one JSON value within the limits, or `None`."""
    problem = size_problem(len(value), max_record_bytes=max_record_bytes) or utf8_problem(value)
    if problem is not None:
        return problem
    try:
        _DECODE(value)
    except msgspec.DecodeError as error:
        return _syntax_problem(value, error)
    except RecursionError:
        if is_deeper(value, max_nesting):
            return _nesting_problem(max_nesting)
        # The value is harmless: it is our caller who has used up the stack.
        raise
    return _nesting_problem(max_nesting) if is_deeper(value, max_nesting) else None


def text_problem(value: bytes, *, max_record_bytes: int) -> Problem | None:
    """Why `value`, one line of text, cannot become a JSON string within the limit, or `None`."""
    problem = utf8_problem(value)
    if problem is None and 6 * len(value) + 2 > max_record_bytes:
        # One byte becomes six at most, as in \u0000: only now the exact length matters.
        problem = size_problem(len(msgspec.json.encode(value.decode())), max_record_bytes=max_record_bytes)
    return problem


def size_problem(size_bytes: int, *, max_record_bytes: int) -> Problem | None:
    """Why a record of this size cannot be published, or `None`."""
    if size_bytes <= max_record_bytes:
        return None
    return Problem(
        f"the record has {size_bytes} bytes, and max_message_size is {max_record_bytes}",
        "make it smaller, or raise the limit with 'aegis config set streaming.max_message_size'",
    )


def utf8_problem(value: bytes) -> Problem | None:
    """Why `value` is not UTF-8 text, or `None`."""
    try:
        value.decode()
    except UnicodeDecodeError as error:
        if value.startswith((b"\xff\xfe", b"\xfe\xff")):
            return Problem("the input is UTF-16", "convert it, for example with iconv -f UTF-16 -t UTF-8")
        return Problem(
            f"invalid UTF-8 at byte {error.start + 1} (0x{value[error.start]:02x})",
            "convert the input, for example with iconv -t UTF-8, or publish it with --binary",
        )
    return None


def _nesting_problem(max_nesting: int) -> Problem:
    return Problem(f"nested deeper than {max_nesting} levels", "flatten the value")


def _syntax_problem(value: bytes, error: msgspec.DecodeError) -> Problem:
    text = value.decode()
    if not text.strip():
        return Problem("there is no value", "pass one, or -Z to publish null")
    if text.startswith("\ufeff"):
        return Problem("a byte order mark inside the input", "remove it; only the first line may have one")
    column, message = _place(text)
    if message is None:
        return Problem(
            "a \\u escape is only half of a surrogate pair", "write both halves, or the character itself"
        )
    if _several(value):
        return Problem(f"two values on one line, the second at column {column}", _ONE_A_LINE)
    first = text.lstrip(" \t\r")[0]
    if first not in '{["':
        return Problem(f"{_excerpt(text)!r} is not JSON", "pass --text to publish text as JSON strings")
    if "truncated" in str(error):
        return Problem("the value does not end on this line", _ONE_A_LINE)
    if text.lstrip(" \t\r{[").startswith("'"):
        return Problem(f"invalid JSON at column {column}: single quotes", "JSON takes double quotes")
    return Problem(f"invalid JSON at column {column}: {message}", _FIX_OR_SKIP)


def _place(text: str) -> tuple[int, str | None]:
    """Column, counted from 1 in characters, and message; the message is `None` if `json` has no objection.

    Of what msgspec refuses, `json` accepts only lone surrogates, once NaN and the infinities are forbidden.
    """
    import json

    try:
        # Digits are not converted: Python refuses integers of many digits, which are JSON all the same.
        json.loads(text, parse_int=len, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        return error.pos + 1, error.msg[:1].lower() + error.msg[1:]
    except ValueError as error:
        return max(1, text.find(str(error)) + 1), f"{error} is not a JSON value"
    return 0, None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _several(value: bytes) -> bool:
    try:
        return len(_DECODE_LINES(value)) > 1
    except (msgspec.DecodeError, RecursionError):
        return False


def _excerpt(text: str) -> str:
    text = text.strip()
    return text if len(text) <= _EXCERPT_CHARACTERS else text[: _EXCERPT_CHARACTERS - 1] + "…"
