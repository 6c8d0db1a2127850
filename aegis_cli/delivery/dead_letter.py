"""Messages that no try could handle, as they go to the dead-letter topic.

Value, key, time and headers are those of the message; headers that begin with `aegis-` say where it came from
and why it is here.
"""

from __future__ import annotations

import json

from aegis_cli.delivery.portion import Portion
from aegis_cli.delivery.source import Failure
from storage.batch import Message, RecordBatch


def dead_letters(portion: Portion, failure: Failure, *, group: str) -> list[tuple[bytes | None, RecordBatch]]:
    """A record for each message, with the key that chooses its partition (JSON text)."""
    return [
        (message.key, _dead_letter(message, failure, group=group))
        for batch in portion.batches
        for message in batch.messages()
    ]


def _dead_letter(message: Message, failure: Failure, *, group: str) -> RecordBatch:
    facts = {
        "aegis-group": group,
        "aegis-topic": message.topic,
        "aegis-partition": str(message.partition),
        "aegis-offset": str(message.offset),
        "aegis-timestamp": str(message.timestamp_ms),
        "aegis-deliveries": str(failure.tries),
        "aegis-exit-status": str(failure.status),
        "aegis-reason": failure.reason,
    }
    own = json.dumps(
        [{"key": name, "value": text} for name, text in facts.items()],
        ensure_ascii=False,
        separators=(",", ":"),
    )
    # Headers are raw JSON text, which is kept as it is: ours are put behind them.
    given = (message.headers or b"[]").rstrip()[:-1].rstrip()
    return RecordBatch(
        lines=message.value + b"\n",
        count=1,
        keys=None if message.key is None else [message.key],
        headers=[given + (b"," if given != b"[" else b"") + own.encode()[1:]],
        timestamps_ms=[message.timestamp_ms],
    )
