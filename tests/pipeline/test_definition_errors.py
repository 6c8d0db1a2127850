"""What is wrong with a pipeline file is named with its place and with what to do."""

from __future__ import annotations

import pytest

from aegis_cli.pipeline.errors import PipelineFileError
from aegis_cli.pipeline.program import Program
from aegis_cli.pipeline.reading import loads
from tests.pipeline.refusals import ENDS, TIMED, refused

CASE = f"{ENDS}tests:\n"
NEXT = "\n  - "
TABLE = f"{ENDS}tables: {{c: {{topic: cs, key: id}}}}\n"
AS_OF = f"{ENDS}tables: {{c: {{topic: cs, key: id, as_of: at}}}}\n"
CLOCK = "time: {processing: true}\n"


# The file, line and column, a part of the reason, a part of the hint.
TOP = [
    ("source: in", 1, 1, "the pipeline has no 'sink'", "sink: purchase-metrics"),
    ("sink: out", 1, 1, "the pipeline has no 'source'", "source: orders"),
    (f"{ENDS}fliter: a", 3, 1, "no key 'fliter'", "did you mean 'filter'?"),
    (f"{ENDS}on: a", 3, 1, "no key 'on'", ""),
    (f"{ENDS}filter: a\nfilter: b", 4, 1, "'filter' stands here twice", "remove one"),
    (f"{ENDS}name: a b", 3, 7, "cannot be a pipeline's name", "letters"),
    (f"{ENDS}name:", 3, 6, "'name' must be a text, and this is nothing", "write name:"),
    (f"{ENDS}description: [a]", 3, 14, "must be a text, and this is a list", ""),
    ("- a", 1, 1, "the pipeline must be a mapping, and this is a list", "source: orders"),
    ("{}", 1, 1, "the pipeline is empty", "source: orders"),
    (f"{ENDS}limits: {{groups: many}}", 3, 18, "'groups' must be a whole number", ""),
    (f"{ENDS}limits: {{groups: 0}}", 3, 18, "'groups' must be 1 to", ""),
    (f"{ENDS}commit_interval: 2h", 3, 18, "at most 1h", ""),
    (f"{ENDS}commit_interval: 0", 3, 18, "longer than '0'", ""),
    (f"{ENDS}on_error: ignore", 3, 11, "one of stop, drop", ""),
    (f"{ENDS}on_error: {{max_ratio: 0.1}}", 3, 11, "'on_error' has no 'to'", "on_error: {to:"),
    (f"{ENDS}on_error: {{to: x, max_ratio: 5%}}", 3, 30, "from 0 to 1", ""),
    (f"{ENDS}on_error: {{to: x, max_ratio: 1.5}}", 3, 30, "from 0 to 1", ""),
]


