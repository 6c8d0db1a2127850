"""Reading TOML, without the parser where the text is as plain as what the store writes itself.

Every start reads two such files, of whole numbers and plain strings, and the parser of the standard library
takes longer to import than all of them to read. What is plain is read here to the same result; everything
else, and every text with an error in it, is left to the parser.
"""

from __future__ import annotations

from typing import Any


def loads(text: str) -> dict[str, Any]:
    """The document in `text`. Raises ValueError where it is not TOML."""
    document = _plain(text)
    if document is None:
        import tomllib

        return tomllib.loads(text)
    return document


def _plain(text: str) -> dict[str, Any] | None:
    """The document if it is plain; `None` leaves it to the parser."""
    document: dict[str, Any] = {}
    table = document
    for line in text.split("\n"):
        if not line:
            continue
        # Which other characters TOML allows, and where, the parser knows.
        if not line.isascii() or not line.isprintable():
            return None
        if line[0] == "#":
            continue
        if line[0] == "[":
            name, table = line[1:-1], {}
            if line[-1] != "]" or not name.isidentifier() or name in document:
                return None
            document[name] = table
            continue
        name, _, written = line.partition(" = ")
        value = _plain_value(written)
        if value is None or not name.isidentifier() or name in table:
            return None
        table[name] = value
    return document


def _plain_value(written: str) -> int | str | None:
    if written.isdigit() and (written[0] != "0" or written == "0"):
        return int(written)
    inner = written[1:-1]
    if len(written) >= 2 and written[0] == written[-1] == '"' and '"' not in inner and "\\" not in inner:
        return inner
    return None
