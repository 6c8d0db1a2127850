"""Recovery: what happens before the first append under a new identity. FORMAT.md section 7.

    sync the journal; replay it; drop what it does not know; sync all that; begin a new epoch

Promises: what was acknowledged is there afterwards, and what a reader could have seen; a record is applied
wholly or not at all; a power cut at any moment of it, however often, changes nothing of that. Nothing that
was committed is deleted: bytes behind the last entry are put aside, damage is kept and reported.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from storage import files, journal_file
from storage.catalog import Catalog
from storage.ceiling import AHEAD_OFFSETS, read_ceiling
from storage.entry import ENTRY_BYTES, IndexHeader
from storage.epoch import Epoch, Identity, new_salt, read_epoch, write_epoch
from storage.errors import DamageError, FileMissingError
from storage.files import Sync
from storage.head import HEAD_FILE, read_head, write_head
from storage.head import Tail as LogTail
from storage.journal import FILE_BYTES, failure_reason
from storage.journal_file import HEADER_BYTES, FileHeader, Gap
from storage.journal_record import Kind
from storage.journal_scan import scan
from storage.log import LogPlace, tail_of_index
from storage.quarantine import set_aside
from storage.replay import Replay
from storage.segment import Segment, create_segment, data_path, segment_bases
from storage.shared_page import SharedPage, Tail
from storage.shelf import all_names, directory_of
from storage.topic import Topic, read_topic


@dataclass(slots=True)
class _Findings:
    """What the old journal held: the slots that it vouches for, and where it is damaged."""

    salt: int | None = None
    first_sequence: int | None = None
    next_sequence: int = 1
    slots: set[tuple[bytes, int, int]] = field(default_factory=set)
    gaps: list[Gap] = field(default_factory=list)

    def vouches_for(self, log_id: bytes, segment: int, slot: int, sequence: int) -> bool:
        if self.first_sequence is None or sequence < self.first_sequence:
            return True  # checkpointed
        if (log_id, segment, slot) in self.slots:
            return True
        # The journal is damaged there. An entry is written only after its record was durable: it stands.
        return any(gap.first_sequence <= sequence < gap.end_sequence for gap in self.gaps)


def recover(store_path: str, *, identity: Identity, page: SharedPage, now_ms: int) -> Epoch:
    """Bring the segments up to the journal and begin a new epoch. The caller is alone in the store."""
    journal_path = os.path.join(store_path, "journal")
    catalog = Catalog(store_path, lock_wait_seconds=0.0)
    old = read_epoch(journal_path)
    salt = old.salt if old is not None else newest_salt(journal_path)
    findings = _Findings(salt=salt)
    if old is not None:
        findings.next_sequence = old.first_sequence
    coming_salt = new_salt()
    if salt is not None:
        _sync_journal(journal_path, salt)
        _replay(journal_path, salt, catalog, findings)
        _settle_logs(store_path, findings, coming_salt)
    files.step("recovery.applied")
    epoch = Epoch(coming_salt, findings.next_sequence, identity, now_ms)
    tail = _first_file(journal_path, epoch, old_salt=salt)
    write_epoch(journal_path, epoch)
    page.reset(salt=epoch.salt, tail=tail)
    # What could not be synced once stays in doubt until it was verified, also after a reboot.
    page.set_failed(failure_reason(journal_path) is not None)
    files.step("recovery.done")
    return epoch


def newest_salt(journal_path: str) -> int | None:
    """The salt of the newest file, for a journal whose epoch file is missing or damaged."""
    headers = [
        header
        for number in journal_file.existing_files(journal_path)
        if (header := journal_file.read_header(journal_path, number)) is not None and header.live
    ]
    return max(headers, key=lambda header: header.first_sequence).salt if headers else None


def _sync_journal(journal_path: str, salt: int) -> None:
    # In a copy, or after a remount, the records may be in the page cache only: what follows shows them.
    for live in journal_file.live_files(journal_path, salt=salt):
        path = journal_file.file_path(journal_path, live.number)
        fd = files.open_file(path)
        try:
            files.sync(fd, Sync.RECOVERY_JOURNAL, path)
        finally:
            files.close_file(fd)


def _replay(journal_path: str, salt: int, catalog: Catalog, findings: _Findings) -> None:
    replay = Replay(catalog.find, file_sync=Sync.RECOVERY_FILE, directory_sync=Sync.RECOVERY_DIRECTORY)
    for live in journal_file.live_files(journal_path, salt=salt):
        # Without the epoch file, and before the first record, only the header knows where sequences stand.
        findings.next_sequence = max(findings.next_sequence, live.first_sequence)
    for number in journal_file.existing_files(journal_path):
        header = journal_file.read_header(journal_path, number)
        if header is not None and not header.live and header.previous == salt:
            findings.next_sequence = max(findings.next_sequence, header.first_sequence)
    for item in scan(journal_path, salt=salt):
        if isinstance(item, Gap):
            findings.gaps.append(item)
            continue
        record = item.record
        if findings.first_sequence is None:
            findings.first_sequence = record.sequence
        findings.next_sequence = record.sequence + 1
        for part in record.parts:
            if part.kind is Kind.BATCHES:
                for index in range(len(part.entries)):
                    findings.slots.add((part.log_id, part.segment, part.first_slot + index))
        replay.apply(record)
    if findings.first_sequence is None:
        findings.first_sequence = findings.next_sequence
    if replay.unknown_logs:
        # They are deleted, unless it is one of these: a new epoch would then lose what is theirs.
        catalog.check_readable()
    replay.sync()


def _settle_logs(store_path: str, findings: _Findings, coming_salt: int) -> None:
    """Bring the end of every log in order: what counts, where it goes on, and a head that says so."""
    for name in all_names(store_path):
        try:
            topic = read_topic(directory_of(store_path, name), name)
        except (DamageError, FileNotFoundError, NotADirectoryError):
            continue  # reported by whoever opens it; its logs are left as they are
        for partition in range(topic.partitions):
            place = topic.place(partition)
            bases = segment_bases(place.directory) if os.path.isdir(place.directory) else []
            if not bases:
                continue
            try:
                _settle_log(store_path, topic, place, bases, findings, coming_salt)
            except FileMissingError:
                continue  # likewise: who writes to it is refused until it is repaired


def _settle_log(
    store_path: str, topic: Topic, place: LogPlace, bases: list[int], findings: _Findings, coming_salt: int
) -> None:
    told = _tail_in_head(place.directory, findings)
    for base in reversed(bases):
        # An entry of a durable topic is written only when its record is on disk: it proves that the journal
        # has lost that record. Those of the others may be ahead of the journal.
        durable = topic.settings.durability == "fsync"
        if not _settle_segment(store_path, place, base, findings, told=told, durable=durable):
            break
    if told is not None and told.segment > bases[-1]:
        # The index of the newest segment is lost: no offset of it is given again.
        create_segment(place.directory, IndexHeader(place.log_id, told.next_offset, 0, told.append_time_ms))
    _go_above_ceiling(place.directory, place.log_id)
    _write_head(place.directory, salt=coming_salt)


def _tail_in_head(directory: str, findings: _Findings) -> LogTail | None:
    """The tail in the head of the old epoch, if its newest record is one that the journal had durably."""
    try:
        fd = files.open_file(os.path.join(directory, HEAD_FILE))
    except FileNotFoundError:
        return None
    try:
        head = read_head(fd, salt=findings.salt) if findings.salt is not None else None
    finally:
        files.close_file(fd)
    if head is None or head.tail.last.sequence >= findings.next_sequence:
        return None
    return head.tail


def _write_head(directory: str, *, salt: int) -> None:
    # Whoever loses entries later, by damage, is found out by a head that knows of them.
    tail = tail_of_index(directory)
    if tail.next_offset == 0:
        return
    fd = files.open_file(os.path.join(directory, HEAD_FILE), create=True)
    try:
        write_head(fd, tail, salt=salt)
    finally:
        files.close_file(fd)


def _settle_segment(
    store_path: str,
    place: LogPlace,
    base: int,
    findings: _Findings,
    *,
    told: LogTail | None,
    durable: bool,
) -> bool:
    """Drop what does not count, lay aside bytes that no entry names, or leave damage at the end as a gap.

    Returns whether the segment before this one may need the same.
    """
    directory = place.directory
    segment = Segment(directory, base)
    count = segment.slot_count()
    kept, data_end, meta_end, whole = 0, 0, 0, False
    for slot in range(count - 1, 0, -1):
        entry = segment.read_entry(slot)
        if entry is None:
            continue
        if durable or findings.vouches_for(place.log_id, base, slot, entry.sequence):
            kept, data_end, meta_end = slot, entry.data_end, entry.meta_end
            whole = durable or findings.first_sequence is None or entry.sequence < findings.first_sequence
            findings.next_sequence = max(findings.next_sequence, entry.sequence + 1)
            break
    lost = told is not None and told.segment == base and told.next_slot > kept + 1
    if lost or _holds_bytes(segment, kept + 1, count):
        next_offset = told.next_offset if lost and told is not None else 0
        _step_over(segment, place.log_id, kept, data_end, next_offset)
        return not whole
    changed = False
    if count > kept + 1:
        files.truncate(segment.index_fd, (kept + 1) * ENTRY_BYTES)
        changed = True
    if os.fstat(segment.data_fd).st_size > data_end:
        set_aside(store_path, data_path(directory, base), segment.data_fd, data_end)
        files.truncate(segment.data_fd, data_end)
        changed = True
    if segment.has_meta_file and os.fstat(segment.meta_fd).st_size > meta_end:
        files.truncate(segment.meta_fd, meta_end)
        changed = True
    if changed:
        segment.sync(Sync.RECOVERY_FILE)
    return not whole


def _go_above_ceiling(directory: str, log_id: bytes) -> None:
    """Messages may be lost of a log that does not wait for the disk: their offsets are not given again."""
    ceiling = read_ceiling(directory)
    if ceiling != 0:
        tail = tail_of_index(directory)
        if ceiling is None:
            # Damaged: then further ahead than any that was written since the last record that is left.
            ceiling = tail.next_offset + 2 * AHEAD_OFFSETS
        if ceiling > tail.next_offset:
            create_segment(directory, IndexHeader(log_id, ceiling, 0, tail.append_time_ms))


def _holds_bytes(segment: Segment, first: int, end: int) -> bool:
    """Whether a damaged entry lies in these slots: an entry is never torn by a power cut, since it is written
    only when its record is durable, and replay has then written it again."""
    for slot in range(first, end):
        raw = os.pread(segment.index_fd, ENTRY_BYTES, slot * ENTRY_BYTES)
        if any(raw) and segment.read_entry(slot) is None:
            return True
    return False


def _step_over(segment: Segment, log_id: bytes, kept: int, data_end: int, next_offset: int) -> None:
    """Leave damage at the end of a segment where it is, as a gap, and let the log go on in a new segment.

    It goes on at `next_offset` where that is known, else behind as many records as there are lines.
    """
    before = segment.read_entry(kept) if kept else None
    first = before.last_offset + 1 if before is not None else segment.base_offset
    lost = 0
    size = os.fstat(segment.data_fd).st_size
    while data_end < size:
        piece = os.pread(segment.data_fd, 1 << 20, data_end)
        if not piece:
            break
        lost += piece.count(b"\n")
        data_end += len(piece)
    now_ms = before.append_time_ms if before is not None else 0
    base = max(next_offset, first + max(lost, 1))
    create_segment(segment.directory, IndexHeader(log_id, base, 0, now_ms))


def _first_file(journal_path: str, epoch: Epoch, *, old_salt: int | None) -> Tail:
    """Prepare the journal file of the new epoch; the old epoch's files stay until that is durable."""
    existing = journal_file.existing_files(journal_path)
    number = next((n for n in existing if _is_free(journal_path, n, old_salt)), None)
    if number is None:
        number = next(n for n in range(journal_file.FILES_MAX + 1) if n not in existing)
        journal_file.create_file(journal_path, number, size_bytes=FILE_BYTES)
    fd = files.open_file(journal_file.file_path(journal_path, number))
    try:
        # The header is durable with the first commit, which lies in the same file.
        files.write_at(fd, FileHeader(epoch.salt, epoch.first_sequence, number).encode(), 0)
    finally:
        files.close_file(fd)
    return Tail(epoch.first_sequence, number, HEADER_BYTES, 0)


def _is_free(journal_path: str, number: int, old_salt: int | None) -> bool:
    header = journal_file.read_header(journal_path, number)
    if header is None or (header.live and header.salt == old_salt):
        return False
    return os.stat(journal_file.file_path(journal_path, number)).st_size == FILE_BYTES
