"""Aggregates as a pipeline uses them: which there are, and how all of a step's share one accumulator.

An accumulator is a flat list. Its slot 0 holds the `Group` of the store of windows, the slots behind it are
the aggregates' and hold what JSON can say. The engine writes one loop over records, in which the source of
`Layout.check` and `Layout.update` stands inline. What it must keep to:

- `check` before `update`, for each accumulator that a record goes into. `check` may raise `RecordError` and
  changes only variables named `a` and a number; `update` uses those, and cannot fail. Where a record goes
  into several accumulators, `check` runs for all of them first, then both for each.
- After the checks and before the update: `if acc[0].is_clean: touch(acc[0])`.
- When a record is refused, `windows.undo()`: no window then knows of it. Where the record got no further than
  its expressions, that does nothing; what was touched stays.
- `update` cannot fail, so the account of the record is settled when the checks have passed.

For a tumbling window with `count()` and `sum(v1)`, grouped by `v0`, the body of the loop is

    start = t - (t - OFFSET) % SIZE
    if start + SIZE > closed:                        # not closed: the usual way, without a call
        place = (start, PART, ...)                   # the start and the parts of the key
        acc = groups.get(place)
        if acc is None:
            acc = make(start, place[1:])
    else:                                            # closed: late, unless `allow_late` keeps the window
        found = windows.find(t, key, closed)
        if not found:
            late += 1
            continue
        acc = found[0]
    a2 = acc[2]                                      # layout.check("acc", [(), ("v1",)], "t", constants)
    if v1 is not None:
        if k0(v1) is k0(a2):
            a2 += v1
            if not -9e18 < a2 < 9e18:
                a2 = k1(a2)
        else:
            a2 = k2(a2, v1)
    if acc[0].is_clean:
        touch(acc[0])
    acc[1] += 1                                      # layout.update("acc", [(), ("v1",)], "t", constants)
    acc[2] = a2

with `groups, make, touch = windows.groups, windows.make, windows.touch` before the loop (they stay the same
objects), and `windows.undo()` in the `except RecordError` of the record. For all other windows it is

    found = windows.find(t, key, closed)             # () for a late record
    for acc in found: CHECK                          # only where hopping windows overlap
    for acc in found: CHECK; if acc[0].is_clean: touch(acc[0]); UPDATE

After each record that took `find` the engine gives out `windows.revised()`, and whenever the watermark has
reached `windows.next_end_ms` (which `make` and `find` can lower) it gives out `windows.close(watermark)`,
before the next record is looked at. See `aegis_cli.pipeline.windows.windows` for what the stores promise.
Results: `layout.results(closed.acc)`, at once, since a window that is kept goes on changing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from aegis_cli.pipeline.aggregates.collected import Collect
from aegis_cli.pipeline.aggregates.count import Count
from aegis_cli.pipeline.aggregates.distinct import CountDistinct
from aegis_cli.pipeline.aggregates.edge import Edge
from aegis_cli.pipeline.aggregates.extreme import Extreme
from aegis_cli.pipeline.aggregates.function import Accumulator, AggregateFunction, Constants, Place
from aegis_cli.pipeline.aggregates.percentile import Percentile
from aegis_cli.pipeline.aggregates.top import Top
from aegis_cli.pipeline.aggregates.total import Average, Sum
from aegis_cli.pipeline.definition import AggregateCall, Text
from aegis_cli.pipeline.errors import ExpressionError

# Slot 0 of an accumulator is the window store's.
FIRST_SLOT = 1
_AGGREGATES_MAX = 1000

# Which arguments are given, with the number of those that are one.
Given = Mapping[str, Any]

# What peers call a function that has another name here.
_ELSEWHERE = {
    "median": "percentile(x, 0.5)",
    "mean": "avg(x)",
    "average": "avg(x)",
    "approx_distinct": "count_distinct(x)",
    "quantile": "percentile(x, p)",
    "topk": "top_n(n, x)",
    "array_agg": "collect(x)",
    "collect_list": "collect(x)",
    "list": "collect(x)",
    "earliest": "first(x)",
    "latest": "last(x)",
}


@dataclass(frozen=True, slots=True)
class AggregateKind:
    """A function that a file can name.

    `parameters` are the names of its arguments: '?' behind a name says that it may be left out, '=' that it
    is a number written in the file and no expression. `build` gets which were given, with the numbers, and
    raises ValueError for numbers that make no sense.
    """

    name: str
    parameters: tuple[str, ...]
    doc: str
    build: Callable[[Given], AggregateFunction]

    @property
    def usage(self) -> str:
        """How it is written: 'top_n(n, x[, by])'."""
        text = ""
        for parameter in self.parameters:
            name = parameter.rstrip("?=")
            comma = ", " if text else ""
            text += f"[{comma}{name}]" if "?" in parameter else f"{comma}{name}"
        return f"{self.name}({text})"


_KINDS = (
    AggregateKind(
        "count",
        ("x?",),
        "How many records there are, or how many of them have an x that is not null.",
        lambda given: Count(of_value="x" in given),
    ),
    AggregateKind(
        "sum", ("x",), "The sum of numbers; integers exactly, within 64 bits.", lambda given: Sum()
    ),
    AggregateKind("avg", ("x",), "The arithmetic mean of numbers.", lambda given: Average()),
    AggregateKind("min", ("x",), "The least number or text.", lambda given: Extreme("min")),
    AggregateKind("max", ("x",), "The greatest number or text.", lambda given: Extreme("max")),
    AggregateKind(
        "first",
        ("x",),
        "The value with the least event time; of equal times the first.",
        lambda given: Edge("first"),
    ),
    AggregateKind(
        "last",
        ("x",),
        "The value with the greatest event time; of equal times the last.",
        lambda given: Edge("last"),
    ),
    AggregateKind(
        "count_distinct",
        ("x",),
        "How many different values there are, exactly; at most 10,000 in a group.",
        lambda given: CountDistinct(),
    ),
    AggregateKind(
        "percentile",
        ("x", "p="),
        "The value of nearest rank for p from 0 to 1, exactly; at most 10,000 values in a group.",
        lambda given: Percentile(given["p"]),
    ),
    AggregateKind(
        "top_n",
        ("n=", "x", "by?"),
        "A list: the n greatest values of x, or the x of the n records with the greatest by.",
        lambda given: Top(given["n"]),
    ),
    AggregateKind(
        "collect",
        ("x", "limit?="),
        "The values by event time, a list; with a limit the first so many, else at most 10,000.",
        lambda given: Collect(given.get("limit")),
    ),
)

AGGREGATES: dict[str, AggregateKind] = {kind.name: kind for kind in _KINDS}


@dataclass(frozen=True, slots=True)
class Planned:
    """One aggregate of a step: its name in the result, and the expressions that give its arguments."""

    name: str
    function: AggregateFunction
    first: int
    expressions: tuple[Text, ...]


class Layout:
    """All aggregates of a step, and which slots they have. `arguments` below are names, by aggregate."""

    def __init__(self, planned: Sequence[Planned]) -> None:
        self.planned = tuple(planned)
        self._template: Accumulator = [None]
        for each in self.planned:
            self._template += each.function.start()
        self._results = [(each.function.result, each.first) for each in self.planned]

    def start(self) -> Accumulator:
        """The accumulator of no records."""
        return self._template.copy()

    def check(
        self, acc: str, arguments: Sequence[Sequence[str]], time: str, constants: Constants
    ) -> list[str]:
        """The source lines that refuse a record by `RecordError`, and change nothing."""
        lines: list[str] = []
        for each, place in self._places(acc, arguments, time, constants):
            lines += each.function.check(place)
        return lines

    def update(
        self, acc: str, arguments: Sequence[Sequence[str]], time: str, constants: Constants
    ) -> list[str]:
        """The source lines that take a record in."""
        lines: list[str] = []
        for each, place in self._places(acc, arguments, time, constants):
            lines += each.function.update(place)
        return lines

    def _places(
        self, acc: str, arguments: Sequence[Sequence[str]], time: str, constants: Constants
    ) -> list[tuple[Planned, Place]]:
        return [
            (each, Place(acc=acc, first=each.first, arguments=tuple(names), time=time, constants=constants))
            for each, names in zip(self.planned, arguments, strict=True)
        ]

    def merged(self, accumulators: Sequence[Accumulator]) -> Accumulator:
        """A new accumulator of all records of several, from the earliest session to the latest.

        Raises `RecordError`; none of the given ones is changed in any case.
        """
        merged = accumulators[0].copy()
        for other in accumulators[1:]:
            for each in self.planned:
                each.function.merge(merged, other, each.first)
        return merged

    def results(self, acc: Accumulator) -> tuple[Any, ...]:
        """The results, in the order of the step."""
        return tuple([result(acc, first) for result, first in self._results])


def plan_aggregates(calls: Mapping[str, AggregateCall], *, path: str) -> Layout:
    """The layout of a step's aggregates. Raises `ExpressionError` for a call that is not understood."""
    planned: list[Planned] = []
    first = FIRST_SLOT
    for name, call in calls.items():
        if len(planned) == _AGGREGATES_MAX:
            raise _error(path, call.place, f"more than {_AGGREGATES_MAX} aggregates are in one step", "")
        function, expressions = _function_of(call, path)
        planned.append(Planned(name, function, first, expressions))
        first += function.slots
    return Layout(planned)


