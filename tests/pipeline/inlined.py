"""Aggregates inlined into a loop over records, as an engine would have them, for tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from aegis_cli.pipeline.aggregate import Layout, plan_aggregates
from aegis_cli.pipeline.definition import AggregateCall, Text


class Constants:
    """Collects what generated source refers to."""

    def __init__(self) -> None:
        self.namespace: dict[str, object] = {}

    def name_of(self, value: object) -> str:
        for name, held in self.namespace.items():
            if held is value:
                return name
        name = f"k{len(self.namespace)}"
        self.namespace[name] = value
        return name


def call_of(text: str) -> AggregateCall:
    """'sum(amount)' as a call; arguments stand between commas."""
    name, _, rest = text.partition("(")
    inner = rest.removesuffix(")")
    arguments = tuple(Text(part.strip()) for part in inner.split(",")) if inner else ()
    return AggregateCall(name=name, arguments=arguments, place=Text(text, line=3, column=7))


def plan(**texts: str) -> Layout:
    """The layout of aggregates, by name: plan(total='sum(x)')."""
    return plan_aggregates({name: call_of(text) for name, text in texts.items()}, path="p.yaml")


Taker = Callable[[Sequence[list[Any]], Mapping[str, Any], int, Callable[[Any], None]], None]


@cache
def taker(layout: Layout) -> Taker:
    """A function that takes a record into accumulators: all of them or, raising, none."""
    constants = Constants()
    names = [tuple(f"r.get({text.text!r})" for text in each.expressions) for each in layout.planned]
    variables: dict[str, str] = {}
    for group in names:
        for source in group:
            variables.setdefault(source, f"v{len(variables)}")
    arguments = [tuple(variables[source] for source in group) for group in names]
    check = layout.check("acc", arguments, "t", constants)
    update = layout.update("acc", arguments, "t", constants)
    lines = ["def take(accs, r, t, touch):"]
    lines += [f"    {variable} = {source}" for source, variable in variables.items()]
    lines += ["    for acc in accs:", *(f"        {line}" for line in check), "        pass"]
    lines += ["    for acc in accs:", *(f"        {line}" for line in check)]
    lines += ["        if acc[0] is not None and acc[0].is_clean:", "            touch(acc[0])"]
    lines += [f"        {line}" for line in update]
    lines += ["        pass"]
    exec("\n".join(lines), constants.namespace)
    take: Any = constants.namespace["take"]
    return take  # type: ignore[no-any-return]


def aggregate(records: Sequence[tuple[int, Mapping[str, Any]]], **texts: str) -> Any:
    """The results for records of a time; the one result if one is asked for."""
    layout = plan(**texts)
    acc = taken(layout, records)
    results = layout.results(acc)
    return results[0] if len(results) == 1 else results


def taken(layout: Layout, records: Sequence[tuple[int, Mapping[str, Any]]]) -> list[Any]:
    """An accumulator with records in it."""
    acc = layout.start()
    take = taker(layout)
    for time_ms, record in records:
        take([acc], record, time_ms, _nothing)
    return acc


def _nothing(group: Any) -> None:
    raise AssertionError("there is no store")
