"""What operators and functions do at the edges; the usual cases are the examples of the page."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from typing import Any

import pytest

from aegis_cli.pipeline.definition import Text
from aegis_cli.pipeline.errors import RecordError
from aegis_cli.pipeline.expression import FUNCTIONS, Constants, emit, emit_condition, emit_time, parse
from aegis_cli.pipeline.expression.values import TEXT_MAX, same
from tests.pipeline.expression.computing import check_source, compute, holds, names_of, read, run

MAX, MIN = 2**63 - 1, -(2**63)


@pytest.mark.parametrize(
    ("text", "record", "reason"),
    [
        ("a < 5", {"a": "x"}, "cannot compare a text with a number"),
        ('a < "x"', {"a": 5}, "cannot compare a number with a text"),
        ("a < 5", {"a": True}, "cannot compare a bool with a number"),
        ("a < b", {"a": [1], "b": [2]}, "cannot order a list and a list"),
        ("a + b", {"a": 1, "b": "x"}, "'+' cannot be used on a number and a text; use text(value)"),
        ("a * b", {"a": 2, "b": "x"}, "'*' cannot be used on a number and a text"),
        ("a % b", {"a": "%s", "b": "x"}, "'%' cannot be used on a text and a text"),
        ("a + 1", {"a": True}, "'+' cannot be used on a bool and a number"),
        ("-a", {"a": "x"}, "'-' cannot be used on a text"),
        ("a + 1", {"a": MAX}, "the result of '+' has more than 64 bits"),
        ("-a", {"a": MIN}, "more than 64 bits"),
        ("a // b", {"a": MIN, "b": -1}, "more than 64 bits"),
        ("a * b", {"a": MAX, "b": MAX}, "more than 64 bits"),
        ("a * 10", {"a": 1e308}, "too large for a number"),
        ("a / b", {"a": 1e308, "b": 1e-10}, "too large for a number"),
        ("a // b", {"a": 1e308, "b": 1e-10}, "too large for a number"),
        ("a / b", {"a": 1, "b": 0}, "division by zero"),
        ("a // b", {"a": 1, "b": 0.0}, "division by zero"),
        ("a % b", {"a": 1, "b": 0}, "division by zero"),
        ("a[b]", {"a": [1], "b": 0.0}, "an index is a whole number or a text, not a number with a point"),
        ("a[b]", {"a": [1], "b": True}, "an index is a whole number or a text, not a bool"),
        ("substr(a, b)", {"a": "x", "b": 1.0}, "substr needs a whole number, not a number with a point"),
        ("length(a)", {"a": 1.0}, "length needs a text, a list or an object, not a number"),
        ("a and b", {"a": 5}, "a condition must be true or false, not a number"),
        ("not a", {"a": ""}, "a condition must be true or false, not a text"),
        ("1 if a else 2", {"a": 0}, "a condition must be true or false, not a number"),
        ("a in b", {"a": 1, "b": 5}, "nothing is in a number"),
        ("a in b", {"a": 1, "b": "1"}, "a number is never in a text"),
        ("a[b]", {"a": [1], "b": 0.0}, "an index is"),
        ("a[b]", {"a": [1], "b": True}, "an index is"),
        ("lower(a)", {"a": 5}, "lower needs a text, not a number"),
        ("substr(a, 0, -1)", {"a": "x"}, "below zero"),
        ('replace(a, "", "x")', {"a": "x"}, "nothing to look for"),
        ('split(a, "")', {"a": "x"}, "empty"),
        ('join(a, "")', {"a": [1]}, "join needs a list of texts"),
        ('pad_left(a, 5, "")', {"a": "x"}, "nothing to fill with"),
        ("max(a, b)", {"a": 1, "b": "x"}, "max cannot be used on a number and a text"),
        ("max(a, b)", {"a": 1, "b": True}, "max needs numbers, or texts, not a bool"),
        ("sqrt(a)", {"a": -1}, "sqrt has no result for -1"),
        ("log(a)", {"a": 0}, "log has no result for 0"),
        ("log(a, 1)", {"a": 5}, "the base of log"),
        ("exp(a)", {"a": 1000}, "too large"),
        ("pow(a, 0.5)", {"a": -8}, "pow has no result"),
        ("pow(a, a)", {"a": 1e10}, "too large"),
        ("abs(a)", {"a": MIN}, "64 bits"),
        ("floor(a)", {"a": 1e300}, "64 bits"),
        ("round(a)", {"a": 1e300}, "64 bits"),
        ("round(a, 99)", {"a": 1.5}, "digits of round"),
        ("round(a, -1)", {"a": 15}, "digits of round"),
        ("int(a)", {"a": "1.5"}, "'1.5' is no whole number"),
        ("int(a)", {"a": "1_000"}, "no whole number"),
        ("int(a)", {"a": "\u0661"}, "no whole number"),
        ("int(a)", {"a": "9" * 19}, "64 bits"),
        ("int(a)", {"a": 1e300}, "64 bits"),
        ("int(a)", {"a": []}, "int cannot be made of a list"),
        ("float(a)", {"a": "nan"}, "'nan' is no number"),
        ("float(a)", {"a": "1e999"}, "is no number"),
        ("float(a)", {"a": "9" * 5000}, "is no number"),
        ("bool(a)", {"a": "yes"}, "bool cannot be made of 'yes'"),
        ("bool(a)", {"a": 2}, "bool cannot be made of a number"),
        ("int(a)", {"a": "0" * 5000 + "9" * 19}, "64 bits"),
        ("regex_extract(a, 'x', b)", {"a": "x", "b": -1}, "no group -1"),
        ("json_parse(a)", {"a": "{"}, "'{' is no JSON"),
        ("json_parse(a)", {"a": '"\\ud800"'}, "is no JSON"),
        ("json_parse(a)", {"a": "[" * 200 + "]" * 200}, "nested deeper"),
        ("json_parse(a)", {"a": "[" * 100_000}, "is no JSON"),
        ("hash_bucket(a, 0)", {"a": "x"}, "at least one bucket"),
        ("regex_extract(a, 'x', b)", {"a": "x", "b": 3}, "no group 3"),
        ("year(a)", {"a": "yesterday"}, "'yesterday' is no time"),
        ("year(a)", {"a": True}, "is no time"),
    ],
)
def test_what_cannot_be_computed_is_an_error_of_the_record(
    text: str, record: dict[str, Any], reason: str
) -> None:
    with pytest.raises(RecordError) as caught:
        compute(text, **record)
    assert reason in str(caught.value)


def test_what_functions_make_of_texts_is_bounded() -> None:
    long = "x" * 600_000
    for text in (
        "a + a",
        "concat(a, a)",
        'replace(a, "x", "yy")',
        "pad_left(a, 2000000)",
        "pad_right(a, 9223372036854775807)",
        'join([a, a], "")',
        'join(["x", "y", "z"], a)',
        "json_text([a, a])",
        'regex_replace(a, "x", "yyy")',
        r'regex_replace(a, "(.*)", r"\1\1")',
        'regex_replace(a, "", "yyy")',
        f"concat({', '.join(['a'] * 900)})",
        "upper(b)",
        "lower(c)",
    ):
        with pytest.raises(RecordError, match=str(TEXT_MAX)):
            compute(text, a=long, b="\u00df" * 600_000, c="\u0130" * 600_000)
    assert "SS" * 500_000 == compute("upper(a)", a="\u00df" * 500_000)
    assert 2 * TEXT_MAX == len(compute('regex_replace(a, "x", "y")', a="x" + "z" * (2 * TEXT_MAX - 1)))


@pytest.mark.parametrize(
    "text",
    [
        f"regex_replace(a, '(?s)(.*)', r'{chr(92)}1{chr(92)}1')".replace(r"\1\1", r"\1" * 500),
        f"concat({', '.join(['a'] * 500)})",
    ],
)
def test_what_would_be_too_long_is_refused_before_it_is_made(text: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(RecordError, match=str(TEXT_MAX)):
            compute(text, a="x" * TEXT_MAX)
        assert tracemalloc.get_traced_memory()[1] < 50 * TEXT_MAX
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "text",
    [
        '("x" if a == 1 else b) == "x"',
        '(b if a is None else "x") != "y"',
        "coalesce(b, a) == 1",
        "if_null(b, a) < 1",
        'coalesce(b, "x" if a == 1 else b) == "x"',
        "(a == 1) if a is None else true",
        "(a != 1) if not (a is not None) else true",
        "null_if(1, 1) == 1",
    ],
)
def test_null_stays_null_whatever_it_comes_out_of(text: str) -> None:
    assert compute(text, a=None, b=None) is None
    assert not holds(text, a=None, b=None)
    assert not holds(f"not ({text})", a=None, b=None)


def test_an_index_reaches_to_both_ends_and_no_further() -> None:
    items = ["a", "b", "c"]
    found = [compute("a[i]", a=items, i=index) for index in range(-4, 4)]
    assert [None, "a", "b", "c", "a", "b", "c", None] == found
    assert ["a", None, None] == [compute(f"a[{index}]", a="a") for index in (-1, -2, 1)]


def test_a_text_is_padded_only_where_it_is_too_short_and_cut_only_where_it_is() -> None:
    assert "abc" == compute('pad_left(a, 3, "")', a="abc") == compute('pad_right(a, -1, "")', a="abc")
    assert "xyxabc" == compute('pad_left(a, 6, "xy")', a="abc")
    assert "ab" == compute("substr(a, -5, 2)", a="abc") == compute("substr(a, 0, 2)", a="abc")
    assert "" == compute("substr(a, 3)", a="abc") == compute("substr(a, 1, 0)", a="abc")


def test_a_text_may_be_as_long_as_the_limit() -> None:
    for text in (
        "a + a",
        "concat(a, a)",
        "replace(a, 'x', 'xx')",
        "join([a, a], '')",
        f"pad_left(a, {TEXT_MAX})",
    ):
        assert TEXT_MAX == len(compute(text, a="x" * (TEXT_MAX // 2)))


def test_zeros_before_a_whole_number_do_not_count() -> None:
    assert -17 == compute("int(a)", a="-" + "0" * 5000 + "17")
    assert 0 == compute("int(a)", a="0" * 30)


def test_a_pattern_that_others_choke_on_takes_no_time() -> None:
    assert compute('matches(a, "^(a+)+$")', a="a" * 50_000 + "b") is False


@pytest.mark.parametrize("text", ["a == 1", "a == 0", "a in [0, 1]", "a == 1.0", "a in [1, 'x']"])
def test_true_and_false_are_no_numbers(text: str) -> None:
    for value in (True, False):
        assert not holds(text, a=value)
        assert compute(text, a=value) is False
        assert holds(f"not ({text})", a=value)
        assert holds(text.replace("==", "!=").replace(" in ", " not in "), a=value)


def test_numbers_are_equal_whatever_they_are_written_as() -> None:
    assert holds("a == 1", a=1.0)
    assert holds("a in [1, 2]", a=2.0)
    assert holds("a in [1, 2, 3, 4, 5, 6, 7, 8, 9, 'x']", a=2.0)
    assert not holds("a == 9007199254740993", a=9007199254740992.0)
    assert compute("hash_bucket(a, 1000)", a=7) == compute("hash_bucket(a, 1000)", a=7.0)
    one, other = {"b": [1, 2.0], "a": -(2**63)}, {"a": -(2.0**63), "b": [1.0, 2]}
    assert compute("a == b", a=one, b=other) is True
    assert compute("hash_bucket(a, 1000)", a=one) == compute("hash_bucket(a, 1000)", a=other)
    assert compute("hash_bucket(a, 1000)", a=[True]) != compute("hash_bucket(a, 1000)", a=[1])


def test_a_long_list_is_looked_up_and_takes_any_value() -> None:
    text = "a in [1, 2, 3, 4, 5, 6, 7, 8, 'x', 'y']"
    for value, expected in ((1, True), ("x", True), (True, False), ([], False), ({}, False), (9, False)):
        assert expected is compute(text, a=value)
        assert expected is holds(text, a=value)
        assert expected is not holds(text.replace(" in ", " not in "), a=value)
    assert compute(text) is None
    assert not holds(text)
    assert not holds(text.replace(" in ", " not in "))


def test_a_field_is_known_only_where_the_condition_holds() -> None:
    for text in ("1 if a > 5 else a < 3", "(a > 5 and b) or a < 3", "[a > 5 and true, a < 3][1]"):
        assert compute(text, b=True) is None
        assert not holds(text + " == true", b=True)
    assert holds("a > 1 and b > a and a < 3", a=2, b=3)


def test_large_numbers_are_compared_exactly() -> None:
    assert holds("a < 9007199254740993", a=9007199254740992.0)
    assert holds("a < 9223372036854775807.0", a=9223372036854775807)
    assert holds("a <= 9007199254740992.0", a=9007199254740992)
    assert not holds("a <= 9007199254740992.0", a=9007199254740993)
    assert holds("a > 9223372036854775807", a=2**64 - 1)


def test_deep_values_are_compared_without_recursion() -> None:
    deep: Any = 1
    other: Any = 1.0
    for _ in range(20_000):
        deep, other = [deep], [other]
    assert same(deep, other)
    assert not same({"a": [1, {"b": True}]}, {"a": [1, {"b": 1}]})
    assert same({"a": None, "b": 1}, {"b": 1.0, "a": None})


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (0.49999999999999994, 0),
        (0.5, 1),
        (-0.5, -1),
        (1.5, 2),
        (2.5, 3),
        (-2.5, -3),
        (4503599627370497.5, 4503599627370498),
        (9007199254740993.0, 9007199254740992),
    ],
)
def test_halves_are_rounded_away_from_zero(number: float, expected: int) -> None:
    assert repr(expected) == repr(compute("round(a)", a=number))


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        ("a", "1970-06-01", 13_046_400_000),
        ("a", 1_772_366_400, 1_772_366_400_000),
        ("parse_time(a)", "1970-06-01", 13_046_400_000),
        ('date_trunc("month", a)', "1970-06-17", 13_046_400_000),
        ('coalesce(parse_time(b), date_trunc("month", a))', "1970-06-17", 13_046_400_000),
    ],
)
def test_what_is_known_to_be_milliseconds_is_not_taken_for_seconds(
    text: str, value: object, expected: int
) -> None:
    expression, constants = read(text), Constants()
    source = emit_time(expression, names_of(expression), constants)
    check_source(source)
    assert expected == run(source, expression, constants, {"a": value})
    with pytest.raises(RecordError, match="null is no time"):
        run(source, expression, constants, {})


def test_the_middle_of_a_chain_is_computed_once() -> None:
    expression = parse(Text("0 < length(a) + length(b) <= length(c) < 10"), path="p.yaml")
    source = emit(expression, {name: name for name in "abc"}, Constants())
    assert 3 == source.count("k0(")


def test_the_usual_condition_is_a_plain_comparison() -> None:
    source = emit_condition(parse(Text('type == "purchase"'), path="p"), {"type": "r.f0"}, Constants())
    assert "(r.f0 == 'purchase')" == source


def test_the_fields_of_an_expression_are_the_top_level_names_that_it_reads() -> None:
    expression = parse(Text('a.b == lower(c) or field("d e")[x] in [true, get(y, "z")]'), path="p.yaml")
    assert frozenset({"a", "c", "d e", "x", "y"}) == expression.fields


def test_equal_constants_have_one_name_and_different_ones_two() -> None:
    constants, one, two = Constants(), [1], [1]
    assert ["k0", "k1", "k0"] == [constants.name_of(value) for value in (one, two, one)]
    assert {"k0": one, "k1": two} == constants.namespace


@pytest.mark.parametrize("name", sorted(set(FUNCTIONS) - {"get"}))
def test_a_function_takes_any_value_or_refuses_the_record(name: str) -> None:
    """No argument of any kind makes a function fail in another way, or return what records cannot hold."""
    function = FUNCTIONS[name]
    written = {"pattern": '"(a)|b"', "replacement": '"x"', "unit": '"week"'}
    nasty = [
        None,
        True,
        0,
        -1,
        MAX,
        2**64 - 1,
        1e308,
        -0.5,
        "",
        "a",
        "1",
        "\U0001f600",
        [],
        [None],
        ["a"],
        {},
        {"a": 1},
    ]
    names = [parameter.name if parameter.prepare is None else None for parameter in function.parameters]
    if name == "format_time":
        names = names[:1]
    call = ", ".join(
        f"a{position}" if free else written[function.parameters[position].name]
        for position, free in enumerate(names)
    )
    for value in nasty:
        for other in nasty:
            record = {f"a{position}": value if position == 0 else other for position in range(len(names))}
            try:
                result = compute(f"json_text([{name}({call})])", **record)
            except RecordError as error:
                assert "\n" not in str(error)
            else:
                assert "Infinity" not in result
                assert "NaN" not in result


def test_patterns_load_their_library_only_when_there_are_some() -> None:
    program = (
        "import sys\n"
        "from aegis_cli.pipeline.definition import Text\n"
        "from aegis_cli.pipeline.expression import parse\n"
        "parse(Text('a == 1'), path='p')\n"
        "assert 're2' not in sys.modules and 'hashlib' not in sys.modules\n"
        "parse(Text('matches(a, \"x\")'), path='p')\n"
        "assert 're2' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
