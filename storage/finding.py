"""What `verify` finds: one place of the store that is not as it should be."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Severity(Enum):
    """`damage`: something that was committed is lost or contradicts itself. `notice`: worth knowing only."""

    DAMAGE = "damage"
    NOTICE = "notice"


class Kind(Enum):
    """What is wrong, in a word; the words are part of what `aegis store verify` prints and never change."""

    STORE_SETTINGS = "store-settings"
    EPOCH = "epoch"
    JOURNAL_HEADER = "journal-header"
    JOURNAL_RECORDS = "journal-records"
    FAILED_SYNC = "failed-sync"
    TOPIC_SETTINGS = "topic-settings"
    PARTITION_MISSING = "partition-missing"
    SEGMENT_MISSING = "segment-missing"
    HEAD = "head"
    INDEX_HEADER = "index-header"
    INDEX_ENTRY = "index-entry"
    INDEX_END = "index-end"
    OFFSETS = "offsets"
    MESSAGES = "messages"
    META = "meta"
    PENDING = "pending"
    APPEND_TIME = "append-time"
    LEFTOVER = "leftover"
    UNKNOWN_FILE = "unknown-file"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One finding. Offsets are those that cannot be read, the end excluded; a position is bytes into `path`.

    `topic` and `partition` are `None` where none is concerned; `segment` is the segment's base offset.
    """

    kind: Kind
    severity: Severity
    path: str
    detail: str
    remedy: str
    topic: str | None = None
    partition: int | None = None
    segment: int | None = None
    first_offset: int | None = None
    end_offset: int | None = None
    position: int | None = None
    size_bytes: int | None = None

    @property
    def is_damage(self) -> bool:
        return self.severity is Severity.DAMAGE
