"""A message that was delivered in vain, as it goes to the dead-letter topic.

Value, key, time and headers are those of the message; headers that begin with `aegis-` say where it is from.
"""

from __future__ import annotations

import msgspec

from storage.batch import Message, RecordBatch

_encode = msgspec.json.Encoder().encode


def dead_letter(message: Message, *, subscription: str, deliveries: int) -> RecordBatch:
    """The record for the dead-letter topic."""
    facts = {
        "aegis-subscription": subscription,
        "aegis-topic": message.topic,
        "aegis-partition": str(message.partition),
        "aegis-offset": str(message.offset),
        "aegis-timestamp": str(message.timestamp_ms),
        "aegis-deliveries": str(deliveries),
    }
    own = _encode([{"key": name, "value": text} for name, text in facts.items()])
    # Headers are raw JSON text, which is kept as it is: ours are put behind them.
    given = (message.headers or b"[]").rstrip()[:-1].rstrip()
    return RecordBatch(
        lines=message.value + b"\n",
        count=1,
        keys=None if message.key is None else [message.key],
        headers=[given + (b"," if given != b"[" else b"") + own[1:]],
        timestamps_ms=[message.timestamp_ms],
    )
