"""Which sink a definition means, what it takes, and the topics that are written to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from aegis_cli.pipeline.definition import Definition
from aegis_cli.pipeline.definition import Sink as SinkDefinition
from aegis_cli.pipeline.errors import PipelineFileError, SinkError
from aegis_cli.pipeline.fit import Fit
from aegis_cli.pipeline.sinks.sink import Sink
from aegis_cli.pipeline.state import Facts
from aegis_cli.pipeline.turn import UNLIMITED_BYTES
from storage.errors import TopicExistsError, TopicNotFoundError
from storage.store import Store
from storage.topic import TopicSettings

if TYPE_CHECKING:
    from aegis_cli.pipeline.around import Stop
    from aegis_cli.pipeline.fit import TableShape
    from aegis_cli.pipeline.program import Program
    from aegis_cli.pipeline.run import RunOptions
    from aegis_cli.pipeline.sinks.sqlite_database import SqliteDatabase

_POSTGRES = "postgres "
_ORDER = ("sqlite", "postgres", "topic", "file", "stdout")


def make_topics(store: Store, definition: Definition) -> None:
    """Make the topics that results and records put aside go to, where they are missing."""
    for name in definition.written_topics:
        try:
            store.create_topic(name, TopicSettings(), if_not_exists=True)
        except TopicExistsError:
            continue  # it is there with settings of its own


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


def open_sinks(
    store: Store, program: Program, options: RunOptions, facts: Facts, *, stop: Stop | None
) -> list[Sink]:
    """Open the sink of each branch, from where the last commit left it. Raises `SinkError`."""
    sinks: list[Sink] = []
    databases: dict[str, SqliteDatabase] = {}
    try:
        for number, shape in enumerate(program.shapes):
            sink = _sink(store, program.definition, number, options, shape, stop, databases)
            if sink.slot and any(each.slot == sink.slot for each in sinks):
                sinks.append(sink)
                table = program.definition.branches[number].sink.table
                reason = "another sink of it does, by another name of the database"
                raise SinkError(program.definition.name, f"table {table}", reason, hint="keep one of them")
            sinks.append(sink)
            sink.open(facts)
        _check_nothing_is_left(facts, {sink.slot for sink in sinks}, pipeline=program.definition.name)
    except BaseException:
        for sink in sinks:
            sink.close()
        raise
    return sinks


def in_order(definition: Definition) -> list[int]:
    """The numbers of the branches in the order in which their sinks get the rows of a commit.

    Databases come first, since they may refuse rows, and what stdout got cannot be taken back. Those of
    SQLite are locked from then on until the commit, and so come in the same order in all pipelines.
    """

    def place(number: int) -> tuple[int, str]:
        sink = definition.branches[number].sink
        path = str(Path(sink.name).resolve()) if sink.kind == "sqlite" else ""
        return _ORDER.index(sink.kind), path

    return sorted(range(len(definition.branches)), key=place)


def _sink(
    store: Store,
    definition: Definition,
    number: int,
    options: RunOptions,
    shape: TableShape | None,
    stop: Stop | None,
    databases: dict[str, SqliteDatabase],
) -> Sink:
    sink = definition.branches[number].sink
    if sink.kind == "topic":
        from aegis_cli.pipeline.sinks.topic import TopicSink

        return TopicSink(store, sink, pipeline=definition.name, message_bytes_max=options.message_bytes_max)
    if sink.kind == "stdout":
        from aegis_cli.pipeline.sinks.stdout import StdoutSink

        return StdoutSink(options.stdout_fd, pipeline=definition.name, stop=stop)
    if sink.kind == "file":
        from aegis_cli.pipeline.sinks.file import FileSink

        return FileSink(sink.name, pipeline=definition.name)
    if sink.kind == "sqlite":
        from aegis_cli.pipeline.sinks.sqlite import SqliteSink
        from aegis_cli.pipeline.sinks.sqlite_database import SqliteDatabase
        from aegis_cli.pipeline.sqlite_shape import SqliteShape

        assert isinstance(shape, SqliteShape)
        path = str(Path(sink.name).resolve())
        if path not in databases:
            databases[path] = SqliteDatabase(sink.name, pipeline=definition.name, stop=stop)
        return SqliteSink(sink, shape, databases[path], pipeline=definition.name)
    need_driver(definition)
    from aegis_cli.pipeline.shape import Shape
    from aegis_cli.pipeline.sinks.postgres import PostgresSink

    assert isinstance(shape, Shape)

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
        return f"{_POSTGRES}{sink.table}"
    from aegis_cli.pipeline.conninfo import parse_conninfo

    return f"{_POSTGRES}{sink.table} {parse_conninfo(sink.name).address}"


def _check_nothing_is_left(facts: Facts, slots: set[str], *, pipeline: str) -> None:
    """Raise `SinkError` where rows were committed for a table that is no sink any more, and are not in it.

    A database of SQLite tells whether they are. How a server of PostgreSQL is reached, nobody says any more;
    but a run that ended well left nothing pending.
    """
    left = [slot for slot in facts.pending if slot not in slots]
    for slot in left:
        if slot.startswith(_POSTGRES):
            table = slot.removeprefix(_POSTGRES).partition(" ")[0]
            raise SinkError(
                pipeline,
                f"table {table} of PostgreSQL",
                "rows for it are committed and may not be there yet, and it is no sink any more",
                hint="name it as one in a run with --once before it goes",
            )
    if left:
        from aegis_cli.pipeline.sinks.sqlite import check_nothing_is_left

        check_nothing_is_left(facts, left, pipeline=pipeline)
