"""Functions of numbers. What has no finite result of 64 bits is a RecordError."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from aegis_cli.pipeline.errors import RecordError
from aegis_cli.pipeline.expression.function import Family
from aegis_cli.pipeline.expression.values import checked

family = Family()
_DIGITS_MAX = 15
# From here on floats have no fraction.
_WHOLE_FROM = 2.0**53
# Below this, a product is at most a thousandth away from what it would be exactly.
_SCALED_MAX = 2.0**40


def _computed(name: str, compute: Callable[..., float], *arguments: int | float) -> float:
    try:
        return float(checked(compute(*arguments), name))
    except ValueError:
        raise RecordError(f"{name} has no result for {', '.join(map(repr, arguments))}") from None
    except OverflowError:
        raise RecordError(f"the result of {name} is too large for a number") from None


@family.function("abs(number: number) -> number", ("abs(-3)", "3"))
def absolute(number: Any) -> Any:
    """The number without its sign."""
    kind = type(number)
    return checked(abs(number), "abs") if kind is int or kind is float else family.refuse("abs", number)


@family.function(
    "round(number: number, digits: int?) -> number",
    ("round(2.5)", "3"),
    ("round(-1.005, 2)", "-1.01"),
)
def rounded(number: Any, digits: Any = 0) -> Any:
    """The nearest number of so many decimal digits; halves go away from zero. Without digits it is whole."""
    if type(number) is int and type(digits) is int:
        result: int | float = number
    elif type(number) is float and type(digits) is int:
        result = _round_float(number, digits)
    else:
        return family.refuse("round", number, digits)
    if not 0 <= digits <= _DIGITS_MAX:
        raise RecordError(f"the digits of round are between 0 and {_DIGITS_MAX}")
    return result


def _round_float(number: float, digits: int) -> int | float:
    if digits == 0:
        whole = math.trunc(number)
        # The difference is exact: floats with a fraction are small.
        return checked(whole + (number - whole >= 0.5) - (number - whole <= -0.5), "round")
    if not 0 < digits <= _DIGITS_MAX or abs(number) >= _WHOLE_FROM:
        return number
    scaled = abs(number) * 10.0**digits
    if scaled < _SCALED_MAX and abs(scaled % 1 - 0.5) > 0.001:
        return round(number, digits)
    # Halves are those of the number as it is written: 1.005 is a little less, and still becomes 1.01.
    from decimal import ROUND_HALF_UP, Context, Decimal

    step = Decimal(1).scaleb(-digits)
    return float(Decimal(repr(number)).quantize(step, ROUND_HALF_UP, Context(prec=40)))


@family.function("floor(number: number) -> number", ("floor(-1.5)", "-2"))
def floor(number: Any) -> Any:
    """The greatest whole number that is not above it."""
    kind = type(number)
    return (
        checked(math.floor(number), "floor")
        if kind is float or kind is int
        else family.refuse("floor", number)
    )


@family.function("ceil(number: number) -> number", ("ceil(1.2)", "2"))
def ceil(number: Any) -> Any:
    """The least whole number that is not below it."""
    kind = type(number)
    return (
        checked(math.ceil(number), "ceil") if kind is float or kind is int else family.refuse("ceil", number)
    )


def _are_ordered(values: tuple[Any, ...]) -> bool:
    kinds = set(map(type, values))
    return kinds <= {int, float} or kinds == {str}


@family.function("min(values: ordered...) -> any", ("min(3, 1.5)", "1.5"), ('min("b", "a")', '"a"'))
def least(*values: Any) -> Any:
    """The least of several numbers, or of several texts; of equal ones the first."""
    return min(values) if _are_ordered(values) else family.refuse("min", *values)


@family.function("max(values: ordered...) -> any", ("max(3, 1.5)", "3"))
def greatest(*values: Any) -> Any:
    """The greatest of several numbers, or of several texts; of equal ones the first."""
    return max(values) if _are_ordered(values) else family.refuse("max", *values)


@family.function("sqrt(number: number) -> number", ("sqrt(9)", "3.0"))
def square_root(number: Any) -> Any:
    """The square root, as a float."""
    if type(number) is int or type(number) is float:
        return _computed("sqrt", math.sqrt, number)
    return family.refuse("sqrt", number)


@family.function("pow(base: number, exponent: number) -> number", ("pow(2, 10)", "1024.0"))
def power(base: Any, exponent: Any) -> Any:
    """The base to the power of the exponent, as a float."""
    if (type(base) is int or type(base) is float) and (type(exponent) is int or type(exponent) is float):
        return _computed("pow", math.pow, base, exponent)
    return family.refuse("pow", base, exponent)


@family.function("log(number: number, base: number?) -> number", ("log(1)", "0.0"), ("log(1000, 10)", "3.0"))
def logarithm(number: Any, base: Any = math.e) -> Any:
    """The logarithm to a base, without one the natural logarithm."""
    if not (type(number) is int or type(number) is float) or not (type(base) is int or type(base) is float):
        return family.refuse("log", number, base)
    if base == 10 or base == 2:
        return _computed("log", math.log10 if base == 10 else math.log2, number)
    if base <= 0 or base == 1:
        raise RecordError("the base of log is above 0, and not 1")
    return _computed("log", math.log, number) if base == math.e else _computed("log", math.log, number, base)


@family.function("exp(number: number) -> number", ("exp(0)", "1.0"))
def exponential(number: Any) -> Any:
    """e to the power of the number."""
    if type(number) is int or type(number) is float:
        return _computed("exp", math.exp, number)
    return family.refuse("exp", number)


@family.function("sign(number: number) -> number", ("sign(-0.5)", "-1"))
def sign(number: Any) -> Any:
    """-1, 0 or 1."""
    if type(number) is int or type(number) is float:
        return (number > 0) - (number < 0)
    return family.refuse("sign", number)
