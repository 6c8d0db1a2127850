"""A topic's settings as text: the names and values that people use for them.

    retention=7d  retention-bytes=1GB  segment-bytes=64MiB  segment-age=7d  max-message-bytes=1MB
    partitions=4  key=customer_id  durability=fsync|os  cleanup=delete|compact

Kafka's names (`retention.ms`, `cleanup.policy`, ...) are understood too, so that a command that was written
for Kafka keeps working; its bare numbers are milliseconds and bytes, and its -1 is without limit. An empty
value sets a setting back to its default.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

import msgspec

from storage.errors import SettingError
from storage.quantities import UNLIMITED, format_duration, format_size, parse_duration_ms, parse_size_bytes
from storage.topic import TopicSettings


class _Kind(Enum):
    COUNT = "a whole number"
    SIZE = "a size such as 64KiB or 1GB"
    LIMIT_SIZE = "a size such as 1GB, or unlimited"
    DURATION = "a duration such as 12h or 7d"
    LIMIT_DURATION = "a duration such as 12h or 7d, or forever"
    WORD = "a word"


# The name of a setting, its field of `TopicSettings`, how it is written.
_SETTINGS = (
    ("partitions", "partitions", _Kind.COUNT),
    ("key", "key", _Kind.WORD),
    ("retention", "retention_ms", _Kind.LIMIT_DURATION),
    ("retention-bytes", "retention_bytes", _Kind.LIMIT_SIZE),
    ("segment-bytes", "segment_bytes", _Kind.SIZE),
    ("segment-age", "segment_age_ms", _Kind.DURATION),
    ("max-message-bytes", "max_message_bytes", _Kind.SIZE),
    ("durability", "durability", _Kind.WORD),
    ("cleanup", "cleanup", _Kind.WORD),
)
_BY_NAME = {name: (field, kind) for name, field, kind in _SETTINGS}
_ALIASES = {
    "retention.ms": "retention",
    "retention.bytes": "retention-bytes",
    "segment.bytes": "segment-bytes",
    "segment.ms": "segment-age",
    "max.message.bytes": "max-message-bytes",
    "cleanup.policy": "cleanup",
}


def changed(
    settings: TopicSettings, texts: Mapping[str, str], *, defaults: TopicSettings | None = None
) -> TopicSettings:
    """`settings` with those that `texts` names changed; an empty text takes the value from `defaults`.

    Raises `SettingError` for an unknown name or a value that cannot be used.
    """
    fallback = defaults if defaults is not None else TopicSettings()
    values: dict[str, object] = {}
    for given, text in texts.items():
        name = _known(given)
        field, kind = _BY_NAME[name]
        if text.strip():
            values[field] = _parse(name, kind, text.strip(), kafka=given != name)
        elif name == "partitions":
            raise SettingError(name, "has no value", remedy="give a whole number")
        else:
            values[field] = getattr(fallback, field)
    result = msgspec.structs.replace(settings, **values)
    result.check()
    return result


def as_texts(settings: TopicSettings) -> dict[str, str]:
    """Every setting by name, as `changed` reads it; one that is not set is empty."""
    return {name: _format(kind, getattr(settings, field)) for name, field, kind in _SETTINGS}


def _known(given: str) -> str:
    name = _ALIASES.get(given, given.replace("_", "-"))
    if name not in _BY_NAME:
        from difflib import get_close_matches

        near = get_close_matches(name, _BY_NAME, n=1)
        remedy = f"did you mean '{near[0]}'?" if near else f"the settings are {', '.join(_BY_NAME)}"
        raise SettingError(given, "does not exist", remedy=remedy)
    return name


def _parse(name: str, kind: _Kind, text: str, *, kafka: bool) -> object:
    if kind is _Kind.WORD:
        return text
    try:
        if (kafka and (text == "-1" or text.isdecimal())) or kind is _Kind.COUNT:
            number = int(text)
        elif kind in (_Kind.SIZE, _Kind.LIMIT_SIZE):
            number = parse_size_bytes(text)
        else:
            number = parse_duration_ms(text)
    except ValueError as error:
        raise SettingError(name, f"cannot be {text!r}", remedy=f"give {kind.value}") from error
    if number != UNLIMITED or kind is _Kind.COUNT:
        return number
    if kind in (_Kind.LIMIT_SIZE, _Kind.LIMIT_DURATION):
        return None
    raise SettingError(name, f"cannot be {text!r}", remedy=f"give {kind.value}")


def _format(kind: _Kind, value: object) -> str:
    if kind in (_Kind.LIMIT_SIZE, _Kind.LIMIT_DURATION) and value is None:
        value = UNLIMITED
    if value is None:
        return ""
    if kind in (_Kind.COUNT, _Kind.WORD):
        return str(value)
    assert isinstance(value, int), "every other setting is a number of bytes or milliseconds"
    return format_size(value) if kind in (_Kind.SIZE, _Kind.LIMIT_SIZE) else format_duration(value)
