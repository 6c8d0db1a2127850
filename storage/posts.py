"""The posts of a partition: small appends that wait for whoever appends next, in memory that writers share.

A writer that finds another at work puts its batch into its slot; the one that holds the file's lock leads:
it appends all that is posted as one, and tells each where it lies. FORMAT.md section 5.1.

It is a cache in memory, never a promise: nothing in it outlives the epoch, whose salt is in every number, so
losing it, or finding anything in it after a power cut, loses nothing. Within one boot it survives the death
of any process at any instruction:

- each word has one writer at a time: its poster, or who holds the lock that it is changed under;
- a request's number is never used again, so a process that comes back late can only say what nobody asks;
- what is taken is resolved before anything else is appended to the partition, by the head being dirty.
"""

from __future__ import annotations

import mmap
import os
import threading
import time
import weakref
from enum import IntEnum
from typing import TYPE_CHECKING

from storage import files
from storage.batch import RecordBatch
from storage.posts_file import (
    BASE,
    BEAT,
    COMMITTED,
    DONE,
    FILE_BYTES,
    FUTEX_BYTE,
    LAST,
    LED,
    NUMBER_BITS,
    PATIENCE,
    POSTED,
    POSTS_FILE,
    REFUSED,
    SEQUENCE,
    SLOTS,
    TAKEN,
    TIME,
    claim_slot,
    epoch_of,
    has_common_clock,
    is_running,
    make_whole,
    resolve,
)
from storage.request import Group, read_requests, short_stamp, write_request

if TYPE_CHECKING:
    from storage.libc import Futex
    from storage.log import Log, LogPlace
    from storage.small_post import LongWay, SmallPost
    from storage.turns import Turns


# A leader without news for so long is looked at.
STALL_SECONDS = 0.01
# The bit that a slot's owner sleeps under. Who shares it with another is woken for nothing now and then.
_BITS = [1 << slot % 32 for slot in range(SLOTS)]


class Retracted(Exception):
    """A poster took its request back while it was being taken: gather again."""


class News(IntEnum):
    """What a poster learns."""

    DONE = 0
    LOOK = 1  # at the request, or whether somebody leads
    SILENCE = 2


# To look a member up in its class takes the interpreter as long as a short call.
_DONE, _LOOK, _SILENCE = News


