"""The keys of a topic that declares its key as a field: nothing is stored twice, they are read out again."""

from __future__ import annotations

from functools import lru_cache

import msgspec

from storage.keys import KeyField, KeysRefused

_field = lru_cache(maxsize=64)(KeyField)


def derived_keys(values: list[bytes], field: str) -> list[bytes | None]:
    """The key of each value, as raw JSON text; `None` for a value that has none, such as a tombstone."""
    key_field = _field(field)
    try:
        return list(key_field.keys(map(key_field.decode, values)))
    except (msgspec.DecodeError, KeysRefused):
        return [_derived_key(value, key_field) for value in values]


def _derived_key(value: bytes, key_field: KeyField) -> bytes | None:
    try:
        return key_field.keys([key_field.decode(value)])[0]
    except (msgspec.DecodeError, KeysRefused):
        return None
