"""A group's messages to a file, exactly once.

The position and the length of the file commit in one record: what lies behind the committed length was not
delivered, and is cut off by whoever opens the file next. The file is synced before its length is committed,
and locked for the run, so that no two processes write to it.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from aegis_cli.delivery.group_output import Delivered, GroupOptions
from storage import files
from storage.assignor import Place
from storage.batch import Batch
from storage.errors import LockTimeoutError, MemberFencedError, OutputFileError
from storage.files import Sync
from storage.group_reader import GroupReader
from storage.lock import holder_of
from storage.member import Member
from storage.watch import open_watch

_IDLE_SECONDS = 0.1
_ROUND_BYTES = 8 * 1024 * 1024


class OutputFile:
    """The file at `path`, from where the group's commits left it.

    Raises `OutputFileError` where it is shorter than what was committed, `LockTimeoutError` where another
    process writes to it.
    """

    def __init__(self, member: Member, path: str) -> None:
        self._member = member
        place = Path(path).resolve()
        self.path = str(place)
        existed = place.exists()
        self._fd = files.open_file(self.path, create=True)
        try:
            if not files.try_lock(self._fd):
                raise LockTimeoutError(f"file {path}", holder_of(self._fd), 0.0)
            if not existed:
                files.sync_directory(str(place.parent), Sync.OUTPUT_FILE)
            self._begin()
        except BaseException:
            files.close_file(self._fd)
            raise

    def _begin(self) -> None:
        # Who wrote to the file until now may have committed after this member joined.
        self._member.catch_up()
        size_bytes = os.fstat(self._fd).st_size
        committed = self._member.state.files.get(self.path)
        if committed is None:
            # What stands in the file already stays, also if this process dies before its first commit.
            committed = size_bytes
            self._member.commit({}, files={self.path: size_bytes})
        if size_bytes < committed:
            raise OutputFileError(self.path, committed, size_bytes)
        self.committed_bytes = self.end_bytes = committed
        files.truncate(self._fd, committed)

    def write(self, data: bytes) -> None:
        """Add to the end; it does not count before `commit`."""
        files.write_at(self._fd, data, self.end_bytes)
        self.end_bytes += len(data)

    def commit(self, positions: dict[Place, int]) -> None:
        """Make what was written count, together with the positions. Raises `MemberFencedError`."""
        if self.end_bytes > self.committed_bytes:
            files.sync(self._fd, Sync.OUTPUT_FILE, self.path)
        files.step("output.synced")
        self._member.commit(positions, files={self.path: self.end_bytes})
        files.step("output.committed")
        self.committed_bytes = self.end_bytes

    def cut_back(self) -> None:
        """Drop what was written since the last commit."""
        files.truncate(self._fd, self.committed_bytes)
        self.end_bytes = self.committed_bytes

    def close(self) -> None:
        files.close_file(self._fd)


def deliver_to_file(member: Member, reader: GroupReader, path: str, options: GroupOptions) -> Delivered:
    """Write the group's messages to a file, each exactly once whatever happens to this process."""
    file = OutputFile(member, path)
    try:
        return _FileDelivery(member, reader, file, options).run()
    finally:
        try:
            file.cut_back()
        finally:
            file.close()


class _FileDelivery:
    def __init__(self, member: Member, reader: GroupReader, file: OutputFile, options: GroupOptions) -> None:
        self._member = member
        self._reader = reader
        self._file = file
        self._options = options
        self._result = Delivered()
        self._written: dict[Place, int] = {}
        self._records = 0

    def run(self) -> Delivered:
        watch = open_watch()
        last_message = time.monotonic()
        idle_seconds = self._options.idle_seconds
        try:
            while True:
                self._sync()
                full = self._fill()
                if self._written:
                    last_message = time.monotonic()
                    self._commit()
                if self._at_limit():
                    return self._result
                released = self._release()
                if full or released:
                    continue
                if self._reader.finished:
                    return self._result
                if idle_seconds is not None and time.monotonic() - last_message >= idle_seconds:
                    self._result.idle = True
                    return self._result
                self._reader.watch(watch)
                if watch.wait(_IDLE_SECONDS):
                    self._member.may_have_died()
        finally:
            watch.close()

    def _at_limit(self) -> bool:
        return self._options.limit is not None and self._result.records >= self._options.limit

    def _fill(self) -> bool:
        """Write what is there, up to a round's worth; says whether there may be more."""
        deadline = time.monotonic() + self._options.interval_seconds
        while self._file.end_bytes - self._file.committed_bytes < _ROUND_BYTES:
            taken = self._reader.take()
            if taken is None:
                return False
            place, batch = taken
            next_offset = batch.last_offset + 1
            wanted: Batch | None = batch
            if self._options.select is not None:
                wanted = self._options.select(batch)
            if wanted is not None:
                left = self._left()
                if left is not None and wanted.count > left:
                    wanted = wanted.select(range(left))
                    next_offset = wanted.last_offset + 1
                render = self._options.render
                self._file.write(wanted.lines if render is None else render(wanted))
                self._records += wanted.count
            self._written[place] = next_offset
            if self._left() == 0 or time.monotonic() >= deadline:
                break
        return True

    def _left(self) -> int | None:
        limit = self._options.limit
        return None if limit is None else limit - self._result.records - self._records

    def _commit(self) -> None:
        written, self._written = self._written, {}
        records, self._records = self._records, 0
        try:
            self._file.commit(written)
        except MemberFencedError as error:
            self._file.cut_back()
            self._notice(str(error))
            for place in written:
                self._reader.rewind(place)
            return
        self._result.records += records

    def _release(self) -> bool:
        wanted = self._member.to_release
        if wanted:
            self._member.release(wanted)
        return bool(wanted)

    def _sync(self) -> None:
        try:
            self._reader.sync()
        except MemberFencedError as error:
            self._notice(str(error))
            self._reader.join_again()

    def _notice(self, text: str) -> None:
        if self._options.on_notice is not None:
            self._options.on_notice(text)
