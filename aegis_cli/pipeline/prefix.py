"""The part of a pipeline that needs no state, and so can run in workers: decoding, and the first steps.

It ends before the first step that keeps something; of a `time` it computes what the watermark is then moved
by. A pipeline that keeps nothing at all is prepared up to the lines that go out. What is prepared of a chunk
is the same wherever it is done, and is taken in the order of the chunks.
"""

from __future__ import annotations

import marshal
from collections.abc import Callable, Sequence
from typing import Any

from aegis_cli.pipeline.chain import TABLE_KINDS, Chain
from aegis_cli.pipeline.code import Code
from aegis_cli.pipeline.definition import Definition, Filter, FlatMap, Map, Step, StreamJoin, TableJoin, Time
from aegis_cli.pipeline.errors import RecordError
from aegis_cli.pipeline.expression import Constants
from aegis_cli.pipeline.feed import feed_of, in_runs
from aegis_cli.pipeline.fit import Fit
from aegis_cli.pipeline.scope import Handed, HandedScope, Scope, SourceFields
from aegis_cli.pipeline.turn import UNLIMITED_BYTES, Partition, Turn


class Prepared:
    """What was made of a chunk of `count` records.

    `rows` begin with the number of their record, and its time where one was computed; `refusals` are (how
    many rows came before, number of the record, reason); `lines` is what goes out of a pipeline that keeps
    nothing, for each of its sinks, in one piece.
    """

    __slots__ = (
        "count",
        "expanded",
        "filtered",
        "fits",
        "lines",
        "made_bytes",
        "made_of",
        "out",
        "outs",
        "raw",
        "refusals",
        "rows",
        "shares",
        "split",
    )

    def __init__(self, sinks: Sequence[int] = (), fits: Sequence[Fit] = ()) -> None:
        self.fits = fits
        self.count = self.filtered = self.expanded = self.out = self.made_bytes = 0
        self.rows: list[Sequence[Any]] = []
        self.refusals: list[tuple[int, int, str]] = []
        self.lines: list[bytes] = []
        made: list[list[Any]] = [[] for _ in sinks]
        self.outs = [made[first] for first in sinks]
        self.made_of = -1
        self.raw = b""
        self.shares = False
        self.split: list[bytes] = []

    # What the generated function calls, as it does of a `Turn`.

    def refuse(self, index: int, error: RecordError) -> None:
        """Put a record aside."""
        self.refusals.append((len(self.rows), index, str(error)))

    def begin_rows(self, index: int) -> None:
        """What is made next is made of this record."""
        self.made_of, self.made_bytes = index, 0

    def line(self, index: int) -> bytes:
        """The line of a record."""
        if not self.split:
            self.split = self.raw.split(b"\n")
        return self.split[index]

    def packed(self) -> bytes:
        """All of it, for `unpacked` in a process of the same program."""
        numbers = (self.count, self.filtered, self.expanded, self.out)
        # Version 2 looks for no values that are the same object, of which there are hardly any where a record
        # stays one; items have all the rest of it in common.
        return marshal.dumps((numbers, self.rows, self.refusals, self.lines), 4 if self.shares else 2)


def unpacked(data: bytes) -> Prepared:
    """What `packed` gave."""
    found = Prepared()
    numbers, found.rows, found.refusals, found.lines = marshal.loads(data)
    found.count, found.filtered, found.expanded, found.out = numbers
    return found


