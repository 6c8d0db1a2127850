"""The file of a partition's posts: where everything lies in it, and what is done to it as a file.

Its use is that of `storage.posts`; FORMAT.md section 5.1 has the tables.
"""

from __future__ import annotations

import functools
import mmap
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from storage import files

if TYPE_CHECKING:
    from storage.head import Tail

POSTS_FILE = "posts"
SLOTS = 64
SLOT_BYTES = 4096

# Columns of a word of 64 bits a slot, in the machine's byte order: the file never leaves the machine.
POSTED = 0 * SLOTS  # the request that is posted; by its poster
TAKEN = 1 * SLOTS  # the request that is about to be appended; under the partition's lock
BASE = 2 * SLOTS  # at which offset; before it is taken
COMMITTED = 3 * SLOTS  # the request that is in the journal; under the partition's lock
SEQUENCE = 4 * SLOTS  # in which record; before it is committed
TIME = 5 * SLOTS  # when it was appended; before it is committed
DONE = 6 * SLOTS  # the request that is durable and visible; by its leader
REFUSED = 7 * SLOTS  # the request that its leader does no more for; by its leader
FUTEX_BYTE = 8 * SLOTS * 8
LAST = 9 * SLOTS  # the newest request of the slot, whoever's; by its poster
BEAT = 10 * SLOTS  # one word: grows with all that a leader does
LED = 10 * SLOTS + 1  # one word: the process that leads, or died while leading; 0 for none
# Two words, a `struct timespec` of the monotonic clock: until when nobody need look for the leader.
PATIENCE = 10 * SLOTS + 2
FIRST_SLOT_BYTE = 8192
FILE_BYTES = FIRST_SLOT_BYTE + SLOTS * SLOT_BYTES

# The inode of the namespace that a machine begins with: PROC_TIME_INIT_INO in linux/proc_ns.h.
_TIME_NAMESPACE = 0xEFFFFFFA
# The epoch is the upper half of a request's number.
NUMBER_BITS = 32


def epoch_of(salt: int) -> int:
    """What begins every request's number in an epoch of this salt."""
    return (salt & ((1 << NUMBER_BITS) - 1)) or 1


def is_running(process: int) -> bool:
    """Whether a process is known to be neither stopped nor dead."""
    try:
        with open(f"/proc/{process}/stat", "rb", buffering=0) as file:
            # Behind the name, which may hold anything: running, sleeping, or waiting for the disk.
            return file.read(512).rpartition(b")")[2].split()[0] in (b"R", b"S", b"D")
    except (OSError, IndexError):
        return False


@functools.cache
def has_common_clock() -> bool:
    """Whether the monotonic clock is that of the whole machine, not of a time namespace of its own."""
    try:
        return os.stat("/proc/self/ns/time").st_ino == _TIME_NAMESPACE
    except OSError:
        # A kernel without such namespaces has one clock; without a /proc nobody knows.
        return os.path.exists("/proc/self/ns")


def make_whole(fd: int) -> bool:
    """Write the whole file, unless it is there, or somebody else is at it.

    Written, not left as a hole: one that finds no room on a full disk ends the process that stores into it.
    """
    if os.fstat(fd).st_size >= FILE_BYTES:
        return True
    if not files.try_lock(fd):
        return False
    try:
        size = os.fstat(fd).st_size
        if size < FILE_BYTES:
            files.write_at(fd, bytes(FILE_BYTES - size), size)
        return True
    finally:
        files.unlock(fd)


def claim_slot(fd: int) -> int | None:
    """A slot that no living process has; the kernel gives it back when this one dies."""
    return next((slot for slot in range(SLOTS) if files.try_lock_byte(fd, slot)), None)


def resolve(
    words: memoryview, slots: Iterable[int], next_offset: int, sequence: int, append_time_ms: int
) -> None:
    """What was taken is committed if the log's end is past it, since nothing else was appended since.

    `sequence` is that of the log's last record, `append_time_ms` its time.
    """
    for slot in slots:
        if next_offset > words[BASE + slot]:
            words[SEQUENCE + slot] = sequence
            words[TIME + slot] = append_time_ms
            words[COMMITTED + slot] = words[TAKEN + slot]
        else:
            words[TAKEN + slot] = 0


def resolve_left(directory: str, tail: Tail, *, salt: int) -> None:
    """Under the partition's lock: say what became of requests that a dead leader had taken.

    `tail` is where the partition ends, and nothing was appended since that leader died.
    """
    try:
        fd = files.open_file(os.path.join(directory, POSTS_FILE))
    except FileNotFoundError:
        return
    try:
        if os.fstat(fd).st_size < FILE_BYTES:
            return
        epoch = epoch_of(salt)
        with mmap.mmap(fd, FILE_BYTES) as mapped, memoryview(mapped) as view, view.cast("Q") as words:
            left = [
                slot
                for slot in range(SLOTS)
                if words[TAKEN + slot] != words[COMMITTED + slot]
                and words[TAKEN + slot] >> NUMBER_BITS == epoch
            ]
            resolve(words, left, tail.next_offset, tail.last.sequence, tail.append_time_ms)
    finally:
        files.close_file(fd)
