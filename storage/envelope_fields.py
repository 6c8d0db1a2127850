"""The fields of one envelope: which keys and headers are allowed, and into what other spellings turn.

A key is a JSON string, a number, `null` or `{"$base64": "…"}`. Headers become a list of
`{"key": …, "value": …}` objects whose values are strings, `null` or `{"$base64": "…"}`; a list that has this
form already keeps its bytes. Functions raise ValueError with "reason; remedy".
"""

from __future__ import annotations

import msgspec

_NULL = b"null"


class _Base64(msgspec.Struct, forbid_unknown_fields=True):
    text: str = msgspec.field(name="$base64")


class _Header(msgspec.Struct):
    key: str
    value: str | _Base64 | None


_RAW_DECODER = msgspec.json.Decoder(msgspec.Raw)
_TEXT_DECODER = msgspec.json.Decoder(str)
_BASE64_DECODER = msgspec.json.Decoder(_Base64)
_LIST_DECODER = msgspec.json.Decoder(list[_Header])
_FLAT_DECODER = msgspec.json.Decoder(list[msgspec.Raw])
_MAP_DECODER = msgspec.json.Decoder(dict[str, msgspec.Raw])


def check_key(raw: bytes) -> bytes:
    """Return the key as it is, or raise ValueError if it is a boolean, a list or an object."""
    if raw[:1] in b'"-0123456789n' or (raw[:1] == b"{" and _is_base64(raw)):
        return raw
    raise ValueError(
        'the key is neither a string, a number nor {"$base64": …}; pick a scalar field of it as the key'
    )


def normal_headers(raw: bytes) -> bytes:
    """Return headers of any accepted spelling as a list of key and value objects, `null` for none."""
    try:
        if raw[:1] == b"{":
            return _join(_pairs_of_map(raw))
        if raw[:1] == b"[":
            return _headers_of_list(raw)
    except msgspec.MsgspecError:
        pass
    raise ValueError(
        'the headers are not a list of {"key": …, "value": …} with texts as values; '
        "turn other values into strings"
    )


def value_of_payload(raw: bytes) -> bytes:
    """Return the JSON value that the text of a Kafka message holds, or the text itself as a JSON string."""
    if raw[:1] != b'"':
        return raw
    # Newlines between the tokens of a JSON text are only white space; within strings they are escaped.
    text = _TEXT_DECODER.decode(raw).encode().replace(b"\n", b" ").replace(b"\r", b" ").strip()
    try:
        _RAW_DECODER.decode(text)
    except (msgspec.MsgspecError, RecursionError):
        return raw
    return text


def _headers_of_list(raw: bytes) -> bytes:
    try:
        headers = _LIST_DECODER.decode(raw)
    except msgspec.ValidationError:
        return _join(_pairs_of_flat_list(raw))
    for header in headers:
        if isinstance(header.value, _Base64):
            _require_base64(header.value)
    return raw if headers else _NULL


def _pairs_of_flat_list(raw: bytes) -> list[tuple[bytes, bytes]]:
    items = list(map(bytes, _FLAT_DECODER.decode(raw)))
    names, values = items[0::2], items[1::2]
    if len(names) != len(values) or any(name[:1] != b'"' for name in names):
        raise msgspec.ValidationError
    return list(zip(names, map(_header_value, values), strict=True))


def _pairs_of_map(raw: bytes) -> list[tuple[bytes, bytes]]:
    pairs: list[tuple[bytes, bytes]] = []
    for name, raw_value in _MAP_DECODER.decode(raw).items():
        value = bytes(raw_value)
        several = _FLAT_DECODER.decode(value) if value[:1] == b"[" else [raw_value]
        pairs += [(msgspec.json.encode(name), _header_value(bytes(item))) for item in several]
    return pairs


def _header_value(raw: bytes) -> bytes:
    if raw[:1] in b'"n' or (raw[:1] == b"{" and _is_base64(raw)):
        return raw
    raise msgspec.ValidationError


def _join(pairs: list[tuple[bytes, bytes]]) -> bytes:
    if not pairs:
        return _NULL
    return b"[" + b",".join([b'{"key":%b,"value":%b}' % pair for pair in pairs]) + b"]"


def _is_base64(raw: bytes) -> bool:
    try:
        _require_base64(_BASE64_DECODER.decode(raw))
    except msgspec.ValidationError:
        return False
    return True


def _require_base64(base64: _Base64) -> None:
    from binascii import Error, a2b_base64

    try:
        a2b_base64(base64.text, strict_mode=True)
    except (Error, ValueError):
        raise msgspec.ValidationError from None
