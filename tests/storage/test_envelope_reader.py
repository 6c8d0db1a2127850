from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.envelope_reader import Envelopes, decode_envelopes
from storage.errors import InvalidRecordError


def decode(*lines: bytes, first_line: int = 1) -> Envelopes:
    return decode_envelopes(b"".join(line + b"\n" for line in lines), first_line=first_line)


def refusal(*lines: bytes, first_line: int = 1) -> InvalidRecordError:
    with pytest.raises(InvalidRecordError) as caught:
        decode(*lines, first_line=first_line)
    return caught.value


GOOD = b'{"value":1}'


def test_values_keep_their_bytes() -> None:
    for value in (b"1e400", b"12345678901234567890", b'"\\u0000"', b'{"a":1,"a":2}', b"[ 1 , 2 ]", b"null"):
        assert value + b"\n" == decode(b'{"value":%b}' % value).lines


def test_what_no_envelope_has_is_no_column() -> None:
    envelopes = decode(b'{"value":1,"key":null,"headers":[],"timestamp":null}', GOOD)
    assert (None, None, None, None) == (
        envelopes.keys,
        envelopes.headers,
        envelopes.timestamps_ms,
        envelopes.partitions,
    )


def test_what_one_envelope_has_is_a_column_with_a_mark_for_the_others() -> None:
    envelopes = decode(b'{"key":"k","headers":{"a":"b"},"timestamp":5,"partition":2,"value":1}', GOOD)
    assert [b'"k"', b"null"] == envelopes.keys
    assert [b'[{"key":"a","value":"b"}]', b"null"] == envelopes.headers
    assert [5, -1] == envelopes.timestamps_ms
    assert [2, -1] == envelopes.partitions


def test_unknown_fields_are_ignored() -> None:
    assert b"1\n" == decode(b'{"broker":{"id":[1]},"value":1,"tstype":"create"}').lines


def test_headers_as_an_object_keep_their_order_and_may_repeat() -> None:
    envelopes = decode(b'{"value":1,"headers":{"b":["1","2"],"a":null}}')
    assert [
        b'[{"key":"b","value":"1"},{"key":"b","value":"2"},{"key":"a","value":null}]'
    ] == envelopes.headers


def test_duplicate_headers_keep_their_bytes() -> None:
    raw = b'[{"key":"a","value":"\\u0041"}, {"key":"a","value":{"$base64":"AP8="}}]'
    assert [raw] == decode(b'{"value":1,"headers":%b}' % raw).headers


def test_an_envelope_of_kcat_is_read() -> None:
    line = (
        b'{"topic":"t","partition":0,"offset":3,"tstype":"create","ts":1700000000000,"broker":0,'
        b'"headers":["a","1","b",null],"key":"k","payload":"{\\"id\\": 1}"}'
    )
    for envelopes in (decode(line), decode(line, b"")):
        assert b'{"id": 1}\n' == envelopes.lines
        assert [b'"k"'] == envelopes.keys
        assert [b'[{"key":"a","value":"1"},{"key":"b","value":null}]'] == envelopes.headers
        assert [1_700_000_000_000] == envelopes.timestamps_ms


@pytest.mark.parametrize(
    ("payload", "value"),
    [
        (b'"hello"', b'"hello"'),
        (b'"{\\n \\"a\\": 1\\n}\\n"', b'{  "a": 1 }'),
        (b'"1e400"', b"1e400"),
        (b'"1 2"', b'"1 2"'),
        (b'""', b'""'),
        (b"null", b"null"),
        (b'{"a":1}', b'{"a":1}'),
    ],
)
def test_the_payload_of_kcat_is_the_json_that_its_text_holds(payload: bytes, value: bytes) -> None:
    assert value + b"\n" == decode(b'{"payload":%b}' % payload).lines


def test_envelopes_of_both_kinds_may_be_mixed() -> None:
    assert b'1\n{"a":2}\n3\n' == decode(GOOD, b'{"payload":"{\\"a\\":2}"}', b'{"value":3}').lines


def test_blank_lines_are_counted_and_line_numbers_stay_true() -> None:
    envelopes = decode(GOOD, b"", b" \t", GOOD, first_line=10)
    assert 2 == envelopes.blank_lines
    assert [10, 13] == envelopes.line_numbers
    assert b"1\n1\n" == envelopes.lines
    assert 13 == refusal(b"", b"", GOOD, b"x", first_line=10).line