ENDPOINTS = [
    ("source: a/b\nsink: out", 1, 9, "'a/b' cannot be a topic's name", "{file: PATH}"),
    (
        "source: stdin\nsink: out",
        1,
        9,
        "'source' would be a topic called 'stdin'",
        "write '-' for stdin itself",
    ),
    ("source: a\nsink: stdout", 2, 7, "'sink' would be a topic called 'stdout'", "or {topic: stdout}"),
    ("source: {topic: a, file: b}\nsink: out", 1, 20, "both 'topic' and 'file'", "keep one"),
    ("source: {start: latest}\nsink: out", 1, 9, "needs one of 'topic', 'file', 'stdin'", "{topic: orders}"),
    ("source: {file: a, start: latest}\nsink: out", 1, 19, "'start' is only for topics", "remove"),
    ("source: {topic: a, start: first}\nsink: out", 1, 27, "one of earliest, latest", ""),
    ("source: {topic: a, schema: {x: int}}\nsink: out", 1, 32, "one of string, long", ""),
    ('source: {file: "a\\0b"}\nsink: out', 1, 17, "cannot be the path of a file", ""),
    ("source: {stdin: false}\nsink: out", 1, 17, "'stdin' must be true", ""),
    ("source: a\nsink: A", 2, 1, "write to the topic 'A' that it reads", "another"),
    ("source: a\nsink: b\non_error: {to: a}", 3, 1, "write to the topic 'a' that it reads", "another"),
    (
        "source: a\nsink: b\non_error: {to: B}",
        3,
        1,
        "'on_error' puts aside would go to the topic 'B'",
        "other",
    ),
    (
        f"{TIMED}dedup: {{key: a, within: 1h, dropped_to: out}}",
        4,
        1,
        "'dedup' puts aside would go to",
        "other",
    ),
    (
        f"{TIMED}window: 5m\nlate: {{to: out}}\naggregate: {{n: count}}",
        5,
        1,
        "'late' puts aside would go to the topic 'out', as results do",
        "put them into another one",
    ),
    ("source: a\nsink: [b, {topic: b, key: c}]", 2, 1, "topic 'b' with different keys", "the same 'key'"),
    (
        "source: a\nbranches:\n- {sink: {topic: b, key: d}}\n- {sink: {topic: B, key: c}}",
        2,
        1,
        "topic 'B' with different keys",
        "or write to another topic",
    ),
    ("source: a\nbranches: [{sink: a}]", 2, 1, "write to the topic 'a' that it reads", "another"),
    ("source: {file: a}\nsink: b\ntables: {t: {topic: c, key: i}}", 3, 1, "a topic only", "'aegis publish'"),
    (
        "name: p\nsource: -\nsink: b\ntime: t\n"
        "join: {topic: o, as: o, key: k, other_key: k, other_time: t, within: 1h}\nmap: {k: k}",
        5,
        1,
        "topics are read beside a source that is a topic only",
        "name that as 'source'",
    ),
    ("source: {file: a}\nsink: {file: ./a}", 2, 1, "the file 'a' that it reads", ""),
    ("source: a\nsink: [{file: b}, {file: ./b}]", 2, 1, "two sinks write to './b'", ""),
    (
        "source: a\nsink: [{sqlite: b, table: T}, {sqlite: b, table: t}]",
        2,
        1,
        "two sinks write to 't'",
        "keep",
    ),
    ("source: a\nsink: {sqlite: b}", 2, 7, "'sink' has no 'table'", "sqlite: metrics.db, table:"),
    ("source: a\nsink: {sqlite: b, table: 'x y'}", 2, 27, "cannot be a table's name", ""),
    ("source: a\nsink: {file: b, key: c}", 2, 17, "'key' is not for a sink that is a file", "remove"),
    ("source: a\nsink: {topic: b, key: [c, c]}", 2, 27, "names 'c' twice", ""),
    (
        "source: a\nsink: {topic: b, key: 'c\"d'}",
        2,
        24,
        "with a quote or a backslash",
        "rename it in a 'map'",
    ),
    ("source: a\nmap: {user: u}\nsink: {topic: b, key: usr}", 3, 7, "'usr', which is no field", "'user'?"),
    (
        "source: a\nbranches:\n  - sink: b\n  - {map: {u: v}, sink: {topic: c, key: v}}",
        4,
        25,
        "'v', which is no field",
        "there are: u",
    ),
    (
        "source: a\ntime: t\nwindow: 5m\naggregate: {n: count}\nsink:\n  - b\n  - {topic: c, key: revision}",
        7,
        5,
        "'revision', which is no field",
        "window_start",
    ),
    ("source: a\nsink: []", 2, 7, "'sink' is empty", "write sink:"),
    ("source: a\nbranches: [{filter: x}]", 2, 12, "a branch has no 'sink'", "branches:"),
    ("source: a\nbranches: [{time: x, sink: b}]", 2, 13, "a branch has no key 'time'", ""),
]


