from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.meta import Columns, decode_columns, encode_columns

_KEY = st.one_of(
    st.none(),
    st.text(),
    st.integers(),
    st.binary().map(lambda data: {"$base64": data.hex()}),
)
_HEADERS = st.one_of(
    st.none(), st.lists(st.fixed_dictionaries({"key": st.text(), "value": st.text()}), max_size=3)
)


def _columns(count: int) -> st.SearchStrategy[dict[str, object]]:
    def column(items: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
        return st.none() | st.lists(items, min_size=count, max_size=count)

    rising = st.lists(st.integers(0, 2**40), min_size=count, max_size=count, unique=True).map(sorted)
    return st.fixed_dictionaries(
        {
            "base_offset": st.integers(0, 2**62),
            "count": st.just(count),
            "keys": column(_KEY.map(lambda key: json.dumps(key).encode())),
            "headers": column(_HEADERS.map(lambda headers: json.dumps(headers).encode())),
            "timestamps_ms": column(st.integers(-1, 2**50)),
            "offset_deltas": st.none() | rising,
        }
    )


@given(st.integers(1, 5).flatmap(_columns))
def test_what_was_encoded_is_decoded(columns: dict[str, object]) -> None:
    line = encode_columns(**columns)  # type: ignore[arg-type]
    assert line.endswith(b"}\n")
    assert 1 == line.count(b"\n")
    assert Columns(**columns) == decode_columns(line)  # type: ignore[arg-type]


@given(st.integers(1, 5).flatmap(_columns))
def test_a_line_is_json_with_only_the_columns_that_exist(columns: dict[str, object]) -> None:
    read = json.loads(encode_columns(**columns))  # type: ignore[arg-type]
    names = {
        "base_offset": "base",
        "count": "count",
        "keys": "keys",
        "headers": "headers",
        "timestamps_ms": "times",
        "offset_deltas": "offsets",
    }
    assert {names[name] for name, column in columns.items() if column is not None} == read.keys()


def test_the_line_looks_as_documented() -> None:
    line = encode_columns(
        base_offset=7,
        count=2,
        keys=[b'"a"', b"null"],
        headers=[b"null", b'[{"key":"k","value":"v"}]'],
        timestamps_ms=[-1, 1_700_000_000_000],
        offset_deltas=[0, 3],
    )
    assert (
        b'{"base":7,"count":2,"keys":["a",null],"headers":[null,[{"key":"k","value":"v"}]],'
        b'"times":[-1,1700000000000],"offsets":[0,3]}\n' == line
    )


def test_texts_come_back_byte_for_byte() -> None:
    keys = [b'"\\u00e9"', b"1.0", b"12345678901234567890", b'"\\u0000"']
    assert keys == decode_columns(encode_columns(base_offset=0, count=4, keys=keys)).keys


def test_a_reader_ignores_names_that_it_does_not_know() -> None:
    assert 1 == decode_columns(b'{"base":0,"count":1,"later":[1]}').count


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[]",
        b'{"base":0}',
        b'{"count":1}',
        b'{"base":-1,"count":1}',
        b'{"base":0,"count":0}',
        b'{"base":0,"count":2,"keys":[1]}',
        b'{"base":0,"count":1,"times":[1.5]}',
        b'{"base":0,"count":1,"times":["1"]}',
        b'{"base":0,"count":2,"offsets":[1,1]}',
        b'{"base":0,"count":2,"offsets":[2,1]}',
        b'{"base":0,"count":1,"offsets":[-1]}',
        b'{"base":0,"count":1} {}',
        b'{"base":0,"count":1,"keys":"a"}',
        b'{"base":0,"count":1,"x":' + b"[" * 5000 + b"]" * 5000 + b"}",
    ],
)
def test_a_malformed_line_is_a_value_error(line: bytes) -> None:
    with pytest.raises(ValueError):
        decode_columns(line)


@given(st.integers(0, 60), st.integers(0, 255))
def test_a_flipped_byte_is_decoded_or_a_value_error(position: int, byte: int) -> None:
    line = bytearray(encode_columns(base_offset=7, count=2, keys=[b'"a"', b'"b"'], timestamps_ms=[1, 2]))
    line[position % len(line)] = byte
    with contextlib.suppress(ValueError):
        decode_columns(bytes(line))


def test_a_column_of_another_length_is_not_written() -> None:
    with pytest.raises(ValueError, match="1 keys for 2 records"):
        encode_columns(base_offset=0, count=2, keys=[b"1"])


def test_a_text_with_a_line_end_is_not_written() -> None:
    with pytest.raises(ValueError, match="line end"):
        encode_columns(base_offset=0, count=1, headers=[b"[\n]"])


def test_selected_columns_are_those_of_the_selected_records() -> None:
    line = encode_columns(base_offset=7, count=3, keys=[b"1", b"2", b"3"], offset_deltas=[4, 5, 6])
    selected = decode_columns(line).select([0, 2])
    assert 2 == selected.count
    assert [b"1", b"3"] == selected.keys
    assert [4, 6] == selected.offset_deltas
    assert selected.headers is None