class Prefix:
    """The first steps of a pipeline as a function of their own; `rest` are the steps that follow.

    `sinks` has for each sink the first one of the same name. It is written in two pieces, since what the rest
    asks for of a row is known when that was written.
    """

    def __init__(self, definition: Definition, constants: Constants, sinks: Sequence[int]) -> None:
        self.steps = first_steps(definition)
        self.rest = definition.steps[len(self.steps) :]
        self._definition = definition
        self._constants = constants
        self._sinks = sinks
        # What the topics of the sinks take.
        self.fits = [Fit("", UNLIMITED_BYTES) for _ in sinks]
        self.gives_time = bool(self.steps) and isinstance(self.steps[-1], Time)
        # What a table takes is told when its columns were looked at, in the order of the records.
        takes_lines = all(branch.sink.kind not in TABLE_KINDS for branch in definition.branches)
        self.is_whole = not self.rest and not self.gives_time and takes_lines
        self._fields = SourceFields()
        self._code = Code()
        self._chain = Chain(self._code, constants, Scope({}, self._fields), path=definition.path)
        self._code.open("def prepare(rows, first, x):")
        self._code.add("filtered = out = expanded = 0", "give = x.rows.append")
        if self.is_whole:
            self._code.add(*Chain.out_lines(definition.branches))
        self._code.open("for i, r in enumerate(rows, first):")
        self._code.open("try:")
        for step in self.steps:
            if isinstance(step, Filter | Map):
                self._chain.step(step)
            elif isinstance(step, FlatMap):
                self._chain.flat_map(step)
            else:
                assert isinstance(step, Time) and step.field is not None
                self._code.add(f"t = {self._chain.time_value(step.field)}")
        before = self._chain
        names = before.fields if not before.is_message else list(before.scope)
        self._handed = Handed(before.scope, names, first=2 if self.gives_time else 1)

    def hand_over(self, chain: Chain) -> None:
        """Let a chain go on with what is handed to it, an item of the row `r` for each name that it uses."""
        is_open = self._chain.scope.is_open
        scope = Scope(self._handed, self._handed) if is_open else HandedScope(self._handed)
        chain.take_over(scope, self._handed, is_message=self._chain.is_message)
        chain.expands = self._chain.expands

    def finish(
        self, compiled: Callable[[str, Code, str], Callable[..., None]], process: Callable[..., None]
    ) -> None:
        """When the rest was written, as `process`: write the end of the function, and have it compiled."""
        self._process = process
        code, chain = self._code, self._chain
        if self.is_whole:
            chain.give_out(self._definition.branches, [None] * len(self._sinks))
        else:
            values = ["i", *(["t"] if self.gives_time else [])]
            values += self._handed.asked
            code.add(f"give(({', '.join(values)},))")
        chain.close_blocks()
        code.close()
        chain.refused()
        code.close()
        code.add("x.filtered += filtered", "x.expanded += expanded", "x.out += out")
        self._feed = feed_of(self._definition, self._fields.fields)
        self._prepare = compiled("in workers", code, "prepare")

    def prepare(self, lines: bytes) -> Prepared:
        """Prepare a chunk."""
        found = Prepared(self._sinks, self.fits)
        found.raw, found.shares = lines, expands(self._definition)
        rows = self._feed.rows(lines)
        found.count = len(rows)
        in_runs(rows, lambda run, first: self._prepare(run, first, found), found.refuse)
        found.lines = [
            b"\n".join([*rows, b""]) if number == same else b""
            for number, (same, rows) in enumerate(zip(self._sinks, found.outs, strict=True))
        ]
        return found

    def take(self, prepared: Prepared, partition: Partition, turn: Turn) -> None:
        """Go on with what was prepared of a chunk. Raises `StoppedAt`."""
        account = turn.account
        account.filtered += prepared.filtered
        account.expanded += prepared.expanded
        account.out += prepared.out
        for out, lines in zip(turn.outs, prepared.lines, strict=True):
            # In one piece they are cheaper to hand over.
            turn.made_bytes += len(lines)
            out.extend(lines.split(b"\n")[:-1])
        rows, first = prepared.rows, 0
        for position, index, reason in prepared.refusals:
            self._process(rows[first:position], 0, partition, turn)
            turn.refuse(index, RecordError(reason))
            first = position
        self._process(rows[first:], 0, partition, turn)


def first_sinks(definition: Definition) -> list[int]:
    """For each sink the number of the first one of the same topic."""
    sinks = [(each.sink.kind, each.sink.name, each.sink.key) for each in definition.branches]
    return [sinks.index(sink) if sink[0] == "topic" else number for number, sink in enumerate(sinks)]


def expands(definition: Definition) -> bool:
    """Whether records become more than one."""
    return any(isinstance(step, FlatMap) for step in definition.steps)


def first_steps(definition: Definition) -> tuple[Step, ...]:
    """The steps that can run in workers: those before the first that needs the state."""
    if any(isinstance(step, StreamJoin | TableJoin) and _keeps_records(step) for step in definition.steps):
        return ()
    for number, step in enumerate(definition.steps):
        if isinstance(step, Time) and not step.processing:
            return definition.steps[: number + 1]
        if not isinstance(step, Filter | Map | FlatMap):
            return definition.steps[:number]
    return definition.steps


def _keeps_records(step: StreamJoin | TableJoin) -> bool:
    """Whether a step keeps records as they are at its place, so that nothing may prepare them otherwise."""
    return isinstance(step, StreamJoin) or step.wait_ms > 0
