from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.grep import GrepError, compile_pattern, filter_batch_key, filter_batch_lines
from tests.storage.sample_batches import sample_batch


def matched(pattern: str, *values: bytes) -> list[int]:
    return filter_batch_lines(sample_batch(list(values)), compile_pattern(pattern))


def test_a_batch_without_a_match_is_searched_as_one_buffer() -> None:
    batch = sample_batch([b"1", b"2"])
    assert [] == filter_batch_lines(batch, compile_pattern("3"))
    assert [] == batch.called()


def test_the_records_that_match_are_named_once_each() -> None:
    assert [0, 2] == matched("a", b'"aaa"', b'"b"', b'"a"')


def test_the_ends_of_a_pattern_are_the_ends_of_a_value() -> None:
    assert [1] == matched("^1$", b"11", b"1", b"21")


def test_a_match_over_two_lines_does_not_count_and_hides_nothing() -> None:
    assert [] == matched(r"1\s2", b"1", b"2")
    assert [1] == matched(r"a[^x]*b", b'"a"', b'"ab"', b'"x"')
    assert [0, 1, 2] == matched(r"\d[^x]*", b"1", b"2", b"3")


def test_a_pattern_that_matches_nothing_at_all_matches_every_record() -> None:
    assert [0, 1] == matched("x*", b"1", b"2")
    assert [0, 1] == matched("$", b"1", b"2")


def test_case_is_ignored_on_request() -> None:
    pattern = compile_pattern("ERROR", ignore_case=True)
    assert [0] == filter_batch_lines(sample_batch([b'"error"']), pattern)


@pytest.mark.parametrize("text", ["(", "[a", "*", "a{3,1}", "(?P<n"])
def test_a_bad_pattern_is_refused_with_its_position(text: str) -> None:
    with pytest.raises(GrepError) as caught:
        compile_pattern(text)
    assert caught.value.position is not None
    assert text in str(caught.value)


ATOMS = ["a", "b", "x", ".", r"\s", r"\S", r"\W", r"\b", r"\B", "^", "$", "[^a]", "[^x]*", "(?!a)", "(?<!a)"]
ATOMS += [
    "a*",
    "a+?",
    r"\s*",
    r"\s*+",
    "(a|b)",
    r"\A",
    r"\Z",
    "(?>a*)",
    '"',
    "(?s:.)",
    r"\n",
    "[^b]{2}",
    "[\t-z]*",
]


@given(
    st.lists(st.sampled_from(ATOMS), min_size=1, max_size=5).map("".join),
    st.lists(st.text(alphabet="abx ", max_size=4).map(lambda text: f'"{text}"'.encode()), min_size=1),
)
def test_a_search_over_the_buffer_finds_what_a_search_of_each_line_finds(
    text: str, values: list[bytes]
) -> None:
    pattern = compile_pattern(text)
    expected = [index for index, value in enumerate(values) if re.search(pattern, value)]
    assert expected == matched(text, *values)


def test_a_key_is_found_as_a_string_however_escaped_and_as_a_number() -> None:
    keys = [b'"42"', b"42", b'"\\u00342"', b"42.0", None, b"null", b'{"$base64":"NDI="}', b'"42"']
    batch = sample_batch([b"1"] * len(keys), keys=keys)
    assert [0, 1, 2, 7] == filter_batch_key(batch, "42")
    assert [3] == filter_batch_key(batch, "42.0")
    assert [] == filter_batch_key(batch, "null")
    assert [] == filter_batch_key(sample_batch([b"1"]), "42")


def test_a_key_may_hold_any_text() -> None:
    keys: list[bytes | None] = ['"käse"'.encode(), b'"k\\u00e4se"', b'"a\\"b"', b'""']
    batch = sample_batch([b"1"] * 4, keys=keys)
    assert [0, 1] == filter_batch_key(batch, "käse")
    assert [2] == filter_batch_key(batch, 'a"b')
    assert [3] == filter_batch_key(batch, "")
