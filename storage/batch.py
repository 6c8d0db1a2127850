"""Batches: what is written to, and read from, one partition as a unit.

A batch is columnar. Its values are one buffer of JSON lines, exactly as they lie on disk; keys, headers and
timestamps are parallel lists and exist only where a record has them, so a bulk path that needs no metadata
never touches a single record.

Keys and headers are raw JSON text, so that nothing is lost on the way through: a key is a JSON string, a
number, `{"$base64": "…"}` for bytes, or `null`; headers are a JSON list of `{"key": …, "value": …}` objects,
in order, duplicates kept, or `null` for none.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

import msgspec

if TYPE_CHECKING:
    from storage.meta import Columns

_T = TypeVar("_T")

# Small batches are put together up to this size; a reader that wants one record reads its whole batch.
MERGED_BYTES_MAX = 1024 * 1024
# A batch up to this size gains by the company of others; what is larger goes its own way.
SMALL_BYTES = 8 * 1024


class RecordBatch(msgspec.Struct, frozen=True, kw_only=True):
    """Records on their way into one partition.

    `lines` is one or more JSON values, each ended by a newline, already validated. `keys`, `headers` (raw
    JSON text, `b"null"` where a record has none) and `timestamps_ms` (milliseconds UTC, -1 where a record
    has none of its own) are `None` or have `count` items.

    A struct, like the other values that each append makes, since a frozen dataclass takes thrice as long to
    make and a millisecond to import.
    """

    lines: bytes
    count: int
    keys: list[bytes] | None = None
    headers: list[bytes] | None = None
    timestamps_ms: list[int] | None = None

    @property
    def is_bare(self) -> bool:
        """Whether it is lines alone."""
        return self.keys is None and self.headers is None and self.timestamps_ms is None

    def with_keys(self, keys: list[bytes] | None) -> RecordBatch:
        """The same records with other stored keys."""
        return RecordBatch(
            lines=self.lines,
            count=self.count,
            keys=keys,
            headers=self.headers,
            timestamps_ms=self.timestamps_ms,
        )


def merged(batches: Sequence[RecordBatch]) -> list[RecordBatch]:
    """The same records in as few batches as `MERGED_BYTES_MAX` allows: each costs an index entry."""
    groups: list[list[RecordBatch]] = []
    size = 0
    for batch in batches:
        if not groups or size + len(batch.lines) > MERGED_BYTES_MAX:
            groups.append([])
            size = 0
        groups[-1].append(batch)
        size += len(batch.lines)
    return [group[0] if len(group) == 1 else _joined(group) for group in groups]


def _joined(group: list[RecordBatch]) -> RecordBatch:
    return RecordBatch(
        lines=b"".join([batch.lines for batch in group]),
        count=sum(batch.count for batch in group),
        keys=_column([(batch.keys, batch.count) for batch in group], b"null"),
        headers=_column([(batch.headers, batch.count) for batch in group], b"null"),
        timestamps_ms=_column([(batch.timestamps_ms, batch.count) for batch in group], -1),
    )


def _column(columns: list[tuple[list[_T] | None, int]], absent: _T) -> list[_T] | None:
    """One column out of several, with `absent` for the records of those that are not there."""
    if all(column is None for column, _ in columns):
        return None
    joined: list[_T] = []
    for column, count in columns:
        joined += [absent] * count if column is None else column
    return joined


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What an acknowledged append was given: its offsets, inclusive, and its append time in ms UTC."""

    topic: str
    partition: int
    base_offset: int
    last_offset: int
    append_time_ms: int


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One record as read. `value` and `key` are raw JSON text without a newline; `headers` is raw JSON text.

    `timestamp_ms` is the record's own timestamp, or the time of its append where it has none.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    value: bytes
    key: bytes | None
    headers: bytes | None


