"""A member of a group that copies what it reads to another topic, exactly once, until it is killed.

    python -m tests.history.copier STORE GROUP SOURCE TARGET

The copies and the position behind what was copied commit in one transaction.
"""

from __future__ import annotations

import signal
import sys

from storage.assignor import Place
from storage.batch import Batch, RecordBatch
from storage.errors import MemberFencedError
from storage.group_reader import GroupReader
from storage.member import Member
from storage.store import Store
from storage.watch import open_watch
from tests.history.cast import SESSION_TIMEOUT_SECONDS

_PIECES = 50
_TERMINATED = 143


class Copier:
    """A member that has joined, and what it reads."""

    def __init__(self, member: Member, target: str) -> None:
        self._member = member
        self._target = target
        self._reader = GroupReader(member, follow=True, pieces=_PIECES)
        self._watch = open_watch()

    def run(self) -> None:
        while True:
            try:
                self._reader.sync()
            except MemberFencedError:
                self._member.join()
                continue
            waited_for = self._member.to_release
            if waited_for:
                self._member.release(waited_for)
                continue
            taken = self._reader.take()
            if taken is not None:
                self._copy(*taken)
                continue
            self._reader.watch(self._watch)
            if self._watch.wait(0.1):
                self._member.may_have_died()

    def _copy(self, place: Place, batch: Batch) -> None:
        store = self._member.store
        with store.transaction() as transaction:
            copies = RecordBatch(lines=batch.lines, count=batch.count)
            transaction.add(self._target, store.choose_partition(self._target), [copies])
            try:
                self._member.commit({place: batch.last_offset + 1}, transaction=transaction)
            except MemberFencedError:
                transaction.abort()
                self._reader.rewind(place)


def main() -> None:
    path, group, source, target = sys.argv[1:]
    # Leave as the command line does: by unwinding.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(_TERMINATED))
    with (
        Store(path) as store,
        Member(store, group, [source], session_timeout_seconds=SESSION_TIMEOUT_SECONDS) as member,
    ):
        Copier(member, target).run()


if __name__ == "__main__":
    main()
