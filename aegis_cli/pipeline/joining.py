"""A join of two streams as Python source: what is kept of each side, and what is done with a pair.

Rows of both sides are kept until none of the other can match them. A row looks for its matches when it comes,
so that of each pair the later one finds the earlier, whichever side it is of. What follows the join stands in
a function of its own, `after`, which the functions of both topics call with the pairs of a row.

    after(i, pairs, closed, low, x)     pairs of (time, left row, right row); the number of the row
"""

from __future__ import annotations

from aegis_cli.pipeline.account import Account
from aegis_cli.pipeline.chain import Chain, forgotten
from aegis_cli.pipeline.definition import Aggregate, Definition, Map, StreamJoin
from aegis_cli.pipeline.errors import PipelineFileError
from aegis_cli.pipeline.expression import Constants
from aegis_cli.pipeline.scope import Scope, WholeFields
from aegis_cli.pipeline.stream_buffer import StreamBuffer


class Joining:
    """The one join of two streams of a pipeline. Raises `PipelineFileError` for what cannot be joined."""

    def __init__(self, definition: Definition, step: StreamJoin, constants: Constants) -> None:
        self.step = step
        self._constants = constants
        self._path = definition.path
        rest = definition.steps[definition.steps.index(step) + 1 :]
        self._check(definition, rest)
        self.left = self._buffer(definition, keeps_unmatched=step.kind == "left")
        self.right = self._buffer(definition, keeps_unmatched=False)

    def _check(self, definition: Definition, rest: tuple[object, ...]) -> None:
        if self.step.topic == definition.source.name:
            raise self._error("a topic cannot be joined with itself", "publish it to a second topic")
        if any(isinstance(step, StreamJoin) for step in rest):
            raise self._error("there are two joins of streams", "make two pipelines, joined by a topic")
        mapped = any(isinstance(step, Map | Aggregate) for step in rest) or all(
            any(isinstance(step, Map) for step in branch.steps) for branch in definition.branches
        )
        if not mapped:
            raise self._error("nothing says what a joined record is", "add a 'map' behind the join")
        if self.step.kind == "left" and any(isinstance(step, Aggregate) for step in rest):
            raise self._error(
                "a left join knows that a record has no match only when its windows are closed",
                "make two pipelines, joined by a topic",
            )

    def _error(self, reason: str, hint: str) -> PipelineFileError:
        key = self.step.key
        return PipelineFileError(self._path, reason, line=key.line, column=key.column, hint=hint)

    def _buffer(self, definition: Definition, *, keeps_unmatched: bool) -> StreamBuffer:
        return StreamBuffer(
            within_ms=self.step.within_ms,
            pipeline=definition.name,
            rows_max=definition.groups_max,
            keeps_unmatched=keeps_unmatched,
        )

    def settle(self, account: Account) -> None:
        """Add to an account what became of the rows of both sides since the last time.

        Of a row that matched there are its pairs in its place, and these were added as `expanded`. One that
        nothing can match any more is filtered, unless it comes out alone.
        """
        for buffer in (self.left, self.right):
            settled = buffer.settled()
            account.expanded -= settled.matched
            account.filtered += settled.forgotten
            account.waiting += settled.waiting

    def expire_lines(self) -> list[str]:
        """What stands where the watermark moves: rows that nothing can match any more come out alone."""
        if self.step.kind != "left":
            return []
        left = self._constants.name_of(self.left)
        return [
            f"if low >= {left}.next_end_ms:",
            f"    alone = [(kept[0], kept[1], None) for _, _, kept in {left}.expire(low)]",
            "    x.after(-1, alone, closed, low, x)",
        ]

    def write_left(self, chain: Chain) -> None:
        """Keep the row of the source, and go on with its pairs."""
        row = "r" if chain.is_message else chain.row()
        key = chain.key([self.step.key])
        with chain.code.block(f"if {key} == (None,):"):
            # As in SQL nothing equals null, so it is known at once that it has no match.
            if self.step.kind == "left":
                chain.code.add(f"x.after(i, [(t, {row}, None)], closed, low, x)", "continue")
            else:
                chain.code.add("filtered += 1", "continue")
        self._write(chain, key, row, "row, kept[1]", own=self.left, other=self.right)

    def write_right(self, chain: Chain) -> None:
        """The same for a row of the other topic."""
        key = chain.key([self.step.other_key])
        with chain.code.block(f"if {key} == (None,):"):
            chain.code.add("filtered += 1", "continue")
        self._write(chain, key, "r", "kept[1], row", own=self.right, other=self.left)

    def _write(
        self, chain: Chain, key: str, row: str, pair: str, *, own: StreamBuffer, other: StreamBuffer
    ) -> None:
        code, name = chain.code, self._constants.name_of
        # A kept row has its time with it: that of a pair is the later one.
        code.add(f"key, row = {key}, {row}")
        code.add(
            f"pairs = [(t if t > kept[0] else kept[0], {pair}) "
            f"for kept in {name(other)}.matches(key, t, {forgotten()})]"
        )
        code.add(f"{name(own)}.add(key, t, [t, row], matched=bool(pairs))")
        with code.block("if pairs:"):
            code.add("expanded += len(pairs)", "x.after(i, pairs, closed, low, x)")

    def set_scope_after(self, chain: Chain, before: Chain) -> None:
        """What names mean behind the join: fields of the left row, and the right one under its own name."""
        if before.is_message:
            chain.scope = Scope({self.step.name: "m"}, WholeFields("l"))
        else:
            chain.set_row({field: f"l[{field!r}]" for field in before.fields})
            chain.scope = chain.scope.with_names({self.step.name: "m"})
        chain.is_message = False
        chain.has_time = True
