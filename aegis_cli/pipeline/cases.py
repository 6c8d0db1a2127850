"""The tests that a pipeline's file holds: what is given, run in a store of its own, against what is expected.

Each case runs as the pipeline itself would: the messages are published to real topics, the pipeline runs with
`--once`, and the results are read back. `crash_after` lets a run end without a commit in between.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from aegis_cli.pipeline.account import Account
from aegis_cli.pipeline.definition import Branch, Case, Definition, Sink
from aegis_cli.pipeline.errors import PipelineError
from aegis_cli.pipeline.event_time import event_time_ms
from aegis_cli.pipeline.program import Program
from aegis_cli.pipeline.reading.cases import KEYED, is_keyed
from aegis_cli.pipeline.reading.routes import label
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
    definition, inputs, outputs = _in_topics(definition)
    temporary = tempfile.TemporaryDirectory(prefix="aegis-test-")
    clock = _Clock()
    with temporary as directory, Store(directory, create=True, clock_ms=clock) as store:
        given = {inputs.get(name, name): records for name, records in case.given.items()}
        for name in dict.fromkeys([*Program(definition).processes, *given]):
            store.create_topic(name, TopicSettings(), if_not_exists=True)
        for name, records in given.items():
            clock.now_ms += 1
            _publish(store, name, records)
        try:
            account = _run(store, definition, case)
        except PipelineError as error:
            return Outcome(case.name, case.line, [str(error)], None)
        differences = [
            line
            for name, expected in case.expect.items()
            for line in _compare(store, outputs.get(name, name), expected, name)
        ]
        if not account.balances:
            differences.append(f"the account does not balance: {account}")
        return Outcome(case.name, case.line, differences, account)


class _Clock:
    """The time at which a case begins, which goes on with each topic that is given.

    So topics are read in the order in which they are written, whatever their names.
    """

    def __init__(self) -> None:
        self.now_ms = time.time_ns() // 1_000_000

    def __call__(self) -> int:
        return self.now_ms


def _in_topics(definition: Definition) -> tuple[Definition, dict[str, str], dict[str, str]]:
    """The same pipeline with a topic as source and as each sink, since a test writes nowhere else.

    Returns also which topic stands for what a case calls by another name: for an input, and for an output.
    Those are two: '-' can be both, and a table can be called as the topic that fills it. Where a table and a
    topic that is written to have one name, that means the topic.
    """
    written = definition.written_topics
    taken = {name.casefold() for name in (*written, *Program(definition).processes)}

    def free(name: str) -> str:
        while name in taken:
            name += "-"
        return name

    inputs: dict[str, str] = {}
    outputs = {name: name for name in written}
    branches = []
    for number, branch in enumerate(definition.branches):
        is_topic = branch.sink.kind == "topic"
        name = branch.sink.name if is_topic else free(f"sink-{number}")
        outputs.setdefault(label(branch.sink), name)
        key = branch.sink.key if is_topic else ()
        branches.append(Branch(steps=branch.steps, sink=Sink(kind="topic", name=name, key=key)))
    source = definition.source
    if source.kind != "topic":
        inputs[source.name] = free("source")
        source = replace(source, kind="topic", name=inputs[source.name])
    return replace(definition, branches=tuple(branches), source=source), inputs, outputs


def _publish(store: Store, topic: str, records: list[Any]) -> None:
    if not records:
        return
    keyed = [record if is_keyed(record) else None for record in records]
    values = [record if one is None else one[KEYED[1]] for one, record in zip(keyed, records, strict=True)]
    keys = times_ms = None
    if any(one is not None for one in keyed):
        keys = [b"null" if one is None else msgspec.json.encode(one[KEYED[0]]) for one in keyed]
        times_ms = [
            -1 if one is None or KEYED[2] not in one else event_time_ms(one[KEYED[2]]) for one in keyed
        ]
    lines = msgspec.json.Encoder().encode_lines(values)
    batch = RecordBatch(lines=lines, count=len(values), keys=keys, timestamps_ms=times_ms)
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


def _compare(store: Store, topic: str, expected: list[Any] | int, name: str) -> list[str]:
    """What differs from the expected in the topic, which the case calls `name`."""
    names = store.catalog.names()
    found = [msgspec.json.decode(message.value) for message in store.read(topic)] if topic in names else []
    if isinstance(expected, int):
        return [] if len(found) == expected else [f"{name}: {expected} records expected, {len(found)} found"]
    differences = []
    for number, wanted in enumerate(expected):
        if number >= len(found):
            differences.append(f"{name}: record {number + 1} is missing: {_text(wanted)}")
        elif not _fits(wanted, found[number]):
            differences.append(
                f"{name}: record {number + 1} is {_text(found[number])}, expected {_text(wanted)}"
            )
    differences += [f"{name}: not expected: {_text(extra)}" for extra in found[len(expected) :]]
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