class Posts:
    """The posts of one partition, mapped, with a slot of this process's own. One thread at a time uses it."""

    def __init__(self, fd: int, slot: int, *, salt: int) -> None:
        self._fd = fd
        self._slot = slot
        self._epoch = epoch_of(salt)
        self._map = mmap.mmap(fd, FILE_BYTES)
        self._bytes = memoryview(self._map)
        self._words = self._bytes.cast("Q")
        self._futex: Futex | None = None
        self._group = Group()
        self._leader_thread = 0
        self._taken = False
        # A stamp of settings, as topics have it and as requests carry it.
        self._stamp: tuple[tuple[int, int] | None, int] = (None, 0)
        # Whoever had the slot may have died with a request in it: nobody shall take what is written over.
        self.retract()
        if self._words[LAST + slot] >> NUMBER_BITS != self._epoch:
            self._words[LAST + slot] = self._epoch << NUMBER_BITS
        _mapped.add(self)

    def close(self) -> None:
        """Unmap the file and give back the slot, and leadership with it."""
        _mapped.discard(self)
        if self._futex is not None:
            self._futex.close()
            self._futex = None
        self._words.release()
        self._bytes.release()
        self._map.close()
        if self._fd >= 0:
            files.close_file(self._fd)
            self._fd = -1

    def _close_in_child(self) -> None:
        # Locks belong to the open file, which a forked child shares: they would outlive their owner.
        os.close(self._fd)
        self._fd = -1

    def small_post(self, log: Log, place: LogPlace, turns: Turns, long_way: LongWay) -> SmallPost | None:
        """The short way to post to a log while it is at this place; `None` where it would not do."""
        if _weakly_ordered or not has_common_clock() or self._open_futex().number is None:
            return None
        from storage.small_post import SmallPost

        memory = (self._words, self._bytes, self._slot, self._open_futex(), _BITS[self._slot])
        return SmallPost(*memory, self._short(place.settings_stamp), log, place, turns, long_way)

    # -- for the poster -------------------------------------------------------------------------------

    def post(self, batch: RecordBatch, *, stamp: tuple[int, int]) -> int | None:
        """Put a batch into the own slot; returns the request's number, or `None` if it does not fit."""
        words, slot = self._words, self._slot
        number = words[LAST + slot] + 1
        words[LAST + slot] = number
        if not write_request(words, self._bytes, slot, number, self._short(stamp), batch):
            return None
        files.step("combine.post")
        if _weakly_ordered:
            _fence()
        words[POSTED + slot] = number
        files.step("combine.posted")
        return number

    def _short(self, stamp: tuple[int, int]) -> int:
        known, short = self._stamp
        if known is not stamp:
            short = short_stamp(stamp)
            self._stamp = stamp, short
        return short

    def retract(self) -> None:
        """Take the request back: under the partition's lock, or as the leader, or see `withdraw`."""
        self._words[POSTED + self._slot] = 0
        # Whoever copies what is written over it from now on finds that it was taken back.
        _fence()

    def withdraw(self, number: int) -> bool:
        """Take the request back without any lock; whether nobody had taken it."""
        # Here and in `take` both sides write first and read after: one of them sees the other.
        self.retract()
        return not self.is_taken(number)

    def is_taken(self, number: int) -> bool:
        return self._words[TAKEN + self._slot] == number

    def is_committed(self, number: int) -> bool:
        return self._words[COMMITTED + self._slot] == number

    def is_done(self, number: int) -> bool:
        return self._words[DONE + self._slot] == number

    def is_refused(self, number: int) -> bool:
        return self._words[REFUSED + self._slot] == number

    def placed(self) -> tuple[int, int]:
        """The first offset of the own request, and when it was appended in ms UTC, once it is committed."""
        return self._words[BASE + self._slot], self._words[TIME + self._slot]

    def sequence(self) -> int:
        """In which record of the journal the own request is, once it is committed."""
        return self._words[SEQUENCE + self._slot]

    @property
    def is_led(self) -> bool:
        """Whether somebody leads, or died while leading."""
        return self._words[LED] != 0

    def leader_runs(self) -> bool:
        """Whether the leader is known to be neither stopped nor dead."""
        return is_running(self._words[LED])

    @property
    def beat(self) -> int:
        """What has changed when a leader got on."""
        return self._words[BEAT]

    def wait(self, number: int, *, timeout_seconds: float) -> News:
        """Sleep until there is news of the own request, at most this long."""
        words, slot = self._words, self._slot
        done = DONE + slot
        futex = self._futex or self._open_futex()
        seen = futex.word[0]
        if words[done] == number:
            return _DONE
        if words[REFUSED + slot] == number:
            return _LOOK
        woken = futex.wait(seen, until_seconds=time.monotonic() + timeout_seconds, bits=_BITS[slot])
        if words[done] == number:
            return _DONE
        # What woke it may have been for another one.
        return _LOOK if woken else _SILENCE

    # -- for the leader -------------------------------------------------------------------------------

    def try_lead(self) -> bool:
        """Become the leader if there is none."""
        if not files.try_lock(self._fd):
            return False
        self._be_patient(STALL_SECONDS)
        self._words[LED] = os.getpid()
        self._forget_dead()
        return True

    def _forget_dead(self) -> None:
        """Take back what waits of processes that are gone: they may have been started again since."""
        for slot, _ in self._pending():
            if slot != self._slot and files.try_lock_byte(self._fd, slot):
                self._words[POSTED + slot] = 0
                files.unlock_byte(self._fd, slot)

    def gather(self, limit_bytes: int, *, stamp: tuple[int, int]) -> Group:
        """What is posted, the own request first, up to so many bytes. As the leader."""
        words, posted = self._words, self._pending()
        if _weakly_ordered:
            _fence()
        own = (self._slot, words[POSTED + self._slot])
        if own in posted:
            posted.remove(own)
            posted.insert(0, own)
        group, others = read_requests(self._map, posted, self._short(stamp), limit_bytes)
        for slot, number in others:
            words[REFUSED + slot] = number
            self._wake(_BITS[slot])
        return group

    def _pending(self) -> list[tuple[int, int]]:
        """The slots with a request that waits, and its number."""
        words, epoch = self._words, self._epoch
        posted = words[POSTED : POSTED + SLOTS].tolist()
        taken = words[TAKEN : TAKEN + SLOTS].tolist()
        if posted == taken:
            return []
        return [
            (slot, number)
            for slot, (number, other) in enumerate(zip(posted, taken, strict=True))
            if number != other and number >> NUMBER_BITS == epoch and words[REFUSED + slot] != number
        ]

    def _be_patient(self, seconds: float) -> None:
        """Say that nobody need look for the leader for so long, to those whose clock is this one."""
        words, until = self._words, time.monotonic() + seconds if has_common_clock() else 0.0
        # Torn between two seconds it is too early.
        words[PATIENCE + 1], words[PATIENCE] = int(until % 1 * 1e9), int(until)

    def begin(self, group: Group) -> None:
        """What this thread appends from now on is this group's."""
        self._be_patient(STALL_SECONDS)
        self._words[BEAT] += 1
        self._group = group
        self._leader_thread = threading.get_ident()

    @property
    def is_under_way(self) -> bool:
        """Whether this thread appends a group."""
        return self._leader_thread == threading.get_ident()

    def end(self) -> None:
        """The append of the group has returned, or failed."""
        self._leader_thread = 0
        self._taken = False

    def take(self, next_offset: int) -> None:
        """Under the partition's lock, with the head dirty: the group is about to be appended there.

        Raises `Retracted` if it may not be, with nothing taken.
        """
        if not self.is_under_way:
            return
        words, group, offset = self._words, self._group, next_offset
        for slot, number, count in zip(group.slots, group.numbers, group.counts, strict=True):
            words[BASE + slot] = offset
            words[TAKEN + slot] = number
            offset += count
        self._taken = True
        files.step("combine.taken")
        _fence()
        if group.numbers != [words[POSTED + slot] for slot in group.slots]:
            self.settle(next_offset, 0, 0)
            raise Retracted

    def settle(self, next_offset: int, sequence: int, append_time_ms: int) -> None:
        """Under the partition's lock, before the head is clean: say what became of the group.

        The log ends at `next_offset` now; `sequence` is that of its last record, and the time its time.
        """
        if self._taken and self.is_under_way:
            resolve(self._words, self._group.slots, next_offset, sequence, append_time_ms)
            self._taken = False
            files.step("combine.committed")

    def finish(self) -> None:
        """All of the group is durable and visible: say so."""
        files.step("combine.durable")
        words, group = self._words, self._group
        words[BEAT] += 1
        for slot, number in zip(group.slots, group.numbers, strict=True):
            words[DONE + slot] = number
        files.step("combine.done")
        self._wake_group()

    def give_up(self) -> None:
        """The leader does no more for its group: each finds out for itself how far it got."""
        words, group = self._words, self._group
        for slot, number in zip(group.slots, group.numbers, strict=True):
            words[REFUSED + slot] = number
        self._wake_group()

    def _wake_group(self) -> None:
        bits, own = 0, self._slot
        for slot in self._group.slots:
            if slot != own:
                bits |= _BITS[slot]
        self._wake(bits)
        self._group = Group()

    def leave(self) -> None:
        """Lead no more, and let another lead."""
        self._words[LED] = 0
        files.unlock(self._fd)
        _fence()
        # After that: who posts later finds that nobody leads, and who posted before is seen here.
        if pending := self._pending():
            self._wake(_BITS[pending[0][0]])

    def _wake(self, bits: int) -> None:
        if bits:
            (self._futex or self._open_futex()).wake(bits)

    def _open_futex(self) -> Futex:
        if self._futex is None:
            from storage.libc import Futex

            self._futex = Futex(self._map, FUTEX_BYTE)
        return self._futex


_fence_lock = threading.Lock()
# An x86 stores, and loads, in the order of the program; elsewhere a fence keeps a request before its number.
_weakly_ordered = os.uname().machine not in ("x86_64", "i686")


def _fence() -> None:
    """What was written to the mapping before this is there before anything that is read after it."""
    with _fence_lock:
        pass


_mapped: weakref.WeakSet[Posts] = weakref.WeakSet()


def _close_in_child() -> None:
    for posts in list(_mapped):
        posts._close_in_child()
    _mapped.clear()


os.register_at_fork(after_in_child=_close_in_child)


def open_posts(directory: str, *, salt: int) -> Posts | None:
    """The posts of a partition, made where they are missing; `None` where no slot is free, or can be.

    Raises `DiskFullError`, `ReadOnlyStoreError`, OSError.
    """
    fd = files.open_file(os.path.join(directory, POSTS_FILE), create=True)
    try:
        slot = claim_slot(fd) if make_whole(fd) else None
        if slot is not None:
            return Posts(fd, slot, salt=salt)
    except BaseException:
        files.close_file(fd)
        raise
    files.close_file(fd)
    return None
