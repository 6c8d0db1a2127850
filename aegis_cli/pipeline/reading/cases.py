"""`tests` of a pipeline file: what is given and what is expected, as JSON-like values.

Plain texts mean what YAML 1.2 has them mean (null, true, 1, 1.5), quoted ones are text.
"""

from __future__ import annotations

import math
import re
from typing import Any

from aegis_cli.pipeline.definition import Case
from aegis_cli.pipeline.document import ListNode, MappingNode, Node, ScalarNode
from aegis_cli.pipeline.errors import RecordError
from aegis_cli.pipeline.event_time import event_time_ms
from aegis_cli.pipeline.place import shown
from aegis_cli.pipeline.reading import scalars
from aegis_cli.pipeline.reading.keys import Keys, entries, items, wrong_kind

EXAMPLE = "tests: [{name: NAME, given: {orders: [{id: 1}]}, expect: {metrics: [{id: 1}]}}]"
# What a given message consists of that has a key; the last may be left out.
KEYED = ("$key", "$value", "$time")
_KEYED_EXAMPLE = "{$key: 1, $value: null}"
_KEYS = ("name", "given", "expect", "crash_after", "flush")
_CONSTANTS: dict[str, object] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NO_JSON = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_BASES = {"0x": 16, "0o": 8}
# Longer numbers do not fit in 64 bits, whatever their digits are.
_DIGITS_MAX = 40
_RECORDS_MAX = 1_000_000


def cases(node: Node) -> tuple[Case, ...]:
    """The tests; raises PipelineFileError."""
    found: list[Case] = []
    for each in items(node, what="'tests'", example=EXAMPLE):
        case = _case(each)
        if case.name in (other.name for other in found):
            raise each.place.error(
                f"there are two tests of the name {shown(case.name)}", "rename one of them"
            )
        found.append(case)
    return tuple(found)


def _case(node: Node) -> Case:
    keys = Keys(node, what="a test", known=_KEYS, example=EXAMPLE)
    crash_after, flush = keys.get("crash_after"), keys.get("flush")
    return Case(
        name=scalars.text(keys.need("name"), what="'name' of a test", example=EXAMPLE),
        given={
            key.text: _records(value)
            for key, value in entries(
                keys.need("given"), what="'given'", example="given: {orders: [{id: 1}]}"
            )
        },
        expect={
            key.text: _expected(value)
            for key, value in entries(keys.need("expect"), what="'expect'", example="expect: {metrics: 3}")
        },
        crash_after=(
            scalars.whole(crash_after, what="'crash_after'", least=1, most=_RECORDS_MAX)
            if crash_after
            else None
        ),
        flush=scalars.boolean(flush, what="'flush'") if flush else True,
        line=node.place.line,
    )


def _records(node: Node) -> list[Any]:
    if not isinstance(node, ListNode):
        raise wrong_kind(node, "what is given to a topic must be a list of records", "[{id: 1}, {id: 2}]")
    return [_given(each) for each in node.items]


def _given(node: Node) -> Any:
    """A record, or a message with its key, and with its time."""
    found = value(node)
    if not is_keyed(found):
        return found
    if not found.keys() <= set(KEYED) or KEYED[1] not in found:
        raise node.place.error(
            f"a message with a key has {', '.join(KEYED[:2])} and, perhaps, {KEYED[2]}", _KEYED_EXAMPLE
        )
    if isinstance(found[KEYED[0]], bool) or not isinstance(found[KEYED[0]], str | int | float):
        raise node.place.error("a message's key must be a text or a number", _KEYED_EXAMPLE)
    if KEYED[2] in found:
        try:
            event_time_ms(found[KEYED[2]])
        except RecordError as error:
            raise node.place.error(f"{KEYED[2]}: {error}", _KEYED_EXAMPLE) from None
    return found


def is_keyed(record: Any) -> bool:
    """Whether a given record says what its message's key is."""
    return isinstance(record, dict) and KEYED[0] in record


def _expected(node: Node) -> list[Any] | int:
    if isinstance(node, ScalarNode) and node.text:
        return scalars.whole(node, what="what is expected of a topic", least=0, most=_RECORDS_MAX)
    if not isinstance(node, ListNode):
        raise wrong_kind(
            node, "what is expected of a topic must be a list of records or a number", "[{id: 1}]"
        )
    return [value(each) for each in node.items]


def value(node: Node) -> Any:
    """The JSON-like value of a node; its depth is that of a document. Raises PipelineFileError."""
    if isinstance(node, ListNode):
        return [value(each) for each in node.items]
    if isinstance(node, MappingNode):
        return {key.text: value(each) for key, each in node.entries}
    return _scalar(node) if node.plain else node.text


def _scalar(node: ScalarNode) -> Any:
    text = node.text
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.fullmatch(text):
        number = int(text, _BASES.get(text[:2], 10)) if len(text) <= _DIGITS_MAX else 1 << 64
        if not -(1 << 63) <= number < 1 << 63:
            raise node.place.error(f"{shown(text)} does not fit in 64 bits", "quote it if it is a text")
        return number
    is_float = _FLOAT.fullmatch(text) is not None
    if _NO_JSON.fullmatch(text) or (is_float and not math.isfinite(float(text))):
        raise node.place.error(f"{shown(text)} is no number that JSON has", "quote it if it is a text")
    return float(text) if is_float else text
