"""Functions of texts. Positions count characters from 0; below zero they count from the end."""

from __future__ import annotations

from typing import Any

from aegis_cli.pipeline.errors import RecordError
from aegis_cli.pipeline.expression.function import Family
from aegis_cli.pipeline.expression.values import TEXT_MAX, bounded

family = Family()
_TO_THE_END = TEXT_MAX * 1024
# So many texts may be joined before it is known that the result is too long.
_FEW = 10


def _cased(name: str, text: str, made: str) -> str:
    """What a text became; a few characters become two or three."""
    return made if len(made) <= len(text) else bounded(made, name)


@family.function("lower(text: text) -> text", ('lower("Ab")', '"ab"'))
def lower(text: Any) -> Any:
    """The text in lower case."""
    return _cased("lower", text, text.lower()) if type(text) is str else family.refuse("lower", text)


@family.function("upper(text: text) -> text", ('upper("Ab")', '"AB"'))
def upper(text: Any) -> Any:
    """The text in upper case."""
    return _cased("upper", text, text.upper()) if type(text) is str else family.refuse("upper", text)


@family.function("trim(text: text) -> text", ('trim("  a b ")', '"a b"'))
def trim(text: Any) -> Any:
    """The text without white space at its ends."""
    return text.strip() if type(text) is str else family.refuse("trim", text)


@family.function("length(value: sized) -> number", ('length("abc")', "3"), ("length([1, 2])", "2"))
def length(value: Any) -> Any:
    """How many characters a text, items a list or fields an object has."""
    kind = type(value)
    return len(value) if kind is str or kind is list or kind is dict else family.refuse("length", value)


@family.function(
    "substr(text: text, start: int, length: int?) -> text",
    ('substr("abcdef", 2)', '"cdef"'),
    ('substr("abcdef", -3, 2)', '"de"'),
)
def substr(text: Any, start: Any, count: Any = _TO_THE_END) -> Any:
    """The part of a text that begins at `start`; of at most `length` characters."""
    if type(text) is not str or type(start) is not int or type(count) is not int:
        return family.refuse("substr", text, start, count)
    if count < 0:
        raise RecordError("the length of substr is below zero")
    begin = start if start >= 0 else max(len(text) + start, 0)
    return text[begin : begin + count]


@family.function("replace(text: text, old: text, new: text) -> text", ('replace("1,234", ",", "")', '"1234"'))
def replace(text: Any, old: Any, new: Any) -> Any:
    """The text with every `old` replaced by `new`."""
    if type(text) is not str or type(old) is not str or type(new) is not str:
        return family.refuse("replace", text, old, new)
    if not old:
        raise RecordError("replace has nothing to look for")
    if len(new) > len(old) and len(text) + text.count(old) * (len(new) - len(old)) > TEXT_MAX:
        raise RecordError(f"the result of replace is longer than {TEXT_MAX} characters")
    return text.replace(old, new)


@family.function("split(text: text, separator: text) -> list", ('split("a,b", ",")', '["a", "b"]'))
def split(text: Any, separator: Any) -> Any:
    """The parts of a text between separators, as a list."""
    if type(text) is not str or type(separator) is not str:
        return family.refuse("split", text, separator)
    if not separator:
        raise RecordError("the separator of split is empty")
    return text.split(separator)


@family.function("join(list: list, separator: text) -> text", ('join(["a", null, "b"], "-")', '"a-b"'))
def join(items: Any, separator: Any) -> Any:
    """The texts of a list with a separator between them; nulls in it are left out."""
    if type(items) is not list or type(separator) is not str:
        return family.refuse("join", items, separator)
    texts = [item for item in items if item is not None]
    size = len(separator) * len(texts)
    for item in texts:
        if type(item) is not str:
            raise RecordError("join needs a list of texts; use text(value) for what is none")
        size += len(item)
    if size > TEXT_MAX:
        raise RecordError(f"the result of join is longer than {TEXT_MAX} characters")
    return separator.join(texts)


@family.function("starts_with(text: text, part: text) -> bool", ('starts_with("abc", "ab")', "true"))
def starts_with(text: Any, part: Any) -> Any:
    """Whether the text begins with `part`."""
    if type(text) is str and type(part) is str:
        return text.startswith(part)
    return family.refuse("starts_with", text, part)


@family.function("ends_with(text: text, part: text) -> bool", ('ends_with("abc", "bc")', "true"))
def ends_with(text: Any, part: Any) -> Any:
    """Whether the text ends with `part`."""
    if type(text) is str and type(part) is str:
        return text.endswith(part)
    return family.refuse("ends_with", text, part)


@family.function("contains(text: text, part: text) -> bool", ('contains("abc", "b")', "true"))
def contains(text: Any, part: Any) -> Any:
    """Whether `part` is somewhere in the text."""
    if type(text) is str and type(part) is str:
        return part in text
    return family.refuse("contains", text, part)


@family.function("concat(texts: text...) -> text", ('concat("a", "-", "b")', '"a-b"'))
def concat(*texts: Any) -> Any:
    """All texts in a row."""
    for text in texts:
        if type(text) is not str:
            return family.refuse("concat", *texts)
    if len(texts) > _FEW and sum(map(len, texts)) > TEXT_MAX:
        raise RecordError(f"the result of concat is longer than {TEXT_MAX} characters")
    return bounded("".join(texts), "concat")


def _padding(name: str, text: str, width: int, fill: str) -> str:
    missing = width - len(text)
    if missing <= 0:
        return ""
    if width > TEXT_MAX:
        raise RecordError(f"the result of {name} is longer than {TEXT_MAX} characters")
    if not fill:
        raise RecordError(f"{name} has nothing to fill with")
    return (fill * (missing // len(fill) + 1))[:missing]


@family.function(
    "pad_left(text: text, width: int, fill: text?) -> text",
    ('pad_left("7", 3, "0")', '"007"'),
)
def pad_left(text: Any, width: Any, fill: Any = " ") -> Any:
    """The text with `fill` (a space) before it, until it has `width` characters; a longer one stays."""
    if type(text) is not str or type(width) is not int or type(fill) is not str:
        return family.refuse("pad_left", text, width, fill)
    return _padding("pad_left", text, width, fill) + text


@family.function(
    "pad_right(text: text, width: int, fill: text?) -> text", ('pad_right("ab", 4, ".")', '"ab.."')
)
def pad_right(text: Any, width: Any, fill: Any = " ") -> Any:
    """The text with `fill` (a space) behind it, until it has `width` characters; a longer one stays."""
    if type(text) is not str or type(width) is not int or type(fill) is not str:
        return family.refuse("pad_right", text, width, fill)
    return text + _padding("pad_right", text, width, fill)
