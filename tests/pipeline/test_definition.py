"""What a pipeline file says, as values."""

from __future__ import annotations

from pathlib import Path

import pytest

from aegis_cli.pipeline.definition import (
    Aggregate,
    AggregateCall,
    Branch,
    Dedup,
    Definition,
    Filter,
    FlatMap,
    Map,
    OnError,
    Sink,
    Source,
    Step,
    StreamJoin,
    Table,
    TableJoin,
    Text,
    Time,
    Window,
)
from aegis_cli.pipeline.errors import ExpressionError
from aegis_cli.pipeline.program import Program
from aegis_cli.pipeline.reading import load, loads
from aegis_cli.pipeline.reading.file import KEYS
from tests.pipeline.definition_files import REFERENCE, SEED, reference_files


def read(text: str) -> Definition:
    return loads(text, path="demo.yaml")


def steps_of(text: str) -> tuple[Step, ...]:
    return read(f"source: in\n{text}\nsink: out\n").steps


def aggregate_of(text: str) -> Aggregate:
    step = steps_of(f"time: t\n{text}")[-1]
    assert isinstance(step, Aggregate)
    return step


def window_of(text: str) -> Window | None:
    return aggregate_of(f"window: {text}\naggregate: {{n: count}}").window


def test_the_seed_is_read() -> None:
    expected = Definition(
        path="demo.yaml",
        name="demo",
        source=Source(kind="topic", name="raw-events"),
        steps=(
            Filter(condition=Text('type == "purchase"', 2, 9)),
            Map(
                fields={
                    "customer": Text("customer_id", 3, 17),
                    "amount": Text("total", 3, 38),
                    "timestamp": Text("created_at", 3, 56),
                }
            ),
            Time(field=Text("timestamp", 4, 15), watermark_ms=10_000),
            Aggregate(
                window=Window(kind="tumbling", size_ms=300_000),
                group_by={},
                results={
                    "total_purchases": AggregateCall(name="count", arguments=(), place=Text("count", 6, 30)),
                    "total_amount": AggregateCall(
                        name="sum", arguments=(Text("amount", 6, 55),), place=Text("sum(amount)", 6, 51)
                    ),
                },
            ),
        ),
        branches=(Branch(steps=(), sink=Sink(kind="topic", name="purchase-metrics")),),
    )
    assert expected == read(SEED)


@pytest.mark.parametrize(("line", "text"), reference_files())
def test_every_example_of_the_reference_is_read(line: int, text: str) -> None:
    assert read(text).branches, f"line {line}"


def test_every_key_is_in_the_reference() -> None:
    page = REFERENCE.read_text()
    assert [] == [key for key in KEYS if f"`{key}`" not in page]


def test_a_file_is_read_and_names_its_pipeline(tmp_path: Path) -> None:
    path = tmp_path / "daily.v1.yaml"
    path.write_bytes(b"\xef\xbb\xbfsource: in\r\nsink: out\r\n")
    found = load(str(path))
    assert (str(path), "daily.v1") == (found.path, found.name)


def test_a_name_in_the_file_holds() -> None:
    assert "other" == read("name: other\nsource: in\nsink: out").name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("orders", Source(kind="topic", name="orders")),
        ("-", Source(kind="stdin", name="-")),
        ('"-"', Source(kind="stdin", name="-")),
        ("{stdin: true}", Source(kind="stdin", name="-")),
        ("{file: ./in.jsonl}", Source(kind="file", name="./in.jsonl")),
        ("{topic: a, start: latest}", Source(kind="topic", name="a", start="latest")),
        ("{topic: a, schema: {x: long}}", Source(kind="topic", name="a", schema={"x": "long"})),
    ],
)
def test_a_source(text: str, expected: Source) -> None:
    assert expected == read(f"source: {text}\nsink: out").source


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("out", Sink(kind="topic", name="out")),
        ("-   # standard output", Sink(kind="stdout", name="-")),
        ("{stdout: true}", Sink(kind="stdout", name="-")),
        ("{topic: out, key: id}", Sink(kind="topic", name="out", key=("id",))),
        ("{file: out.jsonl}", Sink(kind="file", name="out.jsonl")),
        (
            "{sqlite: a.db, table: t, key: [a, b]}",
            Sink(kind="sqlite", name="a.db", table="t", key=("a", "b")),
        ),
        (
            "{postgres: 'host=x', table: s.t, create: false}",
            Sink(kind="postgres", name="host=x", table="s.t", create=False),
        ),
    ],
)
def test_a_sink(text: str, expected: Sink) -> None:
    assert (Branch(steps=(), sink=expected),) == read(f"source: in\nsink: {text}").branches


