"""Verification: read everything that the store holds and say what is not as it should be.

    store: settings, epoch, journal      topics: settings, partitions      partitions: files, segments, end

Promises: nothing is written and no lock is taken, so it may run beside any writer; memory is bounded; every
batch's checksum is computed; damage that `repair` has set aside already is a notice.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

from storage.catalog import TRASH
from storage.errors import DamageError, NotAStoreError
from storage.finding import Finding, Kind, Severity
from storage.names import NAME_CHARACTERS_MAX
from storage.opening import STORE_FILE, check_format
from storage.quarantine import QUARANTINE
from storage.quarantine_note import Note, key_of, read_notes
from storage.shelf import KINDS, MEMBERS, RUN_LOCK, TOPICS
from storage.topic import TOPIC_FILE, Topic, log_id, read_topic
from storage.verify_journal import JournalState, verify_journal
from storage.verify_partition import Surroundings, verify_partition
from storage.verify_time import time_ahead

_KNOWN = {STORE_FILE, "journal", TOPICS, TRASH, QUARANTINE, *KINDS}
_NOTHING = "nothing has to be done"
_REPLAYED = f"{_NOTHING}; the next opening of the store writes it again from the journal"
# What a live record of the journal brings back when it is applied again.
_HEALED_BY_REPLAY = (Kind.MESSAGES, Kind.META, Kind.INDEX_ENTRY, Kind.INDEX_END)


def verify(store_path: str | os.PathLike[str]) -> Iterator[Finding]:
    """Everything that is wrong with a store, as it is found.

    Raises `StoreNotFoundError`, `NotAStoreError`, and `NewerFormatError` if this program cannot read it.
    """
    path = os.path.abspath(os.fspath(store_path))
    yield from _store_settings(path)
    state = JournalState()
    notes = read_notes(path)
    for finding in verify_journal(path, state):
        yield _judged(finding, b"", state, notes)
    yield from _strange_entries(path)
    for kind in (TOPICS, *KINDS):
        shelf = os.path.join(path, kind)
        for name in sorted(os.listdir(shelf)) if kind == TOPICS or os.path.isdir(shelf) else []:
            yield from _verify_entry(os.path.join(shelf, name), name, kind, state, notes)


def looks_like_a_store(path: str) -> bool:
    """Whether a directory is built like a store, whatever its settings file says."""
    return os.path.isdir(os.path.join(path, "journal")) and os.path.isdir(os.path.join(path, TOPICS))


def _store_settings(path: str) -> Iterator[Finding]:
    try:
        check_format(path, write=False)
    except NotAStoreError as error:
        if not looks_like_a_store(path):
            raise
        yield Finding(
            kind=Kind.STORE_SETTINGS,
            severity=Severity.DAMAGE,
            path=os.path.join(path, STORE_FILE),
            detail=error.reason,
            remedy="run 'aegis store repair'; no message is concerned",
        )


def _strange_entries(path: str) -> Iterator[Finding]:
    for name in sorted(os.listdir(path)):
        if name not in _KNOWN:
            yield _notice(
                Kind.UNKNOWN_FILE, os.path.join(path, name), "no file of a store", "move it elsewhere"
            )
    trash = os.path.join(path, TRASH)
    for name in sorted(os.listdir(trash)) if os.path.isdir(trash) else []:
        detail = "the rest of a deleted topic"
        yield _notice(
            Kind.LEFTOVER, os.path.join(trash, name), detail, f"{_NOTHING}; the next deletion removes it"
        )


def _verify_entry(
    path: str, name: str, kind: str, state: JournalState, notes: dict[tuple[object, ...], Note]
) -> Iterator[Finding]:
    """What lies in the directory of the topics, or of a kind of logs, under one name."""
    if name == ".lock":
        return
    if name.startswith("."):
        remedy = f"{_NOTHING}; the next creation of a topic removes it"
        yield _notice(Kind.LEFTOVER, path, "the rest of a topic that was not made", remedy)
        return
    if not os.path.isdir(path) or len(name) > NAME_CHARACTERS_MAX:
        yield _notice(Kind.UNKNOWN_FILE, path, "no topic", "move it elsewhere")
        return
    settings_path = os.path.join(path, TOPIC_FILE)
    try:
        topic = read_topic(path, name if kind == TOPICS else f"{kind}/{name}")
    except FileNotFoundError:
        # Deleted while we looked, or really without its settings.
        if os.path.isdir(path):
            yield _bad_settings(settings_path, name, "it is missing")
    except DamageError as error:
        yield _bad_settings(settings_path, name, error.reason)
    else:
        yield from verify_topic(topic, state, notes)


def verify_topic(
    topic: Topic, state: JournalState, notes: dict[tuple[object, ...], Note]
) -> Iterator[Finding]:
    """Everything that is wrong with one topic. `state` is what the journal was found to be."""
    known = {str(partition) for partition in range(topic.partitions)} | {TOPIC_FILE, MEMBERS, RUN_LOCK}
    for name in sorted(os.listdir(topic.directory)):
        if name not in known:
            path = os.path.join(topic.directory, name)
            yield _notice(Kind.UNKNOWN_FILE, path, "no file of a topic", "move it elsewhere")
    for partition in range(topic.partitions):
        yield from verify_log(topic, partition, state, notes)


def verify_log(
    topic: Topic, partition: int, state: JournalState, notes: dict[tuple[object, ...], Note]
) -> Iterator[Finding]:
    """Everything that is wrong with one partition."""
    own_log_id = log_id(topic.topic_id, partition)
    place = topic.place(partition)
    around = Surroundings(state.epoch, state.end, topic.is_trimmed)
    for finding in verify_partition(place, around):
        yield _judged(finding, own_log_id, state, notes)
    yield from time_ahead(place)


def _judged(
    finding: Finding, own_log_id: bytes, state: JournalState, notes: dict[tuple[object, ...], Note]
) -> Finding:
    """A finding in the light of what is known besides: set aside already, or still in the journal."""
    if not finding.is_damage:
        return finding
    note = notes.get(key_of(finding, own_log_id))
    if note is not None:
        where = f"; its bytes are in {note.copy}" if note.copy is not None else ""
        return replace(
            finding, severity=Severity.NOTICE, detail=f"{finding.detail}; known{where}", remedy=_NOTHING
        )
    first, end = finding.first_offset, finding.end_offset
    if finding.kind not in _HEALED_BY_REPLAY or first is None or end is None:
        return finding
    if not state.holds(own_log_id, first, end):
        return finding
    if state.epoch is None:
        # Before recovery the segments may lack what the journal has: that is what it is for.
        return replace(finding, severity=Severity.NOTICE, remedy=_REPLAYED)
    return replace(finding, remedy="run 'aegis store repair'; the journal still holds it")


def _bad_settings(path: str, name: str, reason: str) -> Finding:
    return Finding(
        kind=Kind.TOPIC_SETTINGS,
        severity=Severity.DAMAGE,
        path=path,
        detail=reason,
        remedy="correct the file, or run 'aegis store repair', which keeps what can be read of it",
        topic=name,
    )


def _notice(kind: Kind, path: str, detail: str, remedy: str) -> Finding:
    return Finding(kind=kind, severity=Severity.NOTICE, path=path, detail=detail, remedy=remedy)
