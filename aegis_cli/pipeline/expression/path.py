"""Paths into a value, as `get` takes them: `lines[0].sku`, `tags[-1]`, `a["odd name"].b`."""

from __future__ import annotations

import json
import re

STEPS_MAX = 40

_STEP = re.compile(
    r'(?:(?P<dot>^|\.)(?P<name>[^.\[\]"]++)|\[(?:(?P<index>-?[0-9]{1,9})|(?P<text>"(?:[^"\\]|\\.)*+"))\])'
)


def read_path(path: str) -> list[str | int]:
    """The steps of a path. Raises ValueError with a reason for what is no path."""
    steps: list[str | int] = []
    place = 0
    while place < len(path):
        match = _STEP.match(path, place)
        if match is None:
            raise ValueError(f"the path cannot be read from '{path[place : place + 20]}' on")
        if match["index"] is not None:
            steps.append(int(match["index"]))
        else:
            steps.append(match["name"] if match["name"] is not None else _text(match["text"]))
        place = match.end()
    if not 0 < len(steps) <= STEPS_MAX:
        raise ValueError(f"a path has between 1 and {STEPS_MAX} steps")
    return steps


def _text(quoted: str) -> str:
    try:
        value = json.loads(quoted)
        value.encode()
    except ValueError:
        raise ValueError(f"{quoted} is no JSON text") from None
    assert isinstance(value, str)
    return value
