"""Opening the store that a command line means.

A command that changes something opens the store for writing. One that only shows something opens it for
reading: a store that this program must not write, because it is of a newer format, can still be looked at.
"""

from __future__ import annotations

from aegis_cli.context import Env
from storage.errors import NewerFormatError, SettingError
from storage.quantities import UNLIMITED, parse_duration_ms
from storage.store import Store

_LOCK_WAIT_SECONDS = 30.0


def open_store(env: Env, *, create: bool = False, lock_wait: str | None = None) -> Store:
    """The store, for writing. `lock_wait` is the text of `--lock-wait`.

    Raises what `Store` raises, and `SettingError` for a time that cannot be used.
    """
    return Store(env.store_path, create=create, lock_wait_seconds=lock_wait_seconds(lock_wait))


def open_store_for_reading(env: Env) -> Store:
    """The store as it is now, brought up to its journal first where that is due and allowed."""
    try:
        return Store(env.store_path)
    except NewerFormatError as error:
        if error.action != "write":
            raise
        return Store(env.store_path, read_only=True)


def lock_wait_seconds(text: str | None) -> float:
    """How long to wait for a lock. Raises `SettingError`."""
    if text is None:
        return _LOCK_WAIT_SECONDS
    try:
        wait_ms = parse_duration_ms(text)
        if wait_ms == UNLIMITED:
            raise ValueError("a wait has an end")
    except ValueError as error:
        raise SettingError(
            "lock-wait", f"cannot be {text!r}", remedy="give a time such as 500ms or 10s"
        ) from error
    return wait_ms / 1000