STEPS = [
    (f"{ENDS}filter:", 3, 8, "'filter' must be an expression, and this is nothing", "filter: amount"),
    (f"{ENDS}filter: {{a: b}}", 3, 9, "and this is a mapping", "quote an expression"),
    (f"{ENDS}filter: a && b", 3, 11, "'&&' is no operator", "write 'and'"),
    (f"{ENDS}map: {{x: a || b}}", 3, 12, "'||' is no operator", "write 'or'"),
    (f'{ENDS}filter: x == "a #b"', 3, 9, "leaves a quote or a bracket open", "quoted as a whole"),
    (f"{ENDS}filter: f(a", 3, 9, "leaves a quote or a bracket open", ""),
    (f"{ENDS}map: a", 3, 6, "'map' must be a mapping, and this is the text 'a'", "map: {customer"),
    (f"{ENDS}map: {{}}", 3, 6, "'map' is empty", "map: {customer"),
    (f"{ENDS}map: {{a: f(x, y)}}", 3, 10, "'f(x' is cut off at the comma", "quote it: 'f(x, y)'"),
    (f"{ENDS}map: {{a, b: c}}", 3, 7, "the key 'a' has no value", "write 'a: VALUE'"),
    (f"{TIMED}group_by: [f(x, y)]\naggregate: {{n: count}}", 4, 12, "'f(x' is cut off", "'f(x, y)'"),
    (f"{ENDS}flat_map: {{items: a}}", 3, 11, "'flat_map' has no 'as'", "as: line"),
    (f"{ENDS}flat_map: {{items: a, as: if}}", 3, 26, "'as' cannot be 'if'", "letters"),
    (f"{ENDS}flat_map: {{items: a, as: null}}", 3, 26, "'as' cannot be 'null'", "letters"),
    (f"{ENDS}map: {{a: f(b, '%F'), c: d}}", 3, 10, "'f(b' is cut off at the comma", '"double quotes"'),
    (f"{ENDS}map: {{a: f(b, c, d)}}", 3, 10, "'f(b' is cut off at the comma", '"double quotes"'),
    (f"{ENDS}time: {{watermark: 1s}}", 3, 7, "'time' has no 'field'", "field: created_at"),
    (f"{ENDS}time: {{field: t, watermark: 10}}", 3, 29, "no duration: '10'", "ms, s, m"),
    (f"{ENDS}time: {{field: t, watermark: forever}}", 3, 29, "must have an end", "10s"),
    (f"{ENDS}time: {{processing: true, field: t}}", 3, 26, "'field' means nothing", "remove"),
    (f"{ENDS}time: {{processing: maybe}}", 3, 20, "true or false", ""),
    (f"{ENDS}steps: [{{time: a}}, {{time: b}}]", 3, 21, "there is a 'time' already", "remove"),
    (f"{ENDS}dedup: {{key: a, within: 1h}}", 3, 1, "'dedup' needs a 'time' before it", "time: {field"),
    (f"{ENDS}dedup: {{key: a, within: 1h}}\ntime: t", 3, 1, "'dedup' needs a 'time' before it", ""),
    (f"{TIMED}dedup: {{key: a}}", 4, 8, "'dedup' has no 'within'", "within: 24h"),
    (f"{ENDS}join: {{table: cs, key: a}}", 3, 15, "no table 'cs' in 'tables'", "tables: {cs:"),
    (
        f"{ENDS}tables: {{cust: {{topic: c, key: i}}}}\njoin: {{table: cst, key: a}}",
        4,
        15,
        "no table 'cst'",
        "did you mean 'cust'?",
    ),
    (f"{ENDS}tables: {{a-b: {{topic: c, key: i}}}}", 3, 10, "a table's name cannot be 'a-b'", "letters"),
    (f"{ENDS}tables: {{a: {{topic: out, key: i}}}}", 2, 1, "write to the topic 'out' that it reads", ""),
    (f"{ENDS}join: {{table: a, topic: b}}", 3, 18, "both 'table' and 'topic'", ""),
    (f"{ENDS}join: {{topic: b, wait: 1s}}", 3, 18, "'wait' is only for joins with a table", ""),
    (
        f"{TABLE}join: {{table: c, key: a, wait: 1s}}",
        4,
        1,
        "a join with 'wait' needs a 'time'",
        "time: {field",
    ),
    (
        f"{AS_OF}join: {{table: c, key: a}}",
        4,
        1,
        "with table 'c', which has 'as_of', needs a 'time'",
        "time:",
    ),
    (f"{AS_OF}{CLOCK}join: {{table: c, key: a}}", 5, 1, "'as_of' needs the time of the records", "time: {fi"),
    (f"{TABLE}{CLOCK}join: {{table: c, key: a, wait: 1s}}", 5, 1, "and not the clock's", "time: {field"),
    (f"{ENDS}join: {{topic: b, key: a}}", 3, 7, "'join' has no 'as'", "other_key: order_id"),
    (
        f"{ENDS}join: {{topic: b, as: x, key: a, other_key: c, other_time: d, within: 1h}}",
        3,
        1,
        "a join with a topic needs a 'time' before it",
        "",
    ),
    (f"{ENDS}steps: [{{filter: a, map: {{b: c}}}}]", 3, 21, "more than one key", "'- map:'"),
    (f"{ENDS}steps: [{{fliter: a}}]", 3, 10, "no step 'fliter'", "did you mean 'filter'?"),
    (
        f"{ENDS}steps:{''.join(f'{NEXT}flat_map: {{items: a, as: b}}' for _ in range(6))}",
        9,
        5,
        "there are more than 5 'flat_map'",
        "two pipelines",
    ),
    (
        f"{TIMED}steps:{''.join(f'{NEXT}dedup: {{key: a, within: 1h}}' for _ in range(4))}",
        8,
        5,
        "there are more than 3 'dedup'",
        "two pipelines",
    ),
    (f"{ENDS}steps: {{filter: a}}", 3, 8, "'steps' must be a list, and this is a mapping", "steps: ["),
]


