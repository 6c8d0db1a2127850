"""Reads envelopes back: the JSON objects, one a line, that `aegis publish --envelope` takes.

The grammar is that of `storage/envelope.py`; `value` is required, all else may be missing, unknown fields
are ignored. What `kcat -J` prints is accepted as well: `payload` is then the text of the message, taken as
the JSON value that it holds or, if it holds none, as a JSON string; `ts` is the timestamp; headers are a flat
list of names and values. Headers may also be an object, `{"a":"b"}` or `{"a":["b","c"]}`.

Value, key and headers keep their bytes. What this module does not judge is the value itself beyond its being
JSON on one line: size and nesting have their limits in `storage/lines.py`, which the caller asks next.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Annotated

import msgspec

from storage.envelope_fields import check_key, normal_headers, value_of_payload
from storage.errors import InvalidRecordError

# The end of the year 9999, in milliseconds: whatever is above counts micro- or nanoseconds.
TIMESTAMP_MAX_MS = 253_402_300_799_999
_TimestampMs = Annotated[int, msgspec.Meta(ge=-1, le=TIMESTAMP_MAX_MS)]
_Partition = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
# How the JSON of a string or a number begins.
_SCALARS = frozenset({b'"', b"-", *(b"%d" % digit for digit in range(10))})
_MISSING = msgspec.Raw(b"")
_REMEDY = "an envelope is one JSON object a line, as 'aegis consume --json' prints it"


class _Envelope(msgspec.Struct, gc=False):
    value: msgspec.Raw
    key: msgspec.Raw = _MISSING
    headers: msgspec.Raw = _MISSING
    timestamp: _TimestampMs | None = None
    partition: _Partition | None = None


class _KcatEnvelope(msgspec.Struct, gc=False):
    value: msgspec.Raw = msgspec.field(name="payload")
    key: msgspec.Raw = _MISSING
    headers: msgspec.Raw = _MISSING
    timestamp: _TimestampMs | None = msgspec.field(name="ts", default=None)
    partition: _Partition | None = None


_Record = _Envelope | _KcatEnvelope
_DECODER = msgspec.json.Decoder(_Envelope)
_KCAT_DECODER = msgspec.json.Decoder(_KcatEnvelope)


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelopes:
    """Decoded envelopes as columns, spelled like those of `storage.batch.RecordBatch`.

    `partitions` has -1 where an envelope names none. `blank_lines` were skipped; `line_numbers` (from 1 over
    all of the input) is `None` when record i stood on line `first_line + i`.
    """

    lines: bytes
    count: int
    keys: list[bytes] | None
    headers: list[bytes] | None
    timestamps_ms: list[int] | None
    partitions: list[int] | None
    blank_lines: int
    line_numbers: list[int] | None


def decode_envelopes(lines: bytes, *, first_line: int) -> Envelopes:
    """Decode one envelope a line; `first_line` is the number of the first line within all of the input.

    Raises InvalidRecordError, naming the line, for the first line that is no envelope.
    """
    _require_utf8(lines, first_line)
    if not lines.endswith(b"\n"):
        lines += b"\n"
    records = _decode_in_bulk(lines)
    line_numbers: list[int] | None = None
    blank_lines = 0
    if records is None:
        records, numbers = _decode_line_by_line(lines, first_line)
        blank_lines = lines.count(b"\n") - len(numbers)
        line_numbers = numbers if blank_lines else None
    return _columns(records, first_line, line_numbers, blank_lines)


def _require_utf8(lines: bytes, first_line: int) -> None:
    if lines.isascii():
        return
    try:
        lines.decode()
    except UnicodeDecodeError as error:
        line = first_line + lines.count(b"\n", 0, error.start)
        column = error.start - lines.rfind(b"\n", 0, error.start)
        raise InvalidRecordError(
            line, f"invalid UTF-8 at byte {column}", remedy="convert the input to UTF-8"
        ) from None


def _decode_in_bulk(lines: bytes) -> list[_Record] | None:
    """Decode all of `lines` at once, or return `None` when only a look at each line can tell.

    The decoder sees a stream of objects and not lines: it would take two on one line, or one over two. No
    newline can stand between `}` and `{` inside of a JSON object (a comma must, and raw newlines are refused
    in strings), so where every newline does stand there, every newline ends an object; and as many objects
    as newlines then means one a line.
    """
    newlines = lines.count(b"\n")
    first = lines[: lines.find(b"\n")]
    # A longer needle is found faster, and what one command printed begins alike up to its first offset.
    shared = first[: first.find(b'"offset":') + 9] if first.startswith(b'{"topic":') else b"{"
    if lines.count(b"}\n" + shared) != newlines - 1 != lines.count(b"}\n{"):
        return None
    decoder: msgspec.json.Decoder[_Envelope] | msgspec.json.Decoder[_KcatEnvelope] = _DECODER
    if b'"payload"' in first and not _is_envelope(first):
        decoder = _KCAT_DECODER
    try:
        records: list[_Record] = list(decoder.decode_lines(lines))
    except (msgspec.MsgspecError, RecursionError):
        return None
    return records if len(records) == newlines else None


def _is_envelope(line: bytes) -> bool:
    try:
        _DECODER.decode(line)
    except (msgspec.MsgspecError, RecursionError):
        return False
    return True


def _decode_line_by_line(lines: bytes, first_line: int) -> tuple[list[_Record], list[int]]:
    records: list[_Record] = []
    numbers: list[int] = []
    for number, line in enumerate(lines[:-1].split(b"\n"), start=first_line):
        if line.isspace() or not line:
            continue
        records.append(_decode_line(line, number))
        numbers.append(number)
    return records, numbers


def _decode_line(line: bytes, number: int) -> _Record:
    try:
        return _DECODER.decode(line)
    except RecursionError:
        raise InvalidRecordError(number, "nested too deeply", remedy="flatten the message") from None
    except msgspec.MsgspecError as error:
        reason = str(error)
    if "required field `value`" in reason:
        try:
            return _KCAT_DECODER.decode(line)
        except msgspec.MsgspecError as error:
            reason = "the envelope has no value" if "`payload`" in str(error) else str(error)
    reason = reason.replace("`", "'").replace("$.", "")
    if reason == "Input data was truncated":
        reason = "invalid JSON, the line ends too early"
    reason = reason.replace("JSON is malformed:", "invalid JSON,")
    raise InvalidRecordError(number, reason[:1].lower() + reason[1:], remedy=_REMEDY)


def _columns(
    records: list[_Record], first_line: int, line_numbers: list[int] | None, blank_lines: int
) -> Envelopes:
    def line_of(index: int) -> int:
        return line_numbers[index] if line_numbers else first_line + index

    values = list(map(attrgetter("value"), records))
    if _KcatEnvelope in set(map(type, records)):
        values = [
            value_of_payload(bytes(record.value)) if type(record) is _KcatEnvelope else record.value
            for record in records
        ]
    values.append(b"")
    return Envelopes(
        lines=b"\n".join(values),
        count=len(records),
        keys=_raw_column(records, "key", check_key, line_of, plain=_SCALARS),
        headers=_raw_column(records, "headers", normal_headers, line_of),
        timestamps_ms=_number_column(records, "timestamp"),
        partitions=_number_column(records, "partition"),
        blank_lines=blank_lines,
        line_numbers=line_numbers,
    )


def _raw_column(
    records: list[_Record],
    name: str,
    normal: Callable[[bytes], bytes],
    line_of: Callable[[int], int],
    *,
    plain: frozenset[bytes] = frozenset(),
) -> list[bytes] | None:
    """Return the raw JSON of a field, each distinct text normalised once; `None` if no record has it.

    Where every text begins with one of `plain`, they are as they should be.
    """
    raws = list(map(bytes, map(attrgetter(name), records)))
    if {raw[:1] for raw in raws} <= plain:
        return raws
    normalised: dict[bytes, bytes] = {b"": b"null", b"null": b"null"}
    for raw in set(raws).difference(normalised):
        try:
            normalised[raw] = normal(raw)
        except ValueError as error:
            reason, _, remedy = str(error).partition("; ")
            raise InvalidRecordError(line_of(raws.index(raw)), reason, remedy=remedy) from None
    if all(text == b"null" for text in normalised.values()):
        return None
    return list(map(normalised.__getitem__, raws))


def _number_column(records: list[_Record], name: str) -> list[int] | None:
    numbers = list(map(attrgetter(name), records))
    if None in numbers:
        numbers = [-1 if number is None else number for number in numbers]
    return None if not numbers or max(numbers) == -1 else numbers
