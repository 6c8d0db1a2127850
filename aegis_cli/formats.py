"""The grammar of `consume -F`: what to print for each record, in the spelling of rpk and kcat.

    %t topic     %p partition    %o offset    %k key           %v or %s value     %h headers
    %d or %T timestamp           %K length of the key, -1 for none               %V or %S length of the value
    %R length of the value in four bytes, big-endian             %H number of headers
    %% %{ %}     these characters             \\n \\t \\r \\0 \\\\ \\xNN       these bytes

    %k %v %t     {json} {text} {bytes} and {hex} {base64} {base64raw}, or one of each: {bytes;hex}
    %o %p %d %K %V %H    {ascii} {hex64 ... hex4} {big64 ... big8} {little64 ... little8} {byte}
    %d           {strftime[%F %T]} in local time, {iso} in UTC
    %h           a=b,c=d; or {...}: a format of its own for each header, with %k %K %v %V

A value prints as the JSON text that it is. A key, and what stands in a header, prints as the text of a JSON
string and as the bytes of `{"$base64": …}`; a missing key prints nothing. Nothing is added: a format that is
to end its records with a newline says `\\n`. The word `json` alone prints envelopes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from aegis_cli.format_columns import Columns, Part, literal
from aegis_cli.format_modifiers import ModifierError, headers_part, number_part, text_part, time_part
from storage.template import Column, escape, fill

if TYPE_CHECKING:
    from datetime import tzinfo

    from storage.batch import Batch

_ESCAPES = {"n": b"\n", "t": b"\t", "r": b"\r", "0": b"\0", "\\": b"\\"}
_ALIASES = {"s": "v", "S": "V", "T": "d"}
_TEXTS = {"t": "topic", "k": "key", "v": "value"}
_NUMBERS = {"p": "partition", "o": "offset", "K": "key length", "V": "value length", "H": "header count"}
_FOREIGN = {
    "e": "the leader's epoch, which a local log has not",
    "a": "Kafka's attributes, which a local log has not",
    "x": "Kafka's producer id, which a local log has not",
    "y": "Kafka's producer epoch, which a local log has not",
    "[": "the start of the partition; 'aegis topic describe' shows it",
    "]": "the end of the partition; 'aegis topic describe' shows it",
    "|": "the end of the partition; 'aegis topic describe' shows it",
    "i": "a running number; pipe the output through 'nl'",
}


class FormatError(ValueError):
    """A format that cannot be used; `position` counts its characters from 1."""

    def __init__(self, text: str, position: int, reason: str, *, remedy: str) -> None:
        self.text = text
        self.position = position
        self.reason = reason
        self.remedy = remedy
        super().__init__(f"format {text!r}: {reason} at position {position}; {remedy}")


def compile_format(text: str, *, local_zone: tzinfo | None = None) -> Callable[[Batch], bytes]:
    """Return a function that prints a batch in the format `text`.

    `local_zone` is the zone of `{strftime[…]}`, `None` for the one of this machine. Raises FormatError.
    """
    if text == "json":
        from storage.envelope import encode_batch

        return encode_batch
    if "%" not in text and "\\" not in text:
        raise FormatError(text, 1, "no field is named", remedy="write fields as in '%k %v\\n', or use --json")
    if text in ("%v\\n", "%s\\n"):
        return lambda batch: batch.lines
    parts = _Parser(text, local_zone).parts()
    return lambda batch: _render(parts, Columns.of_batch(batch))


def _render(parts: list[Part], columns: Columns) -> bytes:
    template = b""
    filled: list[Column] = []
    for part in parts:
        rendered = part(columns)
        if isinstance(rendered, bytes):
            template += escape(rendered)
        else:
            slot, column = rendered
            template += slot
            filled.append(column)
    return fill(template, filled, count=columns.count)


class _Parser:
    """One pass over `text` from `position` up to `end`; a header's inner format is parsed in place."""

    def __init__(
        self, text: str, local_zone: tzinfo | None, *, position: int = 0, end: int | None = None
    ) -> None:
        self._text = text
        self._local_zone = local_zone
        self._position = position
        self._end = len(text) if end is None else end
        self._inner = end is not None

    def parts(self) -> list[Part]:
        parts: list[Part] = []
        plain = bytearray()
        while self._position < self._end:
            character = self._take()
            if character == "\\":
                plain += self._escape()
            elif character != "%":
                plain += character.encode("utf-8", "surrogateescape")
            elif self._peek() and self._peek() in "%{}":
                plain += self._take().encode()
            else:
                if plain:
                    parts.append(literal(bytes(plain)))
                    plain.clear()
                parts.append(self._field())
        if plain:
            parts.append(literal(bytes(plain)))
        return parts

    def _field(self) -> Part:
        start = self._position
        verb = self._take()
        verb = _ALIASES.get(verb, verb)
        try:
            if verb == "h" and not self._inner:
                return self._headers()
            modifier = "big32" if verb == "R" else self._modifier()
            verb = "V" if verb == "R" else verb
            if verb == "d" and not self._inner:
                return time_part(modifier, self._local_zone)
            if self._inner and verb not in ("k", "v", "K", "V"):
                raise self._error(
                    start - 1, f"%{verb} is no field of a header", "use %k %K %v %V within %h{…}"
                )
            if verb in _TEXTS:
                # Within JSON a value is JSON; within a header it is text, as it would be in Kafka.
                form = "json" if verb == "v" and not self._inner else "bytes"
                return text_part(_TEXTS[verb], modifier, form=form)
            if verb in _NUMBERS:
                return number_part(_NUMBERS[verb], modifier)
        except ModifierError as error:
            raise self._error(start + 1, error.reason, error.remedy) from None
        if not verb:
            raise self._error(start - 1, "a percent sign ends the format", "write %% for a percent sign")
        if verb in _FOREIGN:
            raise self._error(start - 1, f"%{verb} is unknown", f"elsewhere it is {_FOREIGN[verb]}")
        raise self._error(
            start - 1, f"%{verb} is unknown", "use %t %p %o %k %v %h %d %K %V %H, or %% for a percent sign"
        )

    def _headers(self) -> Part:
        if self._peek() != "{":
            return headers_part(None)
        start = self._position
        end = self._closing_brace()
        inner = _Parser(self._text, self._local_zone, position=start + 1, end=end).parts()
        self._position = end + 1
        return headers_part(lambda columns: _render(inner, columns))

    def _modifier(self) -> str | None:
        if self._peek() != "{":
            return None
        start, end = self._position, self._closing_brace()
        self._position = end + 1
        return self._text[start + 1 : end]

    def _closing_brace(self) -> int:
        """Return the position of the brace that closes the one at the current position."""
        depth = 0
        index = self._position
        while index < self._end:
            character = self._text[index]
            if character == "%" and self._text[index + 1 : index + 2] in ("{", "}", "%"):
                index += 1
            elif character == "{":
                depth += 1
            elif character == "}":
                depth -= 1
                if depth == 0:
                    return index
            index += 1
        raise self._error(self._position, "a brace is not closed", "write %{ for a brace that means itself")

    def _escape(self) -> bytes:
        start = self._position - 1
        character = self._take()
        if character in _ESCAPES:
            return _ESCAPES[character]
        digits = self._text[self._position : min(self._position + 2, self._end)]
        if (
            character == "x"
            and len(digits) == 2
            and all(digit in "0123456789abcdefABCDEF" for digit in digits)
        ):
            self._position += 2
            return bytes.fromhex(digits)
        raise self._error(
            start, f"\\{character} is unknown", "use \\n \\t \\r \\0 \\xNN, or \\\\ for a backslash"
        )

    def _take(self) -> str:
        character = self._peek()
        self._position += len(character)
        return character

    def _peek(self) -> str:
        return self._text[self._position] if self._position < self._end else ""

    def _error(self, index: int, reason: str, remedy: str) -> FormatError:
        return FormatError(self._text, index + 1, reason, remedy=remedy)
