"""How the messages of one source are decoded: of each only the fields that the pipeline reads.

Promises: a message that does not decode is one `RecordError` in its place and disturbs no other; what is not
read is skipped at native speed and never becomes an object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from aegis_cli.pipeline.definition import Definition
from aegis_cli.pipeline.errors import PipelineFileError, RecordError
from aegis_cli.pipeline.place import shown

_TYPES: dict[str, Any] = {
    "any": Any,
    "string": str | None,
    "long": int | None,
    "double": float | None,
    "boolean": bool | None,
}


class MixedRows(list[Any]):
    """Rows of which some did not decode: a `RecordError` stands in the place of each of these.

    Lines that all decode are a plain list, so that nobody has to look at each of its rows.
    """


def in_runs(
    rows: list[Any],
    process: Callable[[list[Any], int], object],
    refuse: Callable[[int, RecordError], object],
) -> None:
    """Process rows in runs, each with the number of its first one, and between them refuse what is none."""
    first = 0
    if isinstance(rows, MixedRows):
        for index, row in enumerate(rows):
            if isinstance(row, RecordError):
                process(rows[first:index], first)
                refuse(index, row)
                first = index + 1
        rows = rows[first:]
    process(rows, first)


class Feed:
    """Decodes lines into rows: the field of number 0 is the attribute `f0`, and so on."""

    def __init__(self, fields: Iterable[str], schema: Mapping[str, str] | None = None) -> None:
        types = schema or {}
        self.fields = list(dict.fromkeys([*fields, *types]))
        slots = [f"f{number}" for number in range(len(self.fields))]
        # A row is forgotten before the next chunk is read, and refers to nothing that refers to it.
        row = msgspec.defstruct(
            "Row",
            [
                (slot, _TYPES[types.get(name, "any")], None)
                for slot, name in zip(slots, self.fields, strict=True)
            ],
            rename=dict(zip(slots, self.fields, strict=True)),
            gc=False,
        )
        self._decoder = msgspec.json.Decoder(row)

    def rows(self, lines: bytes) -> list[Any]:
        """One row a line, or a `RecordError` where a line is none."""
        try:
            return self._decoder.decode_lines(lines)
        except (msgspec.DecodeError, RecursionError):
            return MixedRows(self._row(line) for line in lines.split(b"\n")[:-1])

    def _row(self, line: bytes) -> object:
        try:
            return self._decoder.decode(line)
        except RecursionError:
            return RecordError("it is nested too deeply")
        except msgspec.DecodeError as error:
            return RecordError(self._reason(str(error), line))

    def _reason(self, text: str, line: bytes) -> str:
        if line[:1] != b"{":
            return "it is no JSON object"
        for slot, name in enumerate(self.fields):
            text = text.replace(f"$.f{slot}`", f"$.{name}`")
        return text[:1].lower() + text[1:]


class WholeFeed:
    """Decodes lines into dicts, for a table, whose rows are kept as they are.

    With `takes_null` a null is one, too: `None`.
    """

    fields = ("all",)

    def __init__(self, *, takes_null: bool = False) -> None:
        row: Any = dict[str, Any] | None if takes_null else dict[str, Any]
        self._decoder = msgspec.json.Decoder(row)

    def rows(self, lines: bytes) -> list[Any]:
        """One dict a line, or a `RecordError` where a line is no object."""
        try:
            return self._decoder.decode_lines(lines)
        except (msgspec.DecodeError, RecursionError):
            return MixedRows(self._row(line) for line in lines.split(b"\n")[:-1])

    def _row(self, line: bytes) -> object:
        try:
            return self._decoder.decode(line)
        except (msgspec.DecodeError, RecursionError) as error:
            return RecordError("it is no JSON object" if line[:1] != b"{" else str(error))


def feed_of(definition: Definition, fields: Sequence[str]) -> Feed:
    """What decodes these fields of the source. Raises `PipelineFileError` for names that it cannot find."""
    try:
        return Feed(fields, definition.source.schema)
    except ValueError:
        # The decoder finds fields by their names as they stand in the line, without escapes.
        names = [*fields, *definition.source.schema]
        bad = next(name for name in names if not name.isprintable() or '"' in name or "\\" in name)
        raise PipelineFileError(
            definition.path,
            f"a field cannot be read with a quote or a backslash in its name: {shown(bad)}",
            hint="let who publishes name it otherwise",
        ) from None