AGGREGATES = [
    (f"{ENDS}window: 5m", 3, 1, "'window' has no 'aggregate' after it", "aggregate: {"),
    (f"{ENDS}window: 5m\naggregate: {{n: count}}", 3, 1, "a tumbling window needs a 'time'", ""),
    (f"{TIMED}aggregate: {{n: count}}\nwindow: 5m", 5, 1, "'window' stands behind the 'aggregate'", "before"),
    (f"{TIMED}aggregate: {{n: count}}\ndedup: {{}}", 5, 1, "'dedup' cannot follow on 'aggregate'", "only"),
    (f"{TIMED}aggregate: {{n: sum(a) / count()}}", 4, 16, "must be one call", "in a 'map' after"),
    (f"{TIMED}aggregate: {{n: count(*)}}", 4, 16, "cannot be understood", "write count()"),
    (f"{TIMED}aggregate: {{n: sum(a=b)}}", 4, 16, "names an argument", "sum(amount)"),
    (f"{TIMED}aggregate: {{n: a.sum(b)}}", 4, 16, "must be one call", ""),
    (f"{TIMED}aggregate: count", 4, 12, "'aggregate' must be a mapping", "aggregate: {"),
    (f"{TIMED}group_by: n\naggregate: {{n: count}}", 5, 1, "'n' is in 'group_by' and in", "rename"),
    (f"{TIMED}group_by: f(a)\naggregate: {{n: count}}", 4, 11, "is no name for a field", "group_by: {"),
    (f"{TIMED}group_by: a, b\naggregate: {{n: count}}", 4, 11, "is no name", "group_by: [a, b]"),
    (f"{TIMED}group_by: [a, a]\naggregate: {{n: count}}", 4, 15, "names 'a' twice", ""),
    (
        f"{TIMED}window: 5m\naggregate: {{window_end: count}}",
        5,
        1,
        "'window_end' is a field of every window's",
        "another name",
    ),
    (f"{TIMED}late: {{to: l}}\naggregate: {{n: count}}", 4, 1, "'late' needs a 'window' of time", ""),
    (
        f"{TIMED}window: {{count: 5}}\nallow_late: 1h\naggregate: {{n: count}}",
        5,
        1,
        "'allow_late' needs a 'window' of time",
        "",
    ),
]


CASES = [
    (f"{CASE}- given: {{in: []}}\n  expect: {{out: 1}}", 4, 3, "a test has no 'name'", "tests: ["),
    (f"{CASE}- {{name: a, given: {{in: x}}, expect: {{out: 1}}}}", 4, 25, "a list of records", "[{id: 1}"),
    (f"{CASE}- {{name: a, given: {{in: []}}, expect: {{out: x}}}}", 4, 44, "must be a whole number", ""),
    (f"{CASE}- {{name: a, given: {{inn: []}}, expect: {{out: 1}}}}", 4, 3, "gives to 'inn'", "'in'?"),
    (f"{CASE}- {{name: a, given: {{in: []}}, expect: {{ot: 1}}}}", 4, 3, "expects in 'ot'", "'out'?"),
    (f"{CASE}- {{name: a, given: {{in: [.inf]}}, expect: {{out: 1}}}}", 4, 26, "no number that JSON has", ""),
    (f"{CASE}- {{name: a, given: {{in: [{{$key: 1}}]}}, expect: {{out: 1}}}}", 4, 26, "has $key, $value", ""),
    (
        f"{CASE}- {{name: a, given: {{in: [{{$key: [], $value: 1}}]}}, expect: {{}}}}",
        4,
        26,
        "text or a numb",
        "",
    ),
    (
        f"{CASE}- {{name: a, given: {{in: [{{$key: 1, $value: 1, $time: x}}]}}}}",
        4,
        26,
        "'x' is no time",
        "$value",
    ),
    (f"{CASE}- {{name: a, given: {{in: [1e999]}}, expect: {{out: 1}}}}", 4, 26, "no number", "quote"),
    (
        f"{CASE}- {{name: a, given: {{in: [9223372036854775808]}}, expect: {{out: 1}}}}",
        4,
        26,
        "does not fit in 64 bits",
        "quote",
    ),
    (
        f"{CASE}- &x {{name: a, given: {{in: []}}, expect: {{out: 1}}}}\n- *x",
        4,
        3,
        "an anchor (&name) cannot be used",
        "",
    ),
    (
        f"{CASE}- {{name: a, given: {{in: []}}, expect: {{out: 1}}, crash_after: 0}}",
        4,
        61,
        "'crash_after' must be 1 to",
        "",
    ),
    (
        f"{CASE}- {{name: a, given: {{in: []}}, expect: {{out: 1}}}}\n"
        "- {name: a, given: {in: []}, expect: {out: 1}}",
        5,
        3,
        "two tests of the name 'a'",
        "rename",
    ),
]


