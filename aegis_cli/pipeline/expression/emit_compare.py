"""Source of comparisons. What is usual, a field and a written value, becomes a plain comparison of Python.

That is exact only where Python means the same: True is 1 to Python and is not here, and an order of different
kinds is an error of the record here. The forms below take care of both, in the place where they differ.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aegis_cli.pipeline.expression import values
from aegis_cli.pipeline.expression.emitted import Emitted, Forms
from aegis_cli.pipeline.expression.tree import ListOf, Literal, Scalar

NEGATED = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
_FLIPPED = {"==": "==", "!=": "!=", "<": ">", ">": "<", "<=": ">=", ">=": "<="}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "==": values.equal,
    "!=": values.unequal,
    "<": values.less,
    "<=": values.less_equal,
    ">": values.greater,
    ">=": values.greater_equal,
}
# Up to this many written values are compared one by one, which is quicker than a look-up.
_TUPLE_MAX = 8
_SCALARS = frozenset({int, float, str})


def comparison(operator: str, left: Emitted, right: Emitted, forms: Forms, *, wants_true: bool) -> str:
    """Source that is true, false or null; with `wants_true` it is truthy exactly when that is true."""
    if left.literal is not None and right.literal is None:
        left, right, operator = right, left, _FLIPPED[operator]
    literal = right.literal
    if literal is None or left.literal is not None:
        return forms.call(_FUNCTIONS[operator], left.source, right.source)
    if operator in ("==", "!="):
        return _equality(operator, left, literal.value, forms, wants_true=wants_true)
    return _order(operator, left, right, literal.value, forms)


def _order(operator: str, left: Emitted, right: Emitted, value: Scalar, forms: Forms) -> str:
    is_number = type(value) is int or type(value) is float
    if not is_number and type(value) is not str:
        return forms.call(_FUNCTIONS[operator], left.source, right.source)
    if left.is_number if is_number else left.kind == "text":
        if not left.nullable:
            return f"({left.source} {operator} {right.source})"
        once = forms.once(left)
        return f"({once.again} {operator} {right.source} if {once.first} is not None else None)"
    if left.kind != "any":
        return forms.call(_FUNCTIONS[operator], left.source, right.source)
    once = forms.once(left)
    slow = forms.call(_FUNCTIONS[operator], once.again, right.source)
    if type(value) is str:
        return f"({once.again} {operator} {right.source} if type({once.bare}) is str else {slow})"
    # Python compares numbers of one kind several times as fast as an int with a float.
    whole, point = _both_kinds(value)
    return (
        f"({once.again} {operator} {whole} if type({once.bare}) is int"
        f" else {once.again} {operator} {point} if type({once.again}) is float else {slow})"
    )


def _both_kinds(value: Scalar) -> tuple[str, str]:
    """A number written as an int and as a float, where both are exactly that number."""
    whole, point = value, value
    if type(value) is float and value.is_integer():
        whole = int(value)
    elif type(value) is int and -(2**53) <= value <= 2**53:
        point = float(value)
    return repr(whole), repr(point)


def certain(operator: str, left: Emitted, right: Emitted) -> tuple[str, Emitted] | None:
    """What is known of the simple side of a comparison that turned out to be true: source, and what it is."""
    if left.literal is not None:
        left, right, operator = right, left, _FLIPPED[operator]
    if not left.simple or left.literal is not None:
        return None
    kind = right.kind if right.literal is not None or operator not in ("==", "!=") else "any"
    if operator == "!=" or kind not in ("number", "text"):
        kind = left.kind
    return left.source, Emitted(left.source, kind, nullable=False, simple=True)


def _equality(operator: str, left: Emitted, value: Scalar, forms: Forms, *, wants_true: bool) -> str:
    once = forms.once(left)
    first, again = once.first, once.again

    def test(x: str) -> str:
        if type(value) is bool:
            return f"{x} {'is' if operator == '==' else 'is not'} {value}"
        if type(value) is not str and value in (0, 1) and not left.is_number:
            alike = bool(value)
            return (
                f"{x} == {value!r} and {again} is not {alike}"
                if operator == "=="
                else (f"({x} != {value!r} or {again} is {alike})")
            )
        return f"{x} {operator} {value!r}"

    if not left.nullable or (wants_true and operator == "=="):
        return f"({test(first)})"
    if wants_true:
        return f"({first} is not None and {test(again)})"
    return f"({test(again)} if {first} is not None else None)"


def membership(
    item: Emitted, container: Emitted, node: object, forms: Forms, *, negated: bool, wants_true: bool
) -> str:
    """Source of `in` and `not in`, of the same two kinds as `comparison`."""
    written = _written(node)
    if written is None or item.literal is not None:
        function = values.not_contained if negated else values.contained
        return forms.call(function, item.source, container.source)
    once = forms.once(item)
    if wants_true and not negated:
        # Null is in no list that is written out, so that this needs no look at it.
        return _among(written, once.bare, once.first, item, once.again, forms)
    found = _among(written, once.again, once.again, item, once.again, forms)
    core = f"not {found}" if negated else found
    if wants_true:
        return f"({once.first} is not None and {core})"
    return f"({core} if {once.first} is not None else None)"


def _among(written: list[Scalar], bare: str, first: str, item: Emitted, again: str, forms: Forms) -> str:
    if len(written) > _TUPLE_MAX:
        kinds, members = forms.constants.name_of(_SCALARS), forms.constants.name_of(frozenset(written))
        return f"(type({bare}) in {kinds} and {again} in {members})"
    members = repr(tuple(written))
    if item.is_number or not any(type(value) is not str and value in (0, 1) for value in written):
        return f"({first} in {members})"
    return f"({first} in {members} and {again} is not True and {again} is not False)"


def _written(node: object) -> list[Scalar] | None:
    """The values of a list that is written out, if Python tells them apart as expressions do."""
    if not isinstance(node, ListOf):
        return None
    written: list[Scalar] = []
    for item in node.items:
        if not isinstance(item, Literal) or type(item.value) not in _SCALARS:
            return None
        written.append(item.value)
    return written
