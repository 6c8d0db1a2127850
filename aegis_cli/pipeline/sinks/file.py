"""A file as a sink: the commit says how long it is, and what lies behind that is cut off by the next run."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aegis_cli.pipeline.errors import SinkError
from aegis_cli.pipeline.outgoing import Outgoing, pieces
from aegis_cli.pipeline.sinks.sink import Rows
from aegis_cli.pipeline.state import Facts
from storage import files
from storage.errors import DiskFullError, ReadOnlyStoreError
from storage.files import Sync
from storage.lock import holder_of


class FileSink:
    """Appends JSON lines to the file at `path`, which is locked for the run. Raises `SinkError`."""

    slot = ""

    def __init__(self, path: str, *, pipeline: str) -> None:
        self._pipeline = pipeline
        place = Path(path).resolve()
        self.path = str(place)
        self._end_bytes = 0
        with self._told():
            existed = place.exists()
            self._fd = files.open_file(self.path, create=True)
        try:
            self._take()
            if not existed:
                # The commit speaks of a file that a power cut must not take away.
                files.sync_directory(str(place.parent), Sync.OUTPUT_FILE)
        except BaseException:
            self.close()
            raise

    def _take(self) -> None:
        """Lock the file, if it is one that can be cut back."""
        if not stat.S_ISREG(os.fstat(self._fd).st_mode):
            raise self._error("it is no regular file", "write to '-', and lead stdout there")
        if not files.try_lock(self._fd):
            raise self._error(
                f"{holder_of(self._fd)} writes to it", "stop that one first, or name another file"
            )

    def _error(self, reason: str, hint: str | None = None) -> SinkError:
        return SinkError(self._pipeline, f"file {self.path}", reason, hint=hint)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What the kernel refuses, with the name of the file."""
        try:
            yield
        except DiskFullError as error:
            raise DiskFullError(self.path) from error
        except ReadOnlyStoreError as error:
            raise self._error("it must not be written to", "allow it, or name another file") from error
        except OSError as error:
            raise self._error((error.strerror or str(error)).lower()) from error

    def open(self, facts: Facts) -> None:
        size_bytes = os.fstat(self._fd).st_size
        # What stood in the file before the first commit of the pipeline stays.
        committed = facts.files.setdefault(self.path, size_bytes)
        if size_bytes < committed:
            reason = f"it has {size_bytes} bytes, and {committed} were committed"
            hint = (
                f"put back what is missing, name another file, or run 'aegis pipeline reset {self._pipeline}'"
            )
            raise self._error(reason, hint)
        with self._told():
            files.truncate(self._fd, committed)
        self._end_bytes = committed

    def prepare(self, rows: Rows, outgoing: Outgoing, facts: Facts) -> int:
        count = 0
        for _, some in rows:
            for lines, size in pieces(some):
                with self._told():
                    files.write_at(self._fd, lines, self._end_bytes)
                self._end_bytes += len(lines)
                count += size
        if count:
            # A commit that says how long the file is must not outlive what it speaks of.
            files.sync(self._fd, Sync.OUTPUT_FILE, self.path)
        facts.files[self.path] = self._end_bytes
        return count

    def finish(self, facts: Facts) -> None:
        """Nothing to do: the file was written before."""

    def close(self) -> None:
        files.close_file(self._fd)
