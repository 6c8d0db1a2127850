"""The notes beside what lies in quarantine: which damage was looked at and set aside, so that it is known.

STORE/quarantine/<copy>.json      one JSON object, written whole
"""

from __future__ import annotations

import os

import msgspec

from storage import files
from storage.finding import Finding
from storage.quarantine import QUARANTINE, place_for

_NOTE_BYTES_MAX = 1 << 20
_NOTES_MAX = 100_000


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """One damage that was set aside. `copy` is the file in quarantine with the bytes, if there were any."""

    kind: str
    path: str
    log_id: str
    detail: str
    segment: int | None = None
    first_offset: int | None = None
    end_offset: int | None = None
    position: int | None = None
    size_bytes: int | None = None
    copy: str | None = None
    set_aside_ms: int

    @property
    def key(self) -> tuple[object, ...]:
        """What makes it the same damage when it is found again."""
        return (self.kind, self.log_id, self.segment, self.first_offset, self.end_offset, self.position)


def key_of(finding: Finding, log_id: bytes) -> tuple[object, ...]:
    """The key of the note that a finding would have."""
    return (
        finding.kind.value,
        log_id.hex(),
        finding.segment,
        finding.first_offset,
        finding.end_offset,
        finding.position,
    )


def write_note(store_path: str, note: Note) -> str:
    """Write a note durably; returns its path."""
    path = f"{note.copy}.json" if note.copy is not None else place_for(store_path, "note.json")
    files.replace_file(path, msgspec.json.encode(note) + b"\n")
    return path


def read_notes(store_path: str) -> dict[tuple[object, ...], Note]:
    """All notes by what they are about; a file that is no note is passed over."""
    directory = os.path.join(store_path, QUARANTINE)
    notes: dict[tuple[object, ...], Note] = {}
    try:
        names = sorted(name for name in os.listdir(directory) if name.endswith(".json"))
    except FileNotFoundError:
        return notes
    for name in names[:_NOTES_MAX]:
        try:
            with open(os.path.join(directory, name), "rb") as file:
                note = msgspec.json.decode(file.read(_NOTE_BYTES_MAX), type=Note)
        except (OSError, msgspec.DecodeError):
            continue
        notes[note.key] = note
    return notes
