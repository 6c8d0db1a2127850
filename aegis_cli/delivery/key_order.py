"""Which portion may be begun: of those with a name in common, one after the other, in the order they came.

The names are keys, so that messages of one key are never in work at once, or places, so that those of a
partition are not. A portion that is to be tried again later keeps its names meanwhile.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterable

from aegis_cli.delivery.portion import Portion


class _Queued:
    """A portion, what waits for it, and how many it waits for."""

    __slots__ = ("blockers", "followers", "names", "number", "portion")

    def __init__(self, portion: Portion, number: int, names: tuple[Hashable, ...]) -> None:
        self.portion = portion
        self.number = number
        self.names = names
        self.blockers = 0
        self.followers: list[_Queued] = []


class KeyOrder:
    """The portions that are not finished; `len` counts them."""

    def __init__(self) -> None:
        self._queued: dict[Portion, _Queued] = {}
        self._last: dict[Hashable, _Queued] = {}
        self._ready: list[tuple[int, _Queued]] = []
        self._later: list[tuple[float, int, _Queued]] = []
        self._number = 0

    def __len__(self) -> int:
        return len(self._queued)

    def add(self, portion: Portion, names: Iterable[Hashable]) -> None:
        """One more, behind all that have a name of its own."""
        self._number += 1
        queued = self._queued[portion] = _Queued(portion, self._number, tuple(names))
        for before in {id(last): last for name in queued.names if (last := self._last.get(name))}.values():
            before.followers.append(queued)
            queued.blockers += 1
        self._last.update(dict.fromkeys(queued.names, queued))
        if not queued.blockers:
            heapq.heappush(self._ready, (queued.number, queued))

    def next(self, now: float) -> Portion | None:
        """The first that may be begun, which is then the caller's until it says `later` or `finish`."""
        while self._later and self._later[0][0] <= now:
            _, number, queued = heapq.heappop(self._later)
            heapq.heappush(self._ready, (number, queued))
        while self._ready:
            _, queued = heapq.heappop(self._ready)
            if self._queued.get(queued.portion) is not queued:
                continue
            if not queued.portion.void:
                return queued.portion
            self.finish(queued.portion)
        return None

    def later(self, portion: Portion, at: float) -> None:
        """It may be begun again at this time of the monotonic clock."""
        queued = self._queued[portion]
        heapq.heappush(self._later, (at, queued.number, queued))

    def finish(self, portion: Portion) -> None:
        """It is not in work any more and will not be: those behind it may go on."""
        queued = self._queued.pop(portion)
        for name in queued.names:
            if self._last.get(name) is queued:
                del self._last[name]
        for follower in queued.followers:
            follower.blockers -= 1
            if not follower.blockers:
                heapq.heappush(self._ready, (follower.number, follower))

    def cancel(self, portion: Portion) -> None:
        """It was not begun, or waits to be tried again, and is not to be begun.

        What it waits for may still be in work, so those behind it do not go on before it would.
        """
        portion.void = True
        queued = self._queued[portion]
        if not queued.blockers:
            heapq.heappush(self._ready, (queued.number, queued))

    @property
    def next_time(self) -> float | None:
        """When the first of those that wait for their time may be begun."""
        return self._later[0][0] if self._later else None
