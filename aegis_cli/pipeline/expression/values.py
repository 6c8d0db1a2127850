"""What operators do to values, where the generated code does not do it itself.

Values are those of JSON. Null is what is missing; numbers are whole ones of 64 bits with a sign, or floats
that are finite; a bool is no number. Every function here either returns such a value or raises RecordError.
"""

from __future__ import annotations

from typing import Any, NoReturn

from aegis_cli.pipeline.errors import RecordError

INT_MIN = -(2**63)
INT_MAX = 2**63 - 1
TEXT_MAX = 1_048_576
"""The most characters that a text may have that an expression makes."""
_FLOAT_MAX = 1.7976931348623157e308

KINDS: dict[type, str] = {
    type(None): "null",
    bool: "bool",
    int: "int",
    float: "float",
    str: "text",
    list: "list",
    dict: "object",
}
_ARTICLES = {"null": "null", "int": "a number", "float": "a number", "object": "an object"}

FLOAT_NAME = "a number with a point"
"""What a float is called where only a whole number is taken."""


def kind_name(value: object) -> str:
    """What a value is, as a message says it: 'a text', 'a number', 'null'."""
    kind = KINDS.get(type(value), "value")
    return _ARTICLES.get(kind, f"a {kind}")


def refuse_truth(value: object) -> NoReturn:
    """Say that a condition is neither true nor false."""
    raise RecordError(f"a condition must be true or false, not {kind_name(value)}")


def truth(value: object) -> bool | None:
    """The value of a condition. Raises RecordError for what is neither true, false nor null."""
    if value is True or value is False or value is None:
        return value
    refuse_truth(value)


def _is_number(value: object) -> bool:
    return type(value) is int or type(value) is float


def equal(left: Any, right: Any) -> bool | None:
    """`==`: null if a side is null; false across types, but for the two kinds of numbers."""
    if left is None or right is None:
        return None
    return same(left, right)


def unequal(left: Any, right: Any) -> bool | None:
    """`!=`: null if a side is null."""
    if left is None or right is None:
        return None
    return not same(left, right)


def same(left: Any, right: Any) -> bool:
    """Whether two values are the same, through and through; here null is the same as null."""
    kind = type(left)
    if kind is type(right):
        if kind is not list and kind is not dict:
            return bool(left == right)
    else:
        return _is_number(left) and _is_number(right) and bool(left == right)
    return _same_within([(left, right)])


def _same_within(waiting: list[tuple[Any, Any]]) -> bool:
    # With its own stack instead of calls: values may be nested deeper than calls can be.
    while waiting:
        left, right = waiting.pop()
        kind = type(left)
        if kind is not type(right) or kind not in (list, dict):
            if kind is not type(right) and not (_is_number(left) and _is_number(right)):
                return False
            if left != right:
                return False
        elif len(left) != len(right):
            return False
        elif kind is list:
            waiting.extend(zip(left, right, strict=True))
        else:
            if left.keys() != right.keys():
                return False
            waiting.extend((left[name], right[name]) for name in left)
    return True


def _refuse_order(left: object, right: object) -> Any:
    """Null, where an order with null is asked for; else say why there is no order."""
    if left is None or right is None:
        return None
    a, b = kind_name(left), kind_name(right)
    if a == b:
        raise RecordError(f"cannot order {a} and {b}; numbers and texts have an order")
    raise RecordError(f"cannot compare {a} with {b}")


def _ordered(left: Any, right: Any) -> bool:
    kind, other = type(left), type(right)
    if kind is other:
        return kind is float or kind is int or kind is str
    return (kind is int and other is float) or (kind is float and other is int)


def less(left: Any, right: Any) -> Any:
    """`<`, of two numbers or two texts."""
    return left < right if _ordered(left, right) else _refuse_order(left, right)


def less_equal(left: Any, right: Any) -> Any:
    """`<=`, of two numbers or two texts."""
    return left <= right if _ordered(left, right) else _refuse_order(left, right)


def greater(left: Any, right: Any) -> Any:
    """`>`, of two numbers or two texts."""
    return left > right if _ordered(left, right) else _refuse_order(left, right)


def greater_equal(left: Any, right: Any) -> Any:
    """`>=`, of two numbers or two texts."""
    return left >= right if _ordered(left, right) else _refuse_order(left, right)


def contained(item: Any, container: Any) -> bool | None:
    """`in`: an item of a list, a key of an object, a part of a text.

    As in SQL, an item that is not found in a list that holds null may be that null: the answer is null.
    """
    if item is None or container is None:
        return None
    kind = type(container)
    if kind is list:
        nulls = False
        for other in container:
            if other is None:
                nulls = True
            elif same(item, other):
                return True
        return None if nulls else False
    if kind is not dict and kind is not str:
        raise RecordError(f"nothing is in {kind_name(container)}; 'in' needs a list, an object or a text")
    if type(item) is not str:
        raise RecordError(f"{kind_name(item)} is never in {kind_name(container)}; only a text is")
    return item in container


