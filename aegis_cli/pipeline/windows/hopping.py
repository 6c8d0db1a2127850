"""Hopping windows: one begins every `advance_ms`, and they overlap, so a record is in several."""

from __future__ import annotations

from collections.abc import Sequence

from aegis_cli.pipeline.aggregate import Layout
from aegis_cli.pipeline.aggregates.function import Accumulator
from aegis_cli.pipeline.definition import GROUPS_MAX
from aegis_cli.pipeline.windows.key import Key
from aegis_cli.pipeline.windows.tumbling import TumblingWindows
from aegis_cli.pipeline.windows.windows import Closed

# A record is in no more windows than this.
OVERLAP_MAX = 1000


class HoppingWindows(TumblingWindows):
    """A record of time t is in all windows that begin after `t - size_ms` and not after t.

    Late is a record all of whose windows are closed; else it goes into those that are not. ValueError where
    windows leave gaps between them, or more than `OVERLAP_MAX` overlap.
    """

    def __init__(
        self,
        layout: Layout,
        *,
        size_ms: int,
        advance_ms: int,
        offset_ms: int = 0,
        allow_late_ms: int = 0,
        pipeline: str,
        groups_max: int = GROUPS_MAX,
    ) -> None:
        if not size_ms / OVERLAP_MAX <= advance_ms <= size_ms:
            raise ValueError(
                f"hopping windows advance by their size at most, and by 1/{OVERLAP_MAX} at least"
            )
        super().__init__(
            layout,
            size_ms=size_ms,
            offset_ms=offset_ms,
            allow_late_ms=allow_late_ms,
            pipeline=pipeline,
            groups_max=groups_max,
        )
        self.advance_ms = advance_ms
        # What records found whose windows are the same: most find what the one before them did.
        self._found: dict[tuple[int, int, Key], tuple[Accumulator, ...]] = {}

    def find(self, time_ms: int, key: Key, closed_ms: int) -> Sequence[Accumulator]:
        advance_ms, size_ms = self.advance_ms, self.size_ms
        newest_ms = time_ms - (time_ms - self.offset_ms) % advance_ms
        oldest_ms = newest_ms - (size_ms - 1 - (time_ms - newest_ms)) // advance_ms * advance_ms
        # No window that was given out, or forgotten, ends after what is closed.
        if oldest_ms + size_ms > closed_ms:
            found = self._found.get((oldest_ms, newest_ms, key))
            if found is None:
                found = self._find(range(oldest_ms, newest_ms + 1, advance_ms), key)
                self._found[oldest_ms, newest_ms, key] = found
            return found
        closed_starts = closed_ms - size_ms - self._allow_late_ms
        starts = range(oldest_ms, newest_ms + 1, advance_ms)
        return self._find([start_ms for start_ms in starts if start_ms > closed_starts], key)

    def _find(self, starts: Sequence[int], key: Key) -> tuple[Accumulator, ...]:
        self._recent.clear()
        found = []
        for start_ms in starts:
            acc = self.groups.get((start_ms, *key))
            if acc is None:
                acc = self._create(start_ms, start_ms + self.size_ms, key, 0)
            elif acc[0].is_given:
                self._reopen(acc[0])
            found.append(acc)
        return tuple(found)

    def undo(self) -> None:
        self._found.clear()
        super().undo()

    def close(self, watermark_ms: int) -> list[Closed]:
        if watermark_ms >= self.next_end_ms:
            self._found.clear()
        return super().close(watermark_ms)

    def apply(self, changes: list[list[object]]) -> None:
        self._found.clear()
        super().apply(changes)