def test_sinks_and_branches_are_ways_out_in_their_order() -> None:
    found = read(
        "source: in\nbranches:\n  - {map: {a: b}, filter: a > 1, sink: one}\n"
        "  - steps: [{filter: x}, {filter: y}]\n    sink: -\nsink: [all, {file: f}]"
    ).branches
    assert ["all", "f", "one", "-"] == [branch.sink.name for branch in found]
    assert ["Map", "Filter"] == [type(step).__name__ for step in found[2].steps]
    assert ["x", "y"] == [step.condition.text for step in found[3].steps if isinstance(step, Filter)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("filter: a", Filter(condition=Text("a", 2, 9))),
        ("map: {a: b, c: d}", Map(fields={"a": Text("b", 2, 10), "c": Text("d", 2, 16)})),
        ("flat_map: {items: a.b, as: c}", FlatMap(items=Text("a.b", 2, 19), name="c")),
        ("time: t", Time(field=Text("t", 2, 7))),
        (
            "time: {field: t, watermark: 1m, idle: 5s}",
            Time(field=Text("t", 2, 15), watermark_ms=60_000, idle_ms=5000),
        ),
        ("time: {processing: true}", Time(field=None, processing=True)),
        ("time: {field: t, idle: forever}", Time(field=Text("t", 2, 15))),
    ],
)
def test_a_step(text: str, expected: Step) -> None:
    assert (expected,) == steps_of(text)


def test_dedup_has_one_key_or_several() -> None:
    (_, one, several) = steps_of(
        "time: t\nsteps:\n  - dedup: {key: id, within: 1h}\n"
        "  - dedup: {key: [a, b + 1], within: 2 days, dropped_to: gone}"
    )
    assert Dedup(key=(Text("id", 4, 18),), within_ms=3_600_000) == one
    assert isinstance(several, Dedup)
    assert (["a", "b + 1"], 172_800_000, "gone") == (
        [key.text for key in several.key],
        several.within_ms,
        several.dropped_to,
    )


def test_joins_with_tables_and_with_topics() -> None:
    found = read(
        "source: in\ntables: {c: {topic: cs, key: id, ttl: 1d, as_of: at}}\ntime: t\nsteps:\n"
        "  - join: {table: c, key: cid, type: left, wait: 5s}\n"
        "  - join: {topic: o, as: other, key: id, other_key: oid, other_time: ot, within: 10m}\nsink: out"
    )
    table = Table(name="c", topic="cs", key=Text("id", 2, 30), ttl_ms=86_400_000, as_of=Text("at", 2, 50))
    assert {"c": table} == found.tables
    assert TableJoin(table="c", key=Text("cid", 5, 27), kind="left", wait_ms=5000) == found.steps[1]
    join = found.steps[2]
    assert isinstance(join, StreamJoin)
    assert ("other", "o", 600_000, "inner") == (join.name, join.topic, join.within_ms, join.kind)
    assert ("id", "oid", "ot") == (join.key.text, join.other_key.text, join.other_time.text)


def test_steps_run_in_the_order_in_which_they_are_written() -> None:
    found = steps_of("map: {a: b}\nsteps: [{filter: a}, {filter: c}]\ntime: t\nfilter: d")
    assert ["Map", "Filter", "Filter", "Time", "Filter"] == [type(step).__name__ for step in found]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5m", Window(kind="tumbling", size_ms=300_000)),
        ("5 min", Window(kind="tumbling", size_ms=300_000)),
        ("1 hour 30 minutes", Window(kind="tumbling", size_ms=5_400_000)),
        ("{tumbling: 1d, offset: 2h}", Window(kind="tumbling", size_ms=86_400_000, offset_ms=7_200_000)),
        ("{tumbling: 1d, offset: -1h}", Window(kind="tumbling", size_ms=86_400_000, offset_ms=82_800_000)),
        ("{hopping: 10m, every: 1m}", Window(kind="hopping", size_ms=600_000, advance_ms=60_000)),
        ("{session: 20m}", Window(kind="session", size_ms=1_200_000)),
        ("{session: 20m, max: 20m}", Window(kind="session", size_ms=1_200_000, max_ms=1_200_000)),
        ("{hopping: 1s, every: 1ms}", Window(kind="hopping", size_ms=1000, advance_ms=1)),
        ("{session: 20m, max: 1h}", Window(kind="session", size_ms=1_200_000, max_ms=3_600_000)),
        ("{count: 100}", Window(kind="count", count=100)),
    ],
)
def test_a_window(text: str, expected: Window) -> None:
    assert expected == window_of(text)


def test_the_parts_of_an_aggregate_stand_anywhere_before_it() -> None:
    found = steps_of(
        "late: {to: l}\nallow_late: 1h\ngroup_by: g\ntime: t\nwindow: 5m\nmap: {g: g}\n"
        "aggregate: {n: count}\nfilter: n > 1"
    )
    assert ["Time", "Map", "Aggregate", "Filter"] == [type(step).__name__ for step in found]
    aggregate = found[2]
    assert isinstance(aggregate, Aggregate) and aggregate.window is not None
    assert (3_600_000, "l", ["g"]) == (
        aggregate.window.allow_late_ms,
        aggregate.late_to,
        [*aggregate.group_by],
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", {"a": "a"}),
        ("[a, größe]", {"a": "a", "größe": "größe"}),
        ("{a: upper(b), c: d}", {"a": "upper(b)", "c": "d"}),
    ],
)
def test_group_by(text: str, expected: dict[str, str]) -> None:
    found = aggregate_of(f"group_by: {text}\naggregate: {{n: count}}").group_by
    assert expected == {name: each.text for name, each in found.items()}


