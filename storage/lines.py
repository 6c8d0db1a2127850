"""The input of a publish: from a buffer of lines to records that may be stored.

`LineChecker` is given the input buffer by buffer, each ending at a line end, and returns what of it can be
stored: one JSON value a line, each ended by a newline. It promises:

- every line that comes out is exactly one JSON value in UTF-8, within the limits of size and nesting;
- bytes are kept as given, spaces included, but for three things: `\\r\\n` becomes `\\n`, a byte order mark
  before the first line goes away, and blank lines are counted and left out (`empty_is_null` makes them null);
- a refused line is named by its number in all of the input, and what came before it is returned;
- with `text`, lines need only be UTF-8 and each becomes a JSON string, the blank ones too;
- keys, where a field or a delimiter gives them, come out in step with the records;
- with a `router`, the records go there instead, each with its key: out comes only their number.

What msgspec's decoder takes for JSON is JSON here: numbers of any size, duplicate names, but no NaN and no
escape that is half of a surrogate pair.

Good input costs no work per line in Python. A chunk of lines goes through a few calls that run in C; only if
one of them objects, the chunk is sifted in smaller steps and at last line by line.
"""

from __future__ import annotations

import binascii
import io
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from storage.errors import InvalidRecordError
from storage.keys import KeyDelimiter, KeyField, KeysRefused, check_scalar
from storage.line_problem import Problem, json_problem, size_problem, text_problem
from storage.nesting import MAX_NESTING, any_deeper, harmless_bytes

if TYPE_CHECKING:
    from storage.router import Place, Router
    from storage.sift import Sifted, Sifter

ERRORS_KEPT = 100
"""How many errors a checker remembers with on_error="skip"; it counts them all."""

# Enough lines to make a call per chunk cheap, few enough to stay in the processor's cache.
_CHUNK_BYTES = 65_536
# msgspec needs one level of C recursion for each level of nesting, and Python allows about a thousand.
_MAX_NESTING_SUPPORTED = 512
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

_NOTHING = msgspec.Raw(b"")

_decode_value = msgspec.json.Decoder(msgspec.Raw).decode
_decode_lines = msgspec.json.Decoder(msgspec.Raw).decode_lines
_encode_lines = msgspec.json.Encoder().encode_lines


@dataclass(frozen=True, slots=True)
class Lines:
    """Records ready to be stored: `count` JSON values in `data`, each ended by a newline.

    `keys` are raw JSON text, one a record, or `None` if the input has none. `first_line` is the number of
    the first input line of the buffer, `dropped` the positions in it of lines that are no record.
    """

    data: bytes
    count: int
    keys: list[bytes] | None = None
    first_line: int = 1
    dropped: list[int] = field(default_factory=list)

    def line_of(self, index: int) -> int:
        """The number of the input line that record `index` (from 0) came from."""
        for position in self.dropped:
            if position > index:
                break
            index += 1
        return self.first_line + index


@dataclass(frozen=True, slots=True)
class Checked:
    """What came of one buffer: the good lines, and the error that ended it, if one did."""

    lines: Lines
    error: InvalidRecordError | None = None


class _Good(NamedTuple):
    """Records that are good: their values, as lines or as one buffer, and what goes with each."""

    values: list[bytes] | bytes
    records: int
    keys: list[bytes]
    places: list[Place]


class _Unfit(Exception):
    """Some line of a chunk breaks a limit."""


REFUSALS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeysRefused, _Unfit)
"""What the checks of good input raise; it does not say for which line."""


