from __future__ import annotations

import base64
import json
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.batch import RecordBatch
from storage.keys import (
    KEYLESS,
    KeyDelimiter,
    KeyField,
    keys_of_lines,
    partition_for,
    partitions_for,
    route,
)
from storage.lines import LineChecker

_RAW_KEY = st.one_of(
    st.builds(
        lambda text, ascii_only: json.dumps(text, ensure_ascii=ascii_only).encode(), st.text(), st.booleans()
    ),
    st.integers().map(lambda number: b"%d" % number),
    st.binary().map(lambda data: b'{"$base64":"' + base64.b64encode(data) + b'"}'),
    st.just(b"null"),
)


def _hashed_bytes(key: bytes) -> bytes | None:
    value = json.loads(key)
    if value is None:
        return None
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, dict):
        return base64.b64decode(value["$base64"])
    return key


def test_a_string_is_placed_by_the_published_check_value_of_crc32() -> None:
    # "123456789" has CRC-32 0xcbf43926 in every catalogue of checksums.
    assert 0xCBF43926 == partition_for(b'"123456789"', 2**32)
    assert 0xCBF43926 % 12 == partition_for(b'"123456789"', 12)


def test_a_number_is_placed_by_its_json_text() -> None:
    assert 0xCBF43926 == partition_for(b"123456789", 2**32)


def test_bytes_are_placed_by_what_they_are() -> None:
    assert 0xCBF43926 == partition_for(b'{"$base64":"MTIzNDU2Nzg5"}', 2**32)


def test_an_escaped_and_a_plain_string_are_the_same_key() -> None:
    assert partition_for('"é"'.encode(), 1000) == partition_for(b'"\\u00e9"', 1000)
    assert crc32("é".encode()) % 1000 == partition_for('"é"'.encode(), 1000)


def test_null_is_no_key() -> None:
    assert KEYLESS == partition_for(b"null", 4)


@pytest.mark.parametrize(
    "key",
    [
        b"",
        b"true",
        b"[1]",
        b"{}",
        b'{"a":1}',
        b'{"$base64":"?"}',
        b'{"$base64":1}',
        b'"a',
        b'{"$base64":"","x":""}',
    ],
)
def test_what_is_no_key_is_a_value_error(key: bytes) -> None:
    with pytest.raises(ValueError, match="not a key"):
        partition_for(key, 4)
    with pytest.raises(ValueError, match="not a key"):
        partitions_for([b"1", b'"x"', key], 4)


def test_strings_and_numbers_may_stand_side_by_side() -> None:
    keys = [b'"a"', b"1", b'"b"', b'"a"', b"null", b'"c"']
    assert [partition_for(key, 7) for key in keys] == partitions_for(keys, 7)


@given(st.lists(_RAW_KEY), st.integers(1, 300))
def test_keys_are_placed_by_crc32_modulo_partitions(keys: list[bytes], partitions: int) -> None:
    expected = [KEYLESS if (data := _hashed_bytes(key)) is None else crc32(data) % partitions for key in keys]
    assert expected == partitions_for(keys, partitions)
    assert expected == [partition_for(key, partitions) for key in keys]


@given(st.lists(st.text(alphabet='ab"', max_size=2)), st.integers(1, 7))
def test_plain_strings_are_placed_in_bulk_as_one_by_one(texts: list[str], partitions: int) -> None:
    keys = [json.dumps(text).encode() for text in texts]
    assert [partition_for(key, partitions) for key in keys] == partitions_for(keys, partitions)


@given(
    st.lists(
        st.tuples(_RAW_KEY, st.integers(0, 12) | st.sampled_from([255, 256, -1]), st.booleans()), min_size=1
    )
)
def test_routing_keeps_order_and_every_column(records: list[tuple[bytes, int, bool]]) -> None:
    keys = [key for key, _, _ in records]
    places = [place for _, place, _ in records]
    headers = [
        b'[{"key":"h","value":"%d"}]' % number if has else b"null"
        for number, (_, _, has) in enumerate(records)
    ]
    batch = RecordBatch(
        lines=b"".join(b'{"n":%d}\n' % number for number in range(len(records))),
        count=len(records),
        keys=keys,
        headers=headers,
        timestamps_ms=list(range(len(records))),
    )
    routed = route(batch, places)
    assert sorted(set(places)) == sorted(routed)
    for place, own in routed.items():
        numbers = [number for number, other in enumerate(places) if other == place]
        assert b"".join(b'{"n":%d}\n' % number for number in numbers) == own.lines
        assert len(numbers) == own.count
        assert [keys[number] for number in numbers] == own.keys
        assert [headers[number] for number in numbers] == own.headers
        assert numbers == own.timestamps_ms


def test_a_column_that_does_not_exist_is_not_made() -> None:
    routed = route(RecordBatch(lines=b"1\n2\n", count=2), [0, 1])
    assert RecordBatch(lines=b"2\n", count=1) == routed[1]


