"""The account of a pipeline: what became of every record.

Promise: in + expanded = out + filtered + late + dead + deduped + waiting, always. `expanded` is what one
record became more than one (items of a list, rows of a join), less those that became none; `waiting` are
those that wait for a row of a table now, so it goes down again.
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
    waiting: int = 0

    @property
    def balances(self) -> bool:
        left = self.records_in + self.expanded
        return left == self.out + self.filtered + self.late + self.dead + self.deduped + self.waiting

    def __str__(self) -> str:
        expanded = f" + {self.expanded} expanded" if self.expanded else ""
        waiting = f" + waiting {self.waiting}" if self.waiting else ""
        return (
            f"in {self.records_in}{expanded} = out {self.out} + filtered {self.filtered} + late {self.late} "
            f"+ dead {self.dead} + deduped {self.deduped}{waiting}; emitted {self.emitted}"
        )