class LineChecker:
    """Checks input lines, and counts them: `next_line`, `blank_lines`, `refused_lines` only ever grow.

    With on_error="skip" refused lines are left out: `errors` holds the first of them, and `check` returns
    none. `max_record_bytes` and `max_nesting` (at most 512) limit one value.
    """

    def __init__(
        self,
        *,
        max_record_bytes: int,
        max_nesting: int = MAX_NESTING,
        keys: KeyField | KeyDelimiter | None = None,
        router: Router | None = None,
        text: bool = False,
        empty_is_null: bool = False,
        on_error: Literal["stop", "skip"] = "stop",
    ) -> None:
        if not 0 <= max_nesting <= _MAX_NESTING_SUPPORTED:
            raise ValueError(f"max_nesting must be 0 to {_MAX_NESTING_SUPPORTED}, not {max_nesting}")
        if text and isinstance(keys, KeyField):
            raise ValueError("lines of text have no fields to take a key from")
        if router is not None and keys is None:
            raise ValueError("there are no keys to route by")
        self.next_line = 1
        self._max_record_bytes = max_record_bytes
        self._max_nesting = max_nesting
        # A line up to this length, line end included, can break neither limit.
        self._harmless_bytes = min(harmless_bytes(max_nesting), max_record_bytes + 1)
        self._key_field = keys if isinstance(keys, KeyField) else None
        self._key_delimiter = keys if isinstance(keys, KeyDelimiter) else None
        self.router = router
        self._text = text
        self._empty_is_null = empty_is_null
        self._on_error = on_error
        self._sifter: Sifter | None = None

    @property
    def blank_lines(self) -> int:
        return 0 if self._sifter is None else self._sifter.blank_lines

    @property
    def refused_lines(self) -> int:
        return 0 if self._sifter is None else self._sifter.refused_lines

    @property
    def errors(self) -> list[InvalidRecordError]:
        return [] if self._sifter is None else self._sifter.errors

    def check(self, buffer: bytes) -> Checked:
        """The records of `buffer`, which ends at a line end (a missing last newline is added).

        After a refused line in the mode "stop" the rest of the buffer has not been looked at, and `next_line`
        is the number of the refused line.
        """
        if self.next_line == 1:
            buffer = buffer.removeprefix(_BYTE_ORDER_MARK)
        if buffer and not buffer.endswith(b"\n"):
            buffer += b"\n"
        first_line = self.next_line
        gathered = _Gathered(buffer)
        keys: list[bytes] = []
        dropped: list[int] = []
        error = None
        end = 0
        while error is None and end < len(buffer):
            start, end = end, _end_of_chunk(buffer, end)
            given = buffer[start:end]
            chunk = given.replace(b"\r\n", b"\n") if b"\r" in given else given
            try:
                good = self._take_chunk(chunk)
                consumed = good.records
            except REFUSALS:
                sifted = self._sift(chunk)
                good = self._take(sifted.good, chunk.isascii())
                consumed, error = sifted.consumed, sifted.error
                dropped += [self.next_line - first_line + position for position in sifted.dropped]
            self.next_line += consumed
            gathered.count += good.records
            if self.router is not None:
                self.router.add(good.values, good.places, good.keys)
                continue
            gathered.add(good.values, end, unchanged=good.values is given)
            keys += good.keys
        has_keys = self.router is None and (self._key_field or self._key_delimiter) is not None
        lines = Lines(gathered.data(), gathered.count, keys if has_keys else None, first_line, dropped)
        return Checked(lines, error)

    def too_long(self, size_bytes: int) -> InvalidRecordError:
        """The error for a next line that is over the limit before its end was even read."""
        problem = size_problem(size_bytes, max_record_bytes=self._max_record_bytes)
        assert problem is not None, "only a line above the limit is too long"
        return InvalidRecordError(self.next_line, problem.reason, remedy=problem.remedy)

    def _sift(self, chunk: bytes) -> Sifted:
        if self._sifter is None:
            # Good input never needs it.
            from storage.sift import Sifter

            self._sifter = Sifter(
                max_record_bytes=self._max_record_bytes,
                max_nesting=self._max_nesting,
                keys=self._key_field or self._key_delimiter,
                text=self._text,
                empty_is_null=self._empty_is_null,
                on_error=self._on_error,
            )
        return self._sifter.sift(
            io.BytesIO(chunk).readlines(),
            first_line=self.next_line,
            take=lambda lines: self._take(lines, chunk.isascii()),
        )

    def _take_chunk(self, chunk: bytes) -> _Good:
        """As `_take`, for the lines of `chunk`; the values may be `chunk` itself."""
        if self._key_field is None and self._key_delimiter is None and not self._text:
            count = self._count_plain(chunk)
            if count:
                return _Good(chunk, count, [], [])
        lines = io.BytesIO(chunk).readlines()
        good = self._take(lines, chunk.isascii())
        return good._replace(values=chunk) if good.values is lines and self.router is None else good

    def _count_plain(self, chunk: bytes) -> int:
        """The number of lines if they are values and newlines and nothing else; 0 means to look closer.

        The decoder finds values wherever they are: it would take two on a line, or one over two lines. So
        its values, joined by a byte that cannot be part of any, must give the chunk with that byte in the
        place of each newline.
        """
        try:
            values = _decode_lines(chunk)
            if not values:
                return 0
            longest = max(map(len, values))
            values.append(_NOTHING)
            if b"\0".join(values) != chunk.replace(b"\n", b"\0"):
                return 0
            if longest >= self._harmless_bytes and (
                longest > self._max_record_bytes
                or any_deeper(io.BytesIO(chunk).readlines(), self._max_nesting)
            ):
                return 0
            if not chunk.isascii():
                chunk.decode()
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return 0
        return len(values) - 1

    def _take(self, lines: list[bytes], is_ascii: bool) -> _Good:
        """The records of `lines` if all of them are good; raises one of REFUSALS if any is not.

        The values are `lines` itself where nothing had to change.
        """
        if not lines:
            return _Good(lines, 0, [], [])
        joined = b""
        values: list[bytes] | bytes = lines
        if self._key_delimiter is not None:
            joined, lines = self._key_delimiter.split(lines)
            values = lines
        if self._text:
            values = self._take_text(lines)
        elif self._key_field is None:
            deque(map(_decode_value, lines), maxlen=0)
        else:
            joined = self._key_field.joined(map(self._key_field.decode, lines))
        if not self._text:
            self._check_limits(lines)
            if not is_ascii:
                b"".join(lines).decode()
        places: list[Place] = []
        if self.router is not None:
            places = self.router.places(joined, len(lines))
        keys = joined.split(b"\n") if joined and (self.router is None or self.router.stores_keys) else []
        if self.router is None and self._key_field is not None:
            check_scalar(keys)
        return _Good(values, len(lines), keys, places)

    def _check_limits(self, lines: list[bytes]) -> None:
        longest = max(map(len, lines))
        if longest > self._harmless_bytes and (
            longest > self._max_record_bytes + 1 or any_deeper(lines, self._max_nesting)
        ):
            raise _Unfit

    def _take_text(self, lines: list[bytes]) -> bytes:
        texts: list[str] | list[str | None] = b"".join(lines).decode().split("\n")[:-1]
        if self._empty_is_null:
            texts = [text or None for text in texts]
        values = _encode_lines(texts)
        longest = len(values)
        if longest > self._max_record_bytes and max(map(len, values.split(b"\n"))) > self._max_record_bytes:
            raise _Unfit
        return values


