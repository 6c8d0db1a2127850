"""What the checker of lines takes, changes and refuses, case by case."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import InvalidRecordError
from storage.keys import KeyDelimiter, KeyField
from storage.lines import ERRORS_KEPT, Checked, LineChecker, binary_value, single_value
from storage.router import Router


def _check(data: bytes, *, max_record_bytes: int = 1_000_000, max_nesting: int = 128) -> Checked:
    return LineChecker(max_record_bytes=max_record_bytes, max_nesting=max_nesting).check(data)


def test_good_input_comes_back_as_the_same_object() -> None:
    data = b'{"id": 1}\n' * 100_000
    lines = _check(data).lines
    assert lines.data is data
    assert 100_000 == lines.count


def test_bytes_are_kept_as_given() -> None:
    data = b' {"a" :1.0,\t"a":2} \n1e400\n12345678901234567890\n"\\u00e9\\u0000"\n-0\n'
    assert data == _check(data).lines.data


def test_dos_line_ends_become_newlines() -> None:
    assert b"1\n2\n3\n" == _check(b"1\r\n2\n3\r\n").lines.data


def test_a_blank_line_is_counted_and_skipped() -> None:
    checker = LineChecker(max_record_bytes=100)
    checked = checker.check(b"1\n\n \t\n2\n\r\n")
    assert b"1\n2\n" == checked.lines.data
    assert 3 == checker.blank_lines
    assert 6 == checker.next_line
    assert [1, 4] == [checked.lines.line_of(0), checked.lines.line_of(1)]


def test_a_byte_order_mark_is_taken_off_the_first_line_only() -> None:
    checker = LineChecker(max_record_bytes=100)
    assert b"1\n" == checker.check(b"\xef\xbb\xbf1\n").lines.data
    error = checker.check(b"\xef\xbb\xbf1\n").error
    assert "line 2: a byte order mark inside the input; remove it; only the first line may have one" == str(
        error
    )


def test_a_missing_last_newline_is_added() -> None:
    assert b"1\n2\n" == _check(b"1\n2").lines.data


def test_line_numbers_go_on_over_buffers() -> None:
    checker = LineChecker(max_record_bytes=100)
    checker.check(b"1\n\n2\n")
    error = checker.check(b"3\nx\n").error
    assert error is not None
    assert 5 == error.line


@pytest.mark.parametrize("empty", [b"", b"\n", b"\n\n"])
def test_no_line_is_no_record(empty: bytes) -> None:
    lines = _check(empty).lines
    assert (b"", 0) == (lines.data, lines.count)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            b'{"id":1,}',
            "invalid JSON at column 9: expecting property name enclosed in double quotes; correct it, or "
            "leave such lines out with --on-error skip, or pass --text for lines of text",
        ),
        (
            b'{"a":1} {"b":2}',
            "two values on one line, the second at column 9; "
            "put each value on one line, for example with jq -c .",
        ),
        (b"{", "the value does not end on this line; put each value on one line, for example with jq -c ."),
        (
            b'{"a": "x',
            "the value does not end on this line; put each value on one line, for example with jq -c .",
        ),
        (
            b'{"a":"\xff"}',
            "invalid UTF-8 at byte 7 (0xff); "
            "convert the input, for example with iconv -t UTF-8, or publish it with --binary",
        ),
        (b"\xff\xfe{\0}\0", "the input is UTF-16; convert it, for example with iconv -f UTF-16 -t UTF-8"),
        (b"hello", "'hello' is not JSON; pass --text to publish text as JSON strings"),
        (
            b"2024-01-01 12:00 INFO started",
            "'2024-01-01 12:00 INFO started' is not JSON; pass --text to publish text as JSON strings",
        ),
        (b"true story", "'true story' is not JSON; pass --text to publish text as JSON strings"),
        (b"1,2,3", "'1,2,3' is not JSON; pass --text to publish text as JSON strings"),
        (b"NaN", "'NaN' is not JSON; pass --text to publish text as JSON strings"),
        (b"\x1b[31mred", "'\\x1b[31mred' is not JSON; pass --text to publish text as JSON strings"),
        (
            b'{"a":NaN}',
            "invalid JSON at column 6: NaN is not a JSON value; correct it, or "
            "leave such lines out with --on-error skip, or pass --text for lines of text",
        ),
        (b"{'a': 1}", "invalid JSON at column 2: single quotes; JSON takes double quotes"),
        (
            b'"\\ud800"',
            "a \\u escape is only half of a surrogate pair; write both halves, or the character itself",
        ),
        (b"[" * 129 + b"]" * 129, "nested deeper than 128 levels; flatten the value"),
        (b"[" * 90_000 + b"]" * 90_000, "nested deeper than 128 levels; flatten the value"),
        (
            b'"' + b"x" * 999_999 + b'"',
            "the record has 1000001 bytes, and max_message_size is 1000000; make it smaller, "
            "or raise the limit with 'aegis config set streaming.max_message_size'",
        ),
    ],
)
def test_a_bad_line_is_named_with_reason_and_remedy(line: bytes, message: str) -> None:
    checked = _check(b'{"ok":1}\n{"ok":2}\n' + line + b"\n3\n")
    assert f"line 3: {message}" == str(checked.error)
    assert b'{"ok":1}\n{"ok":2}\n' == checked.lines.data
    # A blank line sends the chunk another way, which must end at the same place.
    checked = _check(b'{"ok":1}\n\n{"ok":2}\n' + line + b"\n3\n")
    assert f"line 4: {message}" == str(checked.error)
    assert b'{"ok":1}\n{"ok":2}\n' == checked.lines.data


def test_a_message_has_one_line_and_a_bounded_length() -> None:
    for line in (b"x" * 100_000, b"a\x0b\x0cb\xe2\x80\xa8c", b"\x00"):
        message = str(_check(line + b"\n").error)
        assert len(message) < 300
        assert message.isprintable()


def test_an_integer_of_many_digits_is_named_by_its_real_fault() -> None:
    error = _check(b"[" + b"1" * 10_000 + b",]\n").error
    assert "column 10003" in str(error)


def test_a_record_of_just_the_largest_size_passes() -> None:
    line = b'"' + b"x" * 98 + b'"\n'
    assert 1 == _check(line, max_record_bytes=100).lines.count
    assert 1 == _check(line.replace(b"\n", b"\r\n"), max_record_bytes=100).lines.count
    assert 0 == _check(line, max_record_bytes=99).lines.count


def test_a_line_too_long_to_read_has_the_same_error() -> None:
    checker = LineChecker(max_record_bytes=3)
    by_check = checker.check(b"12345\n").error
    assert str(by_check) == str(checker.too_long(5))


def test_skipping_keeps_every_good_line_and_counts_the_others() -> None:
    checker = LineChecker(max_record_bytes=100, on_error="skip")
    checked = checker.check(b"1\nx\n2\n\n" * 1000)
    assert checked.error is None
    assert b"1\n2\n" * 1000 == checked.lines.data
    assert 1000 == checker.refused_lines
    assert 1000 == checker.blank_lines
    assert ERRORS_KEPT == len(checker.errors)
    assert [2, 6] == [error.line for error in checker.errors[:2]]


def test_a_full_stack_is_not_blamed_on_the_input() -> None:
    def deep(levels: int) -> Checked:
        return deep(levels - 1) if levels else _check(b'{"a":' * 100 + b"1" + b"}" * 100 + b"\n")

    with pytest.raises(RecursionError):
        for levels in range(700, 1000, 10):
            assert deep(levels).error is None


def test_empty_lines_are_null_if_asked_for() -> None:
    checker = LineChecker(max_record_bytes=100, empty_is_null=True)
    assert b"1\nnull\n2\n" == checker.check(b"1\n\n2\n").lines.data


def test_an_empty_value_after_a_key_is_null_if_asked_for_and_else_refused() -> None:
    checker = LineChecker(max_record_bytes=100, keys=KeyDelimiter(b":"), empty_is_null=True)
    lines = checker.check(b"a:1\nb:\nc: \n\n").lines
    assert b"1\nnull\nnull\n" == lines.data
    assert [b'"a"', b'"b"', b'"c"'] == lines.keys
    error = LineChecker(max_record_bytes=100, keys=KeyDelimiter(b":")).check(b"b:\n").error
    assert "line 1: there is no value; pass one, or -Z to publish null" == str(error)


def test_text_becomes_json_strings() -> None:
    checker = LineChecker(max_record_bytes=100, text=True)
    lines = checker.check('a "b" \\ é\r\n\n\x00\t\u2028\x85\n{"a":1}\n'.encode()).lines
    assert ['a "b" \\ é', "", "\x00\t\u2028\x85", '{"a":1}'] == [
        json.loads(line) for line in lines.data.split(b"\n")[:-1]
    ]
    assert 4 == lines.count


def test_text_that_is_not_utf8_is_named() -> None:
    checked = LineChecker(max_record_bytes=100, text=True).check(b"ok\n\xe9t\xe9\nno\n")
    assert (
        "line 2: invalid UTF-8 at byte 1 (0xe9); "
        "convert the input, for example with iconv -t UTF-8, or publish it with --binary"
    ) == str(checked.error)
    assert b'"ok"\n' == checked.lines.data


def test_text_has_no_fields_to_take_a_key_from() -> None:
    with pytest.raises(ValueError, match="no fields"):
        LineChecker(max_record_bytes=100, text=True, keys=KeyField("id"))


def test_without_keys_there_is_nothing_to_route_by() -> None:
    with pytest.raises(ValueError, match="no keys"):
        LineChecker(max_record_bytes=100, router=Router(2, stores_keys=False))


def test_a_nesting_limit_above_what_the_decoder_allows_is_refused() -> None:
    with pytest.raises(ValueError, match="0 to 512"):
        LineChecker(max_record_bytes=100, max_nesting=513)


@given(st.binary())
def test_bytes_become_a_value_that_holds_them(data: bytes) -> None:
    assert {"$base64": base64.b64encode(data).decode()} == json.loads(binary_value(data))


def test_a_single_value_is_one_json_value() -> None:
    assert b'{"a": 1}' == single_value(b' {"a": 1}\n', max_record_bytes=100)
    assert b'"hello"' == single_value(b"hello", max_record_bytes=100, text=True)
    assert b'"a\\nb"' == single_value(b"a\nb", max_record_bytes=100, text=True)
    assert b"null" == single_value(b"", max_record_bytes=100, empty_is_null=True)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"hello", "line 2: 'hello' is not JSON; pass --text to publish text as JSON strings"),
        (b"", "line 2: there is no value; pass one, or -Z to publish null"),
        (
            b"[1,\n2]",
            "line 2: the value spans several lines; put it on one line, for example with jq -c .",
        ),
        (b"[[]]", "line 2: nested deeper than 1 levels; flatten the value"),
    ],
)
def test_a_single_value_that_is_none_is_refused(value: bytes, message: str) -> None:
    with pytest.raises(InvalidRecordError) as caught:
        single_value(value, max_record_bytes=100, max_nesting=1, number=2)
    assert message == str(caught.value)
