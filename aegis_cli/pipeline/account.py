"""The account of a pipeline: what became of every record, and of every result of a window.

Promise: in + expanded = out + filtered + late + dead + deduped, always. `expanded` is what one record became
more than one (items of a list, rows of a join), less those that became none. A record that goes into a window
is out; what comes out of windows has an account of its own: results = out + filtered + dead.
"""

from __future__ import annotations

import msgspec


class Account(msgspec.Struct):
    """How many records came in and what became of them, and how many messages were written (`emitted`)."""

    records_in: int = 0
    expanded: int = 0
    out: int = 0
    filtered: int = 0
    late: int = 0
    dead: int = 0
    deduped: int = 0
    emitted: int = 0
    results: int = 0
    results_out: int = 0
    results_filtered: int = 0
    results_dead: int = 0

    @property
    def balances(self) -> bool:
        left = self.records_in + self.expanded
        records = left == self.out + self.filtered + self.late + self.dead + self.deduped
        return records and self.results == self.results_out + self.results_filtered + self.results_dead

    def __str__(self) -> str:
        expanded = f" + {self.expanded} expanded" if self.expanded else ""
        results = ""
        if self.results:
            results = (
                f"; results {self.results} = out {self.results_out} + filtered {self.results_filtered} "
                f"+ dead {self.results_dead}"
            )
        return (
            f"in {self.records_in}{expanded} = out {self.out} + filtered {self.filtered} + late {self.late} "
            f"+ dead {self.dead} + deduped {self.deduped}{results}; emitted {self.emitted}"
        )
