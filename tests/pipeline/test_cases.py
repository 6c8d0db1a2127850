"""The tests in pipeline files: which input and which output a name in them means."""

from __future__ import annotations

import pytest

from aegis_cli.pipeline.cases import run_case
from aegis_cli.pipeline.reading import loads

GIVEN = "[{a: 1}, {a: 2}]"


def differences(pipeline: str, given: str, expect: str, rows: str) -> list[str]:
    """What is found to differ where `given` gets two records, and `expect` shall hold these rows."""
    case = f"tests:\n  - name: a test\n    given: {{{given}: {GIVEN}}}\n    expect: {{{expect}: {rows}}}\n"
    definition = loads(pipeline + case, path="p.yaml")
    return run_case(definition, definition.cases[0]).differences


@pytest.mark.parametrize(
    ("source", "sink", "given", "expect"),
    [
        ("'-'", "'-'", "'-'", "'-'"),
        ("'-'", "source", "'-'", "source"),
        ("sink-0", "'-'", "sink-0", "'-'"),
        ("{file: a.jsonl}", "{file: b.jsonl}", "a.jsonl", "b.jsonl"),
        ("orders", "{sqlite: m.db, table: orders, key: a}", "orders", "orders"),
        ("orders", "[{sqlite: m.db, table: big, key: a}, late]", "orders", "big"),
        ("orders", "[{sqlite: m.db, table: big, key: a}, big]", "orders", "big"),
    ],
)
def test_what_is_given_and_what_is_expected_may_have_one_name(
    source: str, sink: str, given: str, expect: str
) -> None:
    pipeline = f"source: {source}\nfilter: a > 1\nsink: {sink}\n"
    assert [] == differences(pipeline, given, expect, "[{a: 2}]")
    assert [
        f'{expect.strip(chr(39))}: record 1 is {{"a":2}}, expected {{"a":1}}',
    ] == differences(pipeline, given, expect, "[{a: 1}]")


def test_a_name_of_a_table_and_of_a_topic_means_the_topic() -> None:
    table = "{sqlite: m.db, table: o, key: a}"
    pipeline = f"source: s\nbranches: [{{sink: {table}}}, {{filter: a > 1, sink: o}}]\n"
    assert [] == differences(pipeline, "s", "o", "[{a: 2}]")


def test_true_is_not_one_and_missing_and_needless_records_are_named() -> None:
    pipeline = "source: s\nmap: {a: a, b: a == 1}\nsink: o\n"
    assert [] == differences(pipeline, "s", "o", "[{a: 1.0, b: true}, {a: 2, b: false}]")
    assert ['o: record 2 is {"a":2,"b":false}, expected {"a":2,"b":0}'] == differences(
        pipeline, "s", "o", "[{a: 1, b: true}, {a: 2, b: 0}]"
    )
    assert ['o: not expected: {"a":2,"b":false}'] == differences(pipeline, "s", "o", "[{a: 1, b: true}]")
    assert ["o: record 3 is missing: {}"] == differences(
        pipeline, "s", "o", "[{a: 1, b: true}, {a: 2, b: false}, {}]"
    )
    assert ["o: 1 records expected, 2 found"] == differences(pipeline, "s", "o", "1")
