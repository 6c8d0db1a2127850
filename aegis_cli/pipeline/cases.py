"""The tests that a pipeline's file holds: what is given, run in a store of its own, against what is expected.

Each case runs as the pipeline itself would: the messages are published to real topics, the pipeline runs with
`--once`, and the results are read back. `crash_after` lets a run end without a commit in between.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from aegis_cli.pipeline.account import Account
from aegis_cli.pipeline.definition import Branch, Case, Definition, Sink
from aegis_cli.pipeline.errors import PipelineError
from aegis_cli.pipeline.run import CrashedError, RunOptions, run_pipeline
from storage.batch import RecordBatch
from storage.store import Append, Store
from storage.topic import TopicSettings

_SHOWN_MAX = 20


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a case: the differences from what was expected, none where it passed."""

    name: str
    line: int
    differences: list[str]
    account: Account | None

    @property
    def passed(self) -> bool:
        return not self.differences


def run_case(definition: Definition, case: Case) -> Outcome:
    """Run one case."""
    definition = _in_topics(definition)
    temporary = tempfile.TemporaryDirectory(prefix="aegis-test-")
    with temporary as directory, Store(directory, create=True) as store:
        names = [definition.source.name, *(table.topic for table in definition.tables.values()), *case.given]
        for name in dict.fromkeys(names):
            store.create_topic(name, TopicSettings(), if_not_exists=True)
        for name, records in case.given.items():
            _publish(store, name, records)
        try:
            account = _run(store, definition, case)
        except PipelineError as error:
            return Outcome(case.name, case.line, [str(error)], None)
        differences = [
            line for name, expected in case.expect.items() for line in _compare(store, name, expected)
        ]
        if not account.balances:
            differences.append(f"the account does not balance: {account}")
        return Outcome(case.name, case.line, differences, account)


def _in_topics(definition: Definition) -> Definition:
    """The same pipeline with all results in topics of the sinks' names: a test writes nowhere else."""
    branches = tuple(
        Branch(steps=branch.steps, sink=replace(branch.sink, kind="topic", name=sink_name(branch.sink)))
        for branch in definition.branches
    )
    source = replace(definition.source, kind="topic", name=definition.source.name or "stdin")
    return replace(definition, branches=branches, source=source)


def sink_name(sink: Sink) -> str:
    """By what name `expect` calls a sink: the topic, the table, `stdout`, or the file's own name."""
    if sink.kind == "topic":
        return sink.name
    if sink.table:
        return sink.table
    return "stdout" if sink.kind == "stdout" else sink.name.rpartition("/")[2]


def _publish(store: Store, topic: str, records: list[Any]) -> None:
    if records:
        lines = msgspec.json.Encoder().encode_lines(records)
        batch = RecordBatch(lines=lines, count=len(records))
        store.append([Append(topic=topic, partition=0, batches=[batch])])


def _run(store: Store, definition: Definition, case: Case) -> Account:
    if case.crash_after is not None:
        # One record a chunk, so that it ends just there; then whole, from what was committed until then.
        options = RunOptions(once=True, chunk_records=1, commit_interval_ms=1, crash_after=case.crash_after)
        try:
            return run_pipeline(store, definition, options)
        except CrashedError:
            pass
    return run_pipeline(store, definition, RunOptions(once=True, flush=case.flush))


def _compare(store: Store, topic: str, expected: list[Any] | int) -> list[str]:
    names = store.catalog.names()
    found = [msgspec.json.decode(message.value) for message in store.read(topic)] if topic in names else []
    if isinstance(expected, int):
        return [] if len(found) == expected else [f"{topic}: {expected} records expected, {len(found)} found"]
    differences = []
    for number, wanted in enumerate(expected):
        if number >= len(found):
            differences.append(f"{topic}: record {number + 1} is missing: {_text(wanted)}")
        elif not _fits(wanted, found[number]):
            differences.append(
                f"{topic}: record {number + 1} is {_text(found[number])}, expected {_text(wanted)}"
            )
    differences += [f"{topic}: not expected: {_text(extra)}" for extra in found[len(expected) :]]
    return differences[:_SHOWN_MAX]


def _fits(wanted: Any, found: Any) -> bool:
    """Whether they are equal; true is not 1."""
    if isinstance(wanted, bool) or isinstance(found, bool):
        return wanted is found
    if isinstance(wanted, dict) and isinstance(found, dict):
        return wanted.keys() == found.keys() and all(
            _fits(value, found[key]) for key, value in wanted.items()
        )
    if isinstance(wanted, list) and isinstance(found, list):
        return len(wanted) == len(found) and all(map(_fits, wanted, found))
    return bool(wanted == found)


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()