@pytest.mark.parametrize(
    ("text", "line", "column", "reason", "hint"), [*TOP, *ENDPOINTS, *STEPS, *AGGREGATES, *CASES]
)
def test_what_is_wrong_is_named_with_its_place(
    text: str, line: int, column: int, reason: str, hint: str
) -> None:
    error = refused(text)
    assert reason in error.reason
    assert hint in error.hint
    assert (line, column) == (error.line, error.column)
    assert str(error).startswith(f"p.yaml:{line}:{column}: ")


@pytest.mark.parametrize("window", ["{hopping: 10m, every: 1m}", "{session: 5m}", "5m"])
def test_as_many_steps_as_are_allowed_make_a_function_that_python_takes(window: str) -> None:
    steps = [f"flat_map: {{items: a, as: b{number}}}" for number in range(5)]
    steps += ["dedup: {key: a, within: 1h}"] * 3
    text = f"{TIMED}steps:{''.join(NEXT + step for step in steps)}\n"
    Program(loads(f"{text}window: {window}\naggregate: {{n: 'top_n(3, a, b)'}}\n", path="p.yaml"))
    Program(loads(f"{text}map: {{x: a}}\n", path="p.yaml"))


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ("top_n(0, a)", "n is a whole number from 1 to 10000"),
        ("top_n(10001, a)", "n is a whole number from 1 to 10000"),
        ("top_n(2.5, a)", "n is a whole number from 1 to 10000"),
        ("top_n(-1, a)", "n is a whole number from 1 to 10000"),
        ("top_n(1e400, a)", "is a number, written out"),
        ("collect(a, 0)", "limit is a whole number from 1 to 10000"),
        ("collect(a, 1.5)", "limit is a whole number from 1 to 10000"),
        ("percentile(a, 1.1)", "p is from 0 to 1"),
        ("percentile(a, -0.1)", "p is from 0 to 1"),
        ("percentile(a, b)", "is a number, written out"),
    ],
)
def test_a_number_of_an_aggregate_that_makes_no_sense_is_named(call: str, reason: str) -> None:
    definition = loads(f"{TIMED}window: 5m\naggregate:\n  n: {call}\n", path="p.yaml")
    with pytest.raises(PipelineFileError, match=reason) as caught:
        Program(definition)
    assert 6 == caught.value.line
    assert caught.value.column >= 6


@pytest.mark.parametrize(
    "text",
    [
        "source: a\nfilter: field('a\\\"b') == 1\nsink: b\n",
        "source: {topic: a, schema: {'a\\b': string}}\nsink: b\n",
    ],
)
def test_a_field_whose_name_needs_escapes_is_refused(text: str) -> None:
    with pytest.raises(PipelineFileError, match="a quote or a backslash in its name"):
        Program(loads(text, path="p.yaml"))


def test_a_name_that_is_taken_from_the_file_is_checked() -> None:
    with pytest.raises(PipelineFileError) as caught:
        loads(ENDS, path="dir/my file.yaml")
    assert "'my file' cannot be a pipeline's name" in str(caught.value)
    assert "write name: NAME" in caught.value.hint


def test_a_file_is_nested_so_deep_and_no_deeper() -> None:
    assert "must be a" in refused(f"source: {'[' * 19}a{']' * 19}\nsink: out").reason
    assert "nested more than 20 deep" in refused(f"source: {'[' * 20}a{']' * 20}\nsink: out").reason
