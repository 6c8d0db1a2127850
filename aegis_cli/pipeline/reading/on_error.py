"""`on_error` and `limits` of a pipeline file: what becomes of bad records, and how much may be open."""

from __future__ import annotations

from aegis_cli.pipeline.definition import GROUPS_MAX, OnError
from aegis_cli.pipeline.document import Node, ScalarNode
from aegis_cli.pipeline.reading import scalars
from aegis_cli.pipeline.reading.keys import Keys

EXAMPLE = "on_error: {to: orders-dead, max_ratio: 0.01}"
LIMITS_EXAMPLE = "limits: {groups: 100000}"
# Above this a pipeline's state would not fit into a machine's memory, whatever its groups are.
GROUPS_LIMIT_MAX = 1_000_000_000


def on_error(node: Node) -> OnError:
    """What becomes of a record that cannot be processed; raises PipelineFileError."""
    if isinstance(node, ScalarNode):
        return OnError(action=scalars.choice(node, what="'on_error'", choices=("stop", "drop")))
    keys = Keys(node, what="'on_error'", known=("to", "max_ratio"), example=EXAMPLE)
    max_ratio = keys.get("max_ratio")
    return OnError(
        action="to",
        topic=scalars.topic(keys.need("to"), what="'to' of 'on_error'"),
        max_ratio=scalars.ratio(max_ratio, what="'max_ratio'") if max_ratio else None,
    )


def groups_max(node: Node) -> int:
    """How many groups may be open at once; raises PipelineFileError."""
    keys = Keys(node, what="'limits'", known=("groups",), example=LIMITS_EXAMPLE)
    groups = keys.get("groups")
    return scalars.whole(groups, what="'groups'", least=1, most=GROUPS_LIMIT_MAX) if groups else GROUPS_MAX
