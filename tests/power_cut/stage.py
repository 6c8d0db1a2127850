"""The stage of a workload: a small store, its writers, and a reader that looks before every operation.

Everything is small, so that all that a power cut could leave can be looked at: journal files of 16 KiB,
payloads that count as bulk from 4 KiB on, segments of a few hundred bytes.
"""

# The seam speaks of plain strings and descriptors, as the store does.
# ruff: noqa: PTH118
from __future__ import annotations

import contextlib
import copy
import functools
import itertools
import os
import random
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from storage import Store, ceiling, opening, producer_input, recovery, topic
from storage import append as appending
from storage.alter import alter_topic
from storage.batch import Receipt, RecordBatch
from storage.epoch import Identity, current_identity
from storage.journal import Journal
from storage.store import Append
from storage.topic import TopicSettings
from tests.power_cut import promises
from tests.power_cut.promises import Line
from tests.power_cut.recorder import Recorder

JOURNAL_FILE_BYTES = 16 * 1024
BULK_BYTES = 4 * 1024


@contextlib.contextmanager
def small_sizes() -> Iterator[None]:
    """Make the store's sizes small, its random numbers the same in every run, and its opening quick."""
    defaults = Journal.__init__.__kwdefaults__
    assert defaults is not None
    before = defaults["file_bytes"], recovery.FILE_BYTES, topic.SEGMENT_BYTES_MIN, os.urandom
    ahead = ceiling.AHEAD_OFFSETS
    inline = appending.INLINE_BYTES_MAX, appending._RECORD_PAYLOAD_BYTES_MAX
    defaults["file_bytes"] = recovery.FILE_BYTES = JOURNAL_FILE_BYTES
    topic.SEGMENT_BYTES_MIN, ceiling.AHEAD_OFFSETS = 1, 8
    lines_a_turn, producer_input.LINES_A_TURN = producer_input.LINES_A_TURN, 2
    appending.INLINE_BYTES_MAX, appending._RECORD_PAYLOAD_BYTES_MAX = BULK_BYTES, 2 * BULK_BYTES
    os.urandom = random.Random(7).randbytes
    loads, insists = tomllib.loads, os.environ.get("AEGIS_FORCE_FILESYSTEM")
    tomllib.loads = _loads
    os.environ["AEGIS_FORCE_FILESYSTEM"] = "1"
    try:
        yield
    finally:
        tomllib.loads = loads
        if insists is None:
            del os.environ["AEGIS_FORCE_FILESYSTEM"]
        defaults["file_bytes"], recovery.FILE_BYTES, topic.SEGMENT_BYTES_MIN, os.urandom = before
        appending.INLINE_BYTES_MAX, appending._RECORD_PAYLOAD_BYTES_MAX = inline
        ceiling.AHEAD_OFFSETS = ahead
        producer_input.LINES_A_TURN = lines_a_turn


@functools.lru_cache(maxsize=1000)
def _parsed(text: str) -> dict[str, Any]:
    return _real_loads(text)


def _loads(text: str) -> dict[str, Any]:
    # The same few settings are read thousands of times; reading them is not what is tested here.
    return copy.deepcopy(_parsed(text))


_real_loads = tomllib.loads


