"""The grammar of `-o/--offset`: where reading starts and, if it is a range, where it stops.

    start beginning earliest oldest first        the oldest message
    end latest newest last                       after the newest message
    N                                            the message of offset N
    +N  -N                                       N after the start, N before the end
    A:  :B  A:B  N-M                             from A up to, but without, B
    @T  @T1:T2  @T:  @:T  @T:end                 by time (storage/times.py); from T1 up to, without, T2
    s@T  e@T                                     the start and the end of a range, as kcat spells them

In `@T1:T2`, a duration T2 counts from T1 where T1 is a clock time (`@2024-05-01:1h`) and from now where T1
is itself relative (`@-48h:-24h`). A position is a wish about any partition; `resolve` turns it into an offset
of one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from datetime import tzinfo

OFFSET_MAX = 2**63 - 1
_START_WORDS = frozenset({"start", "beginning", "earliest", "oldest", "first"})
_END_WORDS = frozenset({"end", "latest", "newest", "last"})

Kind = Literal["start", "end", "absolute", "from-start", "from-end", "time"]


class OffsetError(ValueError):
    """A text that is no offset; `reason` says why and `remedy` what to write instead."""

    def __init__(self, text: str, reason: str, *, remedy: str) -> None:
        self.text = text
        self.reason = reason
        self.remedy = remedy
        super().__init__(f"offset {text!r} {reason}; {remedy}")


class Position(NamedTuple):
    """A place in a partition; `kind` says whether `number` is an offset, a count or milliseconds UTC."""

    kind: Kind
    number: int = 0


class Range(NamedTuple):
    """From `start` up to, but without, `end`; no `end` means that the spec sets none."""

    start: Position
    end: Position | None = None


START = Position("start")
END = Position("end")


def parse_offset_spec(text: str, *, now_ms: int, local_zone: tzinfo | None = None) -> Range:
    """Return the range that one `-o` names. Raises OffsetError, or TimeError for a time within it."""
    spec = text.strip()
    reader = _Reader(text, now_ms, local_zone)
    _refuse_foreign(text, spec)
    if spec[:2].lower() == "s@":
        return Range(reader.time(spec[2:]))
    if spec[:2].lower() == "e@":
        return Range(START, reader.time(spec[2:]))
    if spec.startswith("@"):
        return reader.time_range(spec[1:])
    first, colon, second = spec.partition(":")
    low, hyphen, high = spec.partition("-")
    if not colon and hyphen and _is_number(low) and _is_number(high):
        first, colon, second = low, hyphen, high
    start = reader.position(first) if first or not colon else START
    if not second:
        if spec == ":":
            raise OffsetError(text, "names neither end of a range", remedy="write A:, :B or A:B")
        return Range(start)
    if second.startswith("+"):
        raise OffsetError(
            text, "counts its end from an unclear place", remedy="stop at an offset, or count with -n"
        )
    end = reader.time(second[1:]) if second.startswith("@") else reader.position(second)
    return _ordered(text, Range(start, end))


def parse_offset_specs(texts: Sequence[str], *, now_ms: int, local_zone: tzinfo | None = None) -> Range:
    """Return the range that all `-o` of a command name: one of any kind, or one `s@T` and one `e@T`.

    Raises OffsetError or TimeError.
    """
    kinds = [text.strip()[:2].lower() for text in texts]
    ranges = [parse_offset_spec(text, now_ms=now_ms, local_zone=local_zone) for text in texts]
    if len(ranges) == 1:
        return ranges[0]
    if sorted(kinds) != ["e@", "s@"]:
        raise OffsetError(
            " ".join(texts), "is more than one range", remedy="give -o once, as A:B, or as s@T and e@T"
        )
    start, end = ranges if kinds[0] == "s@" else reversed(ranges)
    return _ordered(" ".join(texts), Range(start.start, end.end))


def resolve(
    position: Position, *, start_offset: int, end_offset: int, offset_at_time: Callable[[int], int]
) -> int:
    """Return the offset of `position` in a partition, clamped to `start_offset` ... `end_offset`.

    `end_offset` is one past the newest message; `offset_at_time` gives the first offset whose time is not
    before the given milliseconds UTC, `end_offset` if there is none. Someone who follows beyond
    `end_offset` compares an absolute end with what arrives, since here it is clamped.
    """
    if position.kind == "start":
        return start_offset
    if position.kind == "end":
        return end_offset
    if position.kind == "absolute":
        offset = position.number
    elif position.kind == "from-start":
        offset = start_offset + position.number
    elif position.kind == "from-end":
        offset = end_offset - position.number
    else:
        offset = offset_at_time(position.number)
    return max(start_offset, min(offset, end_offset))


class _Reader(NamedTuple):
    """Reads the parts of one spec; `text` is the whole of it, for the errors."""

    text: str
    now_ms: int
    local_zone: tzinfo | None

    def position(self, part: str) -> Position:
        """Read a word or a number, signed or not."""
        word = part.strip().lower()
        if word in _START_WORDS:
            return START
        if word in _END_WORDS:
            return END
        if _is_number(word):
            return Position("absolute", self._number(word))
        if word[:1] in ("+", "-") and _is_number(word[1:]):
            return Position("from-start" if word[0] == "+" else "from-end", self._number(word[1:]))
        remedy = "write start, end, 42, +10, -10, 5:9 or @2024-05-01"
        if word[-1:].isalpha() and word.lstrip("+-")[:1].isdigit():
            remedy = f"a time starts with @: @{part.strip()}"
        raise OffsetError(self.text, "cannot be read", remedy=remedy)

    def time(self, part: str) -> Position:
        """Read one end of a range by time: a time, or a word for the start or the end."""
        from storage.times import parse_time

        word = part.strip().lower()
        if word in _START_WORDS or word in _END_WORDS:
            return self.position(word)
        return Position("time", parse_time(part, now_ms=self.now_ms, local_zone=self.local_zone))

    def time_range(self, part: str) -> Range:
        """Read what follows an `@`. Times hold colons themselves, so every colon is tried as the border."""
        from storage.times import TimeError

        borders = [index for index, character in enumerate(part) if character == ":"]
        readings: list[Range] = []
        for border in borders:
            try:
                readings.append(self._halves(part[:border], part[border + 1 :]))
            except TimeError:
                continue
        try:
            readings.append(Range(self.time(part)))
        except TimeError:
            if not readings:
                raise
        if len(set(readings)) > 1:
            raise OffsetError(
                self.text, "can be read in two ways", remedy="write the times with --since and --until"
            )
        return _ordered(self.text, readings[0])

    def _halves(self, first: str, second: str) -> Range:
        from storage.times import TimeError, is_relative, parse_time

        if not first and not second:
            raise TimeError("", "is missing", remedy="write @T1:T2")
        start = self.time(first) if first else START
        if not second:
            return Range(start)
        if start.kind != "time" or is_relative(first) or not is_relative(second):
            return Range(start, self.time(second))
        if second.strip().startswith("-"):
            raise OffsetError(self.text, "ends before it starts", remedy="exchange the two times")
        # Relative to a clock time a bare duration goes forward, while relative to now it goes back.
        ahead = "+" + second.strip().lstrip("+")
        return Range(start, Position("time", parse_time(ahead, now_ms=start.number, local_zone=None)))

    def _number(self, digits: str) -> int:
        if int(digits[:20]) > OFFSET_MAX or len(digits) > 19:
            raise OffsetError(self.text, "is too large", remedy=f"the largest offset is {OFFSET_MAX}")
        return int(digits)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _ordered(text: str, found: Range) -> Range:
    start, end = found.start, found.end
    if end is not None and start.kind == end.kind:
        backwards = start.number < end.number if start.kind == "from-end" else end.number < start.number
        if backwards:
            raise OffsetError(text, "ends before it starts", remedy="exchange its two ends")
    return found


def _refuse_foreign(text: str, spec: str) -> None:
    """Refuse what other tools mean by the same option, each with a hint."""
    if not spec:
        raise OffsetError(text, "is empty", remedy="write start, end, 42, +10, -10, 5:9 or @2024-05-01")
    if "%" in spec:
        raise OffsetError(text, "looks like a format", remedy=f"formats follow -F: -F {text!r}")
    if spec.lower() == "stored":
        raise OffsetError(
            text, "is the position of a group", remedy="name the group with --group and leave -o out"
        )
    if spec.lower() in ("json", "text"):
        raise OffsetError(text, "looks like an output format", remedy="print envelopes with --json")
