"""Which sink a definition means, and what it takes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from aegis_cli.pipeline.definition import Definition
from aegis_cli.pipeline.errors import PipelineFileError
from aegis_cli.pipeline.fit import Fit
from aegis_cli.pipeline.sinks.sink import Sink
from aegis_cli.pipeline.state import Facts
from aegis_cli.pipeline.turn import UNLIMITED_BYTES
from storage.errors import TopicNotFoundError
from storage.store import Store

if TYPE_CHECKING:
    from aegis_cli.pipeline.run import RunOptions


def with_declared_keys(store: Store, definition: Definition) -> Definition:
    """The definition with the key that a topic declares where a sink names none."""
    branches = []
    for branch in definition.branches:
        if branch.sink.kind == "topic" and not branch.sink.key:
            try:
                key = store.topic(branch.sink.name).settings.key
            except TopicNotFoundError:
                key = None
            if key is not None:
                branch = replace(branch, sink=replace(branch.sink, key=(key,)))
        branches.append(branch)
    return replace(definition, branches=tuple(branches))


def fits_of(store: Store, definition: Definition, *, message_bytes_max: int) -> list[Fit]:
    """What the sink of each branch takes."""
    fits = []
    for branch in definition.branches:
        limit_bytes = UNLIMITED_BYTES
        if branch.sink.kind == "topic":
            limit_bytes = store.topic(branch.sink.name).settings.max_message_bytes or message_bytes_max
        fits.append(Fit(branch.sink.name, limit_bytes))
    return fits


def open_sinks(store: Store, definition: Definition, options: RunOptions, facts: Facts) -> list[Sink]:
    """Open the sink of each branch, from where the last commit left it. Raises `SinkError`."""
    sinks: list[Sink] = []
    try:
        for number in range(len(definition.branches)):
            sink = _sink(store, definition, number, options)
            sinks.append(sink)
            sink.open(facts)
        if facts.pending:
            from aegis_cli.pipeline.sinks.sqlite import SqliteSink, check_nothing_is_left

            slots = {sink.slot for sink in sinks if isinstance(sink, SqliteSink)}
            check_nothing_is_left(facts, slots, pipeline=definition.name)
    except BaseException:
        for sink in sinks:
            sink.close()
        raise
    return sinks


def _sink(store: Store, definition: Definition, number: int, options: RunOptions) -> Sink:
    sink = definition.branches[number].sink
    if sink.kind == "topic":
        from aegis_cli.pipeline.sinks.topic import TopicSink

        return TopicSink(store, sink, pipeline=definition.name, message_bytes_max=options.message_bytes_max)
    if sink.kind == "stdout":
        from aegis_cli.pipeline.sinks.stdout import StdoutSink

        return StdoutSink(options.stdout_fd)
    if sink.kind == "file":
        from aegis_cli.pipeline.sinks.file import FileSink

        return FileSink(sink.name, pipeline=definition.name)
    if sink.kind == "sqlite":
        from aegis_cli.pipeline.sinks.sqlite import SqliteSink

        return SqliteSink(sink, pipeline=definition.name)
    raise PipelineFileError(definition.path, f"a sink of kind '{sink.kind}' is not there yet")
