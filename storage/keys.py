"""Keys: where they come from, and which partition they choose.

A key is raw JSON text: a string, a number, `{"$base64": "…"}` for bytes, or `null` for none. Its partition is
CRC-32 modulo the number of partitions, taken over the UTF-8 bytes of a string, over the decoded bytes of a
`$base64` object and over the JSON text of a number. That is librdkafka's `consistent` partitioner, so that a
Kafka topic filled with the same keys places them alike.

Keys come from a top-level field of each record (`KeyField`) or from the text before a delimiter
(`KeyDelimiter`). Both work on lists of lines and touch no single record in Python.
"""

from __future__ import annotations

import binascii
import io
from collections import deque
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import repeat
from operator import attrgetter, call, itemgetter, mod
from typing import Any, TypeVar
from zlib import crc32

import msgspec

from storage.batch import RecordBatch
from storage.line_problem import Problem

KEYLESS = -1
"""What stands for the partition of a record without a key: its writer may choose."""

_STRING = ord('"')
_DIGITS = frozenset(b"-0123456789")
_SCALARS = _DIGITS | {_STRING}
_REMEMBERED_KEYS = 65_536
# Lines are parted in steps whose memory is used again, instead of asking the system for that of all lines.
_ROUTE_BYTES = 65_536

_first_byte = itemgetter(0)
_encode_lines = msgspec.json.Encoder().encode_lines
_T = TypeVar("_T")


class PlacedBatch(RecordBatch, frozen=True, kw_only=True):
    """Records whose partition is chosen."""

    partition: int


class KeysRefused(Exception):
    """Some line of a chunk has no usable key; the caller looks for it with `problem`."""


