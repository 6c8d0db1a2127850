"""The few calls of the C library that Python does not offer: fallocate, futex, mallopt.

ctypes is loaded with this module, so it is imported only where one of these is needed.

Numbers are those of the Linux kernel's headers (linux/futex.h, asm/unistd.h).
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os

ALL_BITS = 0xFFFFFFFF

_FUTEX_WAIT_BITSET = 9
_FUTEX_WAKE_BITSET = 10
_FUTEX_NUMBER = {"x86_64": 202, "aarch64": 98, "riscv64": 98, "ppc64le": 221, "s390x": 238}.get(
    os.uname().machine
)
# From malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_libc = ctypes.CDLL(None, use_errno=True)


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


def fallocate(fd: int, mode: int, position: int, length: int) -> None:
    """Manipulate the blocks of a file; see fallocate(2). Raises OSError; does nothing where there is none."""
    call = getattr(_libc, "fallocate64", None) or getattr(_libc, "fallocate", None)
    if call is None:
        return
    if call(fd, mode, ctypes.c_int64(position), ctypes.c_int64(length)) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def keep_freed_memory() -> None:
    """Let the allocator keep large blocks that are freed, up to 64 MiB, for the next time.

    A stream goes through buffers of a megabyte; without this each of them is mapped, faulted in page by page
    and unmapped again, which costs more than checking what is in it. See mallopt(3); musl has no such knob.
    """
    mallopt = getattr(_libc, "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 32 * 1024 * 1024)
        mallopt(_M_TRIM_THRESHOLD, 64 * 1024 * 1024)


_Call = (
    ctypes.c_long,
    ctypes.c_void_p,
    ctypes.c_int,
    ctypes.c_uint32,
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.c_uint32,
)
# Waking takes less than handing the interpreter to another thread would, so it keeps it.
_wake = ctypes.PyDLL(None)["syscall"]
_wake.argtypes = _Call
_sleep = _libc["syscall"]
_sleep.argtypes = _Call


class Futex:
    """One 32-bit word in a shared mapping on which processes sleep and wake each other.

    Each sleeps under some of 32 bits, and one call wakes all who sleep under one of those that it names. The
    word changes with each: who has seen it, and finds no news after that, can only sleep on it while there
    is none. Where the kernel has no futex, waiting is a short sleep.
    """

    def __init__(self, page: mmap.mmap, position: int) -> None:
        self._word = ctypes.c_uint32.from_buffer(page, position)
        self._address = ctypes.addressof(self._word)

    def value(self) -> int:
        return self._word.value

    def wait(self, seen: int, *, until_seconds: float, bits: int = ALL_BITS) -> bool:
        """Sleep, until that time of the monotonic clock at most; whether it was not for the whole time.

        It may be for no time at all: callers look again at what they wait for.
        """
        if _FUTEX_NUMBER is None:
            import time

            left_seconds = until_seconds - time.monotonic()
            time.sleep(max(min(left_seconds, 0.001), 0.0))
            return left_seconds > 0.001
        seconds = int(until_seconds)
        until = _Timespec(seconds, int((until_seconds - seconds) * 1e9))
        until_address = ctypes.addressof(until)
        if _sleep(_FUTEX_NUMBER, self._address, _FUTEX_WAIT_BITSET, seen, until_address, 0, bits) == 0:
            return True
        return ctypes.get_errno() != errno.ETIMEDOUT

    def wake(self, bits: int = ALL_BITS) -> None:
        word = self._word
        word.value = (word.value + 1) & 0xFFFFFFFF
        if _FUTEX_NUMBER is not None:
            _wake(_FUTEX_NUMBER, self._address, _FUTEX_WAKE_BITSET, 0x7FFFFFFF, 0, 0, bits)

    def close(self) -> None:
        """Let go of the mapping, so that it can be unmapped."""
        del self._word
