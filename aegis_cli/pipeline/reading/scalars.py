"""What a single text of a pipeline file can mean: a name, a path, a duration, a number, yes or no."""

from __future__ import annotations

import keyword
import re

from aegis_cli.pipeline.document import ListNode, Node, ScalarNode
from aegis_cli.pipeline.place import shown
from aegis_cli.pipeline.reading.keys import wrong_kind
from storage.errors import InvalidNameError
from storage.names import check_name
from storage.quantities import UNLIMITED, parse_duration_ms

# Longer than any use of a window, and short enough that no time in milliseconds leaves 64 bits by it.
DURATION_MAX_MS = 36_500 * 86_400_000
PATH_CHARACTERS_MAX = 4096
NAMES_MAX = 100
_FIELD_CHARACTERS_MAX = 249
_DURATION_CHARACTERS_MAX = 64
_DIGITS_MAX = 18
# What expressions take for values and not for fields, beside Python's own words.
_VALUES = frozenset(("null", "true", "false"))

_PART = re.compile(r"([0-9.]+)\s*([A-Za-z]+)\s*")
_UNITS = {
    "ms": "millisecond milliseconds msec",
    "s": "sec secs second seconds",
    "m": "min mins minute minutes",
    "h": "hr hrs hour hours",
    "d": "day days",
    "w": "week weeks",
}
_UNIT_OF = {word: unit for unit, words in _UNITS.items() for word in words.split()}


def text(node: Node, *, what: str, example: str) -> str:
    """A text that is not empty, without blanks around it; raises PipelineFileError, as all of these."""
    if not isinstance(node, ScalarNode) or not node.text.strip():
        raise wrong_kind(node, f"{what} must be a text", example)
    return node.text.strip()


def topic(node: Node, *, what: str) -> str:
    """The name of a topic."""
    name = text(node, what=what, example="the name of a topic")
    try:
        check_name(name)
    except InvalidNameError as error:
        hint = "for a file write {file: PATH}" if "/" in name else "use letters, digits, '.', '_' and '-'"
        raise node.place.error(f"{shown(name)} cannot be a topic's name: {error.reason}", hint) from None
    return name


def lone_topic(node: Node, *, what: str) -> str:
    """The name of a topic where it stands alone, so that it could be taken for something else."""
    name = topic(node, what=what)
    if name in ("stdin", "stdout"):
        hint = f"write '-' for {name} itself, or {{topic: {name}}}"
        raise node.place.error(f"{what} would be a topic called '{name}'", hint)
    return name


def path(node: Node, *, what: str) -> str:
    """The path of a file."""
    name = text(node, what=what, example="the path of a file")
    if not name.isprintable() or len(name) > PATH_CHARACTERS_MAX:
        raise node.place.error(f"{shown(name)} cannot be the path of a file")
    return name


def is_plain_name(name: str) -> bool:
    """Whether an expression can mean a field by `name` itself."""
    is_word = keyword.iskeyword(name) or name in _VALUES
    return name.isidentifier() and not is_word and len(name) <= _FIELD_CHARACTERS_MAX


def plain_name(node: Node, *, what: str, example: str) -> str:
    """A name that expressions can use as it is."""
    name = text(node, what=what, example=example)
    if not is_plain_name(name):
        hint = "use letters, digits and '_', a letter first, and no word of the expressions such as 'if'"
        raise node.place.error(f"{what} cannot be {shown(name)}", hint)
    return name


def field_name(node: ScalarNode, *, what: str) -> str:
    """The name of a field that results get."""
    name = node.text
    if not name or len(name) > _FIELD_CHARACTERS_MAX:
        raise node.place.error(f"{what} must have 1 to {_FIELD_CHARACTERS_MAX} characters")
    return name


def duration_ms(
    node: Node, *, what: str, example: str = "5m", least_ms: int = 1, forever: bool = False
) -> int | None:
    """A duration of at least `least_ms`; `None` for "forever", where that may be."""
    given = text(node, what=what, example=example)
    try:
        found = parse_duration_ms(_short_units(given))
    except ValueError:
        hint = f"write a number and one of ms, s, m, h, d, w, like {example}"
        raise node.place.error(f"{what} is no duration: {shown(given)}", hint) from None
    if found == UNLIMITED and forever:
        return None
    if found == UNLIMITED or found > DURATION_MAX_MS:
        raise node.place.error(f"{what} must have an end, at most 36500d", f"write a duration like {example}")
    if found < least_ms:
        raise node.place.error(
            f"{what} must be longer than {shown(given)}", f"write a duration like {example}"
        )
    return found


def limited_ms(node: Node, *, what: str, example: str = "5m", least_ms: int = 1) -> int:
    """A duration that is not forever."""
    found = duration_ms(node, what=what, example=example, least_ms=least_ms)
    assert found is not None
    return found


def _short_units(given: str) -> str:
    """`5 min` and `1 hour 30 minutes` as the store's durations: 5m, 1h30m."""
    if len(given) > _DURATION_CHARACTERS_MAX:
        return given

    def short(part: re.Match[str]) -> str:
        unit = part[2].lower()
        return part[1] + _UNIT_OF.get(unit, unit)

    return _PART.sub(short, given)


def whole(node: Node, *, what: str, least: int, most: int) -> int:
    """A whole number from `least` to `most`."""
    given = text(node, what=what, example=str(least))
    digits = given.replace("_", "")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _DIGITS_MAX):
        raise node.place.error(f"{what} must be a whole number, and this is {shown(given)}")
    if not least <= int(digits) <= most:
        raise node.place.error(f"{what} must be {least} to {most}, and this is {shown(given)}")
    return int(digits)


def ratio(node: Node, *, what: str) -> float:
    """A number from 0 to 1."""
    given = text(node, what=what, example="0.01")
    if not re.fullmatch(r"[0-9]{0,9}\.?[0-9]{1,18}", given) or float(given) > 1:
        raise node.place.error(f"{what} must be a number from 0 to 1, and this is {shown(given)}")
    return float(given)


def boolean(node: Node, *, what: str) -> bool:
    """`true` or `false`."""
    given = text(node, what=what, example="true or false")
    if given.lower() not in ("true", "false"):
        raise node.place.error(f"{what} must be true or false, and this is {shown(given)}")
    return given.lower() == "true"


def choice(node: Node, *, what: str, choices: tuple[str, ...]) -> str:
    """One of the `choices`."""
    listed = ", ".join(choices)
    given = text(node, what=what, example=f"one of {listed}")
    if given not in choices:
        raise node.place.error(f"{what} must be one of {listed}, and this is {shown(given)}")
    return given


def names(node: Node, *, what: str, example: str) -> tuple[str, ...]:
    """One name of a field, or a list of them, each once."""
    nodes = node.items if isinstance(node, ListNode) else (node,)
    found: list[str] = []
    for each in nodes:
        name = text(each, what=what, example=example)
        if name in found:
            raise each.place.error(f"{what} names {shown(name)} twice")
        found.append(name)
        if len(found) > NAMES_MAX:
            raise node.place.error(f"{what} has more than {NAMES_MAX} names")
    if not found:
        raise node.place.error(f"{what} is empty", f"write {example}")
    return tuple(found)