def _end_of_chunk(buffer: bytes, start: int) -> int:
    """The end of the last line that ends within a chunk from `start`, or of the first if none does."""
    limit = start + _CHUNK_BYTES
    if limit >= len(buffer):
        return len(buffer)
    return buffer.rfind(b"\n", start, limit) + 1 or buffer.find(b"\n", limit) + 1


class _Gathered:
    """What of a buffer is good so far: the buffer itself, uncopied, as long as nothing had to change."""

    def __init__(self, buffer: bytes) -> None:
        self.count = 0
        self._buffer = buffer
        self._end = 0
        self._unchanged = 0
        self._parts: list[bytes] = []

    def add(self, values: list[bytes] | bytes, end: int, *, unchanged: bool) -> None:
        """Adds the values of the chunk that reaches to `end` in the buffer."""
        if unchanged and self._unchanged == self._end:
            self._unchanged = end
        else:
            self._parts.append(values if isinstance(values, bytes) else b"".join(values))
        self._end = end

    def data(self) -> bytes:
        if not self._parts:
            return self._buffer[: self._unchanged]
        return b"".join([self._buffer[: self._unchanged], *self._parts])


def single_value(
    value: bytes,
    *,
    max_record_bytes: int,
    max_nesting: int = MAX_NESTING,
    text: bool = False,
    empty_is_null: bool = False,
    number: int = 1,
) -> bytes:
    """`value`, given on the command line as the `number`th, as one JSON value without a line end.

    Raises InvalidRecordError, whose `line` is `number`.
    """
    if empty_is_null and not value.strip():
        return b"null"
    if text:
        problem = text_problem(value, max_record_bytes=max_record_bytes)
    elif b"\n" in value.strip():
        problem = Problem("the value spans several lines", "put it on one line, for example with jq -c .")
    else:
        value = value.strip()
        problem = json_problem(value, max_record_bytes=max_record_bytes, max_nesting=max_nesting)
    if problem is not None:
        raise InvalidRecordError(number, problem.reason, remedy=problem.remedy)
    return msgspec.json.encode(value.decode()) if text else value


def binary_value(data: bytes) -> bytes:
    """`data` as the JSON value that stands for bytes: `{"$base64": "…"}`."""
    return b'{"$base64":"' + binascii.b2a_base64(data, newline=False) + b'"}'
