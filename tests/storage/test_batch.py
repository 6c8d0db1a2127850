"""Batches on their way in and out: merging small ones, cutting and selecting."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage import Store, TopicSettings
from storage.batch import MERGED_BYTES_MAX, RecordBatch, merged
from storage.intake import Intake, IntakeOptions
from storage.publish import publish_values


def test_small_batches_are_merged_and_absent_columns_filled() -> None:
    plain = RecordBatch(lines=b"1\n2\n", count=2)
    keyed = RecordBatch(lines=b"3\n", count=1, keys=[b'"k"'])
    timed = RecordBatch(lines=b"4\n", count=1, timestamps_ms=[7])
    assert [
        RecordBatch(
            lines=b"1\n2\n3\n4\n",
            count=4,
            keys=[b"null", b"null", b'"k"', b"null"],
            timestamps_ms=[-1, -1, -1, 7],
        )
    ] == merged([plain, keyed, timed])


def test_a_batch_of_its_own_stays_as_it_is() -> None:
    only = RecordBatch(lines=b"1\n", count=1)
    assert merged([only])[0] is only


def test_batches_are_not_merged_beyond_the_limit() -> None:
    half = RecordBatch(lines=b"1" * (MERGED_BYTES_MAX // 2) + b"\n", count=1)
    assert [1, 1, 1] == [batch.count for batch in merged([half, half, half])]


def test_one_step_over_thousands_of_partitions_is_published_whole(quick_path: Path) -> None:
    with Store(quick_path / "s", create=True) as store:
        topic = store.create_topic("wide", TopicSettings(partitions=1100, key="id"))
        values = [b'{"id":%d}' % number for number in range(5000)]
        done = publish_values(store, Intake(store, topic, IntakeOptions(max_record_bytes=1000)), values[:900])
        assert 900 == done.records
        assert sorted(values[:900]) == sorted(message.value for message in store.read("wide"))


@pytest.mark.parametrize("columns", [{"keys": [b"1"]}, {"headers": [b"[]"]}, {"timestamps_ms": [5]}])
def test_a_batch_is_bare_without_any_column(columns: dict[str, list[bytes]]) -> None:
    assert RecordBatch(lines=b"1\n", count=1).is_bare
    assert not RecordBatch(lines=b"1\n", count=1, **columns).is_bare  # type: ignore[arg-type]
