"""A pipeline as one generated Python function for each topic that it reads, and the state that they work on.

A process function takes the rows of a chunk. It keeps in local variables what each row may need, and gives
back what it counted in a `finally`, so that a record at which the pipeline stops leaves everything as it was
after the record before it. The same code serves one row and a million.

    process(rows, first, p, x)     rows, the number of the first one in the chunk, its `Partition`, the `Turn`
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aegis_cli.pipeline.chain import Chain
from aegis_cli.pipeline.code import Code
from aegis_cli.pipeline.definition import (
    Aggregate,
    Dedup,
    Definition,
    Filter,
    FlatMap,
    Map,
    Step,
    StreamJoin,
    Table,
    TableJoin,
    Time,
)
from aegis_cli.pipeline.errors import PipelineFileError, RecordError
from aegis_cli.pipeline.expression import Constants
from aegis_cli.pipeline.feed import Feed, WholeFeed
from aegis_cli.pipeline.grouping import Grouping
from aegis_cli.pipeline.scope import Scope, SourceFields, WholeFields
from aegis_cli.pipeline.seen import Seen
from aegis_cli.pipeline.state import StateStore
from aegis_cli.pipeline.table import TableStore
from aegis_cli.pipeline.turn import Partition, Turn
from aegis_cli.pipeline.windows.key import part_of

Process = Callable[..., None]


class Program:
    """A definition, compiled. Raises `PipelineFileError` for what the expressions in it get wrong."""

    def __init__(self, definition: Definition) -> None:
        self.definition = definition
        self.stores: dict[str, StateStore] = {}
        self.feeds: dict[str, Feed | WholeFeed] = {}
        self.processes: dict[str, Process] = {}
        # What the state rests on, by the name of the store: the text of the definition that made it.
        self.signature: dict[str, str] = {}
        # The generated source, by topic.
        self.sources: dict[str, str] = {}
        self.grouping: Grouping | None = None
        times = [step for step in definition.steps if isinstance(step, Time)]
        self.bound_ms = times[0].watermark_ms if times else 0
        self._time = repr(times)
        self._constants = Constants()
        self._constants.namespace.update(RecordError=RecordError, BOUND=self.bound_ms)
        self._seen: list[Seen] = []
        self._tables: dict[str, TableStore] = {}
        for table in definition.tables.values():
            self._write_table(table)
        self._write_main()

    @property
    def side_topics(self) -> list[str]:
        """The topics that are read beside the source."""
        return [topic for topic in self.processes if topic != self.definition.source.name]

    def turn(self) -> Turn:
        """A working state with nothing in it."""
        definition = self.definition
        turn = Turn(definition.name, len(definition.branches), definition.on_error, bound_ms=self.bound_ms)
        if self.grouping is not None:
            turn.late_to = self.grouping.step.late_to
            turn.fire = lambda low_ms: self.fire(turn, low_ms)
        return turn

    def process(self, topic: str, rows: list[Any], partition: Partition, turn: Turn) -> None:
        """Process the rows of a chunk, and put those aside that are none, which `Feed.rows` marks.

        Raises `StoppedAt` for a record that the pipeline stops at.
        """
        process = self.processes[topic]
        first = 0
        if any(type(row) is RecordError for row in rows):
            for index, row in enumerate(rows):
                if isinstance(row, RecordError):
                    process(rows[first:index], first, partition, turn)
                    turn.refuse(index, row)
                    first = index + 1
            rows = rows[first:]
        process(rows, first, partition, turn)

    def resume(self, turn: Turn) -> None:
        """After the state was restored: what was given out before the last commit is not given out again."""
        if self.grouping is not None:
            given_out = self.grouping.windows.close(turn.closed_ms)
            assert not given_out

    def forget(self, low_ms: int) -> None:
        """Let go of what cannot matter any more; when this is called changes no result."""
        for seen in self._seen:
            seen.expire(low_ms)

    def fire(self, turn: Turn, low_ms: int) -> None:
        """Give out the windows that end at or before the watermark."""
        assert self.grouping is not None
        turn.closed_ms = low_ms
        self.grouping.finish(self.grouping.windows.close(low_ms), turn)

    def flush(self, turn: Turn) -> None:
        """Give out all windows that are open, as if no record would ever come again."""
        if self.grouping is not None:
            self.grouping.finish(self.grouping.windows.flush(), turn)

    # -- writing --------------------------------------------------------------------------------------

    def _add_store(self, name: str, store: StateStore, rests_on: object) -> None:
        self.stores[name] = store
        self.signature[name] = repr(rests_on)

    def _compile(self, topic: str, code: Code) -> None:
        source = code.text()
        self.sources[topic] = source
        namespace = self._constants.namespace
        # The source was written by this package alone, see `aegis_cli.pipeline.chain`.
        exec(compile(source, f"<pipeline {self.definition.name}: {topic}>", "exec"), namespace)
        process = namespace["process"]
        assert callable(process)
        self.processes[topic] = process

    def _write_table(self, table: Table) -> None:
        """A function that takes the rows of a table in."""
        definition = self.definition
        store = TableStore(definition.name, table.name, rows_max=definition.groups_max, ttl_ms=table.ttl_ms)
        self._tables[table.name] = store
        self._add_store(f"table {table.name}", store, (table.topic, table.key.text, table.ttl_ms))
        code = Code()
        chain = Chain(code, self._constants, Scope({}, WholeFields()), path=definition.path)
        with code.block("def process(rows, first, p, x):"), code.block("for i, r in enumerate(rows, first):"):
            with code.block("try:"):
                put = f"{chain.constant(store)}.put"
                code.add(f"{put}({chain.constant(part_of)}({chain.value(table.key)}), r, x.now_ms)")
            with code.block("except RecordError as error:"):
                code.add("x.refuse(i, error)")
        self._compile(table.topic, code)
        self.feeds[table.topic] = WholeFeed()

    def _write_main(self) -> None:
        definition = self.definition
        fields = SourceFields()
        code = Code()
        chain = Chain(code, self._constants, Scope({}, fields), path=definition.path)
        code.open("def process(rows, first, p, x):")
        self._write_locals(chain)
        code.open("try:")
        code.open("for i, r in enumerate(rows, first):")
        code.open("try:")
        self._write_steps(chain)
        chain.close_loops()
        code.close()
        chain.refused()
        code.close(2)
        with code.block("finally:"):
            code.add("p.high_ms = high", "account = x.account")
            code.add(*(f"account.{name} += {name}" for name in ("filtered", "out", "expanded")))
        code.close()
        self._compile(definition.source.name, code)
        self.feeds[definition.source.name] = Feed(fields.fields, definition.source.schema)

    def _write_locals(self, chain: Chain) -> None:
        code = chain.code
        code.add("filtered = out = expanded = 0")
        code.add("high = p.high_ms", "mark = high - BOUND", "others = x.others_ms", "t = x.now_ms")
        code.add("low = mark if mark < others else others")
        code.add("closed = mark if mark > x.closed_ms else x.closed_ms")
        code.add(
            *(f"out{number} = x.outs[{number}].append" for number in range(len(self.definition.branches)))
        )
        aggregate = next((step for step in self.definition.steps if isinstance(step, Aggregate)), None)
        if aggregate is not None:
            self.grouping = Grouping(self.definition, aggregate, self._constants)
            self._add_store("aggregate", self.grouping.windows, (aggregate_text(aggregate), self._time))
            code.add(*self.grouping.locals())
            chain.undo = self.grouping.undo()

    def _write_steps(self, chain: Chain) -> None:
        for number, step in enumerate(self.definition.steps):
            if isinstance(step, Aggregate):
                assert self.grouping is not None
                self.grouping.write(chain)
                self.grouping.write_finish(self.definition.steps[number + 1 :], self.definition.branches)
                return
            self._write_step(chain, step)
        chain.give_out(self.definition.branches)

    def _write_step(self, chain: Chain, step: Step) -> None:
        if isinstance(step, Filter | Map):
            chain.step(step)
        elif isinstance(step, FlatMap):
            chain.flat_map(step)
        elif isinstance(step, Time):
            chain.time(step, closes_windows=self.grouping is not None and self.grouping.closes_by_time)
        elif isinstance(step, Dedup):
            store = Seen(
                pipeline=self.definition.name, within_ms=step.within_ms, keys_max=self.definition.groups_max
            )
            key = tuple(text.text for text in step.key)
            self._seen.append(store)
            self._add_store(f"dedup {len(self._seen)}", store, (key, step.within_ms, self._time))
            chain.dedup(step, store)
        elif isinstance(step, TableJoin):
            if step.table not in self._tables:
                raise PipelineFileError(
                    self.definition.path,
                    f"there is no table '{step.table}'",
                    line=step.key.line,
                    column=step.key.column,
                    hint="name it under 'tables'",
                )
            chain.table_join(step, self._tables[step.table])
        else:
            assert isinstance(step, StreamJoin)
            raise PipelineFileError(self.definition.path, "joins of two streams are not there yet")


def aggregate_text(step: Aggregate) -> object:
    """What the groups of an aggregate rest on, without the places in the file."""
    calls = {
        name: (call.name, tuple(text.text for text in call.arguments)) for name, call in step.results.items()
    }
    return step.window, {name: text.text for name, text in step.group_by.items()}, calls
