"""Tables and the joins with them as Python source: how rows are taken in and found, and how records wait.

A record whose row is not there yet can wait for it. What follows such a join stands in a function of its own,
which is called for each record that goes on: at once, or when its row comes, or when it has waited enough.

    after1(rows, low, x)     rows of (index, time, closed, message, row of the table, what steps before made)

A record that waited comes after newer ones, so for what follows a join the watermark is `wait` behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass
from itertools import groupby
from typing import Any

from aegis_cli.pipeline.chain import Chain
from aegis_cli.pipeline.code import Code
from aegis_cli.pipeline.definition import Definition, StreamJoin, Table, TableJoin, Text
from aegis_cli.pipeline.errors import PipelineFileError
from aegis_cli.pipeline.expression import Constants
from aegis_cli.pipeline.scope import Scope, WholeFields
from aegis_cli.pipeline.table import Key, TableStore, removed_keys
from aegis_cli.pipeline.table_versions import VersionedTable
from aegis_cli.pipeline.turn import Turn
from aegis_cli.pipeline.waiting import Kept, Waiting
from aegis_cli.pipeline.windows.key import part_of

Find = Callable[[Key, int, Turn], Any]


class Wait:
    """A join in which records wait. `behind_ms` is how far the watermark behind it is behind the source's.

    `after` is what follows the join, and `message` makes of a line what the steps behind it read.
    """

    def __init__(self, definition: Definition, step: TableJoin, name: str, *, before_ms: int) -> None:
        self.step = step
        self.name = name
        self.behind_ms = before_ms + step.wait_ms
        self.waiting = Waiting(
            definition.name, step.table, wait_ms=self.behind_ms, rows_max=definition.groups_max
        )
        self.find: Find
        self.after: Callable[..., None]
        self.message: Callable[[bytes], Any] = _no_message

    def came(self, key: Key, at: int, x: Turn) -> None:
        """A row came, as number `at` of the batch: go on with those that waited for it."""
        self._go_on(self.waiting.take(key, lambda time_ms: self.find(key, time_ms, x)), x.low_ms, at, x)

    def expire(self, low_ms: int, at: int, x: Turn) -> bool:
        """Go on with those that waited long enough; says whether there were any."""
        found = self.waiting.expire(low_ms)
        self._go_on(found, low_ms, at, x)
        return bool(found)

    def flush(self, x: Turn) -> None:
        """Go on with all of them."""
        self._go_on(self.waiting.flush(), x.low_ms, -1, x)

    def _go_on(self, found: list[tuple[Kept, Any]], low_ms: int, at: int, x: Turn) -> None:
        x.account.waiting -= len(found)
        number, x.at = x.number, at
        for partition, some in groupby(found, key=lambda each: each[0].partition):
            x.turn_to_rows(partition)
            x.kept = []
            rows = []
            for index, (kept, row) in enumerate(some):
                line = kept.line.encode()
                x.kept.append((line, kept.place))
                rows.append((~index, kept.time_ms, kept.closed_ms, self.message(line), row, kept.values))
            self.after(rows, low_ms - self.behind_ms, x)
        x.kept, x.at = [], -1
        x.turn_to_rows(number)


class Tables:
    """All tables of a pipeline. Raises `PipelineFileError` for what cannot be joined."""

    def __init__(self, definition: Definition, constants: Constants) -> None:
        self._definition = definition
        self._constants = constants
        self.stores: dict[str, TableStore | VersionedTable] = {}
        self.waits: list[Wait] = []
        for table in definition.tables.values():
            kind = TableStore if table.as_of is None else VersionedTable
            self.stores[table.name] = kind(
                definition.name, table.name, rows_max=definition.groups_max, ttl_ms=table.ttl_ms
            )
        for step in definition.steps:
            if isinstance(step, TableJoin):
                self._check(step)
                if step.wait_ms:
                    wait = Wait(definition, step, f"after{len(self.waits) + 1}", before_ms=self.wait_ms)
                    wait.find = self._find(definition.tables[step.table])
                    self.waits.append(wait)
        self._versioned = [each for each in self.stores.values() if isinstance(each, VersionedTable)]
        streams = [step.within_ms + 1 for step in definition.steps if isinstance(step, StreamJoin)]
        # How far behind the watermark records come to a join with a table at the most, if they are not late.
        self._behind_ms = self.wait_ms + sum(streams)

    @property
    def wait_ms(self) -> int:
        """How far the watermark behind all joins is behind that of the source."""
        return self.waits[-1].behind_ms if self.waits else 0

    def _check(self, step: TableJoin) -> None:
        if step.table not in self._definition.tables:
            raise self._error(step.key, f"there is no table '{step.table}'", "name it under 'tables'")
        if step.wait_ms and any(isinstance(other, StreamJoin) for other in self._definition.steps):
            raise self._error(
                step.key,
                "'wait' is not known to pipelines that join two streams",
                "make two pipelines, joined by a topic",
            )

    def _error(self, place: Text, reason: str, hint: str) -> PipelineFileError:
        path = self._definition.path
        return PipelineFileError(path, reason, line=place.line, column=place.column, hint=hint)

    def _find(self, table: Table) -> Find:
        store = self.stores[table.name]
        if isinstance(store, VersionedTable):
            return lambda key, time_ms, x: store.get_as_of(key, time_ms)
        if table.ttl_ms is not None:
            return lambda key, time_ms, x: store.get_at(key, x.now_ms)
        return lambda key, time_ms, x: store.get(key)

    def rests_on(self, table: Table) -> object:
        """What the rows of a table rest on, without the places in the file."""
        return table.topic, table.key.text, table.ttl_ms, table.as_of and table.as_of.text

    def wait_rests_on(self, wait: Wait) -> object:
        """What records that wait rest on: all that was done with them before."""
        steps = self._definition.steps
        before = steps[: next(number for number, step in enumerate(steps) if step is wait.step) + 1]
        return _said(self._definition.source.schema), [_said(step) for step in before]

    # -- what is done while a pipeline runs -----------------------------------------------------------

    def advance(self, low_ms: int, turn: Turn) -> bool:
        """The watermark moved without a record; says whether any record went on."""
        # What has waited at a later join is older than what waited at an earlier one.
        went_on = [wait.expire(low_ms, -1, turn) for wait in reversed(self.waits)]
        for table in self._versioned:
            table.floor_ms = max(table.floor_ms, low_ms - self._behind_ms)
        return any(went_on)

    def flush(self, turn: Turn) -> None:
        """Go on with all records that wait."""
        turn.flushing = True
        for wait in reversed(self.waits):
            wait.flush(turn)
        turn.flushing = False

    def expire(self) -> None:
        """Forget what nothing can ask for any more."""
        for store in self.stores.values():
            store.expire()

    # -- writing --------------------------------------------------------------------------------------

    def write_table(self, table: Table) -> Code:
        """A function that takes the rows of a table in."""
        name, as_of = self._constants.name_of, table.as_of
        code = Code()
        chain = Chain(code, self._constants, Scope({}, WholeFields()), path=self._definition.path)
        store = name(self.stores[table.name])
        with code.block("def process(rows, first, p, x):"), code.block("for i, r in enumerate(rows, first):"):
            with code.block("try:"):
                with code.block("if r is None:"):
                    # A removal has no field that says since when: that is the time of its message.
                    time = "x.now_ms" if as_of is None else "x.time_ms(i)"
                    with code.block(f"for key in {name(removed_keys)}(x.key(i)):"):
                        code.add(f"{store}.put(key, None, {time})")
                with code.block("else:"):
                    time = "x.now_ms" if as_of is None else chain.time_value(as_of)
                    code.add(f"key = {name(part_of)}({chain.value(table.key)})")
                    code.add(f"{store}.put(key, r, {time})")
                    for wait in self.waits:
                        if wait.step.table == table.name:
                            code.add(f"if key in {name(wait.waiting)}.by_key:")
                            code.add(f"    {name(wait.came)}(key, i, x)")
                code.add("x.account.table_out += 1")
            chain.refused()
        return code

    def moved_lines(self) -> list[str]:
        """What stands where the watermark moves."""
        name, lines = self._constants.name_of, []
        for wait in reversed(self.waits):
            lines += [f"if low > {name(wait.waiting)}.due_ms:", f"    {name(wait.expire)}(low, i, x)"]
        floor = f"low - {self._behind_ms}" if self._behind_ms else "low"
        for table in self._versioned:
            lines += [f"if {floor} > {name(table)}.floor_ms:", f"    {name(table)}.floor_ms = {floor}"]
        return lines

    def write_join(self, chain: Chain, step: TableJoin) -> tuple[str, str]:
        """Look for the row of a record; returns the variables that hold it and its key."""
        table = self._definition.tables[step.table]
        store = self._constants.name_of(self.stores[step.table])
        key, row = chain.variable(), chain.variable()
        if table.as_of is not None:
            found = f"{store}.get_as_of({key}, t)"
        else:
            found = f"{store}.get({key})" if table.ttl_ms is None else f"{store}.get_at({key}, x.now_ms)"
        # Null is equal to nothing, not even to the key of a row that has none.
        chain.code.add(f"{key} = {chain.table_key(step)}", f"{row} = None if {key} is None else {found}")
        return row, key

    def write_wait(self, chain: Chain, wait: Wait) -> str:
        """The same where a record may wait; returns what a row of `after` is made of."""
        row, key = self.write_join(chain, wait.step)
        own_ms, values = wait.step.wait_ms, _tuple(chain.live)
        with chain.code.block(
            f"if {row} is None and {key} is not None and low <= t + {own_ms} and not x.flushing:"
        ):
            chain.code.add(
                f"{self._constants.name_of(wait.waiting)}.add("
                f"{key}, t, closed - {own_ms}, x.number, x.line(i), x.place(i), {values})",
                "x.account.waiting += 1",
                "continue",
            )
        message = "r" if chain.reads_the_message else "None"
        chain.code.add(
            f"{wait.name}(((i, t, closed - {own_ms}, {message}, {row}, {values}),), low - {own_ms}, x)"
        )
        return f"i, t, closed, r, {row}, {values if chain.live else '_'}"


def _tuple(names: Iterable[str]) -> str:
    return "(" + "".join(f"{name}, " for name in names) + ")"


def _said(value: Any) -> Any:
    """What a part of a definition says, without the places in the file."""
    if isinstance(value, Text):
        return value.text
    if is_dataclass(value):
        return type(value).__name__, [_said(getattr(value, each.name)) for each in fields(value)]
    if isinstance(value, dict):
        return [(key, _said(each)) for key, each in value.items()]
    return [_said(each) for each in value] if isinstance(value, tuple) else value


def _no_message(line: bytes) -> None:
    """For steps that read nothing of the message."""
