"""Plain TOML is read as the parser reads it, and the rest by the parser."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import toml
from storage.topic import TopicSettings, render_topic

# The signs that TOML gives a meaning, and some that it forbids here or there.
_SIGNS = st.text(alphabet="ab_-. =#[]\"\\\n\r\t\0\x7fé019,{}'+", max_size=30)
_LINES = st.sampled_from(
    [
        "",
        "# a word",
        "[a]",
        "[b]",
        "[a.b]",
        "a = 1",
        "b = 007",
        'a = "x"',
        "a = b",
        "a=1",
        'b = "\\t"',
        "b = ",
    ]
)


def verdict(text: str, *, by_parser: bool) -> object:
    """What comes of reading `text`, types included."""
    try:
        return repr(tomllib.loads(text) if by_parser else toml.loads(text))
    except ValueError as error:
        return type(error), str(error)


@given(st.one_of(_SIGNS, st.lists(st.one_of(_LINES, _SIGNS), max_size=6).map("\n".join)))
def test_what_is_read_is_what_the_parser_reads(text: str) -> None:
    assert verdict(text, by_parser=True) == verdict(text, by_parser=False)


@pytest.mark.parametrize(
    "text",
    [
        '# An Aegis store.\n\n[store]\nformat_read = 1\nid = "57e731db"\n',
        render_topic(b"\1" * 12, TopicSettings(key="id", retention_ms=5000)).decode(),
    ],
)
def test_what_the_store_writes_needs_no_parser(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = tomllib.loads(text)
    monkeypatch.setattr(tomllib, "loads", None)
    assert expected == toml.loads(text)


def test_an_error_is_the_parsers_own() -> None:
    with pytest.raises(tomllib.TOMLDecodeError, match="at line 2"):
        toml.loads("a = 1\na = 2\n")
