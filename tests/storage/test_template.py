from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from storage.template import BLOCK_RECORDS, escape, fill


def test_a_block_border_changes_nothing() -> None:
    for count in (1, BLOCK_RECORDS - 1, BLOCK_RECORDS, BLOCK_RECORDS + 1, 2 * BLOCK_RECORDS + 7):
        numbers, texts = range(count), [b"%%d%d" % n for n in range(count)]
        expected = b"".join(b"%d=%b;" % pair for pair in zip(numbers, texts, strict=True))
        assert expected == fill(b"%d=%b;", [numbers, texts], count=count)


def test_a_template_without_slots_is_repeated() -> None:
    assert b"50%\n" * 3 == fill(escape(b"50%\n"), [], count=3)


def test_no_records_give_nothing() -> None:
    assert b"" == fill(b"%d", [range(0)], count=0)
    assert b"" == fill(b"x", [], count=0)


@given(st.binary(), st.lists(st.binary(), max_size=5))
def test_an_escaped_literal_prints_itself_beside_any_value(literal: bytes, values: list[bytes]) -> None:
    expected = b"".join(literal + value for value in values)
    assert expected == fill(escape(literal) + b"%b", [values], count=len(values))
