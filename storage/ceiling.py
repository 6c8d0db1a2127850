"""The ceiling of a partition whose appends do not wait for the disk: no offset from below it is given twice.

A power cut may take back messages of such a topic that were acknowledged and read. What it may not do is give
their offsets to other messages: a consumer's position would then mean something else. So the offsets that may
be given out are written down ahead, durably, and recovery goes on above them. Layout in FORMAT.md section 5.
"""

from __future__ import annotations

import os
import struct

from storage import checksum, files
from storage.checksum import Check
from storage.files import Sync

CEILING_FILE = "ceiling"
# A sync for each so many offsets; also the size of the gap that a power cut leaves in them.
AHEAD_OFFSETS = 1_000_000
_LAYOUT = struct.Struct("<IQ")


def read_ceiling(directory: str) -> int | None:
    """The first offset that was never allowed; 0 where there is no ceiling, `None` where it is damaged."""
    try:
        with open(os.path.join(directory, CEILING_FILE), "rb") as file:
            raw = file.read(_LAYOUT.size)
    except FileNotFoundError:
        return 0
    if len(raw) != _LAYOUT.size:
        return None
    crc, offset = _LAYOUT.unpack(raw)
    return offset if checksum.matches(Check.CEILING, crc, raw[4:]) else None


def write_ceiling(directory: str, offset: int) -> None:
    """Allow offsets below `offset`, durably."""
    body = struct.pack("<Q", offset)
    raw = struct.pack("<I", checksum.value(body)) + body
    files.replace_file(os.path.join(directory, CEILING_FILE), raw, Sync.CEILING)
