"""Which sink a definition means, and the topics that it writes to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aegis_cli.pipeline.definition import Definition
from aegis_cli.pipeline.errors import PipelineFileError
from aegis_cli.pipeline.sinks.sink import Sink
from aegis_cli.pipeline.state import Facts
from storage.errors import TopicExistsError
from storage.store import Store
from storage.topic import TopicSettings

if TYPE_CHECKING:
    from aegis_cli.pipeline.run import RunOptions


def make_topics(store: Store, definition: Definition) -> None:
    """Make the topics that results and records put aside go to, where they are missing."""
    for name in definition.written_topics:
        try:
            store.create_topic(name, TopicSettings(), if_not_exists=True)
        except TopicExistsError:
            continue  # it is there with settings of its own


def open_sinks(store: Store, definition: Definition, options: RunOptions, facts: Facts) -> list[Sink]:
    """Open the sink of each branch, from where the last commit left it. Raises `SinkError`."""
    sinks: list[Sink] = []
    try:
        for number in range(len(definition.branches)):
            sink = _sink(store, definition, number, options)
            sinks.append(sink)
            sink.open(facts)
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

        return SqliteSink(sink, pipeline=definition.name, number=number)
    raise PipelineFileError(definition.path, f"a sink of kind '{sink.kind}' is not there yet")