def test_a_batch_for_one_partition_is_not_copied() -> None:
    batch = RecordBatch(lines=b"1\n2\n", count=2)
    assert batch is route(batch, [3, 3])[3]


def test_routing_refuses_columns_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="1 partitions for 2 records"):
        route(RecordBatch(lines=b"1\n2\n", count=2), [0])
    with pytest.raises(ValueError, match="more lines than the 2 records"):
        route(RecordBatch(lines=b"1\n2\n3\n", count=2), [0, 1])
    with pytest.raises(ValueError, match="1 lines for 2 records"):
        route(RecordBatch(lines=b"1\n", count=2), [0, 1])


@pytest.mark.parametrize(
    "name", ["id", "key", "", "customer id", "é", "a.b", "class", "__init__", "$base64", "x" * 300]
)
def test_any_field_name_can_be_the_key(name: str) -> None:
    record = json.dumps({"other": [1, {"id": 2}], name: "value"}, ensure_ascii=False).encode()
    lines = LineChecker(max_record_bytes=10_000, keys=KeyField(name)).check(record + b"\n").lines
    assert [b'"value"'] == lines.keys


def test_a_field_name_that_no_plain_json_name_can_be_is_refused() -> None:
    with pytest.raises(ValueError, match="key field's name"):
        KeyField('a"b')


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (b'{"x":1}', "the record has no such field"),
        (b'{"x":{"id":1}}', "the record has no such field"),
        (b"[1]", "the record is not an object"),
        (b"1", "the record is not an object"),
        (b'{"id":null}', "it is null"),
        (b'{"id":true}', "it is true"),
        (b'{"id":false}', "it is false"),
        (b'{"id":{"$base64":""}}', "it is an object"),
        (b'{"id":["a"]}', "it is an array"),
        (b'{"id":1,"id":[]}', "it is an array"),
    ],
)
def test_a_record_without_a_usable_key_is_named(record: bytes, reason: str) -> None:
    checked = LineChecker(max_record_bytes=100, keys=KeyField("id")).check(b'{"id":1}\n' + record + b"\n")
    remedy = "a key is a string or a number at the top level of the record"
    assert f"line 2: no key in field 'id': {reason}; {remedy}" == str(checked.error)
    assert [b"1"] == checked.lines.keys


def test_invalid_json_is_named_as_such_although_a_key_is_looked_for() -> None:
    error = LineChecker(max_record_bytes=100, keys=KeyField("id")).check(b'{"id":1\n').error
    assert "the value does not end on this line" in str(error)


def test_key_texts_are_kept_as_given() -> None:
    data = b'{"id":"\\u00e9"}\n{"id": 1.0 }\n{"id":12345678901234567890}\n'
    lines = LineChecker(max_record_bytes=100, keys=KeyField("id")).check(data).lines
    assert [b'"\\u00e9"', b"1.0", b"12345678901234567890"] == lines.keys
    assert data == lines.data


def test_the_key_is_the_text_before_the_first_delimiter() -> None:
    checker = LineChecker(max_record_bytes=100, keys=KeyDelimiter(b"::"))
    lines = checker.check('k"1::{"a":"x::y"}\r\n\né:::: 2\n'.replace(":::: 2", "::2").encode()).lines
    assert [b'"k\\"1"', '"é"'.encode()] == lines.keys
    assert b'{"a":"x::y"}\n2\n' == lines.data
    assert 3 == lines.line_of(1)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"no key", "line 2: no key delimiter ':'; write each line as key, delimiter, value"),
        (
            b"\xff:1",
            "line 2: the key is invalid UTF-8 at byte 1; convert the input, for example with iconv -t UTF-8",
        ),
        (b"k:x", "line 2: 'x' is not JSON; pass --text to publish text as JSON strings"),
    ],
)
def test_a_line_without_a_usable_delimited_key_is_named(line: bytes, message: str) -> None:
    checked = LineChecker(max_record_bytes=100, keys=KeyDelimiter(b":")).check(b"a:1\n" + line + b"\n")
    assert message == str(checked.error)
    assert [b'"a"'] == checked.lines.keys


@pytest.mark.parametrize("delimiter", [b"", b"\n", b"a\n"])
def test_a_delimiter_is_some_bytes_within_a_line(delimiter: bytes) -> None:
    with pytest.raises(ValueError, match="key delimiter"):
        KeyDelimiter(delimiter)


def test_keys_of_stored_records_are_found_where_there_are_any() -> None:
    assert [b'"a"', b"2"] == keys_of_lines(b'{"id":"a"}\n{"x":[],"id":2}\n', "id")
    assert [b'"a"', None, None, None] == keys_of_lines(b'{"id":"a"}\n{"id":[]}\n{"x":1}\n7\n', "id")
    assert [] == keys_of_lines(b"", "id")
