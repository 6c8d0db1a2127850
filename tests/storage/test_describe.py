"""What `describe_topic` tells, and that telling it costs no look at the messages."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.describe import describe_topic, segment_files
from storage.errors import DamageError, TopicNotFoundError
from storage.store import Store
from storage.topic import TopicSettings

NOW_MS = 1_700_000_000_000


class Clock:
    def __init__(self) -> None:
        self.now_ms = NOW_MS

    def __call__(self) -> int:
        self.now_ms += 1000
        return self.now_ms


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store", create=True, clock_ms=Clock()) as store:
        yield store


def test_an_empty_topic_has_no_times(store: Store) -> None:
    topic = store.create_topic("orders", TopicSettings(partitions=2))
    told = describe_topic(store, "orders")
    assert ("orders", topic.topic_id.hex(), topic.settings) == (told.name, told.topic_id, told.settings)
    assert 2 == len(told.partitions)
    assert (0, 0, 0, 1) == (told.records, told.partitions[1].start_offset, told.partitions[1].end_offset, 1)
    assert None is told.partitions[0].newest_timestamp_ms
    assert None is told.newest_append_time_ms
    assert None is told.partitions[0].lock_holder


def test_offsets_sizes_and_times_are_those_of_the_messages(store: Store) -> None:
    store.create_topic("orders")
    first = store.publish("orders", {"id": 1}, timestamp_ms=5)
    store.publish("orders", {"id": 2}, timestamp_ms=9000)
    last = store.publish("orders", {"id": 3}, timestamp_ms=7)
    told = describe_topic(store, "orders").partitions[0]
    assert (0, 3, 3, 1) == (told.start_offset, told.end_offset, told.records, told.segments)
    assert (5, 9000) == (told.oldest_timestamp_ms, told.newest_timestamp_ms)
    assert first.append_time_ms == told.oldest_append_time_ms
    assert last.append_time_ms == told.newest_append_time_ms
    files = Path(store.topic("orders").partition_directory(0)).iterdir()
    assert sum(file.stat().st_size for file in files if file.name != "head") == told.size_bytes


def test_the_end_of_an_empty_newest_segment_is_its_base(store: Store) -> None:
    store.create_topic("orders", TopicSettings(segment_bytes=4096))
    for number in range(30):
        store.publish("orders", {"id": number, "pad": "x" * 500})
    told = describe_topic(store, "orders").partitions[0]
    assert (0, 30) == (told.start_offset, told.end_offset)
    assert told.segments == len(segment_files(store.topic("orders"), 0)) > 2
    newest = segment_files(store.topic("orders"), 0)[-1]
    with Path(newest.path).with_suffix(".index").open("r+b") as index:
        index.truncate(128)
    told = describe_topic(store, "orders").partitions[0]
    assert newest.base_offset == told.end_offset
    assert told.newest_append_time_ms is not None


def test_segments_are_listed_oldest_first(store: Store) -> None:
    store.create_topic("orders", TopicSettings(segment_bytes=4096))
    for number in range(30):
        store.publish("orders", {"id": number, "pad": "x" * 500})
    segments = segment_files(store.topic("orders"), 0)
    assert sorted(segment.base_offset for segment in segments) == [s.base_offset for s in segments]
    assert all(segment.path.endswith(f"/{segment.base_offset:020d}.jsonl") for segment in segments)
    assert segments[0].data_bytes == Path(segments[0].path).stat().st_size


def test_the_holder_of_a_lock_is_named(store: Store) -> None:
    store.create_topic("orders", TopicSettings(partitions=2))
    store.publish("orders", 1, partition=1)
    with (Path(store.topic("orders").partition_directory(1)) / "head").open("rb") as head:
        fcntl.flock(head, fcntl.LOCK_EX)
        told = describe_topic(store, "orders")
    assert None is told.partitions[0].lock_holder
    assert f"process {os.getpid()} " in (told.partitions[1].lock_holder or "")


def test_a_topic_that_is_not_there_is_refused(store: Store) -> None:
    store.create_topic("orders")
    with pytest.raises(TopicNotFoundError, match="did you mean 'orders'"):
        describe_topic(store, "order")


def test_a_missing_partition_is_damage(store: Store) -> None:
    topic = store.create_topic("orders")
    shutil.rmtree(topic.partition_directory(0))
    with pytest.raises(DamageError, match="the partition is missing"):
        describe_topic(store, "orders")
    with pytest.raises(DamageError, match="the partition is missing"):
        list(store.batches("orders", 0))
    with pytest.raises(DamageError, match="the partition is missing"):
        store.publish("orders", 1)