class Batch:
    """Records of one partition as they were read: their lines as one buffer, the rest only when asked.

    `offsets()` and the other columns have `count` items. A topic that declares its key as a field of the
    message has no stored keys: they are read out of the values.
    """

    __slots__ = (
        "_columns",
        "_key_field",
        "_offsets",
        "append_time_ms",
        "count",
        "lines",
        "partition",
        "topic",
    )

    def __init__(
        self,
        *,
        topic: str,
        partition: int,
        offsets: range | list[int],
        lines: bytes,
        append_time_ms: int,
        columns: Columns | None,
        key_field: str | None,
    ) -> None:
        self.topic = topic
        self.partition = partition
        self.lines = lines
        self.count = len(offsets)
        self.append_time_ms = append_time_ms
        self._offsets = offsets
        self._columns = columns
        self._key_field = key_field

    @property
    def base_offset(self) -> int:
        return self._offsets[0]

    @property
    def last_offset(self) -> int:
        return self._offsets[-1]

    def offsets(self) -> range | list[int]:
        return self._offsets

    def values(self) -> list[bytes]:
        """The values, one JSON text each, without their newlines."""
        return self.lines[:-1].split(b"\n")

    def keys(self) -> list[bytes | None] | None:
        """The keys as JSON text, `None` for a record without; `None` for a batch without any."""
        stored = None if self._columns is None else self._columns.keys
        if self._key_field is None:
            return None if stored is None else [None if key == b"null" else key for key in stored]
        from storage.keys import keys_of_lines

        derived = keys_of_lines(self.lines, self._key_field)
        if stored is None:
            return derived
        return [own if key == b"null" else key for key, own in zip(stored, derived, strict=True)]

    def headers(self) -> list[bytes | None] | None:
        """The headers as JSON text, `None` for a record without; `None` for a batch without any."""
        if self._columns is None or self._columns.headers is None:
            return None
        return [None if item == b"null" else item for item in self._columns.headers]

    def timestamps_ms(self) -> list[int] | None:
        """The records' timestamps; `None` for a batch whose records all have its append time."""
        if self._columns is None or self._columns.timestamps_ms is None:
            return None
        append_time_ms = self.append_time_ms
        return [append_time_ms if own < 0 else own for own in self._columns.timestamps_ms]

    def between(self, start_offset: int, end_offset: int) -> Batch | None:
        """The records from `start_offset` to before `end_offset`; `None` if there are none."""
        offsets = self._offsets
        first = bisect_left(offsets, start_offset)
        end = bisect_left(offsets, end_offset)
        if first >= end:
            return None
        if first == 0 and end == self.count:
            return self
        return self.select(range(first, end))

    def select(self, indexes: range | list[int]) -> Batch:
        """The records at these places, ascending."""
        values = self.values()
        columns = self._columns
        return Batch(
            topic=self.topic,
            partition=self.partition,
            offsets=[self._offsets[i] for i in indexes],
            lines=b"\n".join([values[i] for i in indexes]) + b"\n",
            append_time_ms=self.append_time_ms,
            columns=None if columns is None else columns.select(indexes),
            key_field=self._key_field,
        )

    def pieces(self, records_max: int) -> Iterator[Batch]:
        """The same records in batches of at most `records_max`; the lines are looked for only once."""
        if self.count <= records_max:
            yield self
            return
        values = self.values()
        for first in range(0, self.count, records_max):
            end = min(first + records_max, self.count)
            yield Batch(
                topic=self.topic,
                partition=self.partition,
                offsets=self._offsets[first:end],
                lines=b"\n".join(values[first:end]) + b"\n",
                append_time_ms=self.append_time_ms,
                columns=None if self._columns is None else self._columns.select(range(first, end)),
                key_field=self._key_field,
            )

    def messages(self) -> list[Message]:
        """The records one by one."""
        count = self.count
        none: list[bytes | None] = [None] * count
        keys, headers = self.keys() or none, self.headers() or none
        times = self.timestamps_ms() or [self.append_time_ms] * count
        return [
            Message(
                topic=self.topic,
                partition=self.partition,
                offset=offset,
                timestamp_ms=time,
                value=value,
                key=key,
                headers=header,
            )
            for offset, time, value, key, header in zip(
                self._offsets, times, self.values(), keys, headers, strict=True
            )
        ]
