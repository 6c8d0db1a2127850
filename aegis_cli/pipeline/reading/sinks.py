"""`sink` and `branches` of a pipeline file: where results go."""

from __future__ import annotations

import re

from aegis_cli.pipeline.definition import Branch, Filter, Map, Sink
from aegis_cli.pipeline.document import ListNode, Node, ScalarNode
from aegis_cli.pipeline.place import shown, suggestion
from aegis_cli.pipeline.reading import scalars, steps
from aegis_cli.pipeline.reading.chain import AFTER_AGGREGATE, listed
from aegis_cli.pipeline.reading.keys import Keys, entries, items

EXAMPLE = "sink: purchase-metrics"
BRANCHES_EXAMPLE = "branches: [{filter: amount > 100, sink: large}, {sink: all}]"
SINKS_MAX = 100
_KINDS = ("topic", "stdout", "file", "sqlite", "postgres")
_OPTIONS = {
    "topic": ("key",),
    "stdout": (),
    "file": (),
    "sqlite": ("table", "key", "create"),
    "postgres": ("table", "key", "create"),
}
_TABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}(?:\.[A-Za-z_][A-Za-z0-9_]{0,62})?")


def sinks(node: Node, fields: frozenset[str] | None) -> tuple[Branch, ...]:
    """One sink or a list of them, as branches without steps; raises PipelineFileError.

    `fields` are those of what comes out of the steps before, `None` for a message's, which nobody knows.
    """
    nodes = items(node, what="'sink'", example=EXAMPLE) if isinstance(node, ListNode) else (node,)
    return tuple(_to_sink((), each, fields) for each in nodes)


def branches(node: Node, fields: frozenset[str] | None) -> tuple[Branch, ...]:
    """The branches, which get these fields; raises PipelineFileError."""
    return tuple(_branch(each, fields) for each in items(node, what="'branches'", example=BRANCHES_EXAMPLE))


def _branch(node: Node, fields: frozenset[str] | None) -> Branch:
    known = (*AFTER_AGGREGATE, "steps", "sink")
    keys = Keys(node, what="a branch", known=known, example=BRANCHES_EXAMPLE)
    found: list[Filter | Map] = []
    for key, value in entries(node, what="a branch", example=BRANCHES_EXAMPLE):
        if key.text == "steps":
            found.extend(_step(*each) for each in listed(value, known=AFTER_AGGREGATE))
        elif key.text != "sink":
            found.append(_step(key, value))
    for step in found:
        if isinstance(step, Map):
            fields = frozenset(step.fields)
    return _to_sink(tuple(found), keys.need("sink"), fields)


def _to_sink(before: tuple[Filter | Map, ...], node: Node, fields: frozenset[str] | None) -> Branch:
    """A sink behind the steps of its branch; raises if its key is none of the fields that it gets."""
    found = sink(node)
    for name in found.key:
        if fields is not None and name not in fields:
            raise node.place.error(
                f"'key' names {shown(name)}, which is no field of the results",
                suggestion(name, sorted(fields)),
            )
    return Branch(steps=before, sink=found)


def _step(key: ScalarNode, node: Node) -> Filter | Map:
    return steps.filter_(node) if key.text == "filter" else steps.map_(node)


def sink(node: Node) -> Sink:
    """One sink; raises PipelineFileError."""
    if isinstance(node, ScalarNode):
        if node.text.strip() == "-":
            return Sink(kind="stdout", name="-")
        return Sink(kind="topic", name=scalars.lone_topic(node, what="'sink'"))
    known = (*_KINDS, "table", "key", "create")
    keys = Keys(node, what="'sink'", known=known, example="sink: {topic: metrics, key: customer}")
    kind = keys.only(_KINDS)
    others = [name for name in ("table", "key", "create") if name not in _OPTIONS[kind]]
    keys.refuse(others, f"is not for a sink that is a {kind}" if kind != "stdout" else "is not for stdout")
    key, create = keys.get("key"), keys.get("create")
    return Sink(
        kind=kind,
        name=_name(kind, keys.need(kind)),
        table=_table(kind, keys) if "table" in _OPTIONS[kind] else "",
        key=_key(kind, key) if key else (),
        create=scalars.boolean(create, what="'create'") if create else True,
    )


def _key(kind: str, node: Node) -> tuple[str, ...]:
    found = scalars.names(node, what="'key' of 'sink'", example="key: [customer]")
    for name in found:
        if kind == "topic" and any(character in '"\\' or character < " " for character in name):
            raise node.place.error(
                f"a field cannot be a message's key with a quote or a backslash in its name: {shown(name)}",
                "rename it in a 'map'",
            )
    return found


def _name(kind: str, node: Node) -> str:
    if kind == "topic":
        return scalars.topic(node, what="'topic' of 'sink'")
    if kind in ("file", "sqlite"):
        return scalars.path(node, what=f"{kind!r} of 'sink'")
    if kind == "stdout":
        if not scalars.boolean(node, what="'stdout'"):
            raise node.place.error("'stdout' must be true where it is given", "write sink: {stdout: true}")
        return "-"
    from aegis_cli.pipeline.conninfo import ConninfoError, parse_conninfo

    name = scalars.text(node, what="'postgres'", example="postgres: postgresql://localhost/metrics")
    try:
        parse_conninfo(name)
    except ConninfoError as error:
        raise node.place.error(f"'postgres' cannot be used: {error}") from None
    return name


def _table(kind: str, keys: Keys) -> str:
    keys.example = (
        f"sink: {{{kind}: {'metrics.db' if kind == 'sqlite' else 'DSN'}, table: metrics, key: [customer]}}"
    )
    node = keys.need("table")
    name = scalars.text(node, what="'table' of 'sink'", example="table: metrics")
    if not _TABLE.fullmatch(name) or (kind == "sqlite" and "." in name):
        hint = "use letters, digits and '_', a letter first"
        raise node.place.error(f"{shown(name)} cannot be a table's name", hint)
    return name
