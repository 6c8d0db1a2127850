"""The checkpoint: replay a full journal file into the segments, make them durable, recycle the file.

Promises: a file is marked free only when everything that it holds is durable in the segments and directories;
a process that dies half-way leaves a file that the next one checkpoints again; nobody who publishes waits for
this under a lock.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from storage import files, journal_file
from storage.files import Sync
from storage.journal import Journal
from storage.journal_file import Gap, read_records
from storage.replay import Replay

# Above this many full files an appender checkpoints before it takes any lock, however long that takes.
PRESSURE_FILES = 8


def full_files(journal: Journal) -> list[journal_file.LiveFile]:
    """The live files that the journal has left behind, oldest first."""
    current = journal.end.file
    return [
        file for file in journal_file.live_files(journal.path, salt=journal.salt) if file.number != current
    ]


def checkpoint(journal: Journal, find: Callable[[bytes], str | None]) -> int:
    """Checkpoint every full file; returns how many. The caller holds the maintenance lock."""
    done = 0
    live = journal_file.live_files(journal.path, salt=journal.salt)
    current = journal.end.file
    for file, following in pairwise(live):
        if file.number == current:
            break
        replay = Replay(find, file_sync=Sync.CHECKPOINT_FILE, directory_sync=Sync.CHECKPOINT_DIRECTORY)
        expected, damaged = file.first_sequence, False
        for item in read_records(
            journal.path,
            file.number,
            salt=journal.salt,
            first_sequence=file.first_sequence,
            end_sequence=following.first_sequence,
        ):
            if isinstance(item, Gap):
                damaged = True
                continue
            replay.apply(item.record)
            expected = item.record.sequence + 1
        if damaged or expected != following.first_sequence:
            # Records are damaged that were applied, most likely, when they were whole: what they touched is
            # not known any more, so everything is made durable.
            files.sync_everything()
        files.step("checkpoint.applied")
        replay.sync()
        files.step("checkpoint.synced")
        journal_file.mark_free(
            journal.path, file.number, salt=journal.salt, end_sequence=following.first_sequence
        )
        done += 1
    journal.wants_checkpoint = False
    return done
