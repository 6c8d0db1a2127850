"""The rules for names of topics, groups and pipelines.

A name is 1 to 249 of the characters A-Z a-z 0-9 . _ - and neither `.` nor `..`, so that it can be a
directory, a Kafka topic and a word in a shell without quotes. Names that differ only in case are the same
name to the store, since some file systems cannot tell them apart.
"""

from __future__ import annotations

from collections.abc import Iterable

from storage.errors import InvalidNameError

NAME_CHARACTERS_MAX = 249

_ALLOWED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
_CANDIDATES_MAX = 10_000


def check_name(name: str) -> None:
    """Raises InvalidNameError, with the rule that `name` breaks, unless it can be a name."""
    if not name:
        raise InvalidNameError(name, "it is empty")
    if name in (".", ".."):
        raise InvalidNameError(name, "it means a directory")
    for character in name:
        if character not in _ALLOWED:
            raise InvalidNameError(name, f"it holds {character!r}")
    if len(name) > NAME_CHARACTERS_MAX:
        raise InvalidNameError(name, f"it has {len(name)} characters")


def suggest(name: str, existing: Iterable[str]) -> str | None:
    """That of the `existing` names which `name` was probably meant to be, or `None` if none is near."""
    import difflib
    from itertools import islice

    # Case is folded, since a wrong case is the likeliest slip; the limit keeps a typing error cheap.
    by_folded = {other.casefold(): other for other in islice(existing, _CANDIDATES_MAX)}
    nearest = difflib.get_close_matches(name.casefold(), by_folded, n=1, cutoff=0.6)
    return by_folded[nearest[0]] if nearest else None
