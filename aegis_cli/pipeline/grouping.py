"""The aggregate step as Python source: into which groups a record goes, and what a closed group gives out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from aegis_cli.pipeline.aggregate import Layout, plan_aggregates
from aegis_cli.pipeline.chain import Chain
from aegis_cli.pipeline.code import Code
from aegis_cli.pipeline.definition import Aggregate, Branch, Definition, Filter, Map, Step
from aegis_cli.pipeline.errors import RecordError
from aegis_cli.pipeline.event_time import MAX_MS, MIN_MS
from aegis_cli.pipeline.expression import Constants
from aegis_cli.pipeline.scope import Scope
from aegis_cli.pipeline.turn import Turn
from aegis_cli.pipeline.windows.kinds import open_windows
from aegis_cli.pipeline.windows.windows import Closed, Windows

if TYPE_CHECKING:
    from aegis_cli.pipeline.fit import TableShape


class Grouping:
    """The one aggregate of a pipeline: its windows, and the source that works on them."""

    def __init__(self, definition: Definition, step: Aggregate, constants: Constants) -> None:
        self.definition = definition
        self.step = step
        self._constants = constants
        self._layout: Layout = plan_aggregates(step.results, path=definition.path)
        self.windows: Windows = open_windows(
            step.window, self._layout, pipeline=definition.name, groups_max=definition.groups_max
        )
        window = step.window
        self.closes_by_time = window is not None and window.kind != "count"
        self._inlined = window is not None and window.kind == "tumbling" and not window.allow_late_ms
        # Whether a record can make a group come out at once.
        self._comes_out_at_once = not self.closes_by_time or (window is not None and window.allow_late_ms > 0)
        self._finish: Callable[[Iterable[Closed], Turn], None] = _nothing

    def finish(self, closed: Sequence[Closed], turn: Turn) -> None:
        """Give groups out."""
        turn.account.results += len(closed)
        self._finish(closed, turn)

    # -- the source of the main function --------------------------------------------------------------

    def locals(self) -> list[str]:
        """What the process function needs at hand."""
        lines = [f"windows = {self._constants.name_of(self.windows)}", "next_end = windows.next_end_ms"]
        lines += ["find, touch = windows.find, windows.touch"]
        if self._inlined:
            lines += ["groups, make = windows.groups.get, windows.make"]
        return lines

    def closing_lines(self, *, at_hand: bool, low: str = "low") -> list[str]:
        """What stands where the watermark moves; `at_hand` says that `locals` stand in the same function.

        `low` is the source of the watermark.
        """
        if not self.closes_by_time:
            return []
        if not at_hand:
            windows = self._constants.name_of(self.windows)
            return [f"if {low} >= {windows}.next_end_ms:", f"    x.fire({low})"]
        return ["if low >= next_end:", "    x.fire(low)", "    next_end = windows.next_end_ms"]

    def undo(self) -> list[str]:
        """What follows a record that was refused."""
        return ["windows.undo()"]

    def write(self, chain: Chain) -> None:
        """Take the row into its groups."""
        code = chain.code
        # A group may have the name of a field that it is computed from: each is computed once, before that.
        groups = {name: chain.held(text) for name, text in self.step.group_by.items()}
        chain.scope = chain.scope.with_names(groups)
        arguments = [tuple(chain.held(text) for text in each.expressions) for each in self._layout.planned]
        parts = list(groups.values())
        if self._inlined:
            self._write_tumbling(code, chain.key_of(parts, first="start"), arguments)
        else:
            self._write_found(code, chain.key_of(parts), arguments)
        code.add("out += 1")

    def _write_tumbling(self, code: Code, place: str, arguments: list[tuple[str, ...]]) -> None:
        window = self.step.window
        assert window is not None
        size, offset = window.size_ms, window.offset_ms
        code.add(f"start = t - (t - {offset}) % {size}" if offset else f"start = t - t % {size}")
        # The key first, as for all windows: a late record without a usable one is refused, not late.
        code.add(f"place = {place}")
        with code.block(f"if start + {size} <= closed:"):
            code.add("x.late(i)", "continue")
        code.add("acc = groups(place)")
        with code.block("if acc is None:"):
            code.add("acc = make(start, place[1:])", "next_end = windows.next_end_ms")
        code.add(*self._check(arguments), *self._touch_and_update(arguments))

    def _write_found(self, code: Code, key: str, arguments: list[tuple[str, ...]]) -> None:
        code.add(f"found = find(t, {key}, closed)")
        with code.block("if not found:"):
            code.add("x.late(i)", "continue")
        checks = self._check(arguments)
        window = self.step.window
        if checks and window is not None and window.kind == "hopping":
            with code.block("for acc in found:"):
                code.add(*checks)
        with code.block("for acc in found:"):
            code.add(*checks, *self._touch_and_update(arguments))
        code.add("next_end = windows.next_end_ms")
        if self._comes_out_at_once:
            code.add(f"{self._constants.name_of(self._give_revised)}(x)")
        if self.closes_by_time:
            with code.block("if low >= next_end:"):
                code.add("x.fire(low)", "next_end = windows.next_end_ms")

    def _check(self, arguments: list[tuple[str, ...]]) -> list[str]:
        return self._layout.check("acc", arguments, "t", self._constants)

    def _touch_and_update(self, arguments: list[tuple[str, ...]]) -> list[str]:
        update = self._layout.update("acc", arguments, "t", self._constants)
        return ["if acc[0].is_clean:", "    touch(acc[0])", *update]

    def _give_revised(self, turn: Turn) -> None:
        revised = self.windows.revised()
        if revised:
            self.finish(revised, turn)

    # -- the source of what comes out -----------------------------------------------------------------

    def write_finish(
        self, steps: Iterable[Step], branches: tuple[Branch, ...], shapes: Sequence[TableShape | None]
    ) -> str:
        """Make the function that gives groups out; returns its source."""
        code = Code()
        names = self._result_names()
        chain = Chain(code, self._constants, Scope(names), path=self.definition.path)
        chain.is_message = False
        code.open("def finish(closed, x):")
        code.add("filtered = out = 0", *chain.out_lines(branches))
        with code.block("try:"), code.block("for i, g in enumerate(closed):"):
            with code.block("try:"):
                code.add("acc = g.acc")
                code.add(*self._result_lines())
                chain.set_row(names)
                for step in steps:
                    assert isinstance(step, Filter | Map), "the reader of files lets nothing else follow"
                    chain.step(step)
                chain.give_out(branches, shapes)
            with code.block("except RecordError as error:"):
                code.add("x.refuse_result(g, error)")
        with code.block("finally:"):
            code.add("x.account.results_out += out", "x.account.results_filtered += filtered")
        source = code.text()
        namespace = self._constants.namespace
        exec(compile(source, f"<pipeline {self.definition.name}: results>", "exec"), namespace)
        finish = namespace["finish"]
        assert callable(finish)
        self._finish = finish
        return source

    def _result_names(self) -> dict[str, str]:
        """The fields of a result in their order, and the variables that hold them."""
        names: list[str] = []
        if self.step.window is not None:
            names += ["window_start", "window_end"]
        names += [*self.step.group_by, *self.step.results]
        if self.step.window is not None and self.step.window.allow_late_ms:
            names.append("revision")
        assert len(names) == len(set(names)), "the reader of files lets no two fields have one name"
        return {name: f"g{number}" for number, name in enumerate(names)}

    def _result_lines(self) -> list[str]:
        variables = iter(self._result_names().values())
        lines = []
        if self.step.window is not None:
            text = self._constants.name_of(time_text)
            lines += [
                f"{next(variables)} = {text}(g.start_ms)",
                f"{next(variables)} = {text}(g.end_ms)",
            ]
        lines += [f"{next(variables)} = g.key[{number}]" for number in range(len(self.step.group_by))]
        results = ", ".join(next(variables) for _ in self.step.results)
        lines.append(f"{results}, = {self._constants.name_of(self._layout.results)}(acc)")
        lines += [f"{variable} = g.revision" for variable in variables]
        return lines


@lru_cache(maxsize=4096)
def time_text(time_ms: int) -> str:
    """A time as ISO 8601 in UTC, with milliseconds only where there are some.

    Raises `RecordError` for one that has no such text: a window of the last day of 9999 ends after it.
    """
    from datetime import UTC, datetime, timedelta

    if not MIN_MS <= time_ms <= MAX_MS:
        raise RecordError("the window begins or ends outside of the years 1 to 9999")
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=time_ms)
    spec = "milliseconds" if time_ms % 1000 else "seconds"
    return moment.replace(tzinfo=None).isoformat(timespec=spec) + "Z"


def _nothing(closed: Iterable[Closed], turn: Turn) -> None:
    raise AssertionError("the function was not written")
