"""`--grep` and `--key`: which records of a batch are wanted, found without a look at each.

A pattern is searched in the JSON text of the value as it was published, bytes and escapes as they are. The
whole buffer of lines is searched at once, so a batch in which nothing matches costs one search. A key is
wanted if it is a string of that text, or a number spelled so. `Batch.select` takes what the filters give.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from storage.batch import Batch

# A pattern with one of these is searched line by line. The first look at what stands beside a match, or give
# up what backtracking would find, so they tell a line within a buffer from a line alone; the others match a
# newline, so that one attempt could run from every line to the end of the buffer.
_LINE_BOUND = (b"(?", b"\\A", b"\\Z", b"*+", b"++", b"?+", b"}+", b"[^", b"\\s", b"\\W", b"\\D", b"\\n")


class GrepError(ValueError):
    """A pattern that is no regular expression; `position` counts its characters from 1."""

    def __init__(self, pattern: str, reason: str, *, position: int | None, remedy: str) -> None:
        self.pattern = pattern
        self.reason = reason
        self.position = position
        self.remedy = remedy
        where = "" if position is None else f" at position {position}"
        super().__init__(f"pattern {pattern!r} is no regular expression{where}, {reason}; {remedy}")


def compile_pattern(text: str, *, ignore_case: bool = False) -> re.Pattern[bytes]:
    """Return `text` as a pattern over lines: `^` and `$` stand for the ends of a value. Raises GrepError."""
    try:
        return re.compile(
            text.encode("utf-8", "surrogateescape"), re.MULTILINE | (re.IGNORECASE if ignore_case else 0)
        )
    except (re.error, OverflowError, RecursionError) as error:
        position = None if not isinstance(error, re.error) or error.pos is None else error.pos + 1
        reason = error.msg if isinstance(error, re.error) else str(error)
        raise GrepError(
            text, reason, position=position, remedy="put a backslash before a character that means itself"
        ) from None


def filter_batch_lines(batch: Batch, pattern: re.Pattern[bytes]) -> list[int]:
    """Return the indexes of the records whose value matches `pattern`, ascending.

    `pattern` comes from `compile_pattern`.
    """
    if any(mark in pattern.pattern for mark in _LINE_BOUND):
        matches = map(pattern.search, batch.values())
        return [index for index, match in enumerate(matches) if match]
    lines = batch.lines
    indexes: list[int] = []
    index = 0
    line_start = 0
    while (match := pattern.search(lines, line_start)) is not None and match.start() < len(lines):
        # A match tells only that something may match from its line on: one that runs over the end of its
        # line has to be looked for again within that line.
        before = lines.rfind(b"\n", line_start, match.start())
        if before >= 0:
            index += lines.count(b"\n", line_start, before + 1)
            line_start = before + 1
        line_end = lines.index(b"\n", match.start())
        if match.end() <= line_end or pattern.search(lines[line_start:line_end]):
            indexes.append(index)
        index += 1
        line_start = line_end + 1
    return indexes


def filter_batch_key(batch: Batch, key: str) -> list[int]:
    """Return the indexes of the records whose key is the text `key` or a number spelled so, ascending."""
    keys = batch.keys()
    if keys is None:
        return []
    spellings = {item for item in set(keys) if item is not None and _key_text(item) == key}
    indexes: list[int] = []
    for spelling in spellings:
        at = -1
        for _ in range(keys.count(spelling)):
            at = keys.index(spelling, at + 1)
            indexes.append(at)
    return sorted(indexes)


def _key_text(raw: bytes) -> str | None:
    """Return the text that a key is called by, `None` for one that has none."""
    if raw[:1] != b'"':
        return None if raw[:1] in b"n{" else raw.decode()
    if b"\\" not in raw:
        return raw[1:-1].decode()
    import json

    text: str = json.loads(raw)
    return text
