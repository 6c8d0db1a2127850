"""What the tests in a pipeline file say, as values."""

from __future__ import annotations

from typing import Any

import pytest

from aegis_cli.pipeline.definition import Case, Definition
from aegis_cli.pipeline.reading import loads


def read(text: str) -> Definition:
    return loads(text, path="demo.yaml")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("null", None),
        ("~", None),
        ("", None),
        ("true", True),
        ("False", False),
        ("yes", "yes"),
        ("on", "on"),
        ("-17", -17),
        ("0o17", 15),
        ("0x1F", 31),
        ("007", 7),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("1_000", "1_000"),
        ("2026-03-01", "2026-03-01"),
        ("12:30:45", "12:30:45"),
        ("'1'", "1"),
        ('"null"', "null"),
        ("9223372036854775807", 2**63 - 1),
        ("{a: [1, {b: x}], 2: null}", {"a": [1, {"b": "x"}], "2": None}),
    ],
)
def test_values_of_a_test_are_those_of_yaml_1_2(text: str, expected: Any) -> None:
    found = read(
        f"source: in\nsink: out\ntests:\n  - name: n\n    given:\n      in:\n        - x: {text}\n"
        "    expect: {out: 1}"
    ).cases
    (record,) = found[0].given["in"]
    assert [expected] == list(record.values())
    assert type(expected) is type(record["x"])


def test_a_test_has_all_its_fields() -> None:
    (case,) = read(
        "source: in\nsink: out\non_error: {to: dead}\ntests:\n"
        "- name: all of it\n  given: {in: [{a: 1}, broken]}\n  expect: {out: [{a: 1}], dead: 1}\n"
        "  crash_after: 1\n  flush: false\n"
    ).cases
    expected = Case(
        name="all of it",
        given={"in": [{"a": 1}, "broken"]},
        expect={"out": [{"a": 1}], "dead": 1},
        crash_after=1,
        flush=False,
        line=5,
    )
    assert expected == case


def test_tests_name_tables_joined_topics_files_and_standard_input() -> None:
    found = read(
        "source: o\ntables: {c: {topic: cs, key: id}}\njoin: {table: c, key: id}\n"
        "sink: [{file: f}, {sqlite: a.db, table: t}, '-']\n"
        "tests: [{name: n, given: {o: [], cs: []}, expect: {f: 0, t: 0, '-': 0}}]"
    )
    assert 1 == len(found.cases)
    found = read("source: '-'\nsink: b\ntests: [{name: n, given: {'-': []}, expect: {b: 0}}]")
    assert 1 == len(found.cases)