@pytest.mark.parametrize(
    ("call", "name", "arguments"),
    [
        ("count", "count", []),
        ("count()", "count", []),
        ("sum(a)", "sum", [("a", 5)]),
        ('top_n(f("x, y", b) , 5)', "top_n", [('f("x, y", b)', 7), ("5", 22)]),
        ('first("ä€", b)', "first", [('"ä€"', 7), ("b", 13)]),
        ("sum((a + b) * 2)", "sum", [("(a + b) * 2", 5)]),
    ],
)
def test_the_arguments_of_an_aggregate_have_their_places(
    call: str, name: str, arguments: list[tuple[str, int]]
) -> None:
    found = aggregate_of(f"aggregate:\n  x: {call}").results["x"]
    assert Text(call, 4, 6) == found.place
    assert (name, tuple(Text(text, 4, 5 + column) for text, column in arguments)) == (
        found.name,
        found.arguments,
    )


def test_an_aggregate_in_a_block_has_places_by_line() -> None:
    found = aggregate_of("aggregate:\n  x: |\n    max(a,\n        b + 1)\n").results["x"]
    assert (Text("a", 5, 9), "b + 1", 6) == (
        found.arguments[0],
        found.arguments[1].text,
        found.arguments[1].line,
    )


@pytest.mark.parametrize(
    ("yaml", "expected"),
    [
        ("filter: a > 1", Text("a > 1", 2, 9)),
        ("filter:   a > 1   # why", Text("a > 1", 2, 11)),
        ("filter: 'a == \"x: y\"'", Text('a == "x: y"', 2, 10)),
        ('filter: " a"', Text("a", 2, 11)),
        ("filter: |\n  a\n    and b", Text("a\n  and b", 3, 3)),
        ("filter: >-  # folded\n\n\n   a\n   and b", Text("a and b", 5, 4)),
        ("filter:\n  a\n  and b", Text("a and b", 3, 3)),
        ("filter: ä > 'ö'", Text("ä > 'ö'", 2, 9)),
        ("filter: x == 'a && b' or y == \"||\"", Text("x == 'a && b' or y == \"||\"", 2, 9)),
    ],
)
def test_an_expression_has_the_place_of_its_first_character(yaml: str, expected: Text) -> None:
    (step,) = steps_of(yaml)
    assert isinstance(step, Filter)
    assert expected == step.condition


@pytest.mark.parametrize(
    ("yaml", "line", "column"),
    [
        ("filter: a and\n  lowr(b)", 3, 3),
        ("filter: >\n   a and\n     b or\n   lowr(b)", 5, 4),
        ("filter: |-\n  a and\n    lowr(b)", 4, 5),
        ('filter: "a and\n\n   lowr(b)"', 4, 4),
        ("filter: '  a and\n lowr(b)'", 3, 2),
        ("filter: 'x == ''y'' and\n    lowr(b)'", 3, 5),
        ('filter: "x == \\"y\\" and\n    lowr(b)"', 3, 5),
        ('filter: "x == \\"\\t\\" and\n    lowr(b)"', 2, 23),
        ("filter: a ==\n  a and\n  a and lowr(b)", 4, 9),
        ("aggregate:\n  n: sum(a +\n    lowr(b))", 4, 5),
        ("aggregate:\n  n: >\n   top_n(3, a,\n     é + lowr(b))", 5, 10),
        ("aggregate: {n: 'sum(é + b +\n  lowr(b))'}", 3, 3),
    ],
)
def test_a_mistake_in_an_expression_of_several_lines_is_named_with_its_own(
    yaml: str, line: int, column: int
) -> None:
    with pytest.raises(ExpressionError, match="no function 'lowr'") as caught:
        Program(read(f"source: in\n{yaml}\nsink: out\n"))
    assert (line, column) == (caught.value.line, caught.value.column)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("drop", OnError(action="drop")),
        ("stop", OnError(action="stop")),
        ("{to: dead}", OnError(action="to", topic="dead")),
        ("{to: dead, max_ratio: 0.01}", OnError(action="to", topic="dead", max_ratio=0.01)),
    ],
)
def test_on_error(text: str, expected: OnError) -> None:
    assert expected == read(f"source: in\nsink: out\non_error: {text}").on_error


def test_limits_and_the_rest() -> None:
    found = read("source: in\nsink: out\nlimits: {groups: 5_000}\ncommit_interval: 100ms\ndescription: why")
    assert (5000, 100, "why") == (found.groups_max, found.commit_interval_ms, found.description)
