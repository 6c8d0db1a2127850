"""Mistakes in expressions: each is found before the first record, at its place, often with a hint."""

from __future__ import annotations

import time

import pytest

from aegis_cli.pipeline.definition import Text
from aegis_cli.pipeline.errors import ExpressionError
from aegis_cli.pipeline.expression import Constants, emit, emit_condition, parse

NAMES = {name: f"r.{name}" for name in ("type", "total", "customer_id", "a", "b")}


def mistake(text: str, *, condition: bool = False) -> ExpressionError:
    with pytest.raises(ExpressionError) as caught:
        expression = parse(Text(text, 7, 11), path="p.yaml")
        (emit_condition if condition else emit)(expression, NAMES, Constants())
    return caught.value


@pytest.mark.parametrize(
    ("text", "place", "reason", "hint"),
    [
        ('type = "x"', 5, "'='", "write '=='"),
        ("a && b", 2, "'&&'", "write 'and'"),
        ("a || b", 2, "'||'", "write 'or'"),
        ("!a", 0, "'!'", "write 'not'"),
        ("a <> b", 2, "'<>'", "write '!='"),
        ("a === b", 2, "'==='", "write '=='"),
        ("a ** b", 2, "'**'", "pow(a, b)"),
        ("a ? b : 1", 2, "'?'", "a if test else b"),
        ("(a := b)", 3, "':='", ""),
        ("a[1:2]", 3, "':'", "substr"),
        ("{}", 0, "'{'", "map"),
        ("a # b", 2, "'#'", "outside"),
        ("a; b", 1, "';'", ""),
        ("a AND b", 2, "'AND'", "write 'and'"),
        ("a Or b", 2, "'Or'", "write 'or'"),
        ("NOT a", 0, "'NOT'", "write 'not'"),
        ("a between 1 and 2", 2, "'between'", "low <= value <= high"),
        ('type like "x%"', 5, "'like'", "starts_with"),
        ("a IS NULL", 2, "'IS'", "is None"),
        ("a isnull", 2, "'isnull'", "is None"),
        ("CASE WHEN a THEN b END", 5, "'WHEN'", "a if test else b"),
        ("a nd b", 2, "an operator is missing", "did you mean 'and'?"),
        ("a b", 2, "an operator is missing", ""),
        ("1 2", 2, "an operator is missing", ""),
        ('"a" "b"', 4, "an operator is missing", ""),
        (f'get(type, "{".a" * 41}")'.replace('".a', '"a', 1), 10, "between 1 and 40 steps", ""),
        ("str(a)", 0, "no function 'str'", "write text(value)"),
        ("NVL(a, 1)", 0, "no function 'NVL'", "write coalesce(values, ...)"),
        (
            "round(a, 2.0)",
            9,
            "round needs a whole number, not a number with a point",
            "round(number, digits?)",
        ),
        ("a == null", 5, "never true", "is None"),
        ("None != a", 0, "never true", "is None"),
        ("a in [1, null]", 9, "never true", "is None"),
        ("a is 5", 5, "'is' is for None", "write '=='"),
        ('a in "abc"', 5, "nothing is in a single value", "contains"),
        ('"abc', 0, "no counterpart", "quote"),
        ("it's", 2, "no counterpart", "quote"),
        ("\u201cx\u201d", 0, "cannot be used", "straight quotes"),
        ('f"{a}"', 0, "cannot begin with 'f'", ""),
        ('b"a"', 0, "cannot begin with 'b'", ""),
        ('"""a"""', 0, "triple quotes", ""),
        (r'matches(type, "\d")', 15, r"'\d'", 'r"\\d"'),
        ('matches(type, "a(")', 14, "pattern", ""),
        (r'matches(type, r"a\C")', 14, r"\C would cut characters apart; write '.'", ""),
        (r'matches(type, r"\Q\C\E\\\C")', 14, r"\C would cut characters apart", ""),
        (f'regex_extract(type, "{"(a)" * 41}")', 20, "has 41 groups, and 40 are allowed", ""),
        ("matches(type, a)", 14, "must be written out", ""),
        ('regex_extract(type, "a", 1)', 25, "no group 1", ""),
        ('regex_replace(type, "a", "\\\\1")', 25, "no group 1", ""),
        ('date_trunc("dy", a)', 11, "a unit is one of", ""),
        ('format_time(a, "%Q")', 15, "'%Q'", ""),
        ('get(a, "b[")', 7, "from '['", ""),
        ("get(a, b)", 7, "written out", ""),
        ("field(a)", 0, "one name in quotes", ""),
        ("from == 1", 0, "'from'", 'field("from")'),
        ("a.class", 2, "'class'", 'a["class"]'),
        ("lambda: 1", 0, "'lambda'", ""),
        ("[a for a in b]", 3, "'for'", ""),
        ("await a", 0, "'await'", ""),
        ("lower(*a)", 6, "'*'", ""),
        ("lower(text=a)", 10, "'='", ""),
        ("a, b", 0, "values in a row", "square brackets"),
        ("a.lower()", 0, "only functions", "lower(value, ...)"),
        ("a[0](1)", 0, "only functions", ""),
        ("lenght(a)", 0, "no function 'lenght'", "did you mean 'length'?"),
        ("now()", 0, "no function 'now'", "same result"),
        ("sum(a)", 0, "no function 'sum'", "aggregate"),
        ("lower()", 0, "0 arguments", "lower(text)"),
        ("lower(a, b)", 0, "2 arguments", "lower(text)"),
        ("lower(5)", 6, "lower needs a text, not a number", ""),
        ("~a", 0, "'~'", "write 'not'"),
        ("+a", 0, "a plus", ""),
        ("a + ", 2, "ends after '+'", ""),
        ("(a", 0, "never closed", ""),
        ("a)", 1, "closes nothing", ""),
        ("(a]", 2, "closes nothing", ""),
        ("a ==== b", 2, "'==='", ""),
        ("a == == b", 5, "cannot stand here", ""),
        ("()", 0, "", ""),
        ("", 0, "missing", ""),
        ("  \n ", 0, "missing", ""),
        ("9223372036854775808", 0, "64 bits", ""),
        ("1e999", 0, "too large", ""),
        ("1j", 0, "runs into a name", ""),
        ("0777", 0, "", ""),
        ("1abc", 0, "runs into a name", ""),
        ("\ufb01eld", 0, "two spellings", 'field("\ufb01eld")'),
        ('"\\ud800"', 0, "surrogate", ""),
        ("a.b[True]", 4, "an index", ""),
        ("\x00", 0, "\\u0000", ""),
        ("...", 2, "ends after", ""),
    ],
)
def test_a_mistake_is_named_at_its_place(text: str, place: int, reason: str, hint: str) -> None:
    error = mistake(text)
    assert reason in error.reason
    assert hint in error.hint
    assert (7, 11 + place) == (error.line, error.column)
    assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("text", "name", "hint"),
    [
        ("typ == 1", "typ", "did you mean 'type'?"),
        ("customer == 1", "customer", "did you mean 'customer_id'?"),
        ("NULL", "NULL", "write null"),
        ("lower", "lower", "lower(text)"),
        ("zzz", "zzz", "here are: a, b, customer_id, total, type"),
    ],
)
def test_an_unknown_field_is_named_with_what_may_be_meant(text: str, name: str, hint: str) -> None:
    error = mistake(text)
    assert f"unknown field '{name}'" == error.reason
    assert hint in error.hint


