"""What a format can print of a batch, as columns: one item a record, or one constant for all of them.

A column is computed at most once a batch, and only if the format names it. JSON strings become text by one
replacement over the whole column where no escape makes that wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from storage.template import Column

if TYPE_CHECKING:
    from storage.batch import Batch

T = TypeVar("T")

# A constant, or a slot of a template with the column that fills it.
Rendered = bytes | tuple[bytes, Column]
Part = Callable[["Columns"], Rendered]

_NULL = b"null"
_NO_KEY_LENGTH = -1


def literal(text: bytes) -> Part:
    """Return a part that prints `text`."""
    return lambda columns: text


@dataclass(slots=True, kw_only=True)
class Columns:
    """The records being printed. `batch` is `None` where they are the headers of one record."""

    count: int
    batch: Batch | None
    names: list[bytes] | None = None
    raw_values: list[bytes] | None = None
    _texts: dict[tuple[str, str], list[bytes] | bytes] = field(default_factory=dict)

    @classmethod
    def of_batch(cls, batch: Batch) -> Columns:
        return cls(count=batch.count, batch=batch)

    @classmethod
    def of_headers(cls, names: list[bytes], values: list[bytes]) -> Columns:
        return cls(count=len(names), batch=None, names=names, raw_values=values)

    def texts(self, name: str, form: str) -> list[bytes] | bytes:
        """Return the `topic`, `key` or `value` column in a form: `json`, `text` or `bytes`."""
        found = self._texts.get((name, form))
        if found is None:
            found = self._texts[name, form] = self._compute(name, form)
        return found

    def numbers(self, name: str) -> Sequence[int] | int:
        """Return a column of numbers, or the one number of all records."""
        if name == "key length":
            return self._key_lengths()
        if name == "value length":
            texts = self.texts("value", "bytes" if self.batch is None else "json")
            return list(map(len, texts)) if isinstance(texts, list) else len(texts)
        assert self.batch is not None, "within a header the parser admits only its key and its value"
        if name == "partition":
            return self.batch.partition
        if name == "offset":
            return self.batch.offsets()
        if name == "header count":
            headers = self.raw_headers()
            return 0 if headers is None else each_distinct(headers, lambda raw: len(header_pairs(raw)))
        timestamps_ms = self.batch.timestamps_ms()
        return self.batch.append_time_ms if timestamps_ms is None else timestamps_ms

    def raw_headers(self) -> list[bytes] | None:
        """Return the headers of each record as JSON, `null` for none; `None` if no record has any."""
        assert self.batch is not None, "headers have no headers"
        headers = self.batch.headers()
        return None if headers is None else [raw or _NULL for raw in headers]

    def _compute(self, name: str, form: str) -> list[bytes] | bytes:
        if name == "topic":
            assert self.batch is not None, "within a header the parser admits only its key and its value"
            topic = self.batch.topic.encode()
            return b'"' + topic + b'"' if form == "json" else topic
        null = _NULL if name == "value" and self.batch is not None else b""
        raws = self._values() if name == "value" else self._keys()
        if raws is None:
            return _NULL if form == "json" else b""
        return raws if form == "json" else decode_texts(raws, form, null=null)

    def _values(self) -> list[bytes]:
        if self.raw_values is None:
            assert self.batch is not None, "headers come with their values"
            self.raw_values = self.batch.values()
        return self.raw_values

    def _keys(self) -> list[bytes] | None:
        """Return the key of each record as JSON, `null` for none; `None` if no record has any."""
        if self.batch is None:
            return self.names
        keys = self.batch.keys()
        return None if keys is None else [raw or _NULL for raw in keys]

    def _key_lengths(self) -> list[int] | int:
        raws, texts = self.texts("key", "json"), self.texts("key", "bytes")
        if isinstance(raws, bytes) or isinstance(texts, bytes):
            return _NO_KEY_LENGTH
        lengths = list(map(len, texts))
        if _NULL in raws:
            return [
                _NO_KEY_LENGTH if raw == _NULL else length for raw, length in zip(raws, lengths, strict=True)
            ]
        return lengths


def decode_texts(raws: list[bytes], form: str, *, null: bytes = _NULL) -> list[bytes]:
    """Return JSON texts in the form `text` or `bytes`; `null` is what null becomes."""
    joined = b"\n".join(raws)
    only_strings = joined[:1] == joined[-1:] == b'"' and joined.count(b'"\n"') == len(raws) - 1
    if only_strings and b"\\" not in joined:
        # Without an escape, no quotation mark stands within a string.
        return joined[1:-1].split(b'"\n"')
    return each_distinct(raws, lambda raw: _decode_text(raw.strip(), form, null))


def each_distinct(raws: list[bytes], function: Callable[[bytes], T]) -> list[T]:
    """Return `function` of every item, computed once for equal ones."""
    results = {raw: function(raw) for raw in set(raws)}
    return list(map(results.__getitem__, raws))


def header_pairs(raw: bytes) -> list[tuple[bytes, bytes]]:
    """Return the names and values of one record's headers, as JSON."""
    if raw == _NULL:
        return []
    import msgspec

    headers = msgspec.json.decode(raw, type=list[dict[str, msgspec.Raw]])
    return [(bytes(header["key"]), bytes(header["value"])) for header in headers]


def _decode_text(raw: bytes, form: str, null: bytes) -> bytes:
    if raw[:1] == b'"':
        if b"\\" not in raw:
            return raw[1:-1]
        import json

        text: str = json.loads(raw)
        # JSON can escape half of a surrogate pair, which no UTF-8 can hold.
        return text.encode("utf-8", "replace")
    if raw == _NULL:
        return null
    if form == "bytes" and raw[:1] == b"{" and b'"$base64"' in raw:
        return _decode_base64(raw)
    return raw


def _decode_base64(raw: bytes) -> bytes:
    """Return the bytes of `{"$base64": "…"}`, or `raw` if it is another object after all."""
    import binascii
    import json

    value = json.loads(raw)
    if list(value) != ["$base64"] or not isinstance(value["$base64"], str):
        return raw
    try:
        return binascii.a2b_base64(value["$base64"], strict_mode=True)
    except ValueError:
        return raw
