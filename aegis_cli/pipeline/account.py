"""The account of a pipeline: what became of every record, result of a window, and row of a table.

Promise: in + expanded = out + filtered + late + dead + deduped + waiting, always. `in` counts the records of
the streams that are read: of the source, and of a topic that it is joined with within a time. `expanded` is
what one record became more than one (items of a list, pairs of a join), less those that became none, or part
of a pair; `waiting` are those that may still find a match or a row of a table, so it goes down again.

A record that goes into a window is out, and what comes out of windows has an account of its own. So have the
rows of tables, which are no records of the stream: they are kept, and give nothing out.
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
    results: int = 0
    results_out: int = 0
    results_filtered: int = 0
    results_dead: int = 0
    table_rows: int = 0
    table_out: int = 0
    table_dead: int = 0

    @property
    def balances(self) -> bool:
        became = self.out + self.filtered + self.late + self.dead + self.deduped + self.waiting
        return (
            self.records_in + self.expanded == became
            and self.results == self.results_out + self.results_filtered + self.results_dead
            and self.table_rows == self.table_out + self.table_dead
        )

    def __str__(self) -> str:
        sign = "-" if self.expanded < 0 else "+"
        expanded = f" {sign} {abs(self.expanded)} expanded" if self.expanded else ""
        waiting = f" + waiting {self.waiting}" if self.waiting else ""
        return (
            f"in {self.records_in}{expanded} = out {self.out} + filtered {self.filtered} + late {self.late} "
            f"+ dead {self.dead} + deduped {self.deduped}{waiting}{self._beside()}; emitted {self.emitted}"
        )

    def _beside(self) -> str:
        """What is no record of a stream; of results only where not all of them went out."""
        text = ""
        if self.results != self.results_out:
            text += (
                f"; results {self.results} = out {self.results_out} + filtered {self.results_filtered} "
                f"+ dead {self.results_dead}"
            )
        if self.table_rows:
            text += f"; table rows {self.table_rows} = kept {self.table_out} + dead {self.table_dead}"
        return text
