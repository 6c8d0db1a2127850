"""Checking the clock: whether a partition's append time lies ahead of it. FORMAT.md section 4.

Append time never runs backwards, so a clock that jumped ahead and was set right again leaves a partition at
the time of the jump until the clock gets there. Nothing is lost then, but the times are wrong, and retention
by age waits.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from storage.entry import ENTRY_BYTES, decode_entry
from storage.finding import Finding, Kind, Severity
from storage.log import LogPlace
from storage.quantities import format_duration
from storage.segment import index_path, segment_bases

# Clocks are corrected by less than this all the time, and nobody has to hear of it.
_AHEAD_MS_MAX = 60_000


def time_ahead(place: LogPlace) -> Iterator[Finding]:
    """A notice where the newest message was appended at a time that is still to come."""
    try:
        found = _last_append(place.directory)
    except (FileNotFoundError, NotADirectoryError):
        return  # removed meanwhile, or reported as missing
    ahead_ms = found[1] - time.time_ns() // 1_000_000 if found is not None else 0
    if found is not None and ahead_ms > _AHEAD_MS_MAX:
        ahead = format_duration(ahead_ms // 1000 * 1000)
        yield Finding(
            kind=Kind.APPEND_TIME,
            severity=Severity.NOTICE,
            path=index_path(place.directory, found[0]),
            detail=f"the time of the last append is {ahead} ahead of the clock",
            remedy="set the clock if it is wrong; until it gets there, what is published has this time too, "
            "and retention by age keeps it longer",
            topic=place.topic,
            partition=place.partition,
            segment=found[0],
        )


def _last_append(directory: str) -> tuple[int, int] | None:
    """The segment that holds the newest valid entry, and the time of its append."""
    for base in reversed(segment_bases(directory)):
        with open(index_path(directory, base), "rb", buffering=0) as index:
            for slot in range(os.fstat(index.fileno()).st_size // ENTRY_BYTES - 1, 0, -1):
                entry = decode_entry(os.pread(index.fileno(), ENTRY_BYTES, slot * ENTRY_BYTES))
                if entry is not None:
                    return base, entry.append_time_ms
    return None
