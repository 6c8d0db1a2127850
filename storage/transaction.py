"""A transaction: messages to any number of topics, and changes of state, all or nothing.

    with store.transaction() as transaction:
        transaction.publish("paid", {"order": 1})
        transaction.publish("stock", {"item": 7, "less": 1})

Nothing is written before the end of the block; then one journal record holds all of it. Readers never see a
part of a transaction that did not happen. They may see one partition's part before another's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from storage.batch import Receipt, RecordBatch, merged
from storage.errors import FencedError, TransactionEndedError

if TYPE_CHECKING:
    from storage.store import Append, Store


class Transaction:
    """Collects what is to happen. Leaving the `with` block by an exception drops all of it.

    `receipts` says afterwards where the messages went, one receipt a partition.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._batches: dict[tuple[str, int], list[RecordBatch]] = {}
        self._states: list[Append] = []
        self._ended = False
        self.receipts: list[Receipt] = []

    def publish(
        self,
        topic: str,
        value: object,
        *,
        key: str | int | float | None = None,
        headers: Mapping[str, str] | None = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
    ) -> None:
        """Add one message; the arguments are those of `Store.publish`."""
        chosen, batch = self._store.message(
            topic, value, key=key, headers=headers, partition=partition, timestamp_ms=timestamp_ms
        )
        self.add(topic, chosen, [batch])

    def add(self, topic: str, partition: int, batches: Sequence[RecordBatch]) -> None:
        """Add records that are validated already."""
        self._check_open()
        self._batches.setdefault((topic, partition), []).extend(batches)

    def change(self, state: Append) -> None:
        """Add a change of state: see `StateLog.append`. At most one for each log."""
        self._check_open()
        self._states.append(state)

    def commit(self, *states: Append) -> list[Receipt]:
        """Make all of it happen, with these changes of state; returns when it is durable and visible.

        Raises what `Store.append` raises; nothing happened then, unless the error says otherwise. After a
        `FencedError` it may be tried again with a state that was read anew.
        """
        from storage.store import Append

        self._check_open()
        appends = [
            Append(topic=topic, partition=partition, batches=merged(batches))
            for (topic, partition), batches in self._batches.items()
        ]
        everything = [*appends, *self._states, *states]
        if everything:
            try:
                self.receipts = self._store.append(everything)[: len(appends)]
            except FencedError:
                raise
            except BaseException:
                self._ended = True
                raise
        self._ended = True
        return self.receipts

    def abort(self) -> None:
        """Drop all of it."""
        self._ended = True

    def _check_open(self) -> None:
        if self._ended:
            raise TransactionEndedError

    def __enter__(self) -> Transaction:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._ended:
            return
        if kind is None:
            self.commit()
        else:
            self.abort()
