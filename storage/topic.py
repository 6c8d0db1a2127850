"""A topic: its identity and its settings, as `topic.toml` holds them. FORMAT.md section 2.

The file is replaced whole, so it is always the old or the new one. The id is given at creation and never used
again: a topic that was deleted and created again is another topic.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import msgspec

from storage import toml
from storage.errors import DamageError, SettingError
from storage.log import LogPlace, settings_stamp

TOPIC_FILE = "topic.toml"
PARTITIONS_MAX = 10_000
ID_BYTES = 12
SEGMENT_BYTES_DEFAULT = 1 << 30
SEGMENT_BYTES_MIN = 4096
SEGMENT_AGE_DEFAULT_MS = 7 * 24 * 3600 * 1000
_TOML_BYTES_MAX = 1 << 20


class TopicSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a topic's owner can choose. Times are milliseconds; `None` means without limit or not set.

    `key` names the field of a message that is its key. `durability` is `fsync` (acknowledged when on disk) or
    `os` (acknowledged when the operating system has it). `cleanup` is `delete` or `compact`.
    """

    partitions: int = 1
    key: str | None = None
    retention_ms: int | None = None
    retention_bytes: int | None = None
    segment_bytes: int = SEGMENT_BYTES_DEFAULT
    segment_age_ms: int = SEGMENT_AGE_DEFAULT_MS
    durability: str = "fsync"
    cleanup: str = "delete"
    max_message_bytes: int | None = None

    @property
    def has_retention(self) -> bool:
        """Whether old messages are removed."""
        return self.retention_ms is not None or self.retention_bytes is not None

    def check(self) -> None:
        """Raise `SettingError` for a value that cannot be used."""
        if not 1 <= self.partitions <= PARTITIONS_MAX:
            raise SettingError("partitions", f"is {self.partitions}", remedy=f"use 1 to {PARTITIONS_MAX}")
        if self.segment_bytes < SEGMENT_BYTES_MIN:
            raise SettingError(
                "segment-bytes", f"is {self.segment_bytes}", remedy=f"use {SEGMENT_BYTES_MIN} or more"
            )
        if self.segment_age_ms < 1000:
            raise SettingError("segment-age", f"is {self.segment_age_ms} ms", remedy="use 1s or more")
        if self.durability not in ("fsync", "os"):
            raise SettingError("durability", f"is '{self.durability}'", remedy="use fsync or os")
        if self.cleanup not in ("delete", "compact"):
            raise SettingError("cleanup", f"is '{self.cleanup}'", remedy="use delete or compact")
        if self.key is not None and not 1 <= len(self.key) <= 1000:
            raise SettingError("key", "is no field name", remedy="use 1 to 1000 characters")
        for name in ("retention_ms", "retention_bytes", "max_message_bytes"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise SettingError(name.replace("_", "-"), f"is {value}", remedy="use 1 or more")


def check_replication_factor(factor: int) -> None:
    """Raise `SettingError` for what a store on one machine cannot give."""
    if factor != 1:
        raise SettingError(
            "replication-factor",
            f"is {factor}",
            remedy="a local store keeps one copy, use 1; more needs a cluster such as Apache Kafka",
        )


class Topic(msgspec.Struct, frozen=True, kw_only=True):
    """One topic as it was when its settings were read. `stamp` changes whenever they are replaced."""

    name: str
    directory: str
    topic_id: bytes
    settings: TopicSettings
    stamp: tuple[int, int]
    # One partition and no declared key: a message says nothing about where it goes.
    is_plain: bool

    @property
    def partitions(self) -> int:
        return self.settings.partitions

    @property
    def is_trimmed(self) -> bool:
        """Whether its oldest segments are removed: by retention, or since a log of states keeps the last."""
        return self.settings.has_retention or "/" in self.name

    def partition_directory(self, partition: int) -> str:
        return os.path.join(self.directory, str(partition))

    def place(self, partition: int) -> LogPlace:
        """Where one partition's log lies."""
        return LogPlace(
            directory=self.partition_directory(partition),
            log_id=log_id(self.topic_id, partition),
            topic=self.name,
            partition=partition,
            settings_path=os.path.join(self.directory, TOPIC_FILE),
            settings_stamp=self.stamp,
            segment_bytes=self.settings.segment_bytes,
            segment_age_ms=self.settings.segment_age_ms,
            is_durable=self.settings.durability == "fsync",
        )


def log_id(topic_id: bytes, partition: int) -> bytes:
    """What names a partition in the journal, whatever its topic is called."""
    # Big-endian, so that ids sort as the numbers do: locks are taken in this order.
    return topic_id + partition.to_bytes(4, "big")


def render_topic(topic_id: bytes, settings: TopicSettings) -> bytes:
    """The text of a `topic.toml`."""
    rows = [f'id = "{topic_id.hex()}"']
    for name, value in msgspec.structs.asdict(settings).items():
        if isinstance(value, str):
            rows.append(f"{name} = {_toml_string(value)}")
        elif value is not None:
            rows.append(f"{name} = {value}")
    return ("\n".join(rows) + "\n").encode()


def _toml_string(text: str) -> str:
    escaped = "".join(f"\\u{ord(c):04x}" if ord(c) < 32 or ord(c) == 127 or c in '"\\' else c for c in text)
    return f'"{escaped}"'


def read_topic(directory: str, name: str | None = None) -> Topic:
    """Read a topic, called like its directory unless `name` says otherwise.

    Raises FileNotFoundError where there is none, `DamageError` for what is not one.
    """
    path = os.path.join(directory, TOPIC_FILE)
    stamp = settings_stamp(path)
    with open(path, "rb") as file:
        raw = file.read(_TOML_BYTES_MAX)
    try:
        table = toml.loads(raw.decode())
        topic_id = bytes.fromhex(table.pop("id"))
        settings = settings_of(table)
        settings.check()
        if len(topic_id) != ID_BYTES:
            raise ValueError(f"the id has {len(topic_id)} bytes, not {ID_BYTES}")
    except (ValueError, KeyError, TypeError, SettingError) as error:
        raise DamageError(path, f"it is not a topic's settings ({error})") from error
    return Topic(
        name=name or os.path.basename(directory),
        directory=directory,
        topic_id=topic_id,
        settings=settings,
        stamp=stamp,
        is_plain=settings.partitions == 1 and settings.key is None,
    )


def settings_of(table: Mapping[str, object]) -> TopicSettings:
    """The settings in a TOML table. Raises ValueError for an unknown name or a value of another type."""
    defaults = TopicSettings()
    for name, value in table.items():
        if name not in TopicSettings.__struct_fields__:
            raise ValueError(f"unknown setting '{name}'")
        wanted = str if isinstance(getattr(defaults, name), str) or name == "key" else int
        if not isinstance(value, wanted) or isinstance(value, bool):
            raise ValueError(f"'{name}' is not of type {wanted.__name__}")
    return msgspec.structs.replace(defaults, **table)
