"""The few calls of the C library that Python does not offer: fallocate, futex, mallopt.

ctypes is loaded with this module, so it is imported only where one of these is needed.

Numbers are those of the Linux kernel's headers (linux/futex.h, asm/unistd.h).
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os

_FUTEX_WAIT = 0
_FUTEX_WAKE = 1
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


class Futex:
    """One 32-bit word in a shared mapping on which processes sleep and wake each other.

    `wait` returns when woken, when the word differs from `seen`, or after the timeout: callers look again
    at what they wait for. Where the kernel has no futex, it is a short sleep.
    """

    def __init__(self, page: mmap.mmap, position: int) -> None:
        self._word = ctypes.c_uint32.from_buffer(page, position)
        self._address = ctypes.c_void_p(ctypes.addressof(self._word))

    def value(self) -> int:
        return self._word.value

    def wait(self, seen: int, *, timeout_seconds: float) -> None:
        if _FUTEX_NUMBER is None:
            import time

            time.sleep(min(timeout_seconds, 0.001))
            return
        timeout = _Timespec(int(timeout_seconds), int(timeout_seconds % 1 * 1e9))
        _libc.syscall(
            _FUTEX_NUMBER, self._address, _FUTEX_WAIT, ctypes.c_uint32(seen), ctypes.byref(timeout), None, 0
        )

    def wake_all(self) -> None:
        self._word.value = (self._word.value + 1) & 0xFFFFFFFF
        if _FUTEX_NUMBER is not None:
            _libc.syscall(_FUTEX_NUMBER, self._address, _FUTEX_WAKE, ctypes.c_int(0x7FFFFFFF), None, None, 0)

    def close(self) -> None:
        """Let go of the mapping, so that it can be unmapped."""
        del self._word


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
_wake_bits = ctypes.PyDLL(None)["syscall"]
_wake_bits.argtypes = _Call
_wait_bits = _libc["syscall"]
_wait_bits.argtypes = _Call


class FutexBits:
    """One 32-bit word in a shared mapping on which many processes sleep, each woken by a bit of its own.

    One call wakes as many of them as have news. The word changes with each: who has seen it, and finds no
    news after that, can only sleep on it while there is none.
    """

    def __init__(self, page: mmap.mmap, position: int) -> None:
        self._word = ctypes.c_uint32.from_buffer(page, position)
        self._address = ctypes.addressof(self._word)
        self._until = _Timespec(0, 0)
        self._until_address = ctypes.addressof(self._until)

    def value(self) -> int:
        return self._word.value

    def wait(self, bits: int, seen: int, *, until_seconds: float) -> bool:
        """Sleep, until that time of the monotonic clock at most; whether it was not for the whole time."""
        if _FUTEX_NUMBER is None:
            import time

            left_seconds = until_seconds - time.monotonic()
            time.sleep(max(min(left_seconds, 0.001), 0.0))
            return left_seconds > 0.001
        until, seconds = self._until, int(until_seconds)
        until.seconds, until.nanoseconds = seconds, int((until_seconds - seconds) * 1e9)
        address = self._address
        if _wait_bits(_FUTEX_NUMBER, address, _FUTEX_WAIT_BITSET, seen, self._until_address, 0, bits) == 0:
            return True
        return ctypes.get_errno() != errno.ETIMEDOUT

    def wake(self, bits: int) -> None:
        word = self._word
        word.value = (word.value + 1) & 0xFFFFFFFF
        if _FUTEX_NUMBER is not None:
            _wake_bits(_FUTEX_NUMBER, self._address, _FUTEX_WAKE_BITSET, 0x7FFFFFFF, 0, 0, bits)

    def close(self) -> None:
        """Let go of the mapping, so that it can be unmapped."""
        del self._word
