"""What stands in braces behind a field of a format: how a text, a number, a time or headers are written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from aegis_cli.format_columns import Columns, Part, Rendered, each_distinct, header_pairs

if TYPE_CHECKING:
    from datetime import datetime, tzinfo

_FORMS = ("json", "text", "bytes")
_CODINGS = ("hex", "base64", "base64raw")
_HEX_BITS = (64, 32, 16, 8, 4)
_BYTE_BITS = (64, 32, 16, 8)
# The start of the year 9999 UTC, in milliseconds: before it every zone has a date for every instant.
_CALENDAR_END_MS = 253_370_764_800_000
_CLOSING = {"[": "]", "{": "}", "(": ")", "#": "#"}


class ModifierError(ValueError):
    """A modifier that is unknown or stands behind the wrong field."""

    def __init__(self, reason: str, *, remedy: str) -> None:
        self.reason = reason
        self.remedy = remedy
        super().__init__(f"{reason}; {remedy}")


def text_part(name: str, modifier: str | None, *, form: str) -> Part:
    """Return the part for a text, in `form` unless the modifier names another."""
    words = [] if modifier is None else modifier.split(";")
    forms = [word for word in words if word in _FORMS]
    codings = [word for word in words if word in _CODINGS]
    if len(forms) + len(codings) != len(words) or len(forms) > 1 or len(codings) > 1:
        raise ModifierError(
            f"{{{modifier}}} is no way to print a text", remedy=f"use {_listed(_FORMS + _CODINGS)}"
        )
    wanted = forms[0] if forms else form
    if not codings:
        return lambda columns: _texts(columns, name, wanted)
    encode = _coding(codings[0])

    def encoded(columns: Columns) -> Rendered:
        texts = columns.texts(name, wanted)
        return encode(texts) if isinstance(texts, bytes) else (b"%b", list(map(encode, texts)))

    return encoded


def number_part(name: str, modifier: str | None) -> Part:
    """Return the part for a number, in decimal digits unless the modifier says otherwise."""
    if modifier is None or modifier == "ascii":
        return lambda columns: _digits(columns, name)
    encode = _number_coding(modifier)
    if encode is None:
        names = [f"hex{bits}" for bits in _HEX_BITS] + [
            f"{order}{bits}" for order in ("big", "little") for bits in _BYTE_BITS
        ]
        raise ModifierError(
            f"{{{modifier}}} is no way to print a number", remedy=f"use {_listed(['ascii', *names, 'byte'])}"
        )
    return lambda columns: _mapped(columns.numbers(name), encode)


def time_part(modifier: str | None, local_zone: tzinfo | None) -> Part:
    """Return the part for the timestamp: milliseconds since 1970 unless the modifier names a layout."""
    if modifier is not None and modifier.startswith("go"):
        raise ModifierError("layouts of Go are not known", remedy="use %d{strftime[%Y-%m-%d %H:%M:%S]}")
    if modifier == "iso":
        return lambda columns: _mapped_once(columns.numbers("timestamp"), _iso)
    if modifier is not None and modifier.startswith("strftime"):
        layout = _unwrap(modifier.removeprefix("strftime"))
        # Most layouts show seconds at best, so far fewer texts than records have to be made.
        step_ms = 1 if "%f" in layout else 1000
        return lambda columns: _mapped_once(
            columns.numbers("timestamp"), lambda ms: _strftime(ms, layout, local_zone), step=step_ms
        )
    return number_part("timestamp", modifier)


def headers_part(render: Callable[[Columns], bytes] | None) -> Part:
    """Return the part for headers: `a=b,c=d`, or what `render` makes of all headers of one record."""

    def one_record(raw: bytes) -> bytes:
        pairs = header_pairs(raw)
        columns = Columns.of_headers([name for name, _ in pairs], [value for _, value in pairs])
        if render is not None:
            return render(columns)
        names, values = columns.texts("key", "bytes"), columns.texts("value", "bytes")
        assert isinstance(names, list) and isinstance(values, list), "headers have names and values"
        return b",".join([b"%b=%b" % pair for pair in zip(names, values, strict=True)])

    def part(columns: Columns) -> Rendered:
        headers = columns.raw_headers()
        return b"" if headers is None else (b"%b", each_distinct(headers, one_record))

    return part


def _texts(columns: Columns, name: str, form: str) -> Rendered:
    texts = columns.texts(name, form)
    return texts if isinstance(texts, bytes) else (b"%b", texts)


def _digits(columns: Columns, name: str) -> Rendered:
    numbers = columns.numbers(name)
    return b"%d" % numbers if isinstance(numbers, int) else (b"%d", numbers)


def _mapped(numbers: Sequence[int] | int, encode: Callable[[int], bytes]) -> Rendered:
    return encode(numbers) if isinstance(numbers, int) else (b"%b", list(map(encode, numbers)))


def _mapped_once(numbers: Sequence[int] | int, encode: Callable[[int], bytes], *, step: int = 1) -> Rendered:
    """Encode every distinct number once, after rounding it down to a multiple of `step`.

    From `_CALENDAR_END_MS` on nothing is rounded, since a number without a date prints as it is.
    """
    if isinstance(numbers, int):
        return encode(numbers - numbers % step if numbers < _CALENDAR_END_MS else numbers)
    if step > 1:
        numbers = [n - n % step if n < _CALENDAR_END_MS else n for n in numbers]
    results = {number: encode(number) for number in set(numbers)}
    return b"%b", list(map(results.__getitem__, numbers))


def _coding(word: str) -> Callable[[bytes], bytes]:
    import binascii

    if word == "hex":
        return binascii.hexlify
    if word == "base64":
        return lambda text: binascii.b2a_base64(text, newline=False)
    return lambda text: binascii.b2a_base64(text, newline=False).rstrip(b"=")


def _number_coding(modifier: str) -> Callable[[int], bytes] | None:
    word = "big8" if modifier == "byte" else modifier
    for bits in _HEX_BITS:
        if word == f"hex{bits}":
            return lambda number: b"%0*x" % (bits // 4, number % 2**bits)
    for bits in _BYTE_BITS:
        if word == f"big{bits}":
            return lambda number: (number % 2**bits).to_bytes(bits // 8, "big")
        if word == f"little{bits}":
            return lambda number: (number % 2**bits).to_bytes(bits // 8, "little")
    return None


def _unwrap(wrapped: str) -> str:
    """Return a layout without the brackets around it: `[%F]`, `{{%F}}` or `### [%F] ###`."""
    opening = wrapped[:1]
    depth = len(wrapped) - len(wrapped.lstrip(opening or None))
    closing = _CLOSING.get(opening, "") * depth
    if not closing or len(wrapped) < 2 * depth or not wrapped.endswith(closing):
        raise ModifierError("a layout needs brackets around it", remedy="write %d{strftime[%F %T]}")
    return wrapped[depth : len(wrapped) - depth]


def _iso(ms: int) -> bytes:
    from datetime import UTC

    moment = _moment(ms, UTC)
    return b"%d" % ms if moment is None else f"{moment:%Y-%m-%dT%H:%M:%S}.{ms % 1000:03d}Z".encode()


def _strftime(ms: int, layout: str, local_zone: tzinfo | None) -> bytes:
    moment = _moment(ms, local_zone)
    return b"%d" % ms if moment is None else moment.strftime(layout).encode("utf-8", "surrogateescape")


def _moment(ms: int, zone: tzinfo | None) -> datetime | None:
    """Return the clock time in a zone, `None` for the machine's; `None` beyond the years 1 to 9999.

    A program may have published any number as a timestamp; the number itself is printed then.
    """
    from datetime import UTC, datetime, timedelta

    try:
        utc = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
        # A zone of None makes astimezone take the machine's, so that %z and %Z have something to print.
        return utc.astimezone(zone)
    except (OverflowError, OSError, ValueError):
        return None


def _listed(words: Sequence[str]) -> str:
    return " ".join(f"{{{word}}}" for word in words)
