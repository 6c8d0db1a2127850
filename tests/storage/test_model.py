"""The store against a model of it in memory: whatever happens in whatever order, readers see what it says.

Several `Store` objects stand for several processes on one directory. What happens to it: appends of every
size, over several partitions and topics at once, conditional ones; rolls and retention; growth, deletion and
re-creation of topics; loss and damage of the writers' caches; a copy of the directory, which recovers.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule, run_state_machine_as_test

from storage.assign import assign
from storage.batch import Message
from storage.consume import ConsumeOptions, consume_assigned
from storage.output import Output
from storage.reader import Gap
from storage.store import Store
from storage.topic import TopicSettings
from tests.storage.store_changes import START_MS, StoreChanges
from tests.storage.store_model import Partition, Record


class StoreMachine(StoreChanges):
    """Changes a store, and reads from it what the model says."""

    def teardown(self) -> None:
        try:
            for name in self.topics:
                self.check_topic(self.stores[0], name)
            # And what a process sees that comes later.
            with self.open() as store:
                for name in self.topics:
                    self.check_topic(store, name)
        finally:
            for store in self.stores:
                store.close()
            shutil.rmtree(self.root)

    # -- reading --------------------------------------------------------------------------------------

    @precondition(lambda self: self.topics)
    @rule(data=st.data())
    def read_a_range(self, data: st.DataObject) -> None:
        name, model = self.topic(data)
        number = data.draw(st.integers(0, len(model.partitions) - 1), label="partition")
        partition = model.partitions[number]
        end = len(partition.records)
        first = data.draw(st.integers(partition.start, end), label="from")
        last = data.draw(st.integers(first, end), label="to")
        found = self.consume(self.store(data), name, partitions=[number], offsets=[f"{first}:{last}"])
        assert _text(partition.records[first:last]) == found

    @precondition(lambda self: self.topics)
    @rule(data=st.data(), shift_ms=st.integers(-6000, 6000))
    def read_by_time(self, data: st.DataObject, shift_ms: int) -> None:
        name, model = self.topic(data)
        time_ms = max(START_MS, self.now_ms + shift_ms)
        store = self.store(data)
        for number, partition in enumerate(model.partitions):
            expected = next(
                (
                    offset
                    for offset in range(partition.start, len(partition.records))
                    if partition.records[offset].timestamp_ms >= time_ms
                ),
                len(partition.records),
            )
            assert expected == store.reader(name, number).offset_at_time(time_ms)

    @precondition(lambda self: self.topics)
    @rule(data=st.data(), count=st.integers(0, 30))
    def read_the_last(self, data: st.DataObject, count: int) -> None:
        name, model = self.topic(data)
        number = data.draw(st.integers(0, len(model.partitions) - 1), label="partition")
        partition = model.partitions[number]
        found = self.consume(self.store(data), name, partitions=[number], last=count)
        first = max(partition.start, len(partition.records) - count)
        assert _text(partition.records[first:]) == found

    @precondition(lambda self: self.topics)
    @rule(data=st.data(), limit=st.integers(0, 40))
    def read_so_many(self, data: st.DataObject, limit: int) -> None:
        name, model = self.topic(data)
        found = self.consume(self.store(data), name, limit=limit)
        kept = [record for partition in model.partitions for record in partition.records[partition.start :]]
        assert _text(kept[:limit]) == found

    def consume(self, store: Store, name: str, *, limit: int | None = None, **where: Any) -> bytes:
        with tempfile.TemporaryFile(dir=self.root) as file:
            assigned = assign(store, [name], **where)
            done = consume_assigned(store, assigned, Output(file.fileno()), ConsumeOptions(limit=limit))
            assert 0 == done.gaps
            os.lseek(file.fileno(), 0, os.SEEK_SET)
            found = file.read()
        assert found.count(b"\n") == done.records
        return found

    @precondition(lambda self: self.topics)
    @rule(data=st.data())
    def read_all(self, data: st.DataObject) -> None:
        name, _ = self.topic(data)
        self.check_topic(self.store(data), name)

    def check_topic(self, store: Store, name: str) -> None:
        for number, partition in enumerate(self.topics[name].partitions):
            messages: list[Message] = []
            for batch in store.batches(name, number):
                assert not isinstance(batch, Gap), batch
                messages += batch.messages()
            expected = partition.records[partition.start :]
            assert [*range(partition.start, len(partition.records))] == [m.offset for m in messages]
            assert expected == [Record(m.value, m.key, m.headers, m.timestamp_ms) for m in messages]

    # -- always ---------------------------------------------------------------------------------------

    @invariant()
    def the_ends_are_where_they_should_be(self) -> None:
        for store in self.stores[:1]:
            assert sorted(self.topics) == store.topics()
            for name, model in self.topics.items():
                for number, partition in enumerate(model.partitions):
                    reader = store.reader(name, number)
                    assert len(partition.records) == reader.end_offset
                    start = reader.start_offset
                    self.check_start(model.settings, partition, start)
                    partition.start = start

    def check_start(self, chosen: TopicSettings, partition: Partition, start: int) -> None:
        """Retention moves it forward only, and only as far as it is told to."""
        assert partition.start <= start <= len(partition.records)
        if chosen.retention_bytes is None and chosen.retention_ms is None:
            assert 0 == start


def _text(records: list[Record]) -> bytes:
    return b"".join(record.value + b"\n" for record in records)


def test_the_store_does_what_its_model_does() -> None:
    run_state_machine_as_test(
        StoreMachine,
        settings=settings(
            max_examples=20,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
