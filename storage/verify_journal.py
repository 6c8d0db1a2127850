"""Checking the journal: its files, its records, its end; and what it still holds for each log.

Promises: one file of it is in memory at a time; what an earlier use of a file left behind is not reported.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

from storage import journal_file
from storage.epoch import EPOCH_FILE, Epoch, current_identity, read_epoch
from storage.finding import Finding, Kind, Severity
from storage.journal import failure_reason
from storage.journal_file import Gap, Replayed, file_path, read_header
from storage.journal_record import Kind as PartKind
from storage.journal_record import Part
from storage.journal_scan import scan
from storage.recovery import newest_salt
from storage.shared_page import PageState, peek

_KNOWN = {EPOCH_FILE, "shared", "failed", "use.lock", "append.lock", "maintenance.lock"}
_NOTHING = "nothing has to be done"


@dataclass(slots=True)
class JournalState:
    """What the journal was found to be. `epoch` is `None` where it is not the present one: recovery is due.

    `ends` has, by log id and segment, the slot behind the last entry that a live record holds; `covered` the
    offsets, from first to before end, whose messages a live record holds, so that they can be written again.
    """

    epoch: Epoch | None = None
    ends: dict[tuple[bytes, int], int] = field(default_factory=dict)
    covered: dict[bytes, list[tuple[int, int]]] = field(default_factory=dict)

    def end(self, log_id: bytes, segment: int) -> int:
        """The slot behind the last entry that the journal holds for a segment; 0 where it holds none."""
        return self.ends.get((log_id, segment), 0)

    def holds(self, log_id: bytes, first_offset: int, end_offset: int) -> bool:
        """Whether the journal still holds all messages from `first_offset` to before `end_offset`."""
        ranges = self.covered.get(log_id, ())
        return any(first <= first_offset and end_offset <= end for first, end in ranges)

    def add(self, part: Part) -> None:
        if part.kind is not PartKind.BATCHES or not part.entries:
            return
        key = (part.log_id, part.segment)
        self.ends[key] = max(self.ends.get(key, 0), part.first_slot + len(part.entries))
        if not part.data:
            return
        first, end = part.entries[0].base_offset, part.entries[-1].last_offset + 1
        ranges = self.covered.setdefault(part.log_id, [])
        if ranges and ranges[-1][1] == first:
            ranges[-1] = (ranges[-1][0], end)
        else:
            ranges.append((first, end))


def verify_journal(store_path: str, state: JournalState) -> Iterator[Finding]:
    """Every finding of the journal; fills `state` on the way."""
    journal_path = os.path.join(store_path, "journal")
    page = peek(os.path.join(journal_path, "shared"))
    epoch = read_epoch(journal_path)
    numbers = journal_file.existing_files(journal_path)
    if epoch is not None:
        if _is_present(journal_path, epoch) and page is not None and page.salt == epoch.salt:
            state.epoch = epoch
    elif numbers:
        yield Finding(
            kind=Kind.EPOCH,
            severity=Severity.DAMAGE,
            path=os.path.join(journal_path, EPOCH_FILE),
            detail="it is missing or does not match its checksum",
            remedy="run 'aegis store repair', or open the store for writing: either begins a new epoch",
        )
    salt = epoch.salt if epoch is not None else newest_salt(journal_path)
    yield from _failed(journal_path, page if state.epoch is not None else None)
    yield from _strange_files(journal_path)
    yield from _headers(journal_path, numbers, salt)
    if salt is not None:
        yield from _records(journal_path, salt, page if state.epoch is not None else None, state)


def _is_present(journal_path: str, epoch: Epoch) -> bool:
    # The mount's number differs between namespaces: a store that is in use in another one is in use.
    present = current_identity(journal_path)
    return epoch.identity._replace(mount=0) == present._replace(mount=0)


def _failed(journal_path: str, page: PageState | None) -> Iterator[Finding]:
    reason = failure_reason(journal_path)
    if reason is not None or (page is not None and page.failed):
        yield Finding(
            kind=Kind.FAILED_SYNC,
            severity=Severity.DAMAGE,
            path=os.path.join(journal_path, "failed"),
            detail=f"a sync failed ({reason or 'unknown'}), so the store refuses writes",
            remedy="look after the disk, then run 'aegis store repair'",
        )


def _strange_files(journal_path: str) -> Iterator[Finding]:
    for name in sorted(os.listdir(journal_path)):
        stem, suffix = os.path.splitext(name)
        lane = name.startswith("sync") and suffix == ".lock"
        if name not in _KNOWN and not lane and not (suffix == ".wal" and stem.isdigit()):
            yield Finding(
                kind=Kind.UNKNOWN_FILE,
                severity=Severity.NOTICE,
                path=os.path.join(journal_path, name),
                detail="no file of a journal",
                remedy="move it elsewhere",
            )


def _headers(journal_path: str, numbers: list[int], salt: int | None) -> Iterator[Finding]:
    live = {file.number for file in journal_file.live_files(journal_path, salt=salt)} if salt else set()
    for number in numbers:
        if read_header(journal_path, number) is not None:
            continue
        needed = number in live
        yield Finding(
            kind=Kind.JOURNAL_HEADER,
            severity=Severity.DAMAGE if needed else Severity.NOTICE,
            path=file_path(journal_path, number),
            detail="the header does not match its checksum"
            + ("" if needed else "; no record that counts follows it"),
            remedy="run 'aegis store repair'; its records are read all the same" if needed else _NOTHING,
            position=0,
        )


def _records(journal_path: str, salt: int, page: PageState | None, state: JournalState) -> Iterator[Finding]:
    live = journal_file.live_files(journal_path, salt=salt)
    gaps = []
    end = page.tail.sequence if page is not None else None
    expected = live[0].first_sequence if live else None
    for item in scan(journal_path, salt=salt, end_sequence=end):
        if isinstance(item, Replayed):
            expected = item.record.sequence + 1
            for part in item.record.parts:
                state.add(part)
        else:
            gaps.append(item)
            expected = item.end_sequence
    if page is not None and end is not None:
        if expected is None and state.epoch is not None:
            expected = state.epoch.first_sequence
        if expected is not None and expected < end:
            gaps.append(Gap(page.tail.file, 0, expected, end))
    # A checkpoint may have recycled a file while it was read: a gap counts if its file is still what it was.
    still = set(journal_file.live_files(journal_path, salt=salt)) if gaps else set()
    files = {file.number: file for file in live}
    for gap in gaps:
        if gap.file not in files or files[gap.file] in still:
            yield _gap(journal_path, gap)


def _gap(journal_path: str, gap: Gap) -> Finding:
    last = gap.end_sequence - 1
    which = f"record {last}" if last == gap.first_sequence else f"records {gap.first_sequence} to {last}"
    return Finding(
        kind=Kind.JOURNAL_RECORDS,
        severity=Severity.DAMAGE,
        path=file_path(journal_path, gap.file),
        detail=f"{which} cannot be read; what they hold is in the topics if it was applied",
        remedy="run 'aegis store repair'",
        position=gap.position,
    )
