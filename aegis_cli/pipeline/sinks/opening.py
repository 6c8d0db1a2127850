"""Which sink a definition means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aegis_cli.pipeline.conninfo import parse_conninfo
from aegis_cli.pipeline.definition import Definition
from aegis_cli.pipeline.definition import Sink as SinkDefinition
from aegis_cli.pipeline.errors import PipelineFileError
from aegis_cli.pipeline.sinks.sink import Sink
from aegis_cli.pipeline.state import Facts
from storage.store import Store

if TYPE_CHECKING:
    from aegis_cli.pipeline.program import Program
    from aegis_cli.pipeline.run import RunOptions, Stop
    from aegis_cli.pipeline.shape import Shape


def open_sinks(
    store: Store, program: Program, options: RunOptions, facts: Facts, *, stop: Stop | None
) -> list[Sink]:
    """Open the sink of each branch, from where the last commit left it. Raises `SinkError`."""
    sinks: list[Sink] = []
    try:
        for number, shape in enumerate(program.shapes):
            sink = _sink(store, program.definition, number, options, shape, stop)
            sinks.append(sink)
            sink.open(facts)
    except BaseException:
        for sink in sinks:
            sink.close()
        raise
    return sinks


def _sink(
    store: Store,
    definition: Definition,
    number: int,
    options: RunOptions,
    shape: Shape | None,
    stop: Stop | None,
) -> Sink:
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
    assert sink.kind == "postgres" and shape is not None
    need_driver(definition)
    from aegis_cli.pipeline.sinks.postgres import PostgresSink

    slot = _slot(definition, sink)
    return PostgresSink(sink, shape, pipeline=definition.name, slot=slot, stop=stop)


def need_driver(definition: Definition) -> None:
    """Raise `PipelineFileError` where there is no driver for PostgreSQL."""
    try:
        import psycopg  # noqa: F401
    except ImportError as error:
        raise PipelineFileError(
            definition.path,
            "a sink of kind 'postgres' needs the driver psycopg",
            hint="pip install 'aegis-streaming[postgresql]'",
        ) from error


def _slot(definition: Definition, sink: SinkDefinition) -> str:
    """What rows for a table of PostgreSQL are kept under, until they are there.

    A server may get another address while it has rows to come; tables of one name in two databases are told
    apart by it.
    """
    tables = [each.sink.table for each in definition.branches if each.sink.kind == "postgres"]
    if tables.count(sink.table) == 1:
        return f"postgres {sink.table}"
    return f"postgres {sink.table} {parse_conninfo(sink.name).address}"
