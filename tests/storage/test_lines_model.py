"""The checker of lines against a model of it that takes one line at a time, over inputs of every kind."""

from __future__ import annotations

import json
from unittest.mock import patch

from hypothesis import example, given
from hypothesis import strategies as st

import storage.lines
import storage.router
import storage.sift
from storage.batch import RecordBatch
from storage.keys import KeyDelimiter, KeyField, partitions_for, route
from storage.lines import LineChecker
from storage.router import Router
from tests.storage.line_model import Rules, expected

_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.sampled_from(["}", "[{", "\\", '"', "\\\\", '\\"', "é", "a\u0000b"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "k", "}", '"']), inner, max_size=3)
    ),
    max_leaves=8,
)


_VALID = st.builds(
    lambda value, ascii_only, before, after: (
        before + json.dumps(value, ensure_ascii=ascii_only).encode() + after
    ),
    _JSON | st.fixed_dictionaries({"id": _JSON}),
    st.booleans(),
    st.sampled_from([b"", b" ", b"\t"]),
    st.sampled_from([b"", b" ", b"\r", b"\t "]),
)


_ODD = st.sampled_from(
    [
        b"",
        b"  ",
        b"\x0c",
        b"1 2",
        b"{}{}",
        b"[1,",
        b"2]",
        b"hello",
        b'{"a": "\xff"}',
        b'"\\ud800"',
        b'"\\udc00\\ud800"',
        b"NaN",
        b"1e400",
        b"-Infinity",
        b"01",
        b'{"id":1,"id":2}',
        b'{"\\u0069d":"x"}',
        b"\xef\xbb\xbf1",
        b'{"id":"a"}:1',
        b"k:{}",
        b"k:",
        b"\xff:1",
        b"::1",
        b"[[[[[[]]]]]]",
        b'{"a":"}","b":{"a":"}","b":{"a":"}","b":[[1]],"c":"{"},"c":"{"},"c":"{"}',
        b'"' + b"x" * 60 + b'"',
    ]
)


_LINE = (
    _VALID
    | _ODD
    | st.builds(bytes.__add__, _ODD, _VALID)
    | st.binary(max_size=4).map(lambda data: data.replace(b"\n", b""))
)


_INPUT = st.lists(_LINE, max_size=12).flatmap(
    lambda lines: st.lists(
        st.sampled_from([b"\n", b"\n", b"\r\n"]), min_size=len(lines), max_size=len(lines)
    ).map(lambda ends: [line + end for line, end in zip(lines, ends, strict=True)])
)


_RULES = st.builds(
    Rules,
    max_record_bytes=st.sampled_from([1_000_000, 40, 3]),
    max_nesting=st.sampled_from([128, 4, 1, 0]),
    key_field=st.sampled_from([None, None, "id"]),
    empty_is_null=st.booleans(),
    skip=st.booleans(),
) | st.builds(
    Rules,
    max_record_bytes=st.sampled_from([1_000_000, 40, 3]),
    delimiter=st.sampled_from([None, b":", b"::"]),
    text=st.booleans(),
    empty_is_null=st.booleans(),
    skip=st.booleans(),
)


def _checker(rules: Rules) -> LineChecker:
    keys: KeyField | KeyDelimiter | None = None
    if rules.key_field is not None:
        keys = KeyField(rules.key_field)
    elif rules.delimiter is not None:
        keys = KeyDelimiter(rules.delimiter)
    return LineChecker(
        max_record_bytes=rules.max_record_bytes,
        max_nesting=rules.max_nesting,
        keys=keys,
        text=rules.text,
        empty_is_null=rules.empty_is_null,
        on_error="skip" if rules.skip else "stop",
    )


@given(
    lines=_INPUT,
    rules=_RULES,
    buffer_lines=st.integers(1, 13),
    chunk_bytes=st.sampled_from([1, 30, 65_536]),
    sift_lines=st.sampled_from([1, 3, 32]),
)
@example(lines=[b"1\r\n", b"\n", b"2\n"], rules=Rules(), buffer_lines=3, chunk_bytes=1, sift_lines=1)
def test_a_checker_does_what_the_model_does(
    lines: list[bytes], rules: Rules, buffer_lines: int, chunk_bytes: int, sift_lines: int
) -> None:
    model = expected(b"".join(lines), rules)
    checker = _checker(rules)
    values: list[bytes] = []
    keys: list[object] = []
    numbers: list[int] = []
    bad: list[int] = []
    with (
        patch.object(storage.lines, "_CHUNK_BYTES", chunk_bytes),
        patch.object(storage.sift, "_SIFT_LINES", sift_lines),
    ):
        for start in range(0, len(lines), buffer_lines):
            checked = checker.check(b"".join(lines[start : start + buffer_lines]))
            own = checked.lines.data.split(b"\n")
            assert b"" == own.pop()
            assert checked.lines.count == len(own)
            values += own
            numbers += map(checked.lines.line_of, range(len(own)))
            assert (checked.lines.keys is None) == (rules.key_field is None and rules.delimiter is None)
            keys += map(json.loads, checked.lines.keys or [b"null"] * len(own))
            if checked.error is not None:
                bad.append(checked.error.line)
                assert checked.error.line == checker.next_line
                break
    bad += [error.line for error in checker.errors]
    assert model.values == values
    assert model.lines == numbers
    assert model.bad_lines == bad
    assert model.blank_lines == checker.blank_lines
    assert len(model.bad_lines) == checker.refused_lines
    assert model.keys == keys


@given(
    lines=_INPUT,
    rules=_RULES.filter(lambda rules: rules.key_field is not None or rules.delimiter is not None),
    buffer_lines=st.integers(1, 13),
    chunk_bytes=st.sampled_from([1, 30, 65_536]),
    sift_lines=st.sampled_from([1, 3, 32]),
)
def test_a_checker_with_a_router_takes_the_same_records_to_the_places_of_their_keys(
    lines: list[bytes],
    rules: Rules,
    buffer_lines: int,
    chunk_bytes: int,
    sift_lines: int,
) -> None:
    with (
        patch.object(storage.lines, "_CHUNK_BYTES", chunk_bytes),
        patch.object(storage.sift, "_SIFT_LINES", sift_lines),
        patch.object(storage.router, "_RECORDS_A_PARTITION", sift_lines),
    ):
        plain, routed = _checker(rules), _checker(rules)
        routed.router = Router(3, stores_keys=True)
        for start in range(0, len(lines), buffer_lines):
            buffer = b"".join(lines[start : start + buffer_lines])
            own, other = plain.check(buffer), routed.check(buffer)
            assert str(own.error) == str(other.error)
            assert own.lines.count == other.lines.count
            batch = RecordBatch(lines=own.lines.data, count=own.lines.count, keys=own.lines.keys)
            parts = route(batch, partitions_for(own.lines.keys or [], 3)) if batch.count else {}
            assert [(parts[place].lines, parts[place].keys) for place in sorted(parts)] == [
                (part.lines, part.keys) for part in routed.router.take()
            ]
            if own.error is not None:
                break
    assert (plain.next_line, plain.blank_lines) == (routed.next_line, routed.blank_lines)
    assert list(map(str, plain.errors)) == list(map(str, routed.errors))