def _function_of(call: AggregateCall, path: str) -> tuple[AggregateFunction, tuple[Text, ...]]:
    kind = AGGREGATES.get(call.name)
    if kind is None:
        raise _error(path, call.place, f"there is no aggregate '{call.name}'", _suggestion(call.name))
    least = sum("?" not in parameter for parameter in kind.parameters)
    if not least <= len(call.arguments) <= len(kind.parameters):
        reason = f"'{kind.name}' does not take {len(call.arguments)} arguments"
        raise _error(path, call.place, reason, f"write {kind.usage}")
    given: dict[str, Any] = {}
    expressions: list[Text] = []
    for parameter, text in zip(kind.parameters, call.arguments, strict=False):
        name = parameter.rstrip("?=")
        if parameter.endswith("="):
            given[name] = _number(text, path, f"{name} of {kind.usage}")
        else:
            given[name] = None
            expressions.append(text)
    try:
        return kind.build(given), tuple(expressions)
    except ValueError as error:
        raise _error(path, call.place, f"in {kind.usage}, {error}", "") from None


def _number(text: Text, path: str, what: str) -> int | float:
    for read in (int, float):
        try:
            number = read(text.text)
        except ValueError:
            continue
        if isinstance(number, int) or isfinite(number):
            return number
    raise _error(path, text, f"{what} is a number, written out", "an expression cannot stand there")


def _suggestion(name: str) -> str:
    from difflib import get_close_matches

    lower = name.lower()
    if lower in _ELSEWHERE:
        return f"write {_ELSEWHERE[lower]}"
    near = get_close_matches(lower, AGGREGATES, n=1)
    return f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(AGGREGATES)}"


def _error(path: str, place: Text, reason: str, hint: str) -> ExpressionError:
    return ExpressionError(path, reason, line=place.line, column=place.column, hint=hint)