def not_contained(item: Any, container: Any) -> bool | None:
    """`not in`."""
    found = contained(item, container)
    return None if found is None else not found


def item(of: Any, index: Any) -> Any:
    """`of[index]`: null where there is nothing of that kind."""
    if of is None or index is None:
        return None
    kind = type(index)
    if kind is str:
        return of.get(index) if type(of) is dict else None
    if kind is not int:
        shown = FLOAT_NAME if kind is float else kind_name(index)
        raise RecordError(f"an index is a whole number or a text, not {shown}")
    if type(of) is not list and type(of) is not str:
        return None
    return of[index] if -len(of) <= index < len(of) else None


def checked(result: int | float, what: str) -> int | float:
    """A result that records can hold. Raises RecordError for one that is too large."""
    # The operators below have these tests inside, since a call costs as much as all else that they do.
    if (-_FLOAT_MAX <= result <= _FLOAT_MAX) if type(result) is float else (INT_MIN <= result <= INT_MAX):
        return result
    raise _too_large(what, result)


def _too_large(what: str, result: int | float) -> RecordError:
    too_large = "has more than 64 bits" if type(result) is int else "is too large for a number"
    return RecordError(f"the result of {what} {too_large}")


def bounded(text: str, what: str) -> str:
    """A text of a length that records may have. Raises RecordError for a longer one."""
    if len(text) > TEXT_MAX:
        raise RecordError(f"the result of {what} is longer than {TEXT_MAX} characters")
    return text


def _refuse_arithmetic(operator: str, left: object, right: object) -> Any:
    """Null, where a side is null; else say why the sides cannot be computed with."""
    if left is None or right is None:
        return None
    hint = (
        "; use text(value) to join it to a text"
        if operator == "+" and str in (type(left), type(right))
        else ""
    )
    raise RecordError(f"'{operator}' cannot be used on {kind_name(left)} and {kind_name(right)}{hint}")


def add(left: Any, right: Any) -> Any:
    """`+` of numbers, or of texts."""
    kind, other = type(left), type(right)
    if (kind is int or kind is float) and (other is int or other is float):
        result = left + right
        if (-_FLOAT_MAX <= result <= _FLOAT_MAX) if type(result) is float else (INT_MIN <= result <= INT_MAX):
            return result
        raise _too_large("'+'", result)
    if kind is str and other is str:
        return bounded(left + right, "'+'")
    return _refuse_arithmetic("+", left, right)


def subtract(left: Any, right: Any) -> Any:
    """`-` of numbers."""
    kind, other = type(left), type(right)
    if (kind is int or kind is float) and (other is int or other is float):
        result = left - right
        if (-_FLOAT_MAX <= result <= _FLOAT_MAX) if type(result) is float else (INT_MIN <= result <= INT_MAX):
            return result
        raise _too_large("'-'", result)
    return _refuse_arithmetic("-", left, right)


def multiply(left: Any, right: Any) -> Any:
    """`*` of numbers."""
    kind, other = type(left), type(right)
    if (kind is int or kind is float) and (other is int or other is float):
        result = left * right
        if (-_FLOAT_MAX <= result <= _FLOAT_MAX) if type(result) is float else (INT_MIN <= result <= INT_MAX):
            return result
        raise _too_large("'*'", result)
    return _refuse_arithmetic("*", left, right)


def divide(left: Any, right: Any) -> Any:
    """`/` of numbers, always a float."""
    kind, other = type(left), type(right)
    if (kind is int or kind is float) and (other is int or other is float):
        if right == 0:
            raise RecordError("division by zero")
        result = left / right
        if -_FLOAT_MAX <= result <= _FLOAT_MAX:
            return result
        raise _too_large("'/'", result)
    return _refuse_arithmetic("/", left, right)


def floor_divide(left: Any, right: Any) -> Any:
    """`//` of numbers, rounded down."""
    kind, other = type(left), type(right)
    if (kind is int or kind is float) and (other is int or other is float):
        if right == 0:
            raise RecordError("division by zero")
        result = left // right
        if (-_FLOAT_MAX <= result <= _FLOAT_MAX) if type(result) is float else (INT_MIN <= result <= INT_MAX):
            return result
        raise _too_large("'//'", result)
    return _refuse_arithmetic("//", left, right)


def modulo(left: Any, right: Any) -> Any:
    """`%` of numbers; the result has the sign of the right side."""
    kind, other = type(left), type(right)
    if (kind is int or kind is float) and (other is int or other is float):
        if right == 0:
            raise RecordError("division by zero")
        result = left % right
        if (-_FLOAT_MAX <= result <= _FLOAT_MAX) if type(result) is float else (INT_MIN <= result <= INT_MAX):
            return result
        raise _too_large("'%'", result)
    return _refuse_arithmetic("%", left, right)


def negative(value: Any) -> Any:
    """A minus before a number."""
    if type(value) is int or type(value) is float:
        return checked(-value, "'-'")
    if value is None:
        return None
    raise RecordError(f"'-' cannot be used on {kind_name(value)}")
