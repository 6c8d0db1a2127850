"""The `.meta` file: what a batch has beside its values, one JSON line a batch.

    {"base":<offset>,"count":<n>,"keys":[…],"headers":[…],"times":[…],"offsets":[…]}

`base` is the offset of the batch's first record and `count` the number of its records; each column has
`count` items, and stands there only if some record needs it. `keys` and `headers` are the JSON texts that
came in, `null` where a record has none; `times` are milliseconds UTC, -1 where a record has no time of its
own; `offsets`, for batches with gaps in their offsets, are distances from `base`, rising.

Columns of 80 000 records are usual, so a line is spliced from the texts by joining them, never record by
record. A reader ignores names that it does not know.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, starmap
from operator import lt
from typing import TypeVar

import msgspec


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """A line of the meta file as read; a column that the line does not have is `None`."""

    base_offset: int
    count: int
    keys: list[bytes] | None
    headers: list[bytes] | None
    timestamps_ms: list[int] | None
    offset_deltas: list[int] | None

    def select(self, indexes: Sequence[int]) -> Columns:
        """The items at these places of every column that there is."""
        return Columns(
            base_offset=self.base_offset,
            count=len(indexes),
            keys=_at(self.keys, indexes),
            headers=_at(self.headers, indexes),
            timestamps_ms=_at(self.timestamps_ms, indexes),
            offset_deltas=_at(self.offset_deltas, indexes),
        )


_T = TypeVar("_T")


def _at(column: list[_T] | None, indexes: Sequence[int]) -> list[_T] | None:
    return None if column is None else [column[index] for index in indexes]


class _Line(msgspec.Struct, gc=False):
    base: int
    count: int
    keys: list[msgspec.Raw] | None = None
    headers: list[msgspec.Raw] | None = None
    times: list[int] | None = None
    offsets: list[int] | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Line).decode


def encode_columns(
    *,
    base_offset: int,
    count: int,
    keys: Sequence[bytes] | None = None,
    headers: Sequence[bytes] | None = None,
    timestamps_ms: Sequence[int] | None = None,
    offset_deltas: Sequence[int] | None = None,
) -> bytes:
    """The line, newline included. Raises ValueError if a column has not `count` items or a text a newline.

    That keys and headers are JSON texts is taken on trust: they were checked when they came in.
    """
    _check_lengths(count, keys=keys, headers=headers, times=timestamps_ms, offsets=offset_deltas)
    parts = [b'{"base":%d,"count":%d' % (base_offset, count)]
    if keys is not None:
        parts += [b',"keys":[', b",".join(keys), b"]"]
    if headers is not None:
        parts += [b',"headers":[', b",".join(headers), b"]"]
    if timestamps_ms is not None:
        parts += [b',"times":', _encode(timestamps_ms)]
    if offset_deltas is not None:
        parts += [b',"offsets":', _encode(offset_deltas)]
    parts.append(b"}")
    line = b"".join(parts)
    if b"\n" in line:
        raise ValueError("a key or header holds a line end")
    return line + b"\n"


def decode_columns(line: bytes) -> Columns:
    """What `encode_columns` wrote, with or without the newline. Raises ValueError if it could not have."""
    try:
        read = _decode(line)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"malformed meta line: {error}") from None
    if read.base < 0:
        raise ValueError(f"malformed meta line: base offset {read.base}")
    _check_lengths(read.count, keys=read.keys, headers=read.headers, times=read.times, offsets=read.offsets)
    if read.offsets and (read.offsets[0] < 0 or not all(starmap(lt, pairwise(read.offsets)))):
        raise ValueError("malformed meta line: offsets do not rise")
    return Columns(
        base_offset=read.base,
        count=read.count,
        keys=None if read.keys is None else list(map(bytes, read.keys)),
        headers=None if read.headers is None else list(map(bytes, read.headers)),
        timestamps_ms=read.times,
        offset_deltas=read.offsets,
    )


def _check_lengths(count: int, **columns: Sequence[object] | None) -> None:
    if count < 1:
        raise ValueError(f"a batch of {count} records")
    for name, column in columns.items():
        if column is not None and len(column) != count:
            raise ValueError(f"{len(column)} {name} for {count} records")
