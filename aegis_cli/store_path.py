"""Where the store lies when nobody says: used by every command, and by TAB, which imports nothing else."""

from __future__ import annotations

import os
from collections.abc import Mapping


def default_store_path(environ: Mapping[str, str]) -> str:
    """Where the store lies without `--store`: `AEGIS_STORE`, else below the XDG data directory."""
    named = environ.get("AEGIS_STORE")
    if named:
        return named
    data = environ.get("XDG_DATA_HOME", "")
    # The XDG specification has relative paths ignored.
    if not data.startswith("/"):
        data = os.path.expanduser("~/.local/share")
    return f"{data}/aegis"
