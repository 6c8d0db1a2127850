from __future__ import annotations

import json

from hypothesis import given

from storage.envelope import encode_batch
from storage.envelope_reader import decode_envelopes
from tests.storage.sample_batches import APPEND_TIME_MS, RecordingBatch, batches, sample_batch


def test_an_envelope_has_the_same_seven_fields_in_one_order() -> None:
    batch = sample_batch([b'{"id":1}', b"null"])
    assert (
        b'{"topic":"orders","partition":3,"offset":5,"timestamp":1700000000000,'
        b'"key":null,"headers":[],"value":{"id":1}}\n'
        b'{"topic":"orders","partition":3,"offset":6,"timestamp":1700000000000,'
        b'"key":null,"headers":[],"value":null}\n'
    ) == encode_batch(batch)


def test_keys_headers_timestamps_and_sparse_offsets_stand_where_they_belong() -> None:
    batch = sample_batch(
        [b"1", b"2", b"3"],
        keys=[b'"k"', None, b"null"],
        headers=[b'[{"key":"a","value":"b"}]', None, b"null"],
        timestamps_ms=[7, 8, 9],
        offsets=[5, 8, 13],
    )
    rows = [json.loads(line) for line in encode_batch(batch).splitlines()]
    assert ["k", None, None] == [row["key"] for row in rows]
    assert [[{"key": "a", "value": "b"}], [], []] == [row["headers"] for row in rows]
    assert [7, 8, 9] == [row["timestamp"] for row in rows]
    assert [5, 8, 13] == [row["offset"] for row in rows]


def test_every_column_is_asked_for_once() -> None:
    batch = sample_batch([b"1"])
    encode_batch(batch)
    assert ["headers", "keys", "offsets", "timestamps_ms", "values"] == batch.called()


@given(batches())
def test_what_consume_prints_is_read_back_without_loss(batch: RecordingBatch) -> None:
    printed = encode_batch(batch)
    envelopes = decode_envelopes(printed, first_line=1)
    count = batch.count
    assert batch.lines == envelopes.lines
    assert count == envelopes.count
    keys = [key or b"null" for key in batch.keys() or [None] * count]
    assert keys == (envelopes.keys or [b"null"] * count)
    headers = [header or b"null" for header in batch.headers() or [None] * count]
    assert headers == (envelopes.headers or [b"null"] * count)
    assert (batch.timestamps_ms() or [APPEND_TIME_MS] * count) == envelopes.timestamps_ms
    assert [batch.partition] * count == envelopes.partitions
    assert envelopes.line_numbers is None


@given(batches())
def test_every_envelope_is_one_line_of_json(batch: RecordingBatch) -> None:
    printed = encode_batch(batch)
    assert batch.count == printed.count(b"\n")
    offsets = [json.loads(line)["offset"] for line in printed.splitlines()]
    assert list(batch.offsets()) == offsets