def test_nothing_but_blank_lines_is_no_record() -> None:
    assert 0 == decode_envelopes(b"", first_line=1).count
    assert (0, 1) == (decode(b"").count, decode(b"").blank_lines)


def test_line_ends_of_windows_and_a_missing_last_one_are_taken() -> None:
    assert b"1\n2\n" == decode_envelopes(b'{"value":1}\r\n{"value":2}', first_line=1).lines


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b'{"value":01}', "invalid JSON"),
        (b'{"value":1', "invalid JSON"),
        (b'{"value":1}{"value":2}', "trailing characters"),
        (b'{"value":1} {"value":2}', "trailing characters"),
        (b'{"value":"a\tb"}', "invalid character"),
        (b"[1]", "expected 'object', got 'array'"),
        (b"1", "expected 'object', got 'int'"),
        (b'{"key":"k"}', "has no value"),
        (b'{"value":1,"timestamp":"now"}', "timestamp"),
        (b'{"value":1,"timestamp":1.5}', "timestamp"),
        (b'{"value":1,"timestamp":-2}', "timestamp"),
        (b'{"value":1,"timestamp":1700000000000000000}', "timestamp"),
        (b'{"value":1,"partition":-1}', "partition"),
        (b'{"value":1,"key":true}', "the key is neither"),
        (b'{"value":1,"key":[1]}', "the key is neither"),
        (b'{"value":1,"key":{"$base64":"!"}}', "the key is neither"),
        (b'{"value":1,"key":{"$base64":"","a":1}}', "the key is neither"),
        (b'{"value":1,"headers":"a=b"}', "the headers are not"),
        (b'{"value":1,"headers":[{"key":"a","value":1}]}', "the headers are not"),
        (b'{"value":1,"headers":[{"key":"a"}]}', "the headers are not"),
        (b'{"value":1,"headers":["a"]}', "the headers are not"),
        (b'{"value":1,"headers":{"a":1}}', "the headers are not"),
        (b'{"value":1,"headers":[{"key":"a","value":{"$base64":"!"}}]}', "the headers are not"),
        (b'{"value":"\xff"}', "invalid UTF-8 at byte 11"),
        (b'{"value":1,"x":"\xff"}', "invalid UTF-8"),
        (b'{"value":' + b"[" * 5000 + b"]" * 5000 + b"}", "nested too deeply"),
    ],
)
def test_a_bad_line_is_named_with_a_reason_and_a_remedy(bad: bytes, reason: str) -> None:
    for good in (GOOD, b'{"value":1,"key":"k"}'):
        error = refusal(good, bad, good, first_line=41)
        assert 42 == error.line
        assert reason in error.reason
        assert error.remedy
        assert error.reason[0].islower() and "\n" not in str(error)


def test_an_envelope_over_two_lines_is_refused_even_if_the_counts_agree() -> None:
    assert 1 == refusal(b'{"value":1}{"value":', b"2}").line
    assert 1 == refusal(b'{"value":{}', b"}").line
    assert 2 == refusal(GOOD, b'{"value":[{}', b',{}]}{"value":1}').line


JSON_TEXT = st.sampled_from([b"1", b"{}", b"[]", b'"a"', b'{"a":{}}', b"null"])
FRAGMENTS = st.sampled_from(
    [b'{"value":', b"1", b"}", b"{", b"\n", b"}\n{", b",", b'"x":', b'"', b" ", b'{"value":1}\n', b"[", b"]"]
)


@given(st.lists(FRAGMENTS, max_size=12).map(b"".join))
def test_the_bulk_decoder_agrees_with_a_line_by_line_reading(lines: bytes) -> None:
    def verdict(text: bytes) -> tuple[bytes, int] | int:
        try:
            envelopes = decode_envelopes(text, first_line=1)
        except InvalidRecordError as error:
            return error.line
        return envelopes.lines, envelopes.blank_lines

    # A space before the newlines keeps the meaning and leads around the bulk decoder.
    careful = verdict(lines.replace(b"\n", b" \n"))
    assert careful == verdict(lines)


@given(st.lists(JSON_TEXT, min_size=1, max_size=8))
def test_any_json_comes_back_as_its_line(values: list[bytes]) -> None:
    envelopes = decode(*[b'{"value":%b}' % value for value in values])
    assert b"".join(value + b"\n" for value in values) == envelopes.lines
