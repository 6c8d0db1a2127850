"""A pipeline as one generated Python function for each topic that it reads, and the state that they work on.

A process function takes the rows of a chunk. It keeps in local variables what each row may need, and gives
back what it counted in a `finally`, so that a record at which the pipeline stops leaves everything as it was
after the record before it. The same code serves one row and a million.

    process(rows, first, p, x)     rows, the number of the first one in the chunk, its `Partition`, the `Turn`
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from aegis_cli.pipeline.account import Account
from aegis_cli.pipeline.basis import Basis
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
    TableJoin,
    Time,
)
from aegis_cli.pipeline.errors import RecordError
from aegis_cli.pipeline.expression import Constants
from aegis_cli.pipeline.feed import Feed, WholeFeed, feed_of, in_runs
from aegis_cli.pipeline.fit import shape_of
from aegis_cli.pipeline.joining import Joining
from aegis_cli.pipeline.prefix import Prefix, first_sinks
from aegis_cli.pipeline.scope import Scope, SourceFields, WholeFields
from aegis_cli.pipeline.seen import Seen
from aegis_cli.pipeline.state import StateStore
from aegis_cli.pipeline.table_joining import Tables, Wait
from aegis_cli.pipeline.turn import NO_TIME, Partition, Turn

if TYPE_CHECKING:
    from aegis_cli.pipeline.grouping import Grouping

Process = Callable[..., None]


class Program:
    """A definition, compiled. Raises `PipelineFileError` for what the expressions in it get wrong.

    With `split` the first steps are a function of their own for workers, `prefix`, if the state allows it.
    """

    def __init__(self, definition: Definition, *, split: bool = False) -> None:
        self.definition = definition
        self.prefix: Prefix | None = None
        self.is_split = split
        self.stores: dict[str, StateStore] = {}
        self.feeds: dict[str, Feed | WholeFeed] = {}
        self.processes: dict[str, Process] = {}
        # The generated source, by topic.
        self.sources: dict[str, str] = {}
        # Which topics have partitions of their own that the watermark waits for; 0 is the source itself.
        self.sides: dict[str, int] = {definition.source.name: 0}
        # What the tables take that results go into, one of each branch; `None` where anything is taken.
        self.shapes = [shape_of(branch.sink) for branch in definition.branches]
        self.grouping: Grouping | None = None
        self.joining: Joining | None = None
        self._after: Process | None = None
        times = [step for step in definition.steps if isinstance(step, Time)]
        self.bound_ms = times[0].watermark_ms if times else 0
        self.idle_ms = times[0].idle_ms if times else None
        self.takes_the_clock = bool(times) and times[0].processing
        self._constants = Constants()
        self._constants.namespace.update(RecordError=RecordError, BOUND=self.bound_ms)
        self._seen: list[Seen] = []
        self._rests_on: dict[str, object] = {}
        self.tables = Tables(definition, self._constants)
        self._write_tables()
        self._write_main()
        # What the state rests on: known only of texts that are expressions, so after all else.
        self.basis = Basis(definition)
        for name, rests_on in self._rests_on.items():
            self.basis.add(name, "table" if name.startswith("table ") else "join", rests_on)

    @property
    def _is_one_function(self) -> bool:
        """Whether all that is done with a record stands in the function of its topic."""
        return self.joining is None and not self.tables.waits

    @property
    def side_topics(self) -> list[str]:
        """The topics that are read beside the source."""
        return [topic for topic in self.processes if topic != self.definition.source.name]

    @property
    def read_topics(self) -> list[str]:
        """All topics that are read."""
        source = self.definition.source
        return [*([source.name] if source.kind == "topic" else []), *self.side_topics]

    def turn(self) -> Turn:
        """A working state with nothing in it."""
        definition = self.definition
        turn = Turn(definition.name, len(definition.branches), definition.on_error, bound_ms=self.bound_ms)
        turn.same = first_sinks(definition)
        if self.grouping is not None:
            turn.late_to = self.grouping.step.late_to
            turn.fire = lambda low_ms: self.fire(turn, low_ms)
        if self._after is not None:
            turn.after = self._after
            turn.sides = 2
        return turn

    def process(self, topic: str, rows: list[Any], partition: Partition, turn: Turn) -> None:
        """Process the rows of a chunk, and put those aside that are none, which `Feed.rows` marks.

        Raises `StoppedAt` for a record that the pipeline stops at.
        """
        process = self.processes[topic]
        in_runs(rows, lambda run, first: process(run, first, partition, turn), turn.refuse)

    def resume(self, turn: Turn) -> None:
        """After the state was restored: what was given out before the last commit is not given out again."""
        if self.grouping is not None:
            given_out = self.grouping.windows.close(turn.closed_ms)
            assert not given_out

    def forget(self, low_ms: int, account: Account) -> None:
        """Let go of what cannot matter any more; when this is called changes no result.

        Until then the account does not know what became of records that joins keep.
        """
        if self.joining is not None:
            self.joining.right.expire(low_ms)
            if self.joining.step.kind == "inner":
                self.joining.left.expire(low_ms)
            self.joining.settle(account)
        for seen in self._seen:
            seen.expire(low_ms - self.tables.wait_ms)
        self.tables.expire()

    def advance(self, turn: Turn) -> bool:
        """After the watermark moved without a record: give out what that closes; says if anything changed."""
        closed_ms = turn.closed_ms
        went_on = self.tables.advance(turn.low_ms, turn)
        turn.reached_ms = max(turn.reached_ms, turn.low_ms)
        low_ms = turn.low_ms - self.tables.wait_ms
        if low_ms <= closed_ms:
            return went_on
        if self.joining is not None and self._after is not None and low_ms >= self.joining.left.next_end_ms:
            alone = [(kept[0], kept[1], None) for _, _, kept in self.joining.left.expire(low_ms)]
            self._after(-1, alone, turn.closed_ms, low_ms, turn)
            went_on = True
        if self.grouping is not None and self.grouping.closes_by_time:
            self.fire(turn, low_ms)
        return went_on or turn.closed_ms != closed_ms

    def fire(self, turn: Turn, low_ms: int) -> None:
        """Give out the windows that end at or before the watermark."""
        assert self.grouping is not None
        turn.closed_ms = low_ms
        self.grouping.finish(self.grouping.windows.close(low_ms), turn)

    def flush(self, turn: Turn) -> None:
        """Give out all windows that are open, as if no record would ever come again."""
        # What comes out now is of no partition: it goes where rows of the first one go.
        turn.turn_to_rows(0)
        self.tables.flush(turn)
        if self.joining is not None and self._after is not None:
            alone = [(kept[0], kept[1], None) for _, _, kept in self.joining.left.flush()]
            self.joining.right.flush()
            self._after(-1, alone, turn.closed_ms, turn.low_ms, turn)
        if self.grouping is not None:
            given_out = self.grouping.windows.flush()
            # What comes later for these windows is late: it must not make a second one of the same time.
            turn.closed_ms = max(turn.closed_ms, self.grouping.windows.closed_ms)
            self.grouping.finish(given_out, turn)

    # -- writing --------------------------------------------------------------------------------------

    def _add_store(self, name: str, store: StateStore, rests_on: object = None) -> None:
        self.stores[name] = store
        if rests_on is not None:
            self._rests_on[name] = rests_on

    def _compile(self, topic: str, code: Code) -> None:
        self.processes[topic] = self._define(topic, code, "process")

    def _define(self, what: str, code: Code, name: str) -> Process:
        """The function of this name that the source defines."""
        source = self.sources[what] = code.text()
        namespace = self._constants.namespace
        # The source was written by this package alone, see `aegis_cli.pipeline.chain`.
        exec(compile(source, f"<pipeline {self.definition.name}: {what}>", "exec"), namespace)
        defined = namespace[name]
        assert callable(defined)
        return defined

    def _write_tables(self) -> None:
        """A function for the topic of each table, and the records that wait for rows."""
        tables = self.tables
        for table in self.definition.tables.values():
            self._add_store(f"table {table.name}", tables.stores[table.name], tables.rests_on(table))
            self._compile(table.topic, tables.write_table(table))
            self.feeds[table.topic] = WholeFeed(takes_null=True)
            self.sides[table.topic] = NO_TIME
        for wait in tables.waits:
            name = f"wait for {wait.step.table}"
            number = sum(each.startswith(name) for each in self.stores)
            name += f" {number + 1}" if number else ""
            self._add_store(name, wait.waiting, tables.wait_rests_on(wait))

    def _write_main(self) -> None:
        definition = self.definition
        steps = definition.steps
        aggregate = next((step for step in steps if isinstance(step, Aggregate)), None)
        if aggregate is not None:
            from aegis_cli.pipeline.grouping import Grouping

            self.grouping = Grouping(definition, aggregate, self._constants)
            self._add_store("aggregate", self.grouping.windows)
        join = next((step for step in steps if isinstance(step, StreamJoin)), None)
        if join is None:
            if self.is_split and not self.tables.waits:
                self._write_split()
                return
            fields = SourceFields()
            with self._rows_of(definition.source.name, Scope({}, fields)) as chain:
                self._write_rest(chain, steps)
            self.feeds[definition.source.name] = feed_of(definition, fields.fields)
            return
        self._write_join(join, steps[: steps.index(join)], steps[steps.index(join) + 1 :])

    def _write_split(self) -> None:
        """A function for what workers do, and one that goes on with it."""
        prefix = self.prefix = Prefix(self.definition, self._constants, first_sinks(self.definition))
        with self._rows_of(self.definition.source.name, Scope({}), prefix) as chain:
            prefix.hand_over(chain)
            if prefix.gives_time:
                chain.code.add("t = r[1]")
                chain.move_time(self._moved())
            if prefix.is_whole:
                chain.code.add("pass")
            else:
                self._write_rest(chain, prefix.rest)
        prefix.finish(self._define, self.processes[self.definition.source.name])

    def _write_join(self, join: StreamJoin, before: Sequence[Step], rest: Sequence[Step]) -> None:
        """A function for each of the two topics, and one for what is done with a pair."""
        name = self.definition.source.name
        self.joining = Joining(self.definition, join, self._constants)
        self._add_store("join left", self.joining.left)
        self._add_store("join right", self.joining.right)
        whole = Scope({}, WholeFields())
        with self._rows_of(name, whole) as left:
            for step in before:
                self._write_step(left, step)
            self.joining.write_left(left)
        with self._rows_of(join.topic, whole) as right:
            right.time(join.other_time, self._moved())
            self.joining.write_right(right)
        self.feeds[name] = self.feeds[join.topic] = WholeFeed()
        self.sides[join.topic] = 1
        code = Code()
        chain = Chain(code, self._constants, whole, path=self.definition.path)
        self.joining.set_scope_after(chain, left)
        code.open("def after(i, pairs, closed, low, x):")
        self._write_locals(chain, windows=True)
        with self._counted(code), code.block("for t, l, m in pairs:"):
            with code.block("try:"):
                self._write_rest(chain, rest)
                chain.close_blocks()
            chain.refused()
        self._after = self._define(f"{name} with {join.topic}", code, "after")

    @contextmanager
    def _rows_of(self, topic: str, scope: Scope, prefix: Prefix | None = None) -> Iterator[Chain]:
        """The function for the rows of a topic; its body is what is written within the block.

        Behind a prefix a row has its number in it.
        """
        loop = "for i, r in enumerate(rows, first):" if prefix is None else "for r in rows:"
        code = Code()
        chain = Chain(code, self._constants, scope, path=self.definition.path)
        code.open("def process(rows, first, p, x):")
        code.add("high = p.high_ms", "mark = high - BOUND", "others = x.others_ms", "t = x.now_ms")
        code.add("low = mark if mark < others else others")
        code.add("closed = mark if mark > x.closed_ms else x.closed_ms")
        self._write_locals(chain, windows=self._is_one_function)
        with self._counted(code, "p.high_ms = high"), code.block(loop):
            if prefix is not None:
                code.add("i = r[0]")
            with code.block("try:"):
                yield chain
                chain.close_blocks()
            chain.refused()
        code.close()
        self._compile(topic, code)

    def _write_locals(self, chain: Chain, *, windows: bool) -> None:
        chain.code.add("filtered = out = expanded = 0")
        chain.code.add(*chain.out_lines(self.definition.branches))
        if windows and self.grouping is not None:
            chain.code.add(*self.grouping.locals())
            chain.undo = self.grouping.undo()

    @contextmanager
    def _counted(self, code: Code, *lines: str) -> Iterator[None]:
        """A block behind which the account gets what was counted in it, however it ends."""
        with code.block("try:"):
            yield
        with code.block("finally:"):
            code.add(*lines, "account = x.account")
            code.add(*(f"account.{name} += {name}" for name in ("filtered", "out", "expanded")))

    def _moved(self) -> list[str]:
        """What is done when the watermark moves."""
        lines = [] if self.joining is None else self.joining.expire_lines()
        lines += self.tables.moved_lines()
        # What was kept until now went on by what was forgotten before.
        if any(isinstance(step, Dedup | StreamJoin) for step in self.definition.steps):
            lines += ["if low > x.reached_ms:", "    x.reached_ms = low"]
        if self.grouping is not None:
            low = f"low - {self.tables.wait_ms}" if self.tables.waits else "low"
            lines += self.grouping.closing_lines(at_hand=self._is_one_function, low=low)
        return lines

    def _write_rest(self, chain: Chain, steps: Sequence[Step]) -> None:
        """Steps to the end."""
        for number, step in enumerate(steps):
            if isinstance(step, Aggregate):
                assert self.grouping is not None
                self.grouping.write(chain)
                source = self.grouping.write_finish(
                    steps[number + 1 :], self.definition.branches, self.shapes
                )
                self.sources["results"] = source
                return
            if isinstance(step, TableJoin) and step.wait_ms:
                wait = next(each for each in self.tables.waits if each.step is step)
                self._write_wait(chain, wait, steps[number + 1 :])
                return
            self._write_step(chain, step)
        chain.give_out(self.definition.branches, self.shapes)

    def _write_wait(self, chain: Chain, wait: Wait, rest: Sequence[Step]) -> None:
        """A join in which records wait, and a function for what is done with those that go on."""
        row = self.tables.write_wait(chain, wait)
        code = Code()
        after = chain.continued(code)
        after.behind_ms = wait.behind_ms
        code.open(f"def {wait.name}(rows, low, x):")
        self._write_locals(after, windows=wait is self.tables.waits[-1])
        with self._counted(code), code.block(f"for {row} in rows:"):
            with code.block("try:"):
                # What was given out while the record waited is closed for it as well.
                code.add("if closed < x.closed_ms:", "    closed = x.closed_ms")
                after.table_join(wait.step, row.split(", ")[4])
                self._write_rest(after, rest)
                after.close_blocks()
            after.refused()
        wait.after = self._define(f"after the join with {wait.step.table}", code, wait.name)
        if chain.reads_the_message:
            wait.message = self._message

    def _message(self, line: bytes) -> Any:
        """What the line of a message of the source is decoded into."""
        return self.feeds[self.definition.source.name].rows(line + b"\n")[0]

    def _write_step(self, chain: Chain, step: Step) -> None:
        if isinstance(step, Filter | Map):
            chain.step(step)
        elif isinstance(step, FlatMap):
            chain.flat_map(step)
        elif isinstance(step, Time):
            chain.time(None if step.processing else step.field, self._moved())
        elif isinstance(step, Dedup):
            self._write_dedup(chain, step)
        else:
            assert isinstance(step, TableJoin)
            chain.table_join(step, self.tables.write_join(chain, step)[0])

    def _write_dedup(self, chain: Chain, step: Dedup) -> None:
        definition = self.definition
        store = Seen(pipeline=definition.name, within_ms=step.within_ms, keys_max=definition.groups_max)
        self._seen.append(store)
        self._add_store(f"dedup {len(self._seen)}", store)
        chain.dedup(step, store)
