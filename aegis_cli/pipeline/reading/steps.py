"""The steps of a pipeline file that look at one record: filter, map, flat_map, time and dedup."""

from __future__ import annotations

from aegis_cli.pipeline.definition import Dedup, Filter, FlatMap, Map, Text, Time
from aegis_cli.pipeline.document import ListNode, Node, ScalarNode
from aegis_cli.pipeline.place import shown
from aegis_cli.pipeline.reading import scalars
from aegis_cli.pipeline.reading.expressions import expression, expressions
from aegis_cli.pipeline.reading.keys import Keys, items

FILTER_EXAMPLE = "filter: amount > 100"
MAP_EXAMPLE = "map: {customer: customer_id, total: price * quantity}"
FLAT_MAP_EXAMPLE = "flat_map: {items: order.lines, as: line}"
TIME_EXAMPLE = "time: {field: created_at, watermark: 10s}"
DEDUP_EXAMPLE = "dedup: {key: id, within: 24h}"
GROUP_EXAMPLE = "group_by: {country: upper(address.country)}"


def filter_(node: Node) -> Filter:
    """All of these raise PipelineFileError."""
    return Filter(condition=expression(node, what="'filter'", example=FILTER_EXAMPLE))


def map_(node: Node) -> Map:
    return Map(fields=expressions(node, what="'map'", example=MAP_EXAMPLE))


def flat_map(node: Node) -> FlatMap:
    keys = Keys(node, what="'flat_map'", known=("items", "as"), example=FLAT_MAP_EXAMPLE)
    return FlatMap(
        items=expression(keys.need("items"), what="'items'", example=FLAT_MAP_EXAMPLE),
        name=scalars.plain_name(keys.need("as"), what="'as'", example=FLAT_MAP_EXAMPLE),
    )


def time(node: Node) -> Time:
    if isinstance(node, ScalarNode):
        return Time(field=expression(node, what="'time'", example=TIME_EXAMPLE))
    known = ("field", "watermark", "idle", "processing")
    keys = Keys(node, what="'time'", known=known, example=TIME_EXAMPLE)
    processing = keys.get("processing")
    if processing is not None and scalars.boolean(processing, what="'processing'"):
        keys.refuse(("field", "watermark", "idle"), "means nothing where 'processing' takes the clock")
        return Time(field=None, processing=True)
    watermark, idle = keys.get("watermark"), keys.get("idle")
    found = Time(field=expression(keys.need("field"), what="'field' of 'time'", example=TIME_EXAMPLE))
    return Time(
        field=found.field,
        watermark_ms=(
            scalars.limited_ms(watermark, what="'watermark'", example="10s", least_ms=0)
            if watermark
            else found.watermark_ms
        ),
        idle_ms=scalars.duration_ms(idle, what="'idle'", example="1m", forever=True) if idle else None,
    )


def dedup(node: Node) -> Dedup:
    keys = Keys(node, what="'dedup'", known=("key", "within", "dropped_to"), example=DEDUP_EXAMPLE)
    key, dropped_to = keys.need("key"), keys.get("dropped_to")
    nodes = (
        items(key, what="'key' of 'dedup'", example=DEDUP_EXAMPLE) if isinstance(key, ListNode) else (key,)
    )
    return Dedup(
        key=tuple(expression(each, what="'key' of 'dedup'", example=DEDUP_EXAMPLE) for each in nodes),
        within_ms=scalars.limited_ms(keys.need("within"), what="'within'", example="24h"),
        dropped_to=scalars.topic(dropped_to, what="'dropped_to'") if dropped_to else None,
    )


def group_by(node: Node) -> dict[str, Text]:
    """The fields of a group by name: a name alone, a list of them, or a mapping of expressions."""
    if not isinstance(node, ScalarNode | ListNode):
        return expressions(node, what="'group_by'", example=GROUP_EXAMPLE)
    nodes = items(node, what="'group_by'", example=GROUP_EXAMPLE) if isinstance(node, ListNode) else (node,)
    found: dict[str, Text] = {}
    for each in nodes:
        text = expression(each, what="'group_by'", example=GROUP_EXAMPLE)
        if not scalars.is_plain_name(text.text):
            listed = [part.strip() for part in text.text.split(",")]
            hint = f"give it one, like {GROUP_EXAMPLE}"
            if all(scalars.is_plain_name(part) for part in listed):
                hint = f"for several fields write group_by: [{', '.join(listed)}]"
            raise each.place.error(f"{shown(text.text)} in 'group_by' is no name for a field", hint)
        if text.text in found:
            raise each.place.error(f"'group_by' names {shown(text.text)} twice", "remove one of them")
        found[text.text] = text
    return found
