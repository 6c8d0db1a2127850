"""Options that say what a topic is like: shared by `aegis topic create` and `alter`."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Annotated

import typer

from aegis_cli.exits import UsageError

PartitionsOption = Annotated[
    str | None, typer.Option(metavar="N", help="How many partitions it has.", show_default=False)
]
RetentionOption = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="How long messages are kept: 7d, 12h, forever.", show_default=False),
]
RetentionBytesOption = Annotated[
    str | None,
    typer.Option(metavar="SIZE", help="How much of a partition is kept: 1GB, unlimited.", show_default=False),
]
KeyOption = Annotated[
    str | None,
    typer.Option(metavar="FIELD", help="The field of a message that is its key.", show_default=False),
]
SegmentBytesOption = Annotated[
    str | None,
    typer.Option(metavar="SIZE", help="When a segment is full and the next begins.", show_default=False),
]


class Durability(Enum):
    """What an acknowledged message survives."""

    FSYNC = "fsync"
    OS = "os"


DurabilityOption = Annotated[
    Durability | None,
    typer.Option(
        help="What an acknowledged message survives: fsync a power cut, os a killed process.",
        show_default=False,
    ),
]
ReplicationFactorOption = Annotated[
    int, typer.Option(metavar="N", help="Copies of each message; a local store keeps 1.", show_default=False)
]
ConfigOption = Annotated[
    list[str] | None,
    typer.Option(
        "--config",
        metavar="NAME=VALUE",
        help="Any other setting, such as segment-age=1d or Kafka's retention.ms=1000; NAME= is the default.",
        show_default=False,
    ),
]


def setting_texts(config: list[str] | None, given: Mapping[str, str | None]) -> dict[str, str]:
    """The settings that were given, by name; an option of its own goes before `--config`.

    Raises `UsageError` for a `--config` that is not `NAME=VALUE`.
    """
    texts = {}
    for item in config or []:
        name, equals, text = item.partition("=")
        if not equals or not name:
            raise UsageError(f"--config {item} is not NAME=VALUE; write it like --config segment-age=1d")
        texts[name] = text
    return texts | {name: text for name, text in given.items() if text is not None}
