"""What a pipeline does, in words: its steps in their order, and the fields that are read of each topic."""

from __future__ import annotations

from dataclasses import dataclass

from aegis_cli.pipeline.definition import (
    Aggregate,
    Branch,
    Dedup,
    Definition,
    Filter,
    FlatMap,
    Map,
    Sink,
    Step,
    StreamJoin,
    Table,
    TableJoin,
    Time,
    Window,
)
from aegis_cli.pipeline.prefix import first_steps
from aegis_cli.pipeline.program import Program
from storage.quantities import format_duration


@dataclass(frozen=True, slots=True)
class Explanation:
    """The steps, each with its kind and what it does, and the fields read by topic.

    `workers` are the steps that `--workers` runs in processes of their own.
    """

    name: str
    steps: list[tuple[str, str]]
    fields: dict[str, list[str]]
    state: list[str]
    workers: list[str]


def explanation(program: Program) -> Explanation:
    """Explain a compiled pipeline."""
    definition = program.definition
    source = definition.source
    steps = [("source", source.name if source.kind == "topic" else f"{source.kind} {source.name}".strip())]
    steps += [
        (f"table {table.name}", f"{_rows(table)} by {table.key.text} of topic {table.topic}{_ttl(table)}")
        for table in definition.tables.values()
    ]
    steps += [
        line for number, step in enumerate(definition.steps) for line in _lines(step, number, definition)
    ]
    steps += [line for branch in definition.branches for line in _branch(branch)]
    fields = {topic: list(feed.fields) for topic, feed in program.feeds.items()}
    in_workers = [_step(step)[0] for step in first_steps(definition)]
    if len(in_workers) == len(definition.steps) and in_workers[-1:] != ["time"]:
        in_workers += [_step(step)[0] for branch in definition.branches for step in branch.steps]
    return Explanation(definition.name, steps, fields, list(program.stores), in_workers)


def _lines(step: Step, number: int, definition: Definition) -> list[tuple[str, str]]:
    """A step, with what may come as a surprise."""
    lines = [_step(step)]
    if isinstance(step, Time) and step.field is not None and step.idle_ms is None:
        drops = [
            each
            for each in definition.steps[:number]
            if isinstance(each, Filter | FlatMap) or (isinstance(each, TableJoin) and each.kind == "inner")
        ]
        if drops and definition.source.kind == "topic":
            name = _step(drops[0])[0]
            note = f"a partition of which '{name}' lets nothing through holds the watermark back; "
            lines.append(("", note + f"write 'time' before '{name}', or give it 'idle'"))
    return lines


def _rows(table: Table) -> str:
    return "newest row" if table.as_of is None else f"row as of {table.as_of.text}"


def _ttl(table: Table) -> str:
    return "" if table.ttl_ms is None else f", for {format_duration(table.ttl_ms)}"


def _branch(branch: Branch) -> list[tuple[str, str]]:
    return [*(_step(step) for step in branch.steps), ("sink", _sink(branch.sink))]


def _sink(sink: Sink) -> str:
    table = f", table {sink.table}" if sink.table else ""
    key = f", key {', '.join(sink.key)}" if sink.key else ""
    name = sink.name
    if sink.kind == "postgres":
        from aegis_cli.pipeline.conninfo import parse_conninfo

        # A connection may hold a password.
        name = parse_conninfo(name).address
    return f"{sink.kind} {name}".strip() + table + key


def _step(step: Step) -> tuple[str, str]:
    if isinstance(step, Filter):
        return "filter", step.condition.text
    if isinstance(step, Map):
        return "map", ", ".join(f"{name} = {text.text}" for name, text in step.fields.items())
    if isinstance(step, FlatMap):
        return "flat_map", f"{step.name} of {step.items.text}"
    if isinstance(step, Time):
        what = "the time of the append" if step.field is None else step.field.text
        return "time", f"{what}, watermark {format_duration(step.watermark_ms)} behind"
    if isinstance(step, Dedup):
        return (
            "dedup",
            f"{', '.join(text.text for text in step.key)} within {format_duration(step.within_ms)}",
        )
    if isinstance(step, TableJoin):
        waits = f", waits {format_duration(step.wait_ms)}" if step.wait_ms else ""
        return "join", f"{step.kind} with table {step.table} by {step.key.text}{waits}"
    if isinstance(step, StreamJoin):
        within = format_duration(step.within_ms)
        return "join", f"{step.kind} with topic {step.topic} by {step.key.text} within {within}"
    assert isinstance(step, Aggregate)
    calls = ", ".join(
        f"{name} = {call.name}({', '.join(text.text for text in call.arguments)})"
        for name, call in step.results.items()
    )
    groups = ", ".join(step.group_by) or "all records together"
    return "aggregate", f"{calls}; by {groups}; {_window(step.window)}"


def _window(window: Window | None) -> str:
    if window is None:
        return "no window, each record gives its group out anew"
    if window.kind == "count":
        return f"windows of {window.count} records"
    size = format_duration(window.size_ms)
    if window.kind == "session":
        what = f"sessions with gaps of {size}"
    else:
        what = f"{window.kind} windows of {size}"
    if window.kind == "hopping":
        what += f" every {format_duration(window.advance_ms)}"
    if window.offset_ms:
        what += f", moved by {format_duration(window.offset_ms)}"
    if window.max_ms is not None:
        what += f", {format_duration(window.max_ms)} long at most"
    if window.allow_late_ms:
        what += f", revised for {format_duration(window.allow_late_ms)}"
    return what
