"""When a run commits: by the time, by what it holds in memory, and by how long a commit takes.

Promise: results do not depend on it. Who asks a run to end waits for one commit, so that none is let grow
beyond what takes a part of a second.
"""

from __future__ import annotations

import time

LIVE_COMMIT_MS = 100
_BULK_COMMIT_MS = 1000
# What a commit may hold in memory: rows that go out, and bytes that came in.
_ROWS_A_COMMIT = 50_000
_BYTES_A_COMMIT = 256 * 1024 * 1024
# A commit takes the longer, the more records changed the state: so many at first, then what takes this long.
_RECORDS_A_COMMIT = 2_000
_COMMIT_SECONDS = 0.2


class Pace:
    """What came in since the last commit. `interval_ms` is how often to commit, if that was said."""

    def __init__(self, interval_ms: int | None) -> None:
        self._interval_ms = interval_ms
        self._bytes = self._records = 0
        self._records_max = _RECORDS_A_COMMIT
        self._last = time.monotonic()

    def add(self, records: int, size_bytes: int) -> None:
        """So much was processed."""
        self._records += records
        self._bytes += size_bytes

    def is_due(self, held_rows: int) -> bool:
        """Whether to commit while more is there; `held_rows` wait to go out."""
        return (
            held_rows >= _ROWS_A_COMMIT
            or self._bytes >= _BYTES_A_COMMIT
            or self._records >= self._records_max
            or time.monotonic() - self._last >= (self._interval_ms or _BULK_COMMIT_MS) / 1000
        )

    def seconds_left(self) -> float:
        """How long a commit has time while nothing more is there."""
        return self._last + (self._interval_ms or LIVE_COMMIT_MS) / 1000 - time.monotonic()

    def committed(self, seconds: float) -> None:
        """A commit was made, and took so long."""
        if seconds > _COMMIT_SECONDS:
            self._records_max = max(1, int(self._records * _COMMIT_SECONDS / seconds))
        elif self._records >= self._records_max:
            self._records_max *= 2
        self._bytes = self._records = 0
        self._last = time.monotonic()
