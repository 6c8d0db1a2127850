"""What the soak publishes: each record names who published it, and which of its records it is.

A name is one number: producer, incarnation (how often it was started again), number of the record.
"""

from __future__ import annotations

import msgspec

_PRODUCER_SHIFT = 48
_INCARNATION_SHIFT = 28


class Value(msgspec.Struct):
    """A record's value. `k` is a key for topics that declare one; the padding is not read."""

    id: int


class Envelope(msgspec.Struct):
    """A line of `aegis consume --json`, as far as it is checked."""

    topic: str
    partition: int
    offset: int
    value: Value


class Ack(msgspec.Struct):
    """A line that a producer writes for an append that is acknowledged; `--receipts` prints the same."""

    topic: str
    partition: int
    base_offset: int
    last_offset: int


def name(producer: int, incarnation: int, number: int) -> int:
    """The name of a record."""
    return producer << _PRODUCER_SHIFT | incarnation << _INCARNATION_SHIFT | number


def source_of(record: int) -> int:
    """Producer and incarnation of a record, as the name of its first."""
    return record >> _INCARNATION_SHIFT << _INCARNATION_SHIFT


def producer_of(record: int) -> int:
    """The producer of a record."""
    return record >> _PRODUCER_SHIFT


def line(record: int, *, padding: int) -> bytes:
    """The value as a line; there are 1000 keys."""
    return b'{"id":%d,"k":"key-%d","pad":"%s"}\n' % (record, record % 1000, b"x" * padding)


read_value = msgspec.json.Decoder(Value).decode
read_envelope = msgspec.json.Decoder(Envelope).decode
read_ack = msgspec.json.Decoder(Ack).decode
