from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aegis_cli.grep import GrepError, Selection, compile_pattern, filter_batch_key, filter_batch_lines, select
from storage.envelope import encode_batch
from tests.storage.fake_batch import FakeBatch, batches


def matched(pattern: str, *values: bytes) -> list[int]:
    return filter_batch_lines(FakeBatch(value_list=list(values)), compile_pattern(pattern))


def test_a_batch_without_a_match_is_searched_as_one_buffer() -> None:
    batch = FakeBatch(value_list=[b"1", b"2"])
    assert filter_batch_lines(batch, compile_pattern("3")) == []
    assert batch.calls == []


def test_the_records_that_match_are_named_once_each() -> None:
    assert matched("a", b'"aaa"', b'"b"', b'"a"') == [0, 2]


def test_the_ends_of_a_pattern_are_the_ends_of_a_value() -> None:
    assert matched("^1$", b"11", b"1", b"21") == [1]


def test_a_match_over_two_lines_does_not_count_and_hides_nothing() -> None:
    assert matched(r"1\s2", b"1", b"2") == []
    assert matched(r"a[^x]*b", b'"a"', b'"ab"', b'"x"') == [1]
    assert matched(r"\d[^x]*", b"1", b"2", b"3") == [0, 1, 2]


def test_a_pattern_that_matches_nothing_at_all_matches_every_record() -> None:
    assert matched("x*", b"1", b"2") == [0, 1]
    assert matched("$", b"1", b"2") == [0, 1]


def test_case_is_ignored_on_request() -> None:
    pattern = compile_pattern("ERROR", ignore_case=True)
    assert filter_batch_lines(FakeBatch(value_list=[b'"error"']), pattern) == [0]


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
    batch = FakeBatch(value_list=[b"1"] * len(keys), key_list=keys)
    assert filter_batch_key(batch, "42") == [0, 1, 2, 7]
    assert filter_batch_key(batch, "42.0") == [3]
    assert filter_batch_key(batch, "null") == []
    assert filter_batch_key(FakeBatch(value_list=[b"1"]), "42") == []


def test_a_key_may_hold_any_text() -> None:
    keys: list[bytes | None] = ['"käse"'.encode(), b'"k\\u00e4se"', b'"a\\"b"', b'""']
    batch = FakeBatch(value_list=[b"1"] * 4, key_list=keys)
    assert filter_batch_key(batch, "käse") == [0, 1]
    assert filter_batch_key(batch, 'a"b') == [2]
    assert filter_batch_key(batch, "") == [3]


@given(batches(), st.data())
def test_a_selection_prints_as_its_records_alone(batch: FakeBatch, data: st.DataObject) -> None:
    subset = st.sets(st.integers(0, batch.count - 1), min_size=1)
    indexes = sorted(data.draw(subset))
    selection = select(batch, indexes)
    every_line = encode_batch(batch).splitlines(keepends=True)
    assert b"".join(every_line[index] for index in indexes) == encode_batch(selection)
    assert b"".join(batch.values()[index] + b"\n" for index in indexes) == selection.lines
    assert (selection.base_offset, selection.last_offset) == (selection.offsets()[0], selection.offsets()[-1])
    assert len(indexes) == selection.count


def test_all_records_selected_are_the_batch_itself() -> None:
    batch = FakeBatch(value_list=[b"1", b"2"])
    assert batch is select(batch, range(2))
    assert isinstance(select(batch, [1]), Selection)
