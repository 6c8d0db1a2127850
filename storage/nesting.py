"""How deep a JSON value is nested, found without looking at every character in Python.

A scalar has depth 0, `[]` and `{}` have depth 1. The limit exists because every later reader recurses: what
one program stores must not overflow the stack of the next one.

The functions expect valid JSON, one value a line. The screen is sound, since it only ever overestimates:

1. A value of depth d has d opening and d closing brackets, so short lines cannot be deep at all.
2. A longer line is at most as deep as it has opening brackets, strings included. They are counted in windows
   of all the lines, so that no line can have more than the windows that it touches, then line by line.
3. Only a line that fails both is measured: without its strings, all brackets turned into one kind, each
   removal of the adjacent pairs takes off exactly the innermost level.
"""

from __future__ import annotations

MAX_NESTING = 128
"""The depth that is allowed unless somebody says otherwise."""

_WINDOW_BYTES = 2048
_ALL_BYTES = bytes(range(256))
_NOT_OPENING = _ALL_BYTES.translate(None, b"[{\n")
_NOT_BRACKETS = _ALL_BYTES.translate(None, b"[]{}")
_ONE_KIND = bytes.maketrans(b"[]", b"{}")


def harmless_bytes(limit: int) -> int:
    """The length up to which a line, with its line end, cannot be nested deeper than `limit`."""
    return 2 * limit + 2


def any_deeper(lines: list[bytes], limit: int) -> bool:
    """Whether one of `lines`, each ended by a newline, is nested deeper than `limit`."""
    harmless = harmless_bytes(limit)
    suspects = [line for line in lines if len(line) > harmless]
    if not suspects:
        return False
    joined = b"".join(suspects)
    windows_touched = max(map(len, suspects)) // _WINDOW_BYTES + 2
    if windows_touched * _most_openings(joined) <= limit:
        return False
    openings = joined.translate(None, _NOT_OPENING).split(b"\n")
    if max(map(len, openings)) <= limit:
        return False
    return any(
        len(opening) > limit and is_deeper(line, limit)
        for line, opening in zip(suspects, openings, strict=False)
    )


def _most_openings(joined: bytes) -> int:
    """The opening brackets in that window which has most of them."""
    # Replacing a byte jumps from one to the next with memchr, several times as fast as `bytes.count`.
    joined = joined.replace(b"[", b"{")
    windows = [joined[start : start + _WINDOW_BYTES] for start in range(0, len(joined), _WINDOW_BYTES)]
    return max([len(window) - len(window.replace(b"{", b"")) for window in windows])


def is_deeper(value: bytes, limit: int) -> bool:
    """Whether one value is nested deeper than `limit`, measured exactly."""
    # Escaped backslashes go first, so that a backslash left before a quote does escape it. Then every second
    # piece between quotes is outside of strings.
    unescaped = value.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in value else value
    outside = b"".join(unescaped.split(b'"')[::2])
    brackets = outside.translate(_ONE_KIND, _NOT_BRACKETS)
    for _ in range(limit):
        if not brackets:
            return False
        brackets = brackets.replace(b"{}", b"")
    return bool(brackets)
