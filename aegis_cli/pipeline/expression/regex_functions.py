"""Functions of regular expressions, in RE2's syntax: they take time linear in the text, whatever the pattern.

Patterns are literals and compiled while the pipeline is checked, so that a mistake in one is found there.
"""

from __future__ import annotations

import re
from typing import Any

from aegis_cli.pipeline.errors import RecordError
from aegis_cli.pipeline.expression.function import Family
from aegis_cli.pipeline.expression.values import TEXT_MAX, kind_name

family = Family()
# No value of an expression, which are of 64 bits.
_NOT_GIVEN = 1 << 64
# How much memory one compiled pattern may take.
_PATTERN_BYTES = 4 * 1024 * 1024
# Each group is followed at each character of the text.
_GROUPS_MAX = 40
# What stands for one byte, behind what only looks like it.
_BYTE = re.compile(r"(?:[^\\]|\\[^CQ]|\\Q(?s:.*?)(?:\\E|\Z))*+\\C")


def _compile(pattern: object, *, captures: bool) -> Any:
    import re2  # type: ignore[import-untyped]

    if not isinstance(pattern, str):
        raise ValueError(f"a pattern is a text, not {kind_name(pattern)}")
    if _BYTE.match(pattern):
        raise ValueError(r"the pattern cannot be used: \C would cut characters apart; write '.'")
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _PATTERN_BYTES
    options.never_capture = not captures
    try:
        compiled = re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0] if error.args else "it cannot be read"
        shown = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise ValueError(f"the pattern cannot be used: {shown}") from None
    if captures and compiled.groups > _GROUPS_MAX:
        reason = f"the pattern has {compiled.groups} groups, and {_GROUPS_MAX} are allowed"
        raise ValueError(f"{reason}; write (?:...) where none is needed")
    return compiled


def _test_pattern(pattern: object) -> Any:
    return _compile(pattern, captures=False)


def _capture_pattern(pattern: object) -> Any:
    return _compile(pattern, captures=True)


def _replacement(text: object) -> tuple[str | int, ...]:
    r"""The pieces of a replacement: texts, and numbers of groups for `\1`."""
    if not isinstance(text, str):
        raise ValueError(f"a replacement is a text, not {kind_name(text)}")
    pieces: list[str | int] = []
    place = 0
    while place < len(text):
        character = text[place]
        following = text[place + 1 : place + 2]
        if character != "\\":
            end = text.find("\\", place)
            pieces.append(text[place:] if end < 0 else text[place:end])
            place = len(text) if end < 0 else end
            continue
        if following != "\\" and not ("0" <= following <= "9"):
            raise ValueError(
                r"a backslash in a replacement comes before the number of a group or a backslash"
            )
        pieces.append(following if following == "\\" else int(following))
        place += 2
    return tuple(pieces)


def _check_group(arguments: tuple[object, ...]) -> None:
    pattern: Any = arguments[1]
    third = arguments[2] if len(arguments) > 2 else None
    for number in third if isinstance(third, tuple) else (third,):
        if isinstance(number, int) and not 0 <= number <= pattern.groups:
            raise ValueError(f"the pattern has {pattern.groups} groups, and no group {number}")


@family.function(
    "matches(text: text, pattern: text) -> bool",
    ('matches("order-17", r"-[0-9]+$")', "true"),
    prepare={"pattern": _test_pattern},
)
def matches(text: Any, pattern: Any) -> Any:
    """Whether the pattern matches somewhere in the text; `^` and `$` stand for its ends."""
    # Bytes spare the translation of places back into characters.
    return pattern.search(text.encode()) is not None if type(text) is str else family.refuse("matches", text)


@family.function(
    "regex_extract(text: text, pattern: text, group: int?) -> text",
    ('regex_extract("order-17", r"-([0-9]+)")', '"17"'),
    ('regex_extract("a=1", "(.)=(.)", 2)', '"1"'),
    prepare={"pattern": _capture_pattern},
    check=_check_group,
)
def regex_extract(text: Any, pattern: Any, group: Any = _NOT_GIVEN) -> Any:
    """What a group of the pattern matched, null if nothing did; the first group, or all if there is none."""
    if type(text) is not str or type(group) is not int:
        return family.refuse("regex_extract", text, pattern, group)
    if group == _NOT_GIVEN:
        group = min(pattern.groups, 1)
    if not 0 <= group <= pattern.groups:
        raise RecordError(f"the pattern of regex_extract has no group {group}")
    match = pattern.search(text.encode())
    found = None if match is None else match.group(group)
    return None if found is None else found.decode()


@family.function(
    "regex_replace(text: text, pattern: text, replacement: text) -> text",
    ('regex_replace("2026-03-01", r"(\\d+)-(\\d+)-(\\d+)", r"\\3.\\2.\\1")', '"01.03.2026"'),
    prepare={"pattern": _capture_pattern, "replacement": _replacement},
    check=_check_group,
)
def regex_replace(text: Any, pattern: Any, replacement: Any) -> Any:
    r"""The text with every match replaced; `\1` in the replacement is the first group, `\0` the match."""
    if type(text) is not str:
        return family.refuse("regex_replace", text)
    pieces: list[str] = []
    added = 0
    end = 0
    for match in pattern.finditer(text):
        made = [piece if type(piece) is str else match.group(piece) or "" for piece in replacement]
        pieces.append(text[end : match.start()])
        pieces += made
        end = match.end()
        added += sum(map(len, made))
        if added > TEXT_MAX:
            break
    pieces.append(text[end:])
    # Before they are joined: a replacement can name a long group many times.
    if added > TEXT_MAX or sum(map(len, pieces)) > max(TEXT_MAX, len(text)):
        raise RecordError(f"the result of regex_replace is longer than {TEXT_MAX} characters")
    return "".join(pieces)
