"""What a table of SQLite takes: which fields have a column, or can get one.

Promise: a row is held against the columns when it is made, so what has no place there refuses its record, and
goes where `on_error` says, before anything of it is committed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from aegis_cli.pipeline.errors import RecordError
from aegis_cli.pipeline.fit import row_of

# What SQLite is built with, if nobody said otherwise.
COLUMNS_MAX = 2000


@dataclass(frozen=True, slots=True)
class SqliteColumn:
    """A column of a table that is there. `is_computed`: by the table itself, nothing can be put there."""

    name: str
    is_computed: bool = False
    takes_null: bool = True
    has_default: bool = False


class SqliteShape:
    """The columns of the table of one sink. A sink tells what is there; until then everything is to be made.

    `fields` are those of every row, where they are always the same; a row of a message has its own.
    """

    def __init__(self, *, create: bool) -> None:
        self.fields: tuple[str, ...] | None = None
        self._create = create
        self._names: set[str] = set()
        self._by_folded: dict[str, str] = {}
        self._computed: set[str] = set()
        self._never_null: list[tuple[str, bool]] = []
        self._new: dict[str, str] = {}

    def learn(self, columns: Sequence[SqliteColumn]) -> None:
        """These columns are there."""
        self._by_folded = {folded(column.name): column.name for column in columns}
        self._computed = {column.name for column in columns if column.is_computed}
        self._names = {column.name for column in columns} - self._computed
        self._never_null = [(each.name, each.has_default) for each in columns if not each.takes_null]

    def expect(self, fields: Sequence[str]) -> None:
        """Every row has these fields."""
        self.fields = tuple(fields)

    def misfits(self) -> Iterator[str]:
        """Why no row could go there."""
        self._new = {}
        for name in self.fields or ():
            if name not in self._names and (reason := self._why_not(name)):
                yield reason

    def check(self, given: dict[str, Any] | bytes) -> dict[str, Any]:
        """A row, or the line of a message, as the table takes it. Raises `RecordError`."""
        row = row_of(given) if isinstance(given, bytes) else given
        if self._new:
            self._new = {}
        if not row.keys() <= self._names:
            for name in row:
                if name not in self._names and (reason := self._why_not(name)):
                    raise RecordError(reason)
        for name, has_default in self._never_null:
            if row.get(name) is None and (name in row or not has_default):
                raise RecordError(f"column '{name}' must not be null")
        return row

    def settle(self, row: dict[str, Any]) -> dict[str, Any]:
        """The row that was checked last goes into the table: its new columns are there to stay."""
        if self._new:
            self._by_folded.update(self._new)
            self._names.update(self._new.values())
            self._new = {}
        return row

    def _why_not(self, name: str) -> str:
        """Why a field has no column and can get none; "" if it gets one."""
        if name in self._computed:
            return f"column '{name}' is computed by the table, and nothing can be put there"
        key = folded(name)
        same = self._by_folded.get(key) or self._new.get(key)
        if same is not None:
            return f"SQLite takes the columns '{same}' and '{name}' for the same"
        if not self._create:
            return f"the table has no column '{name}', and 'create: false' is given"
        if "\0" in name:
            return "a field whose name holds a NUL cannot be a column"
        if len(self._by_folded) + len(self._new) >= COLUMNS_MAX:
            return f"the table would have more than {COLUMNS_MAX} columns"
        self._new[key] = name
        return ""


def folded(name: str) -> str:
    """What SQLite goes by: names that differ only in the case of ASCII letters are the same."""
    return name.encode(errors="surrogatepass").lower().decode(errors="surrogatepass")
