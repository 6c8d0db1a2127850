"""`source` and `tables` of a pipeline file: what is read."""

from __future__ import annotations

from aegis_cli.pipeline.definition import Source, Table
from aegis_cli.pipeline.document import Node, ScalarNode
from aegis_cli.pipeline.reading import scalars
from aegis_cli.pipeline.reading.expressions import expression
from aegis_cli.pipeline.reading.keys import Keys, entries

EXAMPLE = "source: orders"
TABLE_EXAMPLE = "tables: {customers: {topic: customers, key: id}}"
TYPES = ("string", "long", "double", "boolean", "any")
STARTS = ("earliest", "latest")
_KINDS = ("topic", "file", "stdin")
_STDIN = Source(kind="stdin", name="-")


def source(node: Node) -> Source:
    """The source; raises PipelineFileError."""
    if isinstance(node, ScalarNode):
        if node.text.strip() == "-":
            return _STDIN
        return Source(kind="topic", name=scalars.lone_topic(node, what="'source'"))
    keys = Keys(node, what="'source'", known=(*_KINDS, "schema", "start"), example="source: {topic: orders}")
    kind = keys.only(_KINDS)
    name_node = keys.need(kind)
    if kind == "topic":
        name = scalars.topic(name_node, what="'topic'")
    elif kind == "file":
        name = scalars.path(name_node, what="'file'")
    else:
        name = "-"
        if not scalars.boolean(name_node, what="'stdin'"):
            raise name_node.place.error(
                "'stdin' must be true where it is given", "write source: {stdin: true}"
            )
    start = "earliest"
    if start_node := keys.get("start"):
        if kind != "topic":
            keys.refuse(["start"], "is only for topics")
        start = scalars.choice(start_node, what="'start'", choices=STARTS)
    schema = keys.get("schema")
    return Source(kind=kind, name=name, schema=_schema(schema) if schema else {}, start=start)


def _schema(node: Node) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in entries(node, what="'schema'", example="schema: {id: string, total: double}"):
        name = scalars.field_name(key, what="a field in 'schema'")
        found[name] = scalars.choice(value, what=f"the type of {key.text[:60]!r}", choices=TYPES)
    return found


def tables(node: Node) -> dict[str, Table]:
    """The tables by name; raises PipelineFileError."""
    found: dict[str, Table] = {}
    for key, value in entries(node, what="'tables'", example=TABLE_EXAMPLE):
        name = scalars.plain_name(key, what="a table's name", example=TABLE_EXAMPLE)
        found[name] = _table(name, value)
    return found


def _table(name: str, node: Node) -> Table:
    what = f"the table {name[:60]!r}"
    keys = Keys(node, what=what, known=("topic", "key", "ttl", "as_of"), example=TABLE_EXAMPLE)
    ttl, as_of = keys.get("ttl"), keys.get("as_of")
    return Table(
        name=name,
        topic=scalars.topic(keys.need("topic"), what=f"'topic' of {what}"),
        key=expression(keys.need("key"), what=f"'key' of {what}", example="key: id"),
        ttl_ms=scalars.duration_ms(ttl, what="'ttl'", example="90d", forever=True) if ttl else None,
        as_of=expression(as_of, what="'as_of'", example="as_of: updated_at") if as_of else None,
    )
