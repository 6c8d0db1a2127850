"""`aegis __complete topics`, `groups`, `subscriptions`: the names that TAB offers, one a line.

A TAB must feel instant, so this lists one directory and imports neither Typer nor the store. It never fails:
whatever goes wrong, TAB offers nothing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from aegis_cli.store_path import default_store_path

# What names are offered of: directories of the store.
KINDS = ("topics", "groups", "subscriptions")
# More names than this help nobody at a prompt, and a shell takes long to show them.
NAMES_MAX = 1000


def complete(arguments: Sequence[str], environ: Mapping[str, str]) -> list[str]:
    """Answer `__complete KIND [--store DIR]`; unknown kinds and unreadable stores have no names."""
    if not arguments or arguments[0] not in KINDS:
        return []
    store = default_store_path(environ)
    if len(arguments) >= 3 and arguments[1] == "--store" and arguments[2]:
        store = os.path.expanduser(arguments[2])
    return names_in(f"{store}/{arguments[0]}")


def names_in(directory: str) -> list[str]:
    """What lies there in alphabetical order, at most `NAMES_MAX`."""
    try:
        with os.scandir(directory) as entries:
            names = sorted(entry.name for entry in entries if entry.is_dir() and entry.name[0] != ".")
    except OSError:
        return []
    return names[:NAMES_MAX]
