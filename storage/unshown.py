"""What a process committed to a log and did not live to show: whoever may write shows it in its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from storage.head import read_head

if TYPE_CHECKING:
    from storage.log import Log


def show_committed(log: Log, *, beyond_offset: int) -> None:
    """Make visible what was committed beyond `beyond_offset`; nothing is done where somebody is at work."""
    head = read_head(log.lock.fd, salt=log.journal.salt)
    all_shown = head is not None and not head.dirty and head.tail.next_offset <= beyond_offset
    if not all_shown and log.lock.try_acquire():
        try:
            log.finish_last(log.load())
        finally:
            log.lock.release()
