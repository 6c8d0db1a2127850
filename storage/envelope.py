"""Envelopes: records with all that belongs to them, one JSON object a line.

This is what `aegis consume --json` prints and `aegis publish --envelope` takes back without loss (the way
back is `storage/envelope_reader.py`):

    {"topic":"t","partition":0,"offset":5,"timestamp":1700000000000,"key":"abc",
     "headers":[{"key":"a","value":"b"}],"value":{"id":1}}        (on one line)

Every line has the same seven fields, so that `jq '.headers[]'` and a table of DuckDB meet no exception: a
record without a key has `"key":null`, one without headers `"headers":[]`. `timestamp` is milliseconds UTC,
the record's own or else the time of its append. Key, headers and value are the bytes that were published:
1e400, 12345678901234567890, an escaped NUL and a field that occurs twice come out as they went in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from storage.template import Column, escape, fill

if TYPE_CHECKING:
    from storage.batch import Batch


def encode_batch(batch: Batch) -> bytes:
    """Return one envelope line for each record of `batch`."""
    columns: list[Column] = [batch.offsets()]
    # Names of topics have no character that JSON would escape (storage/errors.py, InvalidNameError).
    template = escape(b'{"topic":"%b","partition":%d,' % (batch.topic.encode(), batch.partition))
    template += b'"offset":%d,"timestamp":'
    timestamps_ms = batch.timestamps_ms()
    if timestamps_ms is None:
        template += b"%d" % batch.append_time_ms
    else:
        template += b"%d"
        columns.append(timestamps_ms)
    keys = batch.keys()
    if keys is None:
        template += b',"key":null'
    else:
        template += b',"key":%b'
        columns.append(_present(keys, absent=b"null"))
    headers = batch.headers()
    if headers is None:
        template += b',"headers":[]'
    else:
        template += b',"headers":%b'
        columns.append(_present(headers, absent=b"[]"))
    columns.append(batch.values())
    return fill(template + b',"value":%b}\n', columns, count=batch.count)


def _present(column: list[bytes | None], *, absent: bytes) -> list[bytes]:
    """Return `column` with `absent` in the place of every item that says "none"."""
    return [absent if item is None or item == b"null" else item for item in column]