class KeyField:
    """The key is a field of the record: top-level only, and of several with the same name the last.

    `decode` reads one line and keeps nothing of it but the key; `keys` turns what it returned into raw JSON
    text. A decoder refuses invalid JSON as well, so a line that was decoded needs no other check of syntax.
    Raises ValueError for a name that cannot stand in JSON without escapes.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        try:
            record = msgspec.defstruct(
                "Keyed", [("key", msgspec.Raw)], rename={"key": name}, gc=False, frozen=True
            )
        except ValueError:
            raise ValueError(
                f"a key field's name has no quote, backslash or control character: {name!r}"
            ) from None
        self.decode = msgspec.json.Decoder(record).decode

    def joined(self, decoded: Iterable[Any]) -> bytes:
        """The values of the field in `decoded` records, whatever they are, with newlines between."""
        return b"\n".join(map(_key_of, decoded))

    def keys(self, decoded: Iterable[Any]) -> list[bytes]:
        """The keys of `decoded` records; raises KeysRefused unless all are strings or numbers."""
        joined = self.joined(decoded)
        keys = joined.split(b"\n") if joined else []
        check_scalar(keys)
        return keys

    def key_of(self, value: bytes) -> bytes | None:
        """The key of one valid JSON value, `None` if it has none that can be used."""
        try:
            return self.keys([self.decode(value)])[0]
        except (msgspec.ValidationError, KeysRefused):
            return None

    def problem(self, value: bytes) -> Problem | None:
        """Why `value`, one valid JSON value, has no usable key, or `None`."""
        try:
            record: Any = msgspec.json.decode(value, type=dict[str, msgspec.Raw])
        except msgspec.ValidationError:
            return self._problem("the record is not an object")
        if self.name not in record:
            return self._problem("the record has no such field")
        kind = _kind(bytes(record[self.name]))
        return None if kind in ("string", "number") else self._problem(f"it is {kind}")

    def _problem(self, reason: str) -> Problem:
        return Problem(
            f"no key in field '{self.name}': {reason}",
            "a key is a string or a number at the top level of the record",
        )


class KeyDelimiter:
    """The key is the text before the first delimiter of the line, as a JSON string."""

    def __init__(self, delimiter: bytes) -> None:
        if not delimiter or b"\n" in delimiter:
            raise ValueError("a key delimiter is one or more bytes and no line end")
        self.delimiter = delimiter

    def split(self, lines: list[bytes]) -> tuple[bytes, list[bytes]]:
        """The keys with newlines between, and the rest of each line.

        Raises KeysRefused unless all lines have both.
        """
        pieces = list(map(bytes.partition, lines, repeat(self.delimiter)))
        if not all(map(itemgetter(1), pieces)):
            raise KeysRefused
        heads = b"\n".join(map(_first_byte, pieces))
        try:
            texts = heads.decode().split("\n")
        except UnicodeDecodeError:
            raise KeysRefused from None
        return _encode_lines(texts)[:-1], list(map(itemgetter(2), pieces))

    def problem(self, line: bytes) -> Problem | None:
        """Why `line` has no usable key, or `None`."""
        head, delimiter, _ = line.partition(self.delimiter)
        if not delimiter:
            return Problem(
                f"no key delimiter {_shown(self.delimiter)}", "write each line as key, delimiter, value"
            )
        try:
            head.decode()
        except UnicodeDecodeError as error:
            return Problem(
                f"the key is invalid UTF-8 at byte {error.start + 1}",
                "convert the input, for example with iconv -t UTF-8",
            )
        return None


def check_scalar(keys: Iterable[bytes]) -> None:
    """Raises KeysRefused unless all of these JSON texts are strings or numbers."""
    if not _SCALARS.issuperset(map(_first_byte, keys)):
        raise KeysRefused


def keys_of_lines(lines: bytes, field: str) -> list[bytes | None]:
    """The keys of stored records in a topic whose key is `field`, `None` where a record has none.

    Only a topic whose key was declared after it was filled has records without one.
    """
    key_field = _key_field(field)
    given = io.BytesIO(lines).readlines()
    try:
        return [*key_field.keys(map(key_field.decode, given))]
    except (msgspec.ValidationError, KeysRefused):
        return list(map(key_field.key_of, given))


@lru_cache(maxsize=64)
def _key_field(name: str) -> KeyField:
    """Building a decoder costs as much as reading some hundred records with it."""
    return KeyField(name)


def partition_for(key: bytes, partitions: int) -> int:
    """The partition of one key (raw JSON text), or KEYLESS for `null`; ValueError if it is no key."""
    kind = _kind(key)
    if kind == "null":
        return KEYLESS
    if kind == "number":
        return crc32(key) % partitions
    try:
        if kind == "string":
            return crc32(msgspec.json.decode(key, type=str).encode()) % partitions
        if kind == "an object":
            encoded = msgspec.json.decode(key, type=dict[str, str])
            if encoded.keys() == {"$base64"}:
                return crc32(binascii.a2b_base64(encoded["$base64"], strict_mode=True)) % partitions
    except (msgspec.DecodeError, binascii.Error, RecursionError) as error:
        raise ValueError(f"not a key: {error}") from None
    raise ValueError(f"not a key: it is {kind}")


def partitions_for(keys: list[bytes], partitions: int) -> list[int]:
    """The partition of each key, as `partition_for` gives it."""
    texts: list[bytes] | None
    if _DIGITS.issuperset(map(_first_byte, keys)):
        texts = keys
    else:
        texts = plain_texts(b"\n".join(keys), len(keys))
    if texts is not None:
        return list(map(mod, map(crc32, texts), repeat(partitions)))
    return list(map(_Remembered(partitions).__getitem__, keys))


def plain_texts(keys: bytes, count: int) -> list[bytes] | None:
    """The texts of keys, `count` of them with newlines between, if all are strings without escapes.

    That is nearly all there is. They never become Python objects of their own with their quotes: what is
    split at quote, newline, quote are texts, if there are as many as keys.
    """
    if b"\\" in keys or len(keys) < 2 or not keys[:1] == b'"' == keys[-1:]:
        return None
    texts = keys[1:-1].split(b'"\n"')
    return texts if len(texts) == count else None


def route(batch: RecordBatch, partitions: Sequence[int]) -> dict[int, RecordBatch]:
    """`batch` as one batch a partition, order kept; `partitions` has the partition of each record."""
    if len(partitions) != batch.count:
        raise ValueError(f"{len(partitions)} partitions for {batch.count} records")
    used = set(partitions)
    if len(used) <= 1:
        return dict.fromkeys(used, batch)
    lines, counts = _route_lines(batch.lines, partitions, used)
    if sum(counts.values()) != batch.count:
        raise ValueError(f"{sum(counts.values())} lines for {batch.count} records")
    keys = _buckets(batch.keys, partitions, used)
    headers = _buckets(batch.headers, partitions, used)
    times = _buckets(batch.timestamps_ms, partitions, used)
    return {
        partition: RecordBatch(
            lines=b"".join(own),
            count=counts[partition],
            keys=keys.get(partition),
            headers=headers.get(partition),
            timestamps_ms=times.get(partition),
        )
        for partition, own in lines.items()
    }


def _route_lines(
    lines: bytes, partitions: Sequence[int], used: set[int]
) -> tuple[dict[int, list[bytes]], dict[int, int]]:
    """For each partition its lines, in parts, and their number."""
    parts: dict[int, list[bytes]] = {partition: [] for partition in sorted(used)}
    counts = dict.fromkeys(parts, 0)
    stream = io.BytesIO(lines)
    start = 0
    while step := stream.readlines(_ROUTE_BYTES):
        places = partitions[start : start + len(step)]
        start += len(step)
        if len(places) != len(step):
            raise ValueError(f"more lines than the {len(partitions)} records")
        for partition, own in _buckets(step, places, used).items():
            parts[partition].append(b"".join(own))
            counts[partition] += len(own)
    return parts, counts


def _buckets(column: list[_T] | None, partitions: Sequence[int], used: set[int]) -> dict[int, list[_T]]:
    """The items of each partition; nothing for a column that does not exist."""
    if column is None:
        return {}
    buckets: dict[int, list[_T]] = {partition: [] for partition in sorted(used)}
    appends = {partition: bucket.append for partition, bucket in buckets.items()}
    # One call of `append` an item, all driven from C.
    deque(map(call, map(appends.__getitem__, partitions), column), maxlen=0)
    return buckets


class _Remembered(dict[bytes, int]):
    """Key to partition, worked out at the first sight of a key, for as many keys as the limit allows."""

    def __init__(self, partitions: int) -> None:
        super().__init__()
        self._partitions = partitions

    def __missing__(self, key: bytes) -> int:
        partition = partition_for(key, self._partitions)
        if len(self) < _REMEMBERED_KEYS:
            self[key] = partition
        return partition


_key_of = attrgetter("key")


def _kind(value: bytes) -> str:
    first = value[:1]
    if first == b'"':
        return "string"
    if first and first in b"-0123456789":
        return "number"
    names = {b"{": "an object", b"[": "an array", b"t": "true", b"f": "false", b"n": "null"}
    return names.get(first, "no JSON value")


def _shown(delimiter: bytes) -> str:
    return repr(delimiter.decode(errors="backslashreplace"))
