"""The steps of a pipeline as Python source: what is done with one row, one statement after the other.

A row that goes no further is counted and left by `continue`, so steps follow on one another without calls.
Steps that make several rows of one open a loop, which the steps after them stand in; each row of it has its
own `try`, so that one which cannot be processed takes none of the others with it.

The source is written from the definition alone: names of users' fields become attributes `r.f0` and
variables `v0`, their literals and functions constants `k0`; no text of a file gets into it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec.json import Encoder

from aegis_cli.pipeline.code import Code
from aegis_cli.pipeline.definition import (
    Branch,
    Dedup,
    Filter,
    FlatMap,
    Map,
    Sink,
    TableJoin,
    Text,
)
from aegis_cli.pipeline.errors import PipelineFileError
from aegis_cli.pipeline.expression import Constants, emit, emit_condition, emit_time, parse
from aegis_cli.pipeline.fit import check_message_key, check_row_key
from aegis_cli.pipeline.items import MADE_BYTES_MAX, TOO_MUCH_MADE, items_of, size_of
from aegis_cli.pipeline.scope import Scope
from aegis_cli.pipeline.windows.key import part_of

if TYPE_CHECKING:
    from aegis_cli.pipeline.fit import TableShape

_PLAIN = re.compile(r"(r\.f|v|g)[0-9]+\Z")
# Sinks that take rows as they are; others take lines.
TABLE_KINDS = ("sqlite", "postgres")
_encode = Encoder().encode


class Chain:
    """Writes steps into `code`. What a name means at the end of what was written is `scope`."""

    def __init__(self, code: Code, constants: Constants, scope: Scope, *, path: str) -> None:
        self.code = code
        self.constants = constants
        self.scope = scope
        self.path = path
        # Whether a row still is the message that came, so that its line can be passed on as it is.
        self.is_message = scope.is_open
        # Whether several rows may have been made of one record.
        self.expands = False
        self.has_time = False
        # How far the watermark is behind that of the source, since records waited before they came here.
        self.behind_ms = 0
        # The blocks that steps opened, the innermost last: of a loop `None`, else what takes a step back.
        self._blocks: list[str | None] = []
        # What is done first when a record is refused.
        self.undo: list[str] = []
        self._variables = 0
        self._fields: Mapping[str, str] = {}

    # -- values ---------------------------------------------------------------------------------------

    def variable(self) -> str:
        """A name that nothing else has."""
        self._variables += 1
        return f"v{self._variables - 1}"

    def value(self, text: Text, scope: Scope | None = None) -> str:
        """The source of an expression's value."""
        names = self.scope if scope is None else scope
        return emit(parse(text, path=self.path), names, self.constants)

    def time_value(self, text: Text) -> str:
        """The source of the time that an expression gives, in milliseconds."""
        return emit_time(parse(text, path=self.path), self.scope, self.constants)

    @property
    def forgotten(self) -> str:
        """The source of the watermark by which a dedup or a join has forgotten what is before it.

        Seen from one record: whether that was done yet, which depends on commits, makes no difference then.
        """
        reached = f"x.reached_ms - {self.behind_ms}" if self.behind_ms else "x.reached_ms"
        return f"(closed if closed > {reached} else {reached})"

    def held(self, text: Text, scope: Scope | None = None) -> str:
        """The source of a value that was computed already: a variable, or an attribute of the row."""
        source = self.value(text, scope)
        if _PLAIN.match(source):
            return source
        variable = self.variable()
        self.code.add(f"{variable} = {source}")
        return variable

    def condition(self, text: Text, scope: Scope | None = None) -> str:
        """Source that is true exactly when the expression is."""
        names = self.scope if scope is None else scope
        return emit_condition(parse(text, path=self.path), names, self.constants)

    def constant(self, value: object) -> str:
        return self.constants.name_of(value)

    def key(self, texts: tuple[Text, ...] | list[Text], scope: Scope | None = None) -> str:
        """The source of a key: a tuple of scalars. Most are text, and need no look at them."""
        return self.key_of([self.held(text, scope) for text in texts])

    def key_of(self, parts: Sequence[str], *, first: str = "") -> str:
        """The source of a key of values that were computed already; `first` stands before them in it."""
        check = self.constant(part_of)
        sources = [f"{part} if type({part}) is str else {check}({part})" for part in parts]
        return "(" + "".join(f"{source}, " for source in [*([first] if first else []), *sources]) + ")"

    # -- going on in another function -----------------------------------------------------------------

    @property
    def live(self) -> list[str]:
        """The variables that the steps to come may need, in one order."""
        sources = {*self.scope.values(), *self._fields.values()}
        return sorted((source for source in sources if source[0] == "v"), key=lambda name: int(name[1:]))

    @property
    def reads_the_message(self) -> bool:
        """Whether the steps to come may need fields of the message that came."""
        sources = (*self.scope.values(), *self._fields.values())
        return self.scope.is_open or any(source.startswith("r.") for source in sources)

    def continued(self, code: Code) -> Chain:
        """The same row in the body of another function, in which `live` and `r` have been set."""
        chain = Chain(code, self.constants, self.scope, path=self.path)
        chain.is_message, chain.has_time = self.is_message, self.has_time
        chain._variables, chain._fields = self._variables, self._fields
        return chain

    # -- steps ----------------------------------------------------------------------------------------

    def filter(self, step: Filter) -> None:
        with self.code.block(f"if not ({self.condition(step.condition)}):"):
            self.code.add("filtered += 1", "continue")

    def map(self, step: Map) -> None:
        self.set_row({name: self.held(text) for name, text in step.fields.items()})

    def flat_map(self, step: FlatMap) -> None:
        items = self.variable()
        self.code.add(
            f"{items} = {self.constant(items_of)}({self.value(step.items)})",
            f"expanded += len({items}) - 1",
        )
        item = self.open_loop(items)
        self.scope = self.scope.with_names({step.name: item})
        if not self.is_message:
            self._fields = {**self._fields, step.name: item}

    def open_loop(self, items: str) -> str:
        """Begin a loop over rows made of one; returns the source of the item."""
        item = self.variable()
        self.code.open(f"for {item} in {items}:")
        self.code.open("try:")
        self._blocks.append(None)
        self.expands = True
        return item

    def close_blocks(self) -> None:
        """End all loops and other blocks that steps opened."""
        while self._blocks:
            taking_back = self._blocks.pop()
            self.code.close()
            if taking_back is None:
                self.refused()
                self.code.close()
                continue
            with self.code.block("except RecordError:"):
                self.code.add(taking_back, "raise")

    def refused(self) -> None:
        """Write what follows a record that cannot be processed."""
        with self.code.block("except RecordError as error:"):
            self.code.add(*self.undo, "x.refuse(i, error)")

    @property
    def fields(self) -> list[str]:
        """The fields that the row has, where it is a message no more."""
        return list(self._fields)

    def time(self, field: Text | None, moved: Sequence[str]) -> None:
        """Give the row its event time `t`, and move the watermark; `moved` is what is done when it moves.

        Without a field it is the time of the append.
        """
        if field is None:
            self.code.add("t = x.now_ms")
        else:
            self.code.add(f"t = {self.time_value(field)}")
        self.move_time(moved)

    def move_time(self, moved: Sequence[str]) -> None:
        """Move the watermark to where the time of the row leads it."""
        self.has_time = True
        self.code.open("if t > high:")
        self.code.add("high = t", "mark = t - BOUND", "low = mark if mark < others else others")
        self.code.add(*moved)
        self.code.add("closed = mark if mark > x.closed_ms else x.closed_ms")
        self.code.close()

    def dedup(self, step: Dedup, store: object) -> None:
        seen, key = self.constant(store), self.variable()
        self.code.add(f"{key} = {self.key(step.key)}")
        with self.code.block(f"if not {seen}.add({key}, t, {self.forgotten}):"):
            self.code.add(
                f"x.duplicate(i, {step.dropped_to!r})" if step.dropped_to else "x.duplicate(i, None)"
            )
            self.code.add("continue")
        # A record that a later step refuses must not stand for its key: its repetition may be correct.
        self.code.open("try:")
        self._blocks.append(f"{seen}.take_back({key}, t)")

    def table_key(self, step: TableJoin) -> str:
        """The source of the key that a table is asked for."""
        return f"{self.constant(part_of)}({self.held(step.key)})"

    def table_join(self, step: TableJoin, row: str) -> None:
        """Go on with the row of the table that the variable holds, or `None`."""
        if step.kind == "inner":
            with self.code.block(f"if {row} is None:"):
                self.code.add("filtered += 1", "continue")
        self.scope = self.scope.with_names({step.table: row})

    # -- the end --------------------------------------------------------------------------------------

    def row(self) -> str:
        """The source of the row as it is kept or goes out: a dict, or the message's own line."""
        if self.is_message:
            return "x.line(i)"
        return "{" + ", ".join(f"{name!r}: {source}" for name, source in self._fields.items()) + "}"

    def take_over(self, scope: Scope, fields: Mapping[str, str], *, is_message: bool) -> None:
        """Go on with a row as another chain left it."""
        self.scope, self._fields, self.is_message = scope, fields, is_message

    def set_row(self, fields: Mapping[str, str]) -> None:
        """From here on the row has these fields, and no others."""
        self._fields = dict(fields)
        self.scope = Scope(fields)
        self.is_message = False

    @staticmethod
    def out_lines(branches: tuple[Branch, ...]) -> list[str]:
        """What `give_out` needs at hand."""
        lines = [f"out{number} = x.outs[{number}].append" for number in range(len(branches))]
        return lines + [
            f"harmless{number} = x.fits[{number}].harmless_bytes"
            for number, branch in enumerate(branches)
            if branch.sink.kind == "topic"
        ]

    def give_out(self, branches: tuple[Branch, ...], shapes: Sequence[TableShape | None]) -> None:
        """Write the ways out, of which some have a shape; a row that none of them takes is filtered.

        A row goes out only when all of its ways were found to take it.
        """
        if self.expands:
            with self.code.block("if i != x.made_of:"):
                self.code.add("x.begin_rows(i)")
            with self.code.block(f"elif x.made_bytes > {MADE_BYTES_MAX}:"):
                self.code.add(f"raise RecordError({TOO_MUCH_MADE!r})")
        if len(branches) == 1:
            for step in branches[0].steps:
                self.step(step)
            row = self._fitting_row(0, branches[0].sink, shapes[0])
            self.code.add(f"out0({self._settled(row, shapes[0])})", "out += 1")
            return
        rows = [
            self._branch(number, branch, shape)
            for number, (branch, shape) in enumerate(zip(branches, shapes, strict=True))
        ]
        taken = " and ".join(f"{row} is None" for row in rows)
        with self.code.block(f"if {taken}:"):
            self.code.add("filtered += 1", "continue")
        self.code.add("out += 1")
        for number, (row, shape) in enumerate(zip(rows, shapes, strict=True)):
            with self.code.block(f"if {row} is not None:"):
                self.code.add(f"out{number}({self._settled(row, shape)})")

    def _settled(self, row: str, shape: TableShape | None) -> str:
        return row if shape is None else f"{self.constant(shape.settle)}({row})"

    def _branch(self, number: int, branch: Branch, shape: TableShape | None) -> str:
        """One way out: its row in a variable, `None` where the branch does not take it."""
        before = self.scope, self._fields, self.is_message
        row = self.variable()
        self.code.add(f"{row} = None")
        depth = self.code.depth
        for step in branch.steps:
            if isinstance(step, Filter):
                self.code.open(f"if {self.condition(step.condition)}:")
            else:
                self.map(step)
        self.code.add(f"{row} = {self._fitting_row(number, branch.sink, shape)}")
        self.code.close_to(depth)
        self.scope, self._fields, self.is_message = before
        return row

    def _fitting_row(self, number: int, sink: Sink, shape: TableShape | None) -> str:
        """The source of the row as the sink gets it, behind checks that the sink takes it."""
        for name in sink.key:
            self._check_key(sink, name)
        row = self.row()
        if shape is not None:
            if not self.is_message:
                shape.expect(self.fields)
            return self._measured(f"{self.constant(shape.check)}({row})", size=self.constant(size_of))
        if not self.is_message:
            row = f"{self.constant(_encode)}({row})"
        if sink.kind == "topic":
            variable = self.variable()
            self.code.add(f"{variable} = {row}")
            with self.code.block(f"if len({variable}) > harmless{number}:"):
                self.code.add(f"x.fits[{number}].check({variable})")
            row = variable
        return self._measured(row)

    def _measured(self, row: str, size: str = "len") -> str:
        """The same row; how large it is counts where many are made of one record."""
        if not self.expands:
            return row
        variable = self.variable()
        self.code.add(f"{variable} = {row}", f"x.made_bytes += {size}({variable})")
        return variable

    def _check_key(self, sink: Sink, name: str) -> None:
        """Write what refuses a row without a usable key."""
        if self.is_message:
            source = self.scope.of_message(name)
        elif name in self._fields:
            source = self._fields[name]
        else:
            raise PipelineFileError(
                self.path,
                f"'{name}' is the key of '{sink.table or sink.name}', and no field of what goes there",
                hint="add it to the 'map'",
            )
        if sink.kind == "topic":
            with self.code.block(f"if type({source}) is not str:"):
                self.code.add(f"{self.constant(check_message_key)}({source}, {name!r})")
        elif sink.kind in TABLE_KINDS:
            with self.code.block(f"if {source} is None:"):
                self.code.add(f"{self.constant(check_row_key)}({source}, {name!r})")

    def step(self, step: Filter | Map) -> None:
        """A step that any place of a pipeline may have."""
        if isinstance(step, Filter):
            self.filter(step)
        else:
            self.map(step)
