"""The small post: a batch of lines alone, posted where somebody leads, which is what most posts are.

It does what `Posts.post` and `Posts.wait` do, as one straight line. A poster is awake for some microseconds
between the turns of all others, and finds nothing of its own in the processor's caches: each function, object
and library that it touches costs it ten times what it costs a writer who is alone.

Promises: the receipt of what its leader has made durable and visible; or else `number` says under which
request the batch is posted and has to be seen to, 0 if it is not posted.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from storage import files
from storage.batch import Receipt, RecordBatch
from storage.posts_file import BASE, DONE, LAST, LED, POSTED, TIME
from storage.request import COUNT_BITS, LINES_BITS, PAYLOAD_BYTES_MAX, head_word, payload_byte

if TYPE_CHECKING:
    from storage.libc import Futex
    from storage.log import LogPlace


class SmallPost:
    """Posts small batches into one slot. Who sees to what it left posted sets `number` back to 0."""

    __slots__ = (
        "_at", "_bits", "_bytes", "_futex", "_head", "_partition", "_slot", "_stamp", "_topic", "_words",
        "number",
    )  # fmt: skip

    def __init__(
        self,
        words: memoryview,
        data: memoryview,
        slot: int,
        futex: Futex,
        bits: int,
        place: LogPlace,
        stamp: int,
    ) -> None:
        self._words = words
        self._bytes = data
        self._slot = slot
        self._head = head_word(slot)
        self._at = payload_byte(slot)
        self._futex = futex
        self._bits = bits
        self._stamp = stamp
        self._topic = place.topic
        self._partition = place.partition
        self.number = 0

    def append(self, batch: RecordBatch, stall_seconds: float) -> Receipt | None:
        """Have the leader append a batch; `None` where it did not within this time, or there is none."""
        words, slot, head, at = self._words, self._slot, self._head, self._at
        lines, count = batch.lines, batch.count
        size = len(lines)
        if (
            batch.keys is not None
            or batch.headers is not None
            or batch.timestamps_ms is not None
            or size > PAYLOAD_BYTES_MAX
            or not words[LED]
        ):
            return None
        number = words[LAST + slot] + 1
        words[LAST + slot] = number
        words[head] = number
        words[head + 1] = self._stamp
        words[head + 2] = count << COUNT_BITS | size << LINES_BITS
        self._bytes[at : at + size] = lines
        if files.observer is not None:
            files.step("combine.post")
        words[POSTED + slot] = number
        if files.observer is not None:
            files.step("combine.posted")
        futex = self._futex
        seen = futex.word[0]
        if words[DONE + slot] != number:
            # Who led may have gone without having seen this.
            if words[LED]:
                futex.wait(seen, until_seconds=time.monotonic() + stall_seconds, bits=self._bits)
            if words[DONE + slot] != number:
                self.number = number
                return None
        offset = words[BASE + slot]
        return Receipt(
            topic=self._topic,
            partition=self._partition,
            base_offset=offset,
            last_offset=offset + count - 1,
            append_time_ms=words[TIME + slot],
        )
