"""No window: a group goes on for ever, and each of its records gives it out anew."""

from __future__ import annotations

from collections.abc import Sequence

from aegis_cli.pipeline.aggregates.function import Accumulator
from aegis_cli.pipeline.windows.key import Key
from aegis_cli.pipeline.windows.keyed import KeyedGroups
from aegis_cli.pipeline.windows.store import give_out
from aegis_cli.pipeline.windows.windows import Closed


class UnboundedGroups(KeyedGroups):
    """`revised` gives out the group of the last record, with the revisions 0, 1, 2. No record is late."""

    def find(self, time_ms: int, key: Key, closed_ms: int) -> Sequence[Accumulator]:
        return (self._take(time_ms, key).acc,)

    def revised(self) -> list[Closed]:
        group = self._last
        if group is None:
            return []
        self._last = None
        group.revision += 1
        return give_out([group])

    def flush(self) -> list[Closed]:
        """Nothing: every group was given out with its last record, and goes on."""
        return []
