"""The model of a store in memory that the store is held against, and what is put into both."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from hypothesis import strategies as st

from storage.topic import TopicSettings

BULK_BYTES = 100_000


@dataclass(frozen=True, slots=True)
class Record:
    """One message as it should come back."""

    value: bytes
    key: bytes | None
    headers: bytes | None
    timestamp_ms: int


@dataclass(slots=True)
class Partition:
    """Every record ever appended; those before `start` may be gone."""

    records: list[Record] = field(default_factory=list)
    start: int = 0


@dataclass(slots=True)
class Model:
    """One topic."""

    settings: TopicSettings
    partitions: list[Partition]


KEYS = st.sampled_from([None, b'"a"', b'"b"', b"7", b'{"$base64":"AP8="}'])
HEADERS = st.sampled_from([None, b'[{"key":"h","value":"1"},{"key":"h","value":"2"}]'])
TIMES = st.one_of(st.none(), st.integers(-5000, 5000))
KINDS = st.sampled_from(["one", "few", "few", "segment", "bulk"])


def lines_of(kind: str, seed: int) -> list[bytes]:
    """Values of a size that takes a certain way: within the journal, over a roll, straight to the segment."""
    pick = random.Random(seed)
    if kind == "bulk":
        return [b'{"seed":%d,"n":%d,"pad":"%s"}' % (seed, n, b"x" * 90) for n in range(BULK_BYTES // 110)]
    count, size = {"one": (1, 5), "few": (pick.randint(2, 6), 40), "segment": (12, 300)}[kind]
    return [b'{"seed":%d,"n":%d,"pad":"%s"}' % (seed, n, b"y" * size) for n in range(count)]
