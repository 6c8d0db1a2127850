from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.nesting import any_deeper, harmless_bytes, is_deeper
from tests.storage.line_model import _depth

_STRINGS = st.text(alphabet='[]{}\\"a', max_size=6)
_JSON = st.recursive(
    _STRINGS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_STRINGS, inner, max_size=3),
    max_leaves=20,
)


@given(_JSON, st.integers(0, 8))
def test_depth_is_measured_exactly(value: object, limit: int) -> None:
    assert (_depth(value) > limit) == is_deeper(json.dumps(value).encode(), limit)


@given(st.lists(_JSON, max_size=6), st.integers(0, 8))
def test_any_deeper_finds_what_is_deeper(values: list[object], limit: int) -> None:
    lines = [json.dumps(value).encode() + b"\n" for value in values]
    assert any(_depth(value) > limit for value in values) == any_deeper(lines, limit)


@given(st.integers(0, 200))
def test_a_harmless_line_is_not_deep(limit: int) -> None:
    deepest = b"[" * (limit + 1) + b"]" * (limit + 1) + b"\n"
    assert len(deepest) > harmless_bytes(limit)
    assert any_deeper([deepest], limit)
    assert not any_deeper([deepest], limit + 1)


@pytest.mark.parametrize("padding", [0, 10, 5000])
def test_depth_is_found_behind_closing_brackets_in_strings(padding: int) -> None:
    opening = b'{"a":"}","b":'
    closing = b',"c":"{"}'
    line = b'["%s",' % (b"x" * padding) + opening * 128 + b"1" + closing * 128 + b"]\n"
    json.loads(line)
    assert any_deeper([b"1\n", line, b"2\n"], 128)
    assert not any_deeper([b"1\n", line, b"2\n"], 129)


def test_many_brackets_side_by_side_are_not_deep() -> None:
    line = b"[" + b",".join([b'{"a":[]}'] * 10_000) + b"]\n"
    assert not any_deeper([line] * 3, 3)
    assert any_deeper([line] * 3, 2)


def test_depth_is_found_across_the_windows_in_which_brackets_are_counted() -> None:
    deep = b"[" * 129 + b"]" * 129 + b"\n"
    for padding in range(1600, 2100):
        flat = b'"' + b"x" * padding + b'"\n'
        assert any_deeper([flat, deep], 128)
        assert not any_deeper([flat, deep], 129)
