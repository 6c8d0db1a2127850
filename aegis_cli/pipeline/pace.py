"""How much a run does at a time and when it commits: by time, by what it holds, by what a commit takes.

Promise: results do not depend on it. Who asks a run to end waits for one chunk and one commit, so that
neither is let grow beyond what takes a part of a second.
"""

from __future__ import annotations

import time

LIVE_COMMIT_MS = 100
# While more is there a commit is made when this is over, or more where commits would take a large part of it.
_BULK_COMMIT_SECONDS = 1.0
_BULK_COMMIT_SECONDS_MAX = 5.0
_COMMITS_SHARE = 1 / 20
# What a commit may hold in memory: rows that go out, and bytes that came in.
_ROWS_A_COMMIT = 50_000
_BYTES_A_COMMIT = 256 * 1024 * 1024
# A commit takes the longer, the more records changed the state: so many at first, then what takes this long.
_RECORDS_A_COMMIT = 2_000
_COMMIT_SECONDS = 0.2
# A chunk has as many records as are processed in about this time.
_CHUNK_SECONDS = 0.02
_RECORDS_A_CHUNK = 2_000
_RECORDS_A_CHUNK_MIN = 500
_RECORDS_A_CHUNK_MAX = 16_000


class Pace:
    """What came in since the last commit. `interval_ms` is how often to commit, if that was said."""

    def __init__(self, interval_ms: int | None) -> None:
        self.records_a_chunk = _RECORDS_A_CHUNK
        self._interval_ms = interval_ms
        self._bulk_seconds = _BULK_COMMIT_SECONDS if interval_ms is None else interval_ms / 1000
        self._bytes = self._records = 0
        self._records_max = _RECORDS_A_COMMIT
        self._last = self._began = time.monotonic()

    def begin(self) -> None:
        """A chunk is processed from now on."""
        self._began = time.monotonic()

    def add(self, records: int, size_bytes: int) -> None:
        """So much was processed of it."""
        self._records += records
        self._bytes += size_bytes
        seconds = time.monotonic() - self._began
        if seconds > 2 * _CHUNK_SECONDS:
            self.records_a_chunk = max(self.records_a_chunk // 2, _RECORDS_A_CHUNK_MIN)
        elif seconds < _CHUNK_SECONDS / 2 and records >= self.records_a_chunk // 2:
            self.records_a_chunk = min(self.records_a_chunk * 2, _RECORDS_A_CHUNK_MAX)

    def is_due(self, held_rows: int) -> bool:
        """Whether to commit while more is there; `held_rows` wait to go out."""
        return (
            held_rows >= _ROWS_A_COMMIT
            or self._bytes >= _BYTES_A_COMMIT
            or self._records >= self._records_max
            or time.monotonic() - self._last >= self._bulk_seconds
        )

    def seconds_left(self) -> float:
        """How long a commit has time while nothing more is there."""
        return self._last + (self._interval_ms or LIVE_COMMIT_MS) / 1000 - time.monotonic()

    def committed(self, seconds: float) -> None:
        """A commit was made, and took so long."""
        if self._interval_ms is None:
            wanted = max(seconds / _COMMITS_SHARE, _BULK_COMMIT_SECONDS)
            self._bulk_seconds = min(wanted, _BULK_COMMIT_SECONDS_MAX)
        if seconds > _COMMIT_SECONDS:
            self._records_max = max(1, int(self._records * _COMMIT_SECONDS / seconds))
        elif self._records >= self._records_max:
            self._records_max *= 2
        self._bytes = self._records = 0
        self._last = time.monotonic()
