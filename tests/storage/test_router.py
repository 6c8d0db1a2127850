"""The router must do in bulk what `route` does with one place at a time."""

from __future__ import annotations

import json
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

import storage.router
from storage.batch import RecordBatch
from storage.keys import KeysRefused, PlacedBatch, partition_for, route
from storage.router import Router

_KEY = st.one_of(
    st.builds(
        lambda text, ascii_only: json.dumps(text, ensure_ascii=ascii_only).encode(),
        st.text(max_size=3) | st.sampled_from(['"', "\\", "é", "x" * 80]),
        st.booleans(),
    ),
    st.integers(-20, 20).map(lambda number: b"%d" % number),
    st.sampled_from([b"1.0", b"1e400", b'"\\u00e9"', b'"a\\"b"']),
)


def _filled(router: Router, keys: list[bytes], start: int) -> None:
    lines = [b'{"n":%d}\n' % (start + index) for index in range(len(keys))]
    places = router.places(b"\n".join(keys), len(keys)) if keys else []
    router.add(lines if start % 2 else b"".join(lines), places, keys if router.stores_keys else [])


@given(
    chunks=st.lists(st.lists(_KEY, max_size=8), max_size=6),
    partitions=st.sampled_from([2, 3, 64]),
    stores_keys=st.booleans(),
    records_a_partition=st.sampled_from([0, 1, 32]),
)
def test_records_go_where_route_puts_them_with_their_keys_and_in_order(
    chunks: list[list[bytes]],
    partitions: int,
    stores_keys: bool,
    records_a_partition: int,
) -> None:
    with patch.object(storage.router, "_RECORDS_A_PARTITION", records_a_partition):
        router = Router(partitions, stores_keys=stores_keys)
        start = 0
        for keys in chunks:
            _filled(router, keys, start)
            start += len(keys)
        taken = router.take()
        assert [] == router.take()
    keys = [key for chunk in chunks for key in chunk]
    expected = {}
    if keys:
        batch = RecordBatch(
            lines=b"".join(b'{"n":%d}\n' % number for number in range(len(keys))),
            count=len(keys),
            keys=keys if stores_keys else None,
        )
        expected = route(batch, [partition_for(key, partitions) for key in keys])
    assert [
        PlacedBatch(partition=partition, lines=part.lines, count=part.count, keys=part.keys)
        for partition, part in sorted(expected.items())
    ] == taken


def test_what_was_given_out_is_not_changed_by_what_comes_next() -> None:
    router = Router(2, stores_keys=True)
    _filled(router, [b"1", b"2"], 0)
    first = router.take()
    kept = [(batch.lines, list(batch.keys or [])) for batch in first]
    _filled(router, [b"1", b"2"], 2)
    router.take()
    assert kept == [(batch.lines, batch.keys) for batch in first]


@pytest.mark.parametrize("bad", [b"null", b"true", b"false", b"{}", b'{"$base64":""}', b"[1]"])
@pytest.mark.parametrize("beside", [b'"a"', b"1", b'"\\\\"'])
def test_a_key_that_is_neither_string_nor_number_is_refused(bad: bytes, beside: bytes) -> None:
    router = Router(4, stores_keys=True)
    for keys in ([bad], [beside, bad], [bad, beside], [beside, bad, beside]):
        with pytest.raises(KeysRefused):
            router.places(b"\n".join(keys), len(keys))
    assert [] == router.take()


def test_lines_and_keys_that_do_not_fit_are_refused() -> None:
    router = Router(4, stores_keys=True)
    with pytest.raises(ValueError, match="2 lines for 1 keys"):
        router.add([b"1\n", b"2\n"], router.places(b"1", 1), [b"1"])
