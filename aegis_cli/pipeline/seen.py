"""Which keys passed already, and when: what dedup remembers.

A record passes unless one of its key passed whose time is less than `within_ms` from its own, before or
after. Only records that passed count, so a key that never pauses passes once in every `within_ms`. A time is
forgotten when the watermark is `within_ms` past it: a record so late passes again. When `expire` is called
changes nothing but the memory that is used.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from heapq import heappop, heappush
from typing import Any

from aegis_cli.pipeline.definition import GROUPS_MAX
from aegis_cli.pipeline.errors import StateTooLargeError
from aegis_cli.pipeline.windows.key import Key, key_of, values_of

# Times are forgotten in this many steps on the way of one `within_ms`.
_STEPS = 16


class Seen:
    """Keys, and the times at which they passed."""

    def __init__(self, *, within_ms: int, pipeline: str, keys_max: int = GROUPS_MAX) -> None:
        self._within_ms = within_ms
        self._pipeline = pipeline
        self._keys_max = keys_max
        # Most keys pass once; then it is the time itself, else an ascending list.
        self._times: dict[Key, int | list[int]] = {}
        # Keys by the step in which one of their times ends.
        self._step_ms = max(1, within_ms // _STEPS)
        self._filed: dict[int, list[Key]] = {}
        self._steps: list[int] = []
        self._changed: dict[Key, None] = {}
        self._new: set[Key] = set()
        self._removed: list[Key] = []

    @property
    def open(self) -> int:
        """How many keys are remembered."""
        return len(self._times)

    def add(self, key: Key, time_ms: int, closed_ms: int) -> bool:
        """Whether a record passes, and is remembered. `closed_ms` is the watermark that holds for it.

        Raises `StateTooLargeError`.
        """
        held = self._times.get(key)
        if held is None:
            if len(self._times) >= self._keys_max:
                raise StateTooLargeError(self._pipeline, "keys", self._keys_max)
            self._times[key] = time_ms
            self._new.add(key)
        else:
            times = [held] if isinstance(held, int) else held
            if self._is_near(times, time_ms, closed_ms):
                return False
            insort(times, time_ms)
            self._times[key] = times
        self._changed[key] = None
        self._file(key, time_ms)
        return True

    def take_back(self, key: Key, time_ms: int) -> None:
        """Forget what the last `add` remembered: its record was refused after all."""
        self._filed[(time_ms + self._within_ms) // self._step_ms].pop()
        held = self._times[key]
        if isinstance(held, list):
            # Of equal times any one will do.
            held.remove(time_ms)
            if held:
                return
        self._drop(key)

    def _is_near(self, times: list[int], time_ms: int, closed_ms: int) -> bool:
        """Whether a time that still counts is less than `within_ms` away."""
        # What is not after this has been forgotten, or is too long before the record.
        after_ms = max(closed_ms, time_ms) - self._within_ms
        position = bisect_right(times, after_ms)
        return position < len(times) and times[position] < time_ms + self._within_ms

    def _file(self, key: Key, time_ms: int) -> None:
        step = (time_ms + self._within_ms) // self._step_ms
        keys = self._filed.get(step)
        if keys is None:
            self._filed[step] = [key]
            heappush(self._steps, step)
        else:
            keys.append(key)

    def expire(self, watermark_ms: int) -> None:
        """Forget what cannot matter any more; the watermark is the least of all partitions."""
        while self._steps and (self._steps[0] + 1) * self._step_ms <= watermark_ms:
            for key in self._filed.pop(heappop(self._steps)):
                self._forget(key, watermark_ms - self._within_ms)

    def _forget(self, key: Key, until_ms: int) -> None:
        """Forget the times of a key that are not after `until_ms`, and the key if it has no other."""
        held = self._times.get(key)
        if held is None:
            return
        if isinstance(held, list):
            del held[: bisect_right(held, until_ms)]
            if held:
                return
        elif held > until_ms:
            return
        self._drop(key)

    def _drop(self, key: Key) -> None:
        del self._times[key]
        self._changed.pop(key, None)
        if key in self._new:
            self._new.discard(key)
        else:
            self._removed.append(key)

    # -- the state ------------------------------------------------------------------------------------

    def changes(self) -> list[Any]:
        """What changed since the last call, as rows [key, times or null]."""
        rows: list[Any] = [[list(values_of(key)), None] for key in self._removed]
        rows += [self._row(key) for key in self._changed]
        self._removed.clear()
        self._changed.clear()
        self._new.clear()
        return rows

    def snapshot(self) -> list[Any]:
        """All of it, in the form of changes."""
        return [self._row(key) for key in self._times]

    def _row(self, key: Key) -> list[Any]:
        held = self._times[key]
        return [list(values_of(key)), [held] if isinstance(held, int) else list(held)]

    def apply(self, changes: list[Any]) -> None:
        """Take over what `changes` or `snapshot` gave."""
        for values, times in changes:
            key = key_of(values)
            if times is None:
                self._times.pop(key, None)
                continue
            self._times[key] = times[0] if len(times) == 1 else times
            for time_ms in times:
                self._file(key, time_ms)
