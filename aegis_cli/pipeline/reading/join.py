"""`join` of a pipeline file: with a table, or with the records of another topic."""

from __future__ import annotations

from collections.abc import Mapping

from aegis_cli.pipeline.definition import StreamJoin, Table, TableJoin
from aegis_cli.pipeline.document import Node
from aegis_cli.pipeline.place import shown, suggestion
from aegis_cli.pipeline.reading import scalars
from aegis_cli.pipeline.reading.expressions import expression
from aegis_cli.pipeline.reading.keys import Keys

TABLE_EXAMPLE = "join: {table: customers, key: customer_id}"
STREAM_EXAMPLE = (
    "join: {topic: payments, as: payment, key: id, other_key: order_id, other_time: paid_at, within: 1h}"
)
_TABLE_KEYS = ("table", "key", "type", "wait")
_STREAM_KEYS = ("topic", "as", "key", "other_key", "other_time", "within", "type")
_KINDS = ("inner", "left")


def join(node: Node, tables: Mapping[str, Table]) -> TableJoin | StreamJoin:
    """The join; raises PipelineFileError."""
    keys = Keys(node, what="'join'", known=(*_TABLE_KEYS, *_STREAM_KEYS), example=TABLE_EXAMPLE)
    if keys.only(("table", "topic")) == "table":
        keys.refuse(
            [name for name in _STREAM_KEYS if name not in _TABLE_KEYS], "is not for joins with a table"
        )
        return _table_join(keys, tables)
    keys.example = STREAM_EXAMPLE
    keys.refuse(["wait"], "is only for joins with a table")
    return _stream_join(keys)


def _table_join(keys: Keys, tables: Mapping[str, Table]) -> TableJoin:
    node = keys.need("table")
    name = scalars.text(node, what="'table'", example=TABLE_EXAMPLE)
    if name not in tables:
        hint = (
            suggestion(name, tables) or f"write tables: {{{shown(name)[1:-1]}: {{topic: TOPIC, key: KEY}}}}"
        )
        raise node.place.error(f"there is no table {shown(name)} in 'tables'", hint)
    wait = keys.get("wait")
    return TableJoin(
        table=name,
        key=expression(keys.need("key"), what="'key' of 'join'", example="key: customer_id"),
        kind=_kind(keys),
        wait_ms=scalars.limited_ms(wait, what="'wait'", example="5s", least_ms=0) if wait else 0,
    )


def _stream_join(keys: Keys) -> StreamJoin:
    return StreamJoin(
        name=scalars.plain_name(keys.need("as"), what="'as'", example="as: payment"),
        topic=scalars.topic(keys.need("topic"), what="'topic' of 'join'"),
        key=expression(keys.need("key"), what="'key' of 'join'", example="key: id"),
        other_key=expression(keys.need("other_key"), what="'other_key'", example="other_key: order_id"),
        other_time=expression(keys.need("other_time"), what="'other_time'", example="other_time: paid_at"),
        within_ms=scalars.limited_ms(keys.need("within"), what="'within'", example="1h", least_ms=0),
        kind=_kind(keys),
    )


def _kind(keys: Keys) -> str:
    node = keys.get("type")
    return scalars.choice(node, what="'type' of 'join'", choices=_KINDS) if node else "inner"
