"""Reading single messages of a partition, here and there: what was claimed, mostly in order.

Promises: what was read once is kept as long as its neighbours are asked for, in pieces of a bounded number of
messages, so that claiming a bulk batch message by message does not read it as often.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

from storage.batch import Batch
from storage.reader import Gap, LogReader
from storage.topic import Topic

_PIECE_RECORDS = 1024
# As much as this is kept of a run of small batches.
_KEPT_RECORDS = 4096
_KEPT_BYTES = 4 * 1024 * 1024


@dataclass(slots=True)
class Found:
    """What was found of the offsets that were asked for; `gaps` say why others were not."""

    batches: list[Batch] = field(default_factory=list)
    missing: list[int] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)


class MessageReader:
    """One partition. Not for several threads at once."""

    def __init__(self, topic: Topic, partition: int) -> None:
        self.log = LogReader(topic, partition)
        self._kept: list[Batch] = []
        self._lasts: list[int] = []
        self._gap: Gap | None = None

    def read(self, offsets: Sequence[int]) -> Found:
        """The messages of these offsets, ascending."""
        found = Found()
        at = 0
        while at < len(offsets):
            batch = self._batch_of(offsets[at])
            if batch is None:
                found.missing.append(offsets[at])
                if self._gap is not None and self._gap not in found.gaps:
                    found.gaps.append(self._gap)
                at += 1
                continue
            end = at
            while end < len(offsets) and offsets[end] <= batch.last_offset:
                end += 1
            self._choose(batch, offsets[at:end], found)
            at = end
        return found

    def _choose(self, batch: Batch, wanted: Sequence[int], found: Found) -> None:
        offsets = batch.offsets()
        there = []
        for offset in wanted:
            place = bisect_left(offsets, offset)
            if place < batch.count and offsets[place] == offset:
                there.append(place)
            else:
                found.missing.append(offset)
        if len(there) == batch.count:
            found.batches.append(batch)
        elif there:
            found.batches.append(batch.select(there))

    def _batch_of(self, offset: int) -> Batch | None:
        """The piece of a batch that holds the offset, or would."""
        for _ in range(2):
            place = bisect_left(self._lasts, offset)
            if place < len(self._kept) and self._kept[place].base_offset <= offset:
                return self._kept[place]
            if not self._load(offset):
                break
        return None

    def _load(self, offset: int) -> bool:
        """Keep what lies at the offset and behind it; `False` if nothing does."""
        self._kept, self._lasts, self._gap = [], [], None
        taken = self.log.cursor(offset).take(offset + _KEPT_RECORDS)
        if taken is None or isinstance(taken, Gap):
            self._gap = taken
            return False
        records = size_bytes = 0
        for entry in taken.entries:
            if records >= _KEPT_RECORDS or size_bytes >= _KEPT_BYTES:
                break
            batch = self.log.batch(taken.segment, entry)
            if isinstance(batch, Gap):
                self._gap = batch if not self._kept else None
                break
            for piece in batch.pieces(_PIECE_RECORDS):
                if piece.last_offset >= offset and records < _KEPT_RECORDS:
                    self._kept.append(piece)
                    records += piece.count
                    size_bytes += len(piece.lines)
        self._lasts = [batch.last_offset for batch in self._kept]
        return bool(self._kept)
