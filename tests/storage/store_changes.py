"""What happens to a store and to its model alike: appends, retention, growth, deletion, damage, copies."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from storage.batch import RecordBatch
from storage.errors import OffsetConflictError, TopicChangedError, TopicNotFoundError
from storage.store import Append, Store
from storage.topic import TopicSettings
from tests.storage.store_model import HEADERS, KEYS, KINDS, TIMES, Model, Partition, Record, lines_of

START_MS = 1_700_000_000_000
SEGMENT_BYTES = 4096
NAMES = ("orders", "events", "audit")
STORES_MAX = 3
# Where a file system in memory is at hand, the examples do not wait for a disk.
FAST = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


class StoreChanges(RuleBasedStateMachine):
    """Does things to a store, and the same to the model."""

    def __init__(self) -> None:
        super().__init__()
        self.root = tempfile.mkdtemp(prefix="model-", dir=FAST)
        self.copies = 0
        self.now_ms = START_MS
        self.topics: dict[str, Model] = {}
        self.stores: list[Store] = []

    # -- helpers --------------------------------------------------------------------------------------

    @property
    def path(self) -> str:
        return f"{self.root}/store-{self.copies}"

    def open(self) -> Store:
        return Store(self.path, create=True, lock_wait_seconds=5.0, clock_ms=lambda: self.now_ms)

    def store(self, data: st.DataObject) -> Store:
        return data.draw(st.sampled_from(self.stores), label="store")

    def topic(self, data: st.DataObject) -> tuple[str, Model]:
        name = data.draw(st.sampled_from(sorted(self.topics)), label="topic")
        return name, self.topics[name]

    def batch(self, data: st.DataObject) -> tuple[RecordBatch, list[tuple[bytes, Any, Any, Any]]]:
        """A batch, and its records without the time of their append."""
        kind = data.draw(KINDS, label="kind")
        values = lines_of(kind, data.draw(st.integers(0, 999), label="seed"))
        count = len(values)

        def column(items: st.SearchStrategy[Any], name: str) -> list[Any]:
            if not data.draw(st.booleans(), label=f"with {name}"):
                return [None] * count
            few = data.draw(st.lists(items, min_size=1, max_size=3), label=name)
            return [few[index % len(few)] for index in range(count)]

        keys, headers = column(KEYS, "keys"), column(HEADERS, "headers")
        times = [None if shift is None else self.now_ms + shift for shift in column(TIMES, "times")]
        batch = RecordBatch(
            lines=b"\n".join([*values, b""]),
            count=count,
            keys=None if set(keys) == {None} else [key or b"null" for key in keys],
            headers=None if set(headers) == {None} else [item or b"null" for item in headers],
            timestamps_ms=None if set(times) == {None} else [-1 if t is None else t for t in times],
        )
        return batch, list(zip(values, keys, headers, times, strict=True))

    def took(self, partition: Partition, records: list[Any], append_time_ms: int) -> None:
        partition.records += [
            Record(value, key, headers, append_time_ms if time is None else time)
            for value, key, headers, time in records
        ]

    # -- rules ----------------------------------------------------------------------------------------

    @initialize()
    def begin(self) -> None:
        self.stores.append(self.open())

    @rule(seconds=st.sampled_from([0.001, 1, 60, 3600, -30]))
    def time_passes(self, seconds: float) -> None:
        self.now_ms += int(seconds * 1000)

    @precondition(lambda self: len(self.topics) < len(NAMES))
    @rule(data=st.data(), partitions=st.integers(1, 3), retention=st.sampled_from([None, "bytes", "ms"]))
    def create_topic(self, data: st.DataObject, partitions: int, retention: str | None) -> None:
        name = data.draw(st.sampled_from(sorted(set(NAMES) - set(self.topics))), label="name")
        chosen = TopicSettings(
            partitions=partitions,
            segment_bytes=SEGMENT_BYTES,
            retention_bytes=3 * SEGMENT_BYTES if retention == "bytes" else None,
            retention_ms=600_000 if retention == "ms" else None,
        )
        self.store(data).create_topic(name, chosen)
        self.topics[name] = Model(chosen, [Partition() for _ in range(partitions)])

    @precondition(lambda self: self.topics)
    @rule(data=st.data())
    def append_to_some_partitions(self, data: st.DataObject) -> None:
        places = [
            (name, number) for name, model in self.topics.items() for number in range(len(model.partitions))
        ]
        chosen = data.draw(
            st.lists(st.sampled_from(sorted(places)), min_size=1, max_size=4, unique=True), label="places"
        )
        appends, expected = [], []
        for name, number in chosen:
            batches = [self.batch(data) for _ in range(data.draw(st.integers(1, 2), label="batches"))]
            end = len(self.topics[name].partitions[number].records)
            conditional = data.draw(st.booleans(), label="conditional")
            appends.append(
                Append(
                    topic=name,
                    partition=number,
                    batches=[batch for batch, _ in batches],
                    expect_offset=end if conditional else None,
                )
            )
            expected.append([record for _, records in batches for record in records])
        receipts = self.append(self.store(data), appends)
        for (name, number), records, receipt in zip(chosen, expected, receipts, strict=True):
            partition = self.topics[name].partitions[number]
            assert (name, number) == (receipt.topic, receipt.partition)
            assert len(partition.records) == receipt.base_offset
            self.took(partition, records, receipt.append_time_ms)
            assert len(partition.records) - 1 == receipt.last_offset

    def append(self, store: Store, appends: list[Append]) -> Any:
        """Append; a store that still has an older topic of the name says so once."""
        for _ in range(len(NAMES)):
            try:
                return store.append(appends)
            except TopicChangedError as error:
                store.topic(error.name)
        return store.append(appends)

    @precondition(lambda self: self.topics)
    @rule(data=st.data(), key=st.sampled_from([None, "a", "b", 7]))
    def publish(self, data: st.DataObject, key: str | int | None) -> None:
        name, model = self.topic(data)
        store = self.store(data)
        store.topic(name)
        # Which partition is next in turn is the store's own choice: here the test chooses, so that a run can
        # be repeated. A key chooses by itself.
        number = None
        if key is None:
            number = data.draw(st.integers(0, len(model.partitions) - 1), label="partition")
        receipt = store.publish(name, {"published": self.now_ms}, key=key, partition=number)
        partition = model.partitions[receipt.partition]
        assert len(partition.records) == receipt.base_offset == receipt.last_offset
        raw_key = None if key is None else {"a": b'"a"', "b": b'"b"', 7: b"7"}[key]
        value = b'{"published":%d}' % self.now_ms
        self.took(partition, [(value, raw_key, None, None)], receipt.append_time_ms)

    @precondition(lambda self: self.topics)
    @rule(data=st.data(), wrong=st.sampled_from([-1, 1, 1000]))
    def expect_a_wrong_offset(self, data: st.DataObject, wrong: int) -> None:
        name, model = self.topic(data)
        number = data.draw(st.integers(0, len(model.partitions) - 1), label="partition")
        end = len(model.partitions[number].records)
        batch, _ = self.batch(data)
        refused = Append(topic=name, partition=number, batches=[batch], expect_offset=max(0, end + wrong))
        if refused.expect_offset == end:
            return
        others = [
            Append(topic=name, partition=other, batches=[batch])
            for other in range(len(model.partitions))
            if other != number
        ]
        with pytest.raises(OffsetConflictError) as caught:
            self.append(self.store(data), [*others, refused])
        assert end == caught.value.actual

    @precondition(lambda self: len(self.stores) < STORES_MAX)
    @rule()
    def open_another(self) -> None:
        self.stores.append(self.open())

    @rule(data=st.data())
    def reopen(self, data: st.DataObject) -> None:
        number = data.draw(st.integers(0, len(self.stores) - 1), label="store")
        self.stores[number].close()
        self.stores[number] = self.open()

    @precondition(lambda self: self.topics)
    @rule(data=st.data())
    def clean(self, data: st.DataObject) -> None:
        store = self.store(data)
        planned = store.maintenance.clean(dry_run=True)
        assert planned == store.maintenance.clean()
        for removal in planned:
            partition = self.topics[removal.topic].partitions[removal.partition]
            assert partition.start <= removal.old_start_offset < removal.new_start_offset
            assert removal.new_start_offset <= len(partition.records)
        assert [] == store.maintenance.clean(dry_run=True)

    @precondition(lambda self: self.topics)
    @rule(data=st.data(), more=st.integers(0, 2))
    def alter(self, data: st.DataObject, more: int) -> None:
        name, model = self.topic(data)
        partitions = min(4, len(model.partitions) + more)
        model.settings = TopicSettings(
            partitions=partitions,
            segment_bytes=data.draw(st.sampled_from([SEGMENT_BYTES, 1 << 20]), label="segment bytes"),
            retention_bytes=model.settings.retention_bytes,
            retention_ms=model.settings.retention_ms,
        )
        assert partitions == self.store(data).alter_topic(name, model.settings).partitions
        model.partitions += [Partition() for _ in range(partitions - len(model.partitions))]

    @precondition(lambda self: self.topics)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        name, _ = self.topic(data)
        self.store(data).delete_topic(name)
        del self.topics[name]
        for store in self.stores:
            with pytest.raises(TopicNotFoundError):
                store.topic(name)

    @precondition(lambda self: self.topics)
    @rule(data=st.data(), how=st.sampled_from(["zeros", "noise", "cut", "bit"]))
    def damage_a_head(self, data: st.DataObject, how: str) -> None:
        head = self.a_head(data)
        raw = bytearray(head.read_bytes()) if head.exists() else bytearray()
        if not raw:
            return
        if how == "zeros":
            raw = bytearray(len(raw))
        elif how == "noise":
            raw = bytearray(random.Random(len(raw)).randbytes(len(raw)))
        elif how == "cut":
            del raw[len(raw) // 2 :]
        else:
            raw[data.draw(st.integers(0, len(raw) - 1), label="byte")] ^= 4
        # In place: whoever has it open sees the damage too.
        with head.open("r+b") as file:
            file.write(raw)
            file.truncate()

    @precondition(lambda self: self.topics)
    @rule(data=st.data())
    def lose_a_head(self, data: st.DataObject) -> None:
        for store in self.stores:
            store.close()
        self.a_head(data).unlink(missing_ok=True)
        self.stores = [self.open() for _ in self.stores]

    def a_head(self, data: st.DataObject) -> Path:
        name, model = self.topic(data)
        number = data.draw(st.integers(0, len(model.partitions) - 1), label="partition")
        return Path(self.path, "topics", name, str(number), "head")

    @rule(closed=st.booleans())
    def go_on_with_a_copy(self, closed: bool) -> None:
        """A copy has another identity: it is recovered from its journal before anything else."""
        source, count = self.path, len(self.stores)
        if closed:
            for store in self.stores:
                store.close()
        self.copies += 1
        shutil.copytree(source, self.path)
        if not closed:
            for store in self.stores:
                store.close()
        shutil.rmtree(source)
        self.stores = [self.open() for _ in range(count)]

    @precondition(lambda self: self.topics)
    @rule(data=st.data())
    def fill_journal_files(self, data: st.DataObject) -> None:
        """Enough small appends for the journal to go on in its next file, and for a checkpoint."""
        name, model = self.topic(data)
        store = self.store(data)
        store.topic(name)
        value = b'"%s"' % (b"z" * 5000)
        batch = RecordBatch(lines=(value + b"\n") * 12, count=12)
        for _ in range(140):
            (receipt,) = store.append([Append(topic=name, partition=0, batches=[batch])])
            self.took(model.partitions[0], [(value, None, None, None)] * 12, receipt.append_time_ms)
