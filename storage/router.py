"""The router: it sorts records into partitions by their keys, block by block, while they are checked.

A key is placed as `partitions_for` says.

Promises: records of one partition keep their order; nothing is taken in of records whose keys are refused.
"""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable
from itertools import repeat
from operator import call, mod
from typing import NamedTuple
from zlib import crc32

from storage.batch import RecordBatch
from storage.keys import PlacedBatch, check_scalar, partitions_for, plain_texts

# Parting so few records for each partition would cost more by the partition than by the record.
_RECORDS_A_PARTITION = 32

Place = Callable[[bytes], None]
"""Where a record goes: what takes its line, and then its key."""


class _Waiting(NamedTuple):
    """Records too few to be parted."""

    lines: list[bytes]
    keys: list[bytes]
    places: list[Place]


class Router:
    """Takes checked records in, and gives them out as one batch a partition.

    Keys are raw JSON texts, strings or numbers. They are given out only if `stores_keys`.
    """

    def __init__(self, partitions: int, *, stores_keys: bool) -> None:
        self._buckets: list[list[bytes]] = [[] for _ in range(partitions)]
        self._appends: list[Place] = [bucket.append for bucket in self._buckets]
        self.stores_keys = stores_keys
        self._enough = _RECORDS_A_PARTITION * partitions
        self._waiting = _Waiting([], [], [])
        self._start()

    def places(self, keys: bytes, count: int) -> list[Place]:
        """Where records with these keys go, `count` of them with newlines between.

        Raises KeysRefused if one is neither string nor number.
        """
        texts = plain_texts(keys, count)
        if texts is None:
            listed = keys.split(b"\n")
            check_scalar(listed)
            return list(map(self._appends.__getitem__, partitions_for(listed, len(self._appends))))
        return list(map(self._appends.__getitem__, map(mod, map(crc32, texts), repeat(len(self._appends)))))

    def add(self, values: list[bytes] | bytes, places: list[Place], keys: list[bytes]) -> None:
        """Take in records: their lines, each with its end, what `places` said, keys if it stores them."""
        lines = values if isinstance(values, list) else io.BytesIO(values).readlines()
        if len(lines) != len(places):
            raise ValueError(f"{len(lines)} lines for {len(places)} keys")
        if not self._waiting.places and len(lines) >= self._enough:
            # At once, while they are in the processor's cache.
            self._part(lines, keys, places)
            return
        waiting = self._waiting
        waiting.lines.extend(lines)
        waiting.keys.extend(keys)
        waiting.places.extend(places)
        if len(waiting.lines) >= self._enough:
            self._part_waiting()

    def take(self) -> list[RecordBatch]:
        """All that was taken in since the last time."""
        self._part_waiting()
        taken: list[RecordBatch] = []
        for partition, count in enumerate(self._counts):
            if count:
                lines = b"".join(self._parted_lines[partition])
                keys = self._parted_keys[partition] if self.stores_keys else None
                taken.append(PlacedBatch(partition=partition, lines=lines, count=count, keys=keys))
        self._start()
        return taken

    def _start(self) -> None:
        partitions = len(self._buckets)
        self._parted_lines: list[list[bytes]] = [[] for _ in range(partitions)]
        self._parted_keys: list[list[bytes]] = [[] for _ in range(partitions)]
        self._counts = [0] * partitions

    def _part_waiting(self) -> None:
        waiting, self._waiting = self._waiting, _Waiting([], [], [])
        self._part(waiting.lines, waiting.keys, waiting.places)

    def _part(self, lines: list[bytes], keys: list[bytes], places: list[Place]) -> None:
        # One call of `append` an item, all driven from C.
        deque(map(call, places, lines), maxlen=0)
        for partition, bucket in enumerate(self._buckets):
            if bucket:
                self._parted_lines[partition].append(b"".join(bucket))
                self._counts[partition] += len(bucket)
                bucket.clear()
        if self.stores_keys:
            deque(map(call, places, keys), maxlen=0)
            for parted, bucket in zip(self._parted_keys, self._buckets, strict=True):
                parted += bucket
                bucket.clear()
