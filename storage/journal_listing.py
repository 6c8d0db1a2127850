"""The journal as a list: which records it still holds, and to which topics they belong."""

from __future__ import annotations

import os
from collections import deque
from dataclasses import dataclass

from storage.epoch import read_epoch
from storage.errors import DamageError
from storage.journal_file import Replayed
from storage.journal_record import Kind, Part
from storage.journal_scan import scan
from storage.opening import check_format
from storage.recovery import newest_salt
from storage.shared_page import peek
from storage.shelf import all_names, directory_of
from storage.topic import ID_BYTES, read_topic

# More records than this are not held in memory; the newest are shown.
_RECORDS_MAX = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class PartListing:
    """What a record does to one log. `topic` is `None` where the log belongs to no topic any more."""

    kind: str
    topic: str | None
    partition: int
    first_offset: int | None
    last_offset: int | None
    records: int
    data_bytes: int
    meta_bytes: int

    @property
    def text(self) -> str:
        """The part in words."""
        where = f"{self.topic or '(deleted)'}/{self.partition}"
        if self.first_offset is None:
            return f"{self.kind} {where}"
        return f"{where} {self.first_offset}..{self.last_offset}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordListing:
    """One record: where it lies, how large it is there, and what it does.

    `synced` says whether it is known to be on disk; `process` is the number of the process that wrote it.
    """

    sequence: int
    file: int
    position: int
    size_bytes: int
    synced: bool
    written_ms: int
    process: int
    parts: tuple[PartListing, ...]


def journal_records(store_path: str, *, newest: int | None = None) -> list[RecordListing]:
    """The records that are not checkpointed, oldest first; with `newest`, only so many of the last.

    Nothing is written and no lock is taken. Raises `StoreNotFoundError`, `NotAStoreError`,
    `NewerFormatError`.
    """
    path = os.path.abspath(store_path)
    check_format(path, write=False)
    journal_path = os.path.join(path, "journal")
    epoch = read_epoch(journal_path)
    salt = epoch.salt if epoch is not None else newest_salt(journal_path)
    if salt is None:
        return []
    page = peek(os.path.join(journal_path, "shared"))
    present = page is not None and page.salt == salt
    synced = page.synced if page is not None and present else 0
    end = page.tail.sequence if page is not None and present else None
    names = _topic_names(path)
    kept: deque[RecordListing] = deque(maxlen=min(newest or _RECORDS_MAX, _RECORDS_MAX))
    for item in scan(journal_path, salt=salt, end_sequence=end):
        if isinstance(item, Replayed):
            kept.append(_listing(item, names, synced))
    return list(kept)


def _listing(item: Replayed, names: dict[bytes, str], synced: int) -> RecordListing:
    record = item.record
    return RecordListing(
        sequence=record.sequence,
        file=item.file,
        position=item.position,
        size_bytes=record.length,
        synced=record.sequence < synced,
        written_ms=record.written_ms,
        process=record.process,
        parts=tuple(_part(part, names) for part in record.parts),
    )


def _part(part: Part, names: dict[bytes, str]) -> PartListing:
    batches = part.kind is Kind.BATCHES and bool(part.entries)
    return PartListing(
        kind=part.kind.name.lower(),
        topic=names.get(part.log_id[:ID_BYTES]),
        partition=int.from_bytes(part.log_id[ID_BYTES:], "little"),
        first_offset=part.entries[0].base_offset if batches else None,
        last_offset=part.entries[-1].last_offset if batches else None,
        records=sum(entry.record_count for entry in part.entries),
        data_bytes=sum(entry.data_length for entry in part.entries),
        meta_bytes=sum(entry.meta_length for entry in part.entries),
    )


def _topic_names(path: str) -> dict[bytes, str]:
    names = {}
    for name in all_names(path):
        try:
            topic = read_topic(directory_of(path, name), name)
        except (DamageError, OSError):
            continue
        names[topic.topic_id] = name
    return names
