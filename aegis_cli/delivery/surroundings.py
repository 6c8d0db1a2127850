"""What a command is told about its messages: variables of its environment.

AEGIS_TOPIC, AEGIS_PARTITION, AEGIS_OFFSET (of the first message), AEGIS_LAST_OFFSET, AEGIS_COUNT,
AEGIS_TIMESTAMP (of the first, in ms UTC), AEGIS_GROUP, AEGIS_DELIVERY_COUNT (1 the first time); AEGIS_KEY is
there only if all messages have the same key: a string's text, a number, or the bytes that a key of
bytes stands for. AEGIS_STORE is the store that they are from, so that `aegis` in the command means the same.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping

from aegis_cli.delivery.portion import Portion

_NAMES = (
    "TOPIC",
    "PARTITION",
    "OFFSET",
    "LAST_OFFSET",
    "COUNT",
    "TIMESTAMP",
    "GROUP",
    "DELIVERY_COUNT",
    "KEY",
)
# The system has a limit for one variable, of 128 KiB on Linux.
_KEY_BYTES_MAX = 64 * 1024

Environ = dict[bytes, bytes]


def surroundings(environ: Mapping[str, str], *, group: str, store_path: str) -> Environ:
    """What all runs have in common: the variables of this process, without ours that another one set."""
    ours = {f"AEGIS_{name}" for name in _NAMES}
    kept = {os.fsencode(name): os.fsencode(value) for name, value in environ.items() if name not in ours}
    return {**kept, b"AEGIS_GROUP": group.encode(), b"AEGIS_STORE": os.fsencode(store_path)}


def surroundings_of(portion: Portion, common: Environ) -> Environ:
    """The variables of one run."""
    place = portion.place
    own = {
        **common,
        b"AEGIS_TOPIC": place.topic.encode(),
        b"AEGIS_PARTITION": b"%d" % place.partition,
        b"AEGIS_OFFSET": b"%d" % portion.first_offset,
        b"AEGIS_LAST_OFFSET": b"%d" % portion.last_offset,
        b"AEGIS_COUNT": b"%d" % portion.count,
        b"AEGIS_TIMESTAMP": b"%d" % portion.timestamp_ms,
        b"AEGIS_DELIVERY_COUNT": b"%d" % portion.tries,
    }
    key = portion.key
    if key is not None:
        text = key_bytes(key)
        # A variable cannot hold a zero byte.
        if len(text) <= _KEY_BYTES_MAX and b"\0" not in text:
            own[b"AEGIS_KEY"] = text
    return own


def key_bytes(key: bytes) -> bytes:
    """What a key (JSON text) means: a string's text, the bytes of `{"$base64": …}`, a number as it is."""
    if key[:1] == b'"':
        return str(json.loads(key)).encode()
    if key[:1] == b"{":
        return base64.b64decode(json.loads(key)["$base64"])
    return key
