"""Runs a module with a part of the code broken on purpose, to see whether a history tells.

    python -m tests.history.broken BREAKAGE MODULE ARGUMENT...

What is broken also takes its time, so that a blow hits it often.
"""

from __future__ import annotations

import runpy
import sys
import time
from collections.abc import Callable, Mapping, Sequence

from aegis_cli.delivery import group_output, output_file
from storage.assignor import Place
from storage.batch import Receipt
from storage.errors import MemberFencedError
from storage.group_state import Commit, rows_of
from storage.member import Member
from storage.producer import Producer, Progress
from storage.store import Append, Store
from storage.topic import Topic
from storage.transaction import Transaction

_PAUSE_SECONDS = 0.05


def _commit_unchecked(
    member: Member,
    positions: Mapping[Place, int],
    *,
    transaction: Transaction | None = None,
    files: Mapping[str, int] | None = None,
) -> None:
    record = Commit(
        positions=rows_of(positions.items()),
        member=member.member_id,
        at_ms=member.store.clock_ms(),
        files=dict(files or {}),
    )
    time.sleep(_PAUSE_SECONDS)
    states = [member.log.append([record])]
    if transaction is None:
        member.store.append(states)
    else:
        transaction.commit(*states)


def unfenced_commit() -> None:
    """A commit counts whoever makes it."""
    Member.commit = _commit_unchecked  # type: ignore[method-assign, assignment]


def early_commit() -> None:
    """At least once commits before it hands over."""
    hand_over = group_output._Delivery._hand_over

    def broken(self: group_output._Delivery, pending: group_output._Pending) -> None:
        try:
            self._member.commit({pending.place: pending.next_offset})
        except MemberFencedError:
            return
        time.sleep(_PAUSE_SECONDS)
        hand_over(self, pending)

    group_output._Delivery._hand_over = broken  # type: ignore[method-assign]


def late_commit() -> None:
    """At most once commits after it handed over."""
    hand_over = group_output._Delivery._hand_over

    def broken(self: group_output._Delivery, pending: group_output._Pending) -> None:
        commit = self._member.commit
        late: list[Mapping[Place, int]] = []
        self._member.commit = late.append  # type: ignore[method-assign, assignment]
        hand_over(self, pending)
        self._member.commit = commit  # type: ignore[method-assign]
        time.sleep(_PAUSE_SECONDS)
        for positions in late:
            try:
                commit(positions)
            except MemberFencedError:
                continue

    group_output._Delivery._hand_over = broken  # type: ignore[method-assign]


def separate_commit() -> None:
    """A position commits after the transaction that it belongs to."""
    commit = Member.commit

    def broken(
        self: Member,
        positions: Mapping[Place, int],
        *,
        transaction: Transaction | None = None,
        files: Mapping[str, int] | None = None,
    ) -> None:
        if transaction is not None:
            transaction.commit()
            time.sleep(_PAUSE_SECONDS)
        commit(self, positions, files=files)

    Member.commit = broken  # type: ignore[method-assign]


def separate_length() -> None:
    """The length of an output file commits after the positions."""
    commit = Member.commit

    def broken(
        self: Member,
        positions: Mapping[Place, int],
        *,
        transaction: Transaction | None = None,
        files: Mapping[str, int] | None = None,
    ) -> None:
        commit(self, positions, transaction=transaction)
        time.sleep(_PAUSE_SECONDS)
        commit(self, {}, files=files)

    Member.commit = broken  # type: ignore[method-assign]


def uncut_file() -> None:
    """What was written to an output file and not committed stays in it, and counts."""
    output_file.OutputFile.cut_back = lambda self: None  # type: ignore[method-assign]
    commit = output_file.OutputFile.commit

    def broken(self: output_file.OutputFile, positions: dict[Place, int]) -> None:
        time.sleep(_PAUSE_SECONDS)
        commit(self, positions)

    output_file.OutputFile.commit = broken  # type: ignore[method-assign]


def torn_transaction() -> None:
    """The parts of a transaction happen one after the other."""
    commit = Transaction.commit

    def broken(self: Transaction, *states: Append) -> list[Receipt]:
        for place, batches in list(self._batches.items())[:-1]:
            part = Transaction(self._store)
            part.add(*place, batches)
            commit(part)
            time.sleep(_PAUSE_SECONDS)
            del self._batches[place]
        return commit(self, *states)

    Transaction.commit = broken  # type: ignore[method-assign]


def torn_append() -> None:
    """What goes to several partitions is appended to one after the other."""
    append = Store.append

    def broken(self: Store, appends: Sequence[Append]) -> list[Receipt]:
        if any(item.expect_fence is not None for item in appends):
            return append(self, appends)
        receipts = []
        for item in appends:
            receipts += append(self, [item])
            time.sleep(_PAUSE_SECONDS)
        return receipts

    Store.append = broken  # type: ignore[method-assign]


def forgetful_producer() -> None:
    """A producer remembers what it has published after it has published it."""
    append = Producer.append

    def broken(self: Producer, appends: Sequence[Append], topic: Topic, progress: Progress) -> list[Receipt]:
        receipts = self._store.append(appends) if appends else []
        time.sleep(_PAUSE_SECONDS)
        append(self, [], topic, progress)
        return receipts

    Producer.append = broken  # type: ignore[method-assign]


def late_abort() -> None:
    """A transaction that is dropped has happened."""
    Transaction.abort = Transaction.commit  # type: ignore[method-assign, assignment]


def hasty_release() -> None:
    """A place is given up while messages of it are on their way."""

    def broken(self: group_output._Delivery) -> None:
        wanted = self._member.to_release
        if wanted:
            self._member.release(wanted)
            self._forget(self._reader.sync())

    group_output._Delivery._release = broken  # type: ignore[method-assign]


def ignored_reset() -> None:
    """A member does not notice that its position was set by hand."""
    Member.was_reset = lambda self, place: False  # type: ignore[method-assign]


def skipped_message() -> None:
    """Whoever takes a place over begins one message too late."""
    position = Member.position
    Member.position = lambda self, place: position(self, place) + 1  # type: ignore[method-assign]


def repeated_message() -> None:
    """Whoever takes a place over begins one message too early."""
    position = Member.position
    Member.position = lambda self, place: max(0, position(self, place) - 1)  # type: ignore[method-assign]


BREAKAGES: dict[str, Callable[[], None]] = {
    breakage.__name__: breakage
    for breakage in (
        unfenced_commit,
        early_commit,
        late_commit,
        separate_commit,
        separate_length,
        uncut_file,
        torn_transaction,
        torn_append,
        forgetful_producer,
        late_abort,
        hasty_release,
        ignored_reset,
        skipped_message,
        repeated_message,
    )
}


def main() -> None:
    breakage, module, *arguments = sys.argv[1:]
    BREAKAGES[breakage]()
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
