"""What goes into a pipeline and what comes out, by name: the one must not feed the other."""

from __future__ import annotations

from collections.abc import Iterator
from os.path import normpath

from aegis_cli.pipeline.definition import (
    Aggregate,
    Branch,
    Case,
    Dedup,
    FlatMap,
    Map,
    OnError,
    Sink,
    Source,
    Step,
    StreamJoin,
    Table,
    TableJoin,
)
from aegis_cli.pipeline.place import Place, shown, suggestion
from aegis_cli.pipeline.reading.chain import window_fields
from aegis_cli.pipeline.reading.keys import Keys


class Routes:
    """The names of a pipeline's inputs and outputs. `given` and `expect` of tests use the same."""

    def __init__(
        self,
        source: Source,
        tables: dict[str, Table],
        steps: tuple[Step, ...],
        branches: tuple[Branch, ...],
        on_error: OnError,
    ) -> None:
        self._source = source
        self._branches = branches
        joined = [step.topic for step in steps if isinstance(step, StreamJoin)]
        self._beside = "tables" if tables else "join" if joined else None
        self._topics_in = {name.casefold(): name for name in _topics_in(source, tables, joined)}
        self._topics_out = list(_topics_out(steps, branches, on_error))
        self.inputs = {source.name, *self._topics_in.values()}
        self.outputs = {*(name for _, name in self._topics_out), *(label(branch.sink) for branch in branches)}

    def check(self, keys: Keys) -> None:
        """Raises PipelineFileError if the pipeline would read what it writes, or two ways out mix.

        `keys` are those of the file.
        """
        if self._source.kind != "topic" and self._beside is not None:
            raise _place(keys, self._beside).error(
                "topics are read beside a source that is a topic only",
                "publish its lines to a topic, with 'aegis publish', and name that as 'source'",
            )
        for key, name in self._topics_out:
            if name.casefold() in self._topics_in:
                raise _place(keys, key).error(
                    f"the pipeline would write to the topic {shown(name)} that it reads",
                    "write to another one",
                )
        self._check_topics(keys)
        place = _place(keys, "sink")
        seen: set[tuple[str, str, str]] = set()
        for branch in self._branches:
            sink = branch.sink
            name = normpath(sink.name) if sink.kind in ("file", "sqlite") else sink.name
            if sink.kind == "file" and self._source.kind == "file" and normpath(self._source.name) == name:
                raise place.error(f"the pipeline would write to the file {shown(name)} that it reads")
            # SQLite takes names of tables that differ only in case for the same.
            table = sink.table.lower() if sink.kind == "sqlite" else sink.table
            if sink.kind in ("file", "sqlite", "postgres") and (sink.kind, name, table) in seen:
                raise place.error(f"two sinks write to {shown(label(sink))}", "keep one of them")
            seen.add((sink.kind, name, table))

    def _check_topics(self, keys: Keys) -> None:
        """Raises if results would lie in one topic with records put aside, or with results of other keys."""
        key_of: dict[str, tuple[str, ...]] = {}
        for branch in self._branches:
            sink, name = branch.sink, branch.sink.name.casefold()
            if sink.kind == "topic" and key_of.setdefault(name, sink.key) != sink.key:
                raise _place(keys, "sink").error(
                    f"two sinks write to the topic {shown(sink.name)} with different keys",
                    "give both the same 'key', or write to another topic",
                )
        for key, name in self._topics_out:
            if key != "sink" and name.casefold() in key_of:
                raise _place(keys, key).error(
                    f"the records that {key!r} puts aside would go to the topic {shown(name)}, as results do",
                    "put them into another one",
                )

    def check_case(self, case: Case, place: Place) -> None:
        """Raises PipelineFileError if a test names what the pipeline neither reads nor writes."""
        test = f"the test {shown(case.name)}"
        for name in case.given:
            if name not in self.inputs:
                raise place.error(
                    f"{test} gives to {shown(name)}, which the pipeline does not read",
                    suggestion(name, sorted(self.inputs)),
                )
        for name in case.expect:
            if name not in self.outputs:
                raise place.error(
                    f"{test} expects in {shown(name)}, which the pipeline does not write",
                    suggestion(name, sorted(self.outputs)),
                )


def _place(keys: Keys, name: str) -> Place:
    """Where the key stands that brought a way out; it may be inside of another one."""
    return keys.place_of(next(key for key in (name, "branches", "steps", "source") if key in keys))


def label(sink: Sink) -> str:
    """How `expect` of a test names a sink: the topic, `-`, the file, or the table."""
    return sink.table or sink.name


def result_fields(steps: tuple[Step, ...]) -> frozenset[str] | None:
    """The fields of what comes out of the steps; `None` where they are those of the message."""
    fields: frozenset[str] | None = None
    for step in steps:
        if isinstance(step, Map):
            fields = frozenset(step.fields)
        elif isinstance(step, Aggregate):
            fields = frozenset((*step.group_by, *step.results, *window_fields(step.window)))
        elif fields is not None and isinstance(step, FlatMap | StreamJoin):
            fields |= {step.name}
        elif fields is not None and isinstance(step, TableJoin):
            fields |= {step.table}
    return fields


def _topics_in(source: Source, tables: dict[str, Table], joined: list[str]) -> Iterator[str]:
    if source.kind == "topic":
        yield source.name
    yield from (table.topic for table in tables.values())
    yield from joined


def _topics_out(
    steps: tuple[Step, ...], branches: tuple[Branch, ...], on_error: OnError
) -> Iterator[tuple[str, str]]:
    """The key that brought each topic, and its name."""
    for branch in branches:
        if branch.sink.kind == "topic":
            yield "sink", branch.sink.name
    for step in steps:
        if isinstance(step, Dedup) and step.dropped_to:
            yield "dedup", step.dropped_to
        elif isinstance(step, Aggregate) and step.late_to:
            yield "late", step.late_to
    if on_error.topic:
        yield "on_error", on_error.topic
