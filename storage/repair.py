"""Repair: bring a store back to where it can be trusted, without taking anything from it that is valid.

    settings; open, which recovers; rewrite and sync what may not be on disk; apply the journal again;
    then, partition by partition: mend what can be mended, set the rest aside; take the mark of failure away

Promises: what the journal still holds is written again from it; damaged bytes are copied into quarantine,
with a note that makes them a known gap; the mark of a failed sync goes only after everything was written and
synced anew and reads back as it should.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from storage import files, journal_file
from storage.checkpoint import checkpoint
from storage.errors import DamageError, NotAStoreError
from storage.files import Sync
from storage.finding import Finding, Kind
from storage.journal import FAILED_FILE, Journal
from storage.journal_file import FileHeader, file_path
from storage.journal_scan import scan
from storage.lock import FileLock
from storage.log import Log
from storage.opening import check_format
from storage.quarantine import set_aside
from storage.quarantine_note import read_notes
from storage.repair_log import Repair, repair_log, repair_of
from storage.repair_settings import damaged_topics, rewrite_store_file, rewrite_topic_file
from storage.replay import Replay
from storage.segment import Segment, segment_bases
from storage.shelf import all_names
from storage.store import Store
from storage.topic import TOPIC_FILE, Topic
from storage.verify import looks_like_a_store, verify_log
from storage.verify_journal import JournalState, verify_journal

# More than this of one partition are treated in further runs: a partition may be damaged in every batch.
_FINDINGS_MAX = 10_000
_PIECE_BYTES = 1 << 20


def repair(store_path: str | os.PathLike[str], *, lock_wait_seconds: float = 30.0) -> list[Repair]:
    """Repair a store; returns what was done, and what is left to a person.

    Raises `StoreNotFoundError`, `NotAStoreError`, `NewerFormatError`, `ReadOnlyStoreError`,
    `LockTimeoutError`, `DiskFullError`, and `SyncFailedError` if the disk still fails.
    """
    path = os.path.abspath(os.fspath(store_path))
    done = list(_repair_settings(path))
    with Store(path, lock_wait_seconds=lock_wait_seconds) as store:
        journal = store.journal
        lock = FileLock(os.path.join(journal.path, "maintenance.lock"), what="the store's maintenance")
        try:
            lock.acquire(timeout_seconds=lock_wait_seconds)
            done += _repair_open(store, lock_wait_seconds=lock_wait_seconds)
        finally:
            lock.close()
    return done


def _repair_settings(path: str) -> Iterator[Repair]:
    try:
        check_format(path, write=True)
    except NotAStoreError as error:
        if not looks_like_a_store(path):
            raise
        copy = rewrite_store_file(path)
        file = os.path.join(path, "aegis.toml")
        yield Repair(
            action="restored",
            kind=Kind.STORE_SETTINGS,
            path=file,
            detail=f"{error.reason}; it has a new id and no settings",
            copy=copy or None,
        )
    for directory in damaged_topics(path):
        rewritten = rewrite_topic_file(path, directory)
        name = os.path.basename(directory)
        file = os.path.join(directory, TOPIC_FILE)
        if rewritten is None:
            detail, action, copy = "no index has its id; restore the file from a copy", "left", ""
        else:
            lost, copy = rewritten
            action = "restored"
            detail = f"set to the default: {', '.join(lost)}" if lost else "every setting could be kept"
        yield Repair(
            action=action, kind=Kind.TOPIC_SETTINGS, path=file, detail=detail, topic=name, copy=copy or None
        )


def _repair_open(store: Store, *, lock_wait_seconds: float) -> Iterator[Repair]:
    journal = store.journal
    state = JournalState()
    notes = read_notes(store.path)
    journal_findings = list(verify_journal(store.path, state))
    failed = [finding for finding in journal_findings if finding.kind is Kind.FAILED_SYNC]
    topics = _readable_topics(store)
    before = {
        (topic, partition): found
        for topic in topics
        for partition in range(topic.partitions)
        if (found := _some(verify_log(topic, partition, state, notes)))
    }
    if failed:
        _write_journal_again(journal)
    _apply_again(store)
    if failed:
        _sync_segments(topics)
    yield from _repair_journal(store, journal_findings)
    for (topic, partition), found in before.items():
        left = _some(verify_log(topic, partition, state, notes))
        yield from (
            repair_of(finding, "restored", detail=f"{finding.detail}; written again from the journal")
            for finding in found
            if finding not in left and (finding.is_damage or finding.kind is Kind.PENDING)
        )
        yield from _repair_partition(store, topic, partition, left, lock_wait_seconds=lock_wait_seconds)
    for finding in failed:
        # All of it was written and synced again without an error, and read back; damage was set aside.
        journal.page.set_failed(False)
        files.unlink(os.path.join(journal.path, FAILED_FILE))
        files.sync_directory(journal.path, Sync.SETTINGS)
        yield repair_of(finding, "restored", detail="everything was written and synced again")


def _readable_topics(store: Store) -> list[Topic]:
    topics = []
    for name in all_names(store.path):
        try:
            topics.append(store.log_topic(name))
        except DamageError:
            continue  # it was reported with the settings
    return topics


def _some(findings: Iterator[Finding]) -> list[Finding]:
    found = []
    for finding in findings:
        found.append(finding)
        if len(found) == _FINDINGS_MAX:
            break
    return found


# -- what may not be on disk --------------------------------------------------------------------------------


def _write_journal_again(journal: Journal) -> None:
    """Write every live journal file's bytes again and sync them.

    After a failed sync the kernel holds the pages for clean, though the disk may not have them: only writing
    them makes the next sync speak for them.
    """
    tail = journal.page.tail
    for live in journal_file.live_files(journal.path, salt=journal.salt):
        path = file_path(journal.path, live.number)
        fd = files.open_file(path)
        try:
            end = tail.position if live.number == tail.file else os.fstat(fd).st_size
            _write_again(fd, end)
            files.sync(fd, Sync.JOURNAL_COMMIT, path)
        finally:
            files.close_file(fd)


def _write_again(fd: int, end: int) -> None:
    position = 0
    while position < end:
        piece = os.pread(fd, min(_PIECE_BYTES, end - position), position)
        if not piece:
            return
        files.write_at(fd, piece, position)
        position += len(piece)


def _apply_again(store: Store) -> None:
    """Apply every record that the journal holds once more, durably; where it was applied nothing changes."""
    journal = store.journal
    end = journal.page.tail.sequence
    if end and not journal.page.failed:
        journal.wait_durable(end - 1)
    replay = Replay(store.catalog.find, file_sync=Sync.RECOVERY_FILE, directory_sync=Sync.RECOVERY_DIRECTORY)
    for item in scan(journal.path, salt=journal.salt, end_sequence=end):
        if not isinstance(item, journal_file.Gap):
            replay.apply(item.record)
    replay.sync()


def _sync_segments(topics: list[Topic]) -> None:
    """Sync every segment: any of them may be the one whose sync failed."""
    for topic in topics:
        for partition in range(topic.partitions):
            directory = topic.partition_directory(partition)
            if os.path.isdir(directory):
                for base in segment_bases(directory):
                    Segment(directory, base).sync(Sync.RECOVERY_FILE)
                files.sync_directory(directory, Sync.RECOVERY_DIRECTORY)


# -- what is damaged ----------------------------------------------------------------------------------------


def _repair_journal(store: Store, findings: list[Finding]) -> Iterator[Repair]:
    """Give files their headers again; free a file with damaged records, since all others were applied."""
    journal = store.journal
    for finding in findings:
        if finding.kind is Kind.JOURNAL_HEADER:
            _restore_header(journal, finding)
            yield repair_of(finding, "restored")
    damaged = [finding for finding in findings if finding.kind is Kind.JOURNAL_RECORDS]
    for finding in damaged:
        fd = files.open_file(finding.path, read_only=True)
        try:
            copy = set_aside(store.path, finding.path, fd, 0)
        finally:
            files.close_file(fd)
        yield repair_of(finding, "quarantined", copy=copy)
    if damaged:
        journal.leave_file()
        checkpoint(journal, store.catalog.find)


def _restore_header(journal: Journal, finding: Finding) -> None:
    number = int(os.path.basename(finding.path)[:-4])
    live = {file.number: file for file in journal_file.live_files(journal.path, salt=journal.salt)}
    if number not in live:
        journal_file.mark_free(journal.path, number, salt=journal.salt, end_sequence=0)
        return
    header = FileHeader(journal.salt, live[number].first_sequence, number)
    fd = files.open_file(finding.path)
    try:
        files.write_at(fd, header.encode(), 0)
        files.sync(fd, Sync.JOURNAL_COMMIT, finding.path)
    finally:
        files.close_file(fd)


def _repair_partition(
    store: Store, topic: Topic, partition: int, found: list[Finding], *, lock_wait_seconds: float
) -> Iterator[Repair]:
    wanted = [finding for finding in found if finding.is_damage or finding.kind is Kind.LEFTOVER]
    place = topic.place(partition)
    if not any(finding.is_damage or _is_half_removed(finding) for finding in wanted):
        return
    if not os.path.isdir(place.directory):
        yield from (
            repair_of(finding, "left", detail=f"{finding.detail}; {finding.remedy}") for finding in wanted
        )
        return
    log = Log(place, journal=store.journal)
    try:
        log.lock.acquire(timeout_seconds=lock_wait_seconds)
        for finding in wanted:
            if finding.is_damage or _is_half_removed(finding):
                yield repair_log(store.path, log, finding, now_ms=store.clock_ms())
        for base in segment_bases(place.directory):
            Segment(place.directory, base).sync(Sync.RECOVERY_FILE)
    finally:
        log.close()


def _is_half_removed(finding: Finding) -> bool:
    return finding.kind is Kind.LEFTOVER and finding.path.endswith(".index")
