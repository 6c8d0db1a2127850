"""The few calls of the C library that Python does not offer: fallocate, sync_file_range, futex, mallopt.

ctypes is loaded with this module, so it is imported only where one of these is needed.

Numbers are those of the Linux kernel's headers (linux/futex.h, asm/unistd.h).
"""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
import time

ALL_BITS = 0xFFFFFFFF

WAIT_BITSET = 9
_FUTEX_WAKE_BITSET = 10
_EVERYBODY = 0x7FFFFFFF
# The number of the system call; `None` where this knows of none.
FUTEX = {"x86_64": 202, "aarch64": 98, "riscv64": 98, "ppc64le": 221, "s390x": 238}.get(os.uname().machine)
# From linux/fs.h.
_SYNC_FILE_RANGE_WRITE = 2
# From malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_libc = ctypes.CDLL(None, use_errno=True)


def fallocate(fd: int, mode: int, position: int, length: int) -> None:
    """Manipulate the blocks of a file; see fallocate(2). Raises OSError; does nothing where there is none."""
    call = getattr(_libc, "fallocate64", None) or getattr(_libc, "fallocate", None)
    if call is None:
        return
    if call(fd, mode, ctypes.c_int64(position), ctypes.c_int64(length)) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def start_writing(fd: int, position: int, length: int) -> None:
    """Have the disk begin with what was written there, and wait for nothing; see sync_file_range(2).

    It promises nothing, and what fails is met by the sync that follows: it is the sync that is told.
    """
    call = getattr(_libc, "sync_file_range", None)
    if call is not None:
        call(fd, ctypes.c_int64(position), ctypes.c_int64(length), _SYNC_FILE_RANGE_WRITE)


def keep_freed_memory() -> None:
    """Let the allocator keep large blocks that are freed, up to 64 MiB, for the next time.

    A stream goes through buffers of a megabyte; without this each of them is mapped, faulted in page by page
    and unmapped again, which costs more than checking what is in it. See mallopt(3); musl has no such knob.
    """
    mallopt = getattr(_libc, "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 32 * 1024 * 1024)
        mallopt(_M_TRIM_THRESHOLD, 64 * 1024 * 1024)


# Declared types of arguments and a kept errno would make a call three times as long: integers go as they are,
# pointers as `c_void_p`. Waking takes less than handing the interpreter to another thread, so it keeps it.
_wake = ctypes.PyDLL(None)["syscall"]
system_call = ctypes.CDLL(None)["syscall"]
# A `struct timespec`: bytes are passed as what they are, and cost a third of a structure of ctypes.
_timespec = struct.Struct("@ll").pack


class Futex:
    """One 32-bit word in a shared mapping on which processes sleep and wake each other.

    Each sleeps under some of 32 bits, and one call wakes all who sleep under one of those that it names. The
    word changes with each: who has seen it, and finds no news after that, can only sleep on it while there
    is none. Where the kernel has no futex, waiting is a short sleep.
    """

    def __init__(self, page: mmap.mmap, position: int) -> None:
        """`word` is what to look at before looking for news, and to hand to `wait` after that."""
        self.number = FUTEX
        self._held = ctypes.c_uint32.from_buffer(page, position)
        self.pointer = ctypes.c_void_p(ctypes.addressof(self._held))
        self._position = position
        self.word = memoryview(page)[position : position + 4].cast("I")

    def pointer_to(self, position: int) -> ctypes.c_void_p:
        """To another byte of the mapping."""
        return ctypes.c_void_p(ctypes.addressof(self._held) - self._position + position)

    def wait(self, seen: int, *, until_seconds: float, bits: int = ALL_BITS) -> bool:
        """Sleep, until that time of the monotonic clock at most; whether it was not for the whole time.

        It may be for no time at all: callers look again at what they wait for.
        """
        if FUTEX is None:
            time.sleep(max(min(until_seconds - time.monotonic(), 0.001), 0.0))
        else:
            seconds = int(until_seconds)
            until = _timespec(seconds, int((until_seconds - seconds) * 1e9))
            if system_call(FUTEX, self.pointer, WAIT_BITSET, seen, until, None, bits) == 0:
                return True
        return self.word[0] != seen or time.monotonic() < until_seconds

    def wake(self, bits: int = ALL_BITS) -> None:
        word = self.word
        word[0] = (word[0] + 1) & 0xFFFFFFFF
        if FUTEX is not None:
            _wake(FUTEX, self.pointer, _FUTEX_WAKE_BITSET, _EVERYBODY, None, None, bits)

    def close(self) -> None:
        """Let go of the mapping, so that it can be unmapped."""
        self.word.release()
        del self._held