class Stage:
    """One store under observation."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.path = os.path.join(recorder.root, "store")
        self._numbers = itertools.count(1)
        self._clock = itertools.count(1_700_000_000_000)
        self._stores: list[Store] = []
        self._reader: Store | None = None

    def close(self) -> None:
        """Close what is open; nothing of this is recorded."""
        self.recorder.look = None
        for store in self._stores:
            store.close()

    # -- who works here -------------------------------------------------------------------------------

    def open(self, *, lock_wait_seconds: float = 5.0) -> Store:
        """Another process opens the store (or makes it)."""
        store = Store(
            self.path,
            create=True,
            lock_wait_seconds=lock_wait_seconds,
            clock_ms=lambda: next(self._clock),
        )
        self._stores.append(store)
        self.recorder.mark(promises.StoreMade())
        return store

    def bury(self, store: Store) -> None:
        """Close the files of a process that died: the kernel frees its locks."""
        self._stores.remove(store)
        store.close()

    def begin(self) -> None:
        """All before this is preparation: power is cut only from here on. A reader looks from here on."""
        self.recorder.trace.start = self.recorder.now
        self._reader = Store(self.path, read_only=True)
        self.recorder.look = self.see

    def see(self) -> None:
        """A reader looks at everything."""
        assert self._reader is not None
        began = self.recorder.now
        self.recorder.mark(promises.Seen(promises.look(self._reader), began))

    @contextlib.contextmanager
    def moved(self) -> Iterator[None]:
        """The store is found under another identity while nothing that was written is lost: it was copied,
        or mounted again."""

        def identity(journal_path: str) -> Identity:
            found = current_identity(journal_path)
            return found._replace(inode=found.inode + 1_000_000)

        opening.current_identity = identity
        try:
            yield
        finally:
            opening.current_identity = current_identity

    # -- what they do ---------------------------------------------------------------------------------

    def lines(self, count: int, *, size: int = 20, keyed: bool = False) -> list[Line]:
        """Lines that nobody published before, of about this many bytes."""
        made = []
        for _ in range(count):
            number = next(self._numbers)
            value = b'{"n":%d,"p":"%s"}' % (number, (b"%04d" % number) * (size // 4))
            key = b'"key%d"' % number if keyed else None
            headers = b'[{"key":"h","value":"%d"}]' % number if keyed else None
            made.append(Line(value, key, headers))
        return made

    def append(
        self,
        store: Store,
        parts: Mapping[tuple[str, int], Sequence[Line]],
        *,
        expect_offset: int | None = None,
    ) -> list[Receipt]:
        """Append lines to partitions, and mark what is attempted and acknowledged."""
        ids = {name: store.catalog.topic(name).topic_id.hex() for name, _ in parts}
        places = [(ids[name], number) for name, number in parts]
        lines = dict(zip(places, map(list, parts.values()), strict=True))
        self.recorder.mark(promises.Attempted(lines))
        receipts = store.append(
            [
                Append(topic=name, partition=number, batches=[batch_of(some)], expect_offset=expect_offset)
                for (name, number), some in parts.items()
            ]
        )
        acknowledged = {
            place: dict(zip(range(receipt.base_offset, receipt.last_offset + 1), lines[place], strict=True))
            for place, receipt in zip(places, receipts, strict=True)
        }
        self.recorder.mark(promises.Acknowledged(acknowledged))
        return receipts

    def publish(
        self, store: Store, name: str = "t", number: int = 0, *, size: int = 20, keyed: bool = False
    ) -> None:
        """Append one line."""
        self.append(store, {(name, number): self.lines(1, size=size, keyed=keyed)})

    def create(self, store: Store, name: str = "t", settings: TopicSettings | None = None) -> None:
        self.recorder.mark(promises.Creating(name))
        made = store.create_topic(name, settings)
        self.recorder.mark(promises.Created(name, made.topic_id.hex(), made.settings))

    def alter(self, store: Store, name: str, **changes: int | str) -> None:
        found = store.catalog.topic(name)
        settings = msgspec.structs.replace(found.settings, **changes)
        self.recorder.mark(promises.Altering(found.topic_id.hex(), settings))
        alter_topic(store, name, lambda _: settings)
        self.recorder.mark(promises.Altered(found.topic_id.hex(), settings))

    def delete(self, store: Store, name: str) -> None:
        topic_id = store.catalog.topic(name).topic_id.hex()
        self.recorder.mark(promises.Deleting(topic_id))
        store.delete_topic(name)
        self.recorder.mark(promises.Deleted(topic_id))

    def clean(self, store: Store) -> None:
        removals = [
            ((store.catalog.topic(one.topic).topic_id.hex(), one.partition), one.new_start_offset)
            for one in store.maintenance.clean(dry_run=True)
        ]
        for place, start in removals:
            self.recorder.mark(promises.Trimming(place, start))
        store.maintenance.clean()
        for place, start in removals:
            self.recorder.mark(promises.Trimmed(place, start))

    @contextlib.contextmanager
    def maintained(self, store: Store) -> Iterator[None]:
        """Another process is at the maintenance all the time, so nobody else checkpoints."""
        lock = store.maintenance._lock
        lock.acquire(timeout_seconds=1.0)
        try:
            yield
        finally:
            lock.release()

    def fill_journal(self, store: Store, name: str = "t", number: int = 0, *, times: int = 1) -> None:
        """Publish until the journal goes on in another file, `times` times."""
        for _ in range(times):
            file = store.journal.end.file
            while store.journal.end.file == file:
                self.publish(store, name, number, size=3000)


def batch_of(lines: Sequence[Line]) -> RecordBatch:
    """The lines as a batch."""
    keyed = any(line.key is not None for line in lines)
    return RecordBatch(
        lines=b"".join(line.value + b"\n" for line in lines),
        count=len(lines),
        keys=[line.key or b"null" for line in lines] if keyed else None,
        headers=[line.headers or b"null" for line in lines] if keyed else None,
    )
