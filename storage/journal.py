"""The journal: the only place where anything commits. FORMAT.md section 3.

Promises:

- Records have one order, that of their sequence; a record is whole before the tail moves past it.
- `wait_durable` returns only when the record and all before it are on disk. One process syncs for all who
  wait; a syncer that is stopped delays the others by milliseconds, then another lane takes over.
- A failed sync is seen by every process, and the store refuses writes until it was verified.
- No one waits under the append lock for a checkpoint: a full file is followed by a free or a new one.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from typing import NamedTuple

from storage import files, journal_file
from storage.errors import DiskFullError, StoreFailedError, SyncFailedError
from storage.files import Sync
from storage.journal_file import FILES_MAX, HEADER_BYTES, FileHeader, file_path
from storage.journal_record import Location, Part, encode_record, record_bytes, seal
from storage.lock import FileLock
from storage.shared_page import LANES, SharedPage, Tail, new_tail

FILE_BYTES = 8 * 1024 * 1024
# A lane without progress for so long is not waited for: this, or some of the syncs that the disk did last.
_STALL_SECONDS = 0.01
_STALL_SYNCS = 4
_STALL_SECONDS_MAX = 2.0
_NAP_SECONDS = 0.004
FAILED_FILE = "failed"


class Committed(NamedTuple):
    """A record in the journal, not yet durable: where it lies, and its parts as they must be applied."""

    location: Location
    parts: list[Part]


class Journal:
    """The open journal of one store, for appending. The epoch must be current: see recovery."""

    def __init__(
        self,
        path: str,
        *,
        salt: int,
        page: SharedPage,
        lock_wait_seconds: float,
        file_bytes: int = FILE_BYTES,
    ) -> None:
        self.path = path
        self.salt = salt
        self.page = page
        self.file_bytes = file_bytes
        self._lock_wait_seconds = lock_wait_seconds
        self.append_lock = FileLock(os.path.join(path, "append.lock"), what="the journal")
        # Two who sync in one lane do no harm, so what somebody did to its file is not worth a look each time.
        self._lanes = [
            FileLock(os.path.join(path, f"sync{lane}.lock"), what="the journal's sync", looks=False)
            for lane in range(LANES)
        ]
        self._fds: dict[int, int] = {}
        self._paths: dict[int, str] = {}
        self.wants_checkpoint = False

    def close(self) -> None:
        """Close every file."""
        for fd in self._fds.values():
            files.close_file(fd)
        self._fds.clear()
        for lock in (self.append_lock, *self._lanes):
            lock.close()

    def check_healthy(self) -> None:
        """Raise `StoreFailedError` if some sync failed and nothing verified the store since."""
        if self.page.failed:
            raise StoreFailedError(os.path.dirname(self.path), failure_reason(self.path) or "unknown")

    @property
    def end(self) -> Location:
        """Where the next record will lie."""
        sequence, file, position, _ = self.page.tail
        return Location(file, position, sequence)

    def append(self, parts: list[Part], *, now_ms: int) -> Committed:
        """Add one record. It is committed, in order, but durable only after `wait_durable`."""
        length = record_bytes(parts)
        tail = self.begin(length)
        try:
            sealed = seal(parts, tail.sequence)
            raw, crc = encode_record(
                sealed,
                length=length,
                salt=self.salt,
                sequence=tail.sequence,
                previous_crc=tail.previous_crc,
                synced=self.page.synced,
                written_ms=now_ms,
                process=os.getpid(),
            )
            self.add(tail, raw, crc)
        finally:
            self.append_lock.release()
        return Committed(Location(tail.file, tail.position, tail.sequence), sealed)

    def begin(self, length: int) -> Tail:
        """Take `append_lock`, which the caller releases; returns where a record of this length goes."""
        assert length <= self.file_bytes - HEADER_BYTES, "a record must fit into one journal file"
        if not self.append_lock.try_acquire():
            self.append_lock.acquire(timeout_seconds=self._lock_wait_seconds)
        try:
            tail = self.page.read_tail()
            return tail if tail.position + length <= self.file_bytes else self._switch(tail)
        except BaseException:
            self.append_lock.release()
            raise

    def add(self, tail: Tail, raw: bytes, crc: int) -> None:
        """Under the append lock: make these bytes the record at the tail."""
        sequence, file, position, _ = tail
        files.step("journal.append")
        files.write_at(self._fd(file), raw, position)
        files.step("journal.written")
        # Only now, with the whole record there: a process that dies before leaves no record.
        self.page.move_tail(new_tail(Tail, (sequence + 1, file, position + len(raw), crc)))
        files.step("journal.moved")

    def start_writing(self, tail: Tail, length: int) -> None:
        """Have the disk begin with the record at `tail`: what its writer does before the sync costs no time.

        Where somebody syncs already, that page is on its way to the disk, and would have to go there again.
        """
        if self.page.intent(0) is None:
            files.start_writing(self._fd(tail.file), tail.position, length)

    def _fd(self, number: int) -> int:
        fd = self._fds.get(number)
        if fd is None:
            path = self._paths[number] = file_path(self.path, number)
            fd = self._fds[number] = files.open_file(path)
        return fd

    def leave_file(self) -> None:
        """Go on in another file, so that a checkpoint frees the current one, which is damaged."""
        self.append_lock.acquire(timeout_seconds=self._lock_wait_seconds)
        try:
            self._switch(self.page.tail)
        finally:
            self.append_lock.release()

    def _switch(self, tail: Tail) -> Tail:
        """Go on in another file, under the append lock: the full one is durable before that."""
        self._rewrite_for_the_dead(tail)
        self._sync_file(tail.file, Sync.JOURNAL_SWITCH)
        number = self._free_file()
        header = FileHeader(self.salt, tail.sequence, tail.file)
        files.write_at(self._fd(number), header.encode(), 0)
        self.wants_checkpoint = True
        files.step("journal.switched")
        tail = Tail(tail.sequence, number, HEADER_BYTES, tail.previous_crc)
        self.page.tail = tail
        return tail

    def _free_file(self) -> int:
        """The number of a file that holds nothing that is needed; made, if there is none."""
        unfinished = None
        numbers = journal_file.existing_files(self.path)
        for number in numbers:
            header = journal_file.read_header(self.path, number)
            whole = os.stat(file_path(self.path, number)).st_size == self.file_bytes
            if header is not None and header.salt != self.salt and whole:
                return number
            if not whole:
                unfinished = number  # its maker died; a file holds records only when it is whole
        number = next((n for n in range(FILES_MAX + 1) if n not in numbers), -1)
        if unfinished is not None:
            number = unfinished
        if number < 0:
            raise DiskFullError(self.path)
        journal_file.create_file(self.path, number, size_bytes=self.file_bytes)
        return number

    def wait_durable(self, sequence: int) -> None:
        """Return once the record of this sequence, and all before it, are on disk.

        Raises `SyncFailedError` when the disk fails: whether the record is on disk is then in doubt.
        """
        page = self.page
        began = 0.0
        patient = True
        while page.read_synced() <= sequence:
            if page.has_failed():
                raise SyncFailedError(self.path, failure_reason(self.path) or "another process's sync failed")
            if began:
                stall = max(_STALL_SECONDS, min(_STALL_SYNCS * page.sync_seconds, _STALL_SECONDS_MAX))
                patient = time.monotonic() - began < stall
            if self._sync_in_a_lane(1 if patient else LANES):
                # The record was there when the tail was read.
                return
            if not patient:
                # Every lane's holder is stopped: sync for oneself alone, and tell nobody.
                self._sync_alone(sequence)
                return
            began = began or time.monotonic()
            page.sleep(sequence + 1, timeout_seconds=_NAP_SECONDS)

    def _sync_in_a_lane(self, lanes: int) -> bool:
        for lane in range(lanes):
            lock = self._lanes[lane]
            if lock.try_acquire():
                try:
                    self._sync_for_all(lane)
                finally:
                    lock.release()
                self.page.wake()
                return True
        return False

    def _sync_for_all(self, lane: int) -> None:
        page = self.page
        abandoned = page.intent(lane)
        if abandoned is not None:
            # The last holder died while it synced. If its sync had failed, the kernel has told nobody else
            # and holds the pages for clean: write them again, so that this sync speaks for them. Under the
            # append lock, so that nobody uses the file again meanwhile; who leaves it does the same.
            self.append_lock.acquire(timeout_seconds=self._lock_wait_seconds)
            try:
                if page.tail.file == abandoned:
                    self._rewrite(page.tail)
            finally:
                self.append_lock.release()
        # The target is read before the sync, never after: what is appended meanwhile is not covered. Files
        # before the tail's were synced when they were left.
        sequence, file, _, _ = page.read_tail()
        page.set_intent(lane, file)
        files.step("journal.sync")
        began = time.monotonic()
        self._sync_file(file, Sync.JOURNAL_COMMIT)
        seconds = time.monotonic() - began
        files.step("journal.synced")
        page.end_sync(lane, sequence, seconds)

    def _sync_alone(self, sequence: int) -> None:
        tail = self.page.tail
        assert tail.sequence > sequence
        self._sync_file(tail.file, Sync.JOURNAL_COMMIT)

    def _sync_file(self, number: int, promise: Sync) -> None:
        # What `failing` does, which would cost a single append as much as a call to the kernel.
        try:
            files.sync(self._fd(number), promise, self._paths[number])
        except SyncFailedError as error:
            self.fail(error.reason)
            raise

    def _rewrite_for_the_dead(self, tail: Tail) -> None:
        """Under the append lock, before a file is left: do for it what a dead syncer's heir would do."""
        for lane, lock in enumerate(self._lanes):
            # A lane that is taken has a living holder, who will see for itself whether its sync fails.
            if self.page.intent(lane) == tail.file and lock.try_acquire():
                try:
                    if self.page.intent(lane) == tail.file:
                        self._rewrite(tail)
                        self.page.set_intent(lane, None)
                finally:
                    lock.release()

    def _rewrite(self, tail: Tail) -> None:
        """Write the bytes of the current file again, under the append lock."""
        fd = self._fd(tail.file)
        position = 0
        while position < tail.position:
            piece = os.pread(fd, min(1 << 20, tail.position - position), position)
            if not piece:
                return
            files.write_at(fd, piece, position)
            position += len(piece)

    @contextlib.contextmanager
    def failing(self) -> Iterator[None]:
        """Let every process know of a sync that fails: nobody may go on as if all were on disk."""
        try:
            yield
        except SyncFailedError as error:
            self.fail(error.reason)
            raise

    def fail(self, reason: str) -> None:
        """Make every process refuse writes until the store was verified."""
        self.page.set_failed(True)
        try:
            files.replace_file(os.path.join(self.path, FAILED_FILE), reason.encode())
        except (OSError, SyncFailedError):
            # The mark in the page stands; a disk that cannot take a file cannot take an append either.
            return


def failure_reason(journal_path: str) -> str | None:
    """Why the store refuses writes, or `None` if it does not."""
    try:
        with open(os.path.join(journal_path, FAILED_FILE), encoding="utf-8", errors="replace") as file:
            return file.read(500)
    except FileNotFoundError:
        return None
