"""The small post: lines alone, posted where somebody leads, which is what most posts are.

It does what `Combiner.append`, `Posts.post`, `Posts.wait` and `Futex.wait` do, as one straight line. A poster
is awake for some microseconds between the turns of all others, and finds nothing of its own in the
processor's caches: each function, object and library that it touches costs it ten times what it costs a
writer who is alone. (Five calls less are a fifth of what 32 writing processes take for a message.)

Promises: the receipt of what its leader has made durable and visible; or nothing is posted, and the lines
have to go another way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from storage import files
from storage.batch import Receipt
from storage.libc import FUTEX, WAIT_BITSET, system_call
from storage.posts_file import BASE, DONE, LAST, LED, PATIENCE, POSTED, TIME
from storage.request import COUNT_BITS, LINES_BITS, PAYLOAD_BYTES_MAX, head_word, payload_byte

if TYPE_CHECKING:
    from storage.libc import Futex
    from storage.log import Log, LogPlace
    from storage.turns import Turns


class LongWay(Protocol):
    """Who goes on with what cannot be seen to the end here. The caller leads the threads of its process."""

    def see_to(self, number: int, count: int, place: LogPlace) -> Receipt | None:
        """The receipt of this request; `None` if it was taken back."""

    def give_up(self) -> None:
        """Take back what is posted: its writer was interrupted."""


class SmallPost:
    """Posts lines into one slot, for all threads of the process, while the log is at `place`.

    That is as far as this process knows: a request says by its stamp which settings it rests on, and whoever
    leads refuses what rests on older ones. `is_open` until whoever made this says otherwise; `next_offset` is
    where the newest lines ended.
    """

    __slots__ = (
        "_at", "_bits", "_bytes", "_free", "_head", "_log", "_long_way", "_pointer", "_slot", "_stamp",
        "_turns", "_until", "_waiting", "_word", "_words", "is_open", "next_offset", "place",
    )  # fmt: skip

    def __init__(
        self,
        words: memoryview,
        data: memoryview,
        slot: int,
        futex: Futex,
        bits: int,
        stamp: int,
        log: Log,
        place: LogPlace,
        turns: Turns,
        long_way: LongWay,
    ) -> None:
        self._words = words
        self._bytes = data
        self._slot = slot
        self._head = head_word(slot)
        self._at = payload_byte(slot)
        self._word = futex.word
        self._pointer = futex.pointer
        # No clock is read here: who leads says how long it need not be looked for.
        self._until = futex.pointer_to(PATIENCE * 8)
        self._bits = bits
        self._stamp = stamp
        self._log = log
        self.place = place
        self._turns = turns
        self._free = turns.free
        self._waiting = turns.waiting
        self._long_way = long_way
        self.is_open = True
        self.next_offset = 0

    def append(self, lines: bytes, count: int) -> Receipt | None:
        """Have the leader append so many lines; `None`, with nothing posted, where it did not or there is
        none. Raises what `storage.posting.Posting.append` does.
        """
        words, slot, free, place, size = self._words, self._slot, self._free, self.place, len(lines)
        if size > PAYLOAD_BYTES_MAX or not self.is_open or self._log.place is not place or not words[LED]:
            return None
        # As `Turns.try_lead`.
        try:
            free.pop()
        except IndexError:
            return None
        try:
            observed = files.observer is not None
            head, at = self._head, self._at
            words[LAST + slot] = number = words[LAST + slot] + 1
            words[head] = number
            words[head + 1] = self._stamp
            words[head + 2] = count << COUNT_BITS | size << LINES_BITS
            self._bytes[at : at + size] = lines
            if observed:
                files.step("combine.post")
            words[POSTED + slot] = number
            if observed:
                files.step("combine.posted")
            seen = self._word[0]
            if words[DONE + slot] != number:
                # Who led may have gone without having seen this.
                if words[LED]:
                    system_call(FUTEX, self._pointer, WAIT_BITSET, seen, self._until, None, self._bits)
                if words[DONE + slot] != number:
                    receipt = self._long_way.see_to(number, count, place)
                    if receipt is not None:
                        self.next_offset = receipt.last_offset + 1
                    return receipt
            offset = words[BASE + slot]
            self.next_offset = end_offset = offset + count
            return Receipt(
                topic=place.topic,
                partition=place.partition,
                base_offset=offset,
                last_offset=end_offset - 1,
                append_time_ms=words[TIME + slot],
            )
        except BaseException:
            self._long_way.give_up()
            raise
        finally:
            # As `Turns.leave`.
            free.append(None)
            if self._waiting and self._turns.try_lead():
                self._turns.pass_on()
