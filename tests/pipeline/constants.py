"""The names of constants in generated source, and a loop over records made of it, for tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from aegis_cli.pipeline.aggregate import AGGREGATES, Layout, plan_aggregates
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


def taker(layout: Layout) -> Callable[[list[list[Any]], Mapping[str, Any], int], None]:
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
    lines = ["def take(accs, r, t):"]
    lines += [f"    {variable} = {source}" for source, variable in variables.items()]
    lines += ["    for acc in accs:", *(f"        {line}" for line in check), "        pass"]
    lines += ["    for acc in accs:", *(f"        {line}" for line in check)]
    lines += ["        if acc[0] is not None and acc[0].is_clean:", "            acc[0].store.touch(acc[0])"]
    lines += [f"        {line}" for line in update]
    lines += ["        pass"]
    exec("\n".join(lines), constants.namespace)
    take: Any = constants.namespace["take"]
    return take  # type: ignore[no-any-return]


ALL_KINDS = tuple(AGGREGATES)
