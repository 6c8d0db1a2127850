"""What a table takes: its columns, and whether a row fits into them.

Promises: a row is held against the columns when it is made, so what does not fit refuses its record, and goes
where `on_error` says, before anything of it is committed. A column that is still to be made gets its type
from the first value of its field, in the order of the records, wherever commits fall.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from aegis_cli.pipeline.errors import RecordError
from aegis_cli.pipeline.fit import row_of
from aegis_cli.pipeline.table_column import TableColumn, UnfitError, column_for

# A table of PostgreSQL has 1600 columns at most, and fewer where they are wide.
COLUMNS_MAX = 1000
NAME_BYTES_MAX = 63
# What an index can hold of one row, with some room for how it is stored.
_KEY_BYTES_MAX = 2500
# As JSON. The server takes values of 256 MiB, and a list of numbers is several times as large in `jsonb`.
ROW_BYTES_MAX = 16 << 20
_JSON_GROWTH = 6
# A row lies in one page, of which this is left to its values by its header and the marks of what is null. A
# value that is longer than this lies elsewhere, and a pointer to it in the page.
_PAGE_BYTES = 8160 - 24 - 200
_VALUE_BYTES_MAX, _POINTER_BYTES = 24, 18
# Rows of so few columns fit into a page in any case.
_COLUMNS_HARMLESS = _PAGE_BYTES // _VALUE_BYTES_MAX
_encode = msgspec.json.Encoder().encode


class Shape:
    """The columns of the table of one sink. A sink tells what is there; until then everything is to be made.

    `fields` are those of every row, where they are always the same; a row of a message has its own.
    """

    def __init__(self, *, create: bool, key: Sequence[str]) -> None:
        self.columns: dict[str, TableColumn] = {}
        self.fields: tuple[str, ...] | None = None
        self._create = create
        self._key = tuple(key)
        self._required: list[str] = []
        self._new: dict[str, TableColumn] = {}

    def learn(self, columns: Sequence[TableColumn]) -> None:
        """These columns are there."""
        self.columns = {column.name: column for column in columns}
        self._required = [column.name for column in columns if column.is_required]

    def expect(self, fields: Sequence[str]) -> None:
        """Every row has these fields."""
        self.fields = tuple(fields)

    def check(self, given: dict[str, Any] | bytes) -> dict[str, Any]:
        """A row, or the line of a message, as the table takes it. Raises `RecordError`."""
        if self._new:
            self._new = {}
        row = row_of(given) if isinstance(given, bytes) else given
        columns = self.columns
        try:
            for name, value in row.items():
                if value is None:
                    continue
                column = columns.get(name)
                if column is None:
                    column = self._new[name] = self._made_for(name, value)
                fitted = column.fit(value)
                if fitted is not value:
                    row[name] = fitted
        except UnfitError as error:
            what = self.columns.get(name)
            place = f"column '{name}'" + (f" is {what.type}, and its" if what is not None else ": the")
            raise RecordError(f"{place} value {error}") from None
        for name in self._required:
            if row.get(name) is None:
                raise RecordError(f"column '{name}' must not be null")
        if self._key:
            self._check_key(row)
        if len(row) > _COLUMNS_HARMLESS:
            self._check_width(row)
        size_bytes = len(given if isinstance(given, bytes) else _encode(row))
        if size_bytes > ROW_BYTES_MAX:
            raise RecordError(f"what it becomes has {size_bytes} bytes, and a table takes {ROW_BYTES_MAX}")
        return row

    def settle(self, row: dict[str, Any]) -> dict[str, Any]:
        """The row that was checked last goes into the table: its new columns are there to stay."""
        if self._new:
            self.columns.update(self._new)
            self._new = {}
        return row

    def _made_for(self, name: str, value: Any) -> TableColumn:
        """The column that is to be made for the first value of a field."""
        if not self._create:
            raise RecordError(f"the table has no column '{name}', and 'create: false' is given")
        reason = why_no_column(name)
        if reason:
            raise RecordError(reason)
        if len(self.columns) + len(self._new) >= COLUMNS_MAX:
            raise RecordError(f"the table would have more than {COLUMNS_MAX} columns")
        return column_for(name, value)

    def _check_key(self, row: dict[str, Any]) -> None:
        """Refuse a key that is too long. That it is not null was checked, see `aegis_cli.pipeline.fit`."""
        size = 0
        for name in self._key:
            value = row.get(name)
            if type(value) is str:
                size += len(value.encode())
            elif isinstance(value, dict | list):
                size += len(_encode(value)) * _JSON_GROWTH
        if size > _KEY_BYTES_MAX:
            raise RecordError(f"its key takes {size} bytes, and an index takes {_KEY_BYTES_MAX}")

    def _check_width(self, row: dict[str, Any]) -> None:
        """Refuse a row of more columns than a page has room for; it is estimated, and never too low."""
        size = sum(
            _width(self.columns.get(name) or self._new[name], value)
            for name, value in row.items()
            if value is not None
        )
        if size > _PAGE_BYTES:
            raise RecordError(
                f"its {len(row)} columns take up to {size} bytes, and a row has room for {_PAGE_BYTES}"
            )


def why_no_column(name: str) -> str:
    """Why a field cannot be a column, "" if it can."""
    if not name:
        return "a field without a name cannot be a column"
    if "\0" in name:
        return "a field whose name holds a NUL cannot be a column"
    if len(name.encode()) > NAME_BYTES_MAX:
        return f"the field '{name[:20]}...' cannot be a column, its name has more than {NAME_BYTES_MAX} bytes"
    return ""


def _width(column: TableColumn, value: Any) -> int:
    """How many bytes a value takes in the page of its row, at most."""
    if value is True or value is False:
        return 1
    if column.type == "numeric":
        # Three bytes before its digits, of which two have four; the first and the last may have fewer.
        return 7 + len(repr(value)) // 2
    if column.type == "text":
        size = 1 + len(value.encode())
        return size if size <= _VALUE_BYTES_MAX else _POINTER_BYTES
    return _VALUE_BYTES_MAX