def test_a_mistake_on_a_later_line_is_found_there() -> None:
    error = mistake("a ==\n1 and\n  unknown")
    assert (9, 13) == (error.line, error.column)


def test_columns_count_characters_and_not_bytes() -> None:
    error = mistake('"\u00e9\U0001f600" == unknown')
    assert (7, 11 + 8) == (error.line, error.column)


@pytest.mark.parametrize(
    "text", ["5", '"x"', "lower(type)", "[a]", "a + 1", 'parse_time("2026-03-01")', "keys(a)"]
)
def test_what_is_neither_true_nor_false_is_refused_as_a_condition(text: str) -> None:
    assert "a condition must be true or false" in mistake(text, condition=True).reason


LIMITS = {
    "an open bracket": "(" * 4096,
    "a square bracket": "[" * 4096,
    "pairs of brackets": "(" * 2000 + ")" * 2000,
    "minus": "-" * 4095 + "1",
    "minus and brackets": "-(" * 1000 + "1" + ")" * 1000,
    "not": "not " * 1000 + "a",
    "chains of calls": "a" + "[0]" * 1000,
    "fields": "a" + ".b" * 1500,
    "if": "a if b else " * 300 + "a",
    "sums": "1" + "+1" * 1500,
    "and": " and ".join(["a"] * 1100),
    "comparisons": "<".join(["lower(a)"] * 60),
    "paths": 'get(get(a, "' + "b." * 30 + 'b"), "' + "b." * 30 + 'b")',
    "a long text": '"' + "x" * 4095 + '"',
    "digits": "9" * 4000,
    "digits before a name": "9" * 4000 + "x",
    "a long name": "x" * 4097,
    "backslashes": '"' + "\\" * 3001 + '"',
    "a large pattern": 'matches(a, "((((a{100}){100}){100}){100})")',
}


@pytest.mark.parametrize("text", LIMITS.values(), ids=LIMITS.keys())
def test_what_is_too_much_is_refused_in_no_time(text: str) -> None:
    begin = time.thread_time()
    mistake(text)
    assert time.thread_time() - begin < 1.0


@pytest.mark.parametrize("opening", ["(", "[", "a(", "a[", "a.b(", "-(", "not (", "a if (", "(a,", "a < ("])
@pytest.mark.parametrize("tail", ["a a", "a +", "* a", "a if", "a,,", "a not b"])
def test_nesting_with_a_mistake_inside_takes_no_time(opening: str, tail: str) -> None:
    closing = "".join({"(": ")", "[": "]"}.get(sign, "") for sign in reversed(opening * 49))
    begin = time.thread_time()
    for text in (opening * 49 + tail, opening * 49 + tail + closing, opening * 24 + tail + closing[25:]):
        mistake(text)
    assert time.thread_time() - begin < 1.0


DEEPEST = [
    ("", ".x"),
    ("", "[0]"),
    ("lower(", ")"),
    ("year(", ")"),
    ("coalesce(b, ", ")"),
    ("coalesce(", ", b)"),
    ("(", ") == 1"),
    ("(", ") < 5"),
    ("b and (", ")"),
    ("(", ") or b"),
    ("b if (", ") else b"),
    ("(", ") if b else b"),
    ("[", "]"),
    ("(", ") in [1, 2]"),
    ("1 < (", ") + 1 < 5"),
    ("not (b and (", ").x)"),
    ("(coalesce(b, (", ")).x or b)"),
]


@pytest.mark.parametrize(("before", "behind"), DEEPEST)
def test_the_deepest_expression_that_is_taken_can_be_compiled(before: str, behind: str) -> None:
    deepest = 0
    for depth in range(1, 60):
        try:
            expression = parse(Text(before * depth + "a" + behind * depth), path="p.yaml")
        except ExpressionError:
            continue
        deepest = depth
        source = emit(expression, NAMES, Constants())
        # The engine puts it into loops and conditions of its own.
        compile(f"def f():\n for r in r:\n  if a:\n   b = (({source}))\n", "generated", "exec")
    assert deepest >= 15
