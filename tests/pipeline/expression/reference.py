"""Expressions computed a second time, straight from what the documentation says about them.

A tree is made of tuples whose first item says what it is (see `trees`). Nothing here is shared with the code
that it judges, and nothing is quick.
"""

from __future__ import annotations

import math
from typing import Any

Tree = tuple[Any, ...]


class Refused(Exception):
    """The record cannot be processed."""


def kind(value: Any) -> str:
    if value is None:
        return "null"
    for type_, name in ((bool, "bool"), (int, "int"), (float, "float"), (str, "text"), (list, "list")):
        if isinstance(value, type_):
            return name
    assert isinstance(value, dict)
    return "object"


def numeric(value: Any) -> bool:
    return kind(value) in ("int", "float")


def same(a: Any, b: Any) -> bool:
    if numeric(a) and numeric(b):
        return bool(a == b)
    if kind(a) != kind(b):
        return False
    if kind(a) == "list":
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if kind(a) == "object":
        return set(a) == set(b) and all(same(a[name], b[name]) for name in a)
    return bool(a == b)


def compared(operator: str, a: Any, b: Any) -> bool | None:
    if a is None or b is None:
        return None
    if operator == "==":
        return same(a, b)
    if operator == "!=":
        return not same(a, b)
    if not (numeric(a) and numeric(b)) and not (kind(a) == kind(b) == "text"):
        raise Refused
    return {"<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b}[operator]


def fits(result: Any) -> Any:
    if kind(result) == "int" and not -(2**63) <= result < 2**63:
        raise Refused
    if kind(result) == "float" and not math.isfinite(result):
        raise Refused
    return result


def computed(operator: str, a: Any, b: Any) -> Any:
    if a is None or b is None:
        return None
    if operator == "+" and kind(a) == kind(b) == "text":
        return a + b
    if not numeric(a) or not numeric(b) or (operator in ("/", "//", "%") and b == 0):
        raise Refused
    if operator == "+":
        return fits(a + b)
    if operator == "-":
        return fits(a - b)
    if operator == "*":
        return fits(a * b)
    if operator == "/":
        return fits(a / b)
    return fits(a // b if operator == "//" else a % b)


def inside(item: Any, container: Any) -> bool | None:
    if item is None or container is None:
        return None
    if kind(container) == "list":
        answers = [compared("==", item, other) for other in container]
        return True if True in answers else None if None in answers else False
    if kind(container) not in ("object", "text") or kind(item) != "text":
        raise Refused
    return item in container


def indexed(of: Any, index: Any) -> Any:
    if of is None or index is None:
        return None
    if kind(index) == "text":
        return of.get(index) if kind(of) == "object" else None
    if kind(index) != "int":
        raise Refused
    if kind(of) not in ("list", "text") or not -len(of) <= index < len(of):
        return None
    return of[index]


def needs(values: list[Any], *kinds: str) -> bool:
    """Whether all are of their kinds; False if one is null."""
    if None in [value if value is None else 0 for value in values]:
        return False
    for value, wanted in zip(values, kinds, strict=True):
        if kind(value) not in wanted.split("|"):
            raise Refused
    return True


def called(name: str, values: list[Any]) -> Any:
    number = "int|float"
    match name:
        case "null_if":
            return None if values[0] is None or compared("==", *values) else values[0]
        case "type_of":
            return kind(values[0])
        case "lower":
            return values[0].lower() if needs(values, "text") else None
        case "length":
            return len(values[0]) if needs(values, "text|list|object") else None
        case "starts_with":
            return values[0].startswith(values[1]) if needs(values, "text", "text") else None
        case "contains":
            return values[0].count(values[1]) > 0 if needs(values, "text", "text") else None
        case "concat":
            return "".join(values) if needs(values, *["text"] * len(values)) else None
        case "has":
            return values[1] in list(values[0]) if needs(values, "object", "text") else None
        case "keys":
            return list(values[0].keys()) if needs(values, "object") else None
        case "abs":
            return fits(-values[0] if values[0] < 0 else abs(values[0])) if needs(values, number) else None
        case "sign":
            return (1 if values[0] > 0 else -1 if values[0] < 0 else 0) if needs(values, number) else None
        case "floor":
            return fits(math.floor(values[0])) if needs(values, number) else None
        case "max":
            if not needs(values, *[f"{number}|text"] * len(values)):
                return None
            if len({numeric(value) for value in values}) > 1:
                raise Refused
            return max(values)
    raise AssertionError(name)


def truth(value: Any) -> bool | None:
    if value is None or value is True or value is False:
        return value
    raise Refused


def logic(tree: Tree, record: dict[str, Any]) -> bool | None:
    decides = tree[0] == "or"
    null = False
    for item in tree[1]:
        found = truth(value(item, record))
        if found is decides:
            return decides
        null = null or found is None
    return None if null else not decides


def chain(tree: Tree, record: dict[str, Any]) -> bool | None:
    """`a < b < c`, as `a < b and b < c`."""
    _, operators, operands = tree
    left = value(operands[0], record)
    null = False
    for operator, operand in zip(operators, operands[1:], strict=True):
        right = value(operand, record)
        found = compared(operator, left, right)
        if found is False:
            return False
        null = null or found is None
        left = right
    return None if null else True


def value(tree: Tree, record: dict[str, Any]) -> Any:
    match tree[0]:
        case "literal":
            return tree[1]
        case "name":
            return record.get(tree[1])
        case "item":
            return indexed(value(tree[1], record), value(tree[2], record))
        case "list":
            return [value(item, record) for item in tree[1]]
        case "compare":
            return chain(tree, record)
        case "in":
            found = inside(value(tree[2], record), value(tree[3], record))
            return found if found is None or not tree[1] else not found
        case "is null":
            return (value(tree[2], record) is None) is not tree[1]
        case "and" | "or":
            return logic(tree, record)
        case "not":
            found = truth(value(tree[1], record))
            return None if found is None else not found
        case "if":
            return value(tree[1] if is_(True, tree[2], record) else tree[3], record)
        case "arithmetic":
            return computed(tree[1], value(tree[2], record), value(tree[3], record))
        case "negative":
            of = value(tree[1], record)
            return None if of is None else computed("-", 0, of) if kind(of) == "int" else negated(of)
        case "call" if tree[1] in ("coalesce", "if_null"):
            for argument in tree[2]:
                found = value(argument, record)
                if found is not None:
                    return found
            return None
        case "call":
            return called(tree[1], [value(argument, record) for argument in tree[2]])
    raise AssertionError(tree)


def negated(of: Any) -> float:
    if kind(of) != "float":
        raise Refused
    return -float(of)


def is_(wanted: bool, tree: Tree, record: dict[str, Any]) -> bool:
    """Whether a condition is true (or false). It stops at the first operand that says no to that."""
    match tree[0]:
        case "and" | "or":
            every = (tree[0] == "and") is wanted
            return (all if every else any)(is_(wanted, item, record) for item in tree[1])
        case "not":
            return is_(not wanted, tree[1], record)
        case "if":
            return is_(wanted, tree[1] if is_(True, tree[2], record) else tree[3], record)
        case "compare" if len(tree[1]) > 1:
            return chain_is(wanted, tree, record)
        case _:
            return truth(value(tree, record)) is wanted


def chain_is(wanted: bool, tree: Tree, record: dict[str, Any]) -> bool:
    _, operators, operands = tree
    left = value(operands[0], record)
    for operator, operand in zip(operators, operands[1:], strict=True):
        right = value(operand, record)
        found = compared(operator, left, right)
        if (found is not True) if wanted else (found is False):
            return not wanted
        left = right
    return wanted
