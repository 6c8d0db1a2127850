"""Lines that name their topic themselves: each goes to the topic of the name in one of its fields.

Promises: every line has such a field, and it names a topic that exists, or the line is refused with its
number; messages of one topic keep their order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import compress, count, islice
from operator import attrgetter, itemgetter
from typing import Any

import msgspec

from storage.append import LOGS_MAX
from storage.atomic import Gathered
from storage.batch import RecordBatch
from storage.errors import InvalidNameError, InvalidRecordError, TopicNotFoundError
from storage.intake import Intake
from storage.keys import KeyField, KeysRefused, route
from storage.line_problem import Problem
from storage.lines import LineChecker, Lines
from storage.publish import Published
from storage.store import Append


class TopicField(KeyField):
    """The field that names the topic: at the top level of the line, a string."""

    def joined(self, decoded: Iterable[Any]) -> bytes:
        names = super().joined(decoded)
        # All of them are strings if a quote is the first byte of each.
        if not names.startswith(b'"') or names.count(b"\n") != names.count(b'\n"'):
            raise KeysRefused
        return names

    def problem(self, value: bytes) -> Problem | None:
        problem = super().problem(value)
        if problem is None and not super().joined([self.decode(value)]).startswith(b'"'):
            problem = self._problem("it is a number")
        return problem

    def _problem(self, reason: str) -> Problem:
        return Problem(
            f"no topic in field '{self.name}': {reason}",
            "a topic's name is a string at the top level of the line",
        )


class ManyTopics:
    """What is gathered for the topics that the lines name: see `storage.atomic.publish_atomic`.

    `intake_of` makes the intake of a topic and raises `TopicNotFoundError` for one that does not exist. A
    line may have `line_bytes_max` bytes, besides the limit that its topic has for a message.
    """

    def __init__(self, field: str, intake_of: Callable[[str], Intake], *, line_bytes_max: int) -> None:
        self._intake_of = intake_of
        self._checker = LineChecker(max_record_bytes=line_bytes_max, keys=TopicField(field))
        self._line_bytes_max = line_bytes_max
        self._topics: list[Gathered] = []
        self._given: list[int] = []
        self._numbers: dict[bytes, int] = {}

    def take(self, block: bytes) -> InvalidRecordError | None:
        if not block:
            return None
        checked = self._checker.check(block)
        lines = checked.lines
        if not lines.count:
            return checked.error
        assert lines.keys is not None
        # A line that names no topic comes before the one that ended the block, if one did.
        return self._open_topics(lines, lines.keys) or self._distribute(lines, lines.keys) or checked.error

    def _open_topics(self, lines: Lines, names: list[bytes]) -> InvalidRecordError | None:
        """Find the topics that were not named before; returns the error of the first that does not exist."""
        if set(names) <= self._numbers.keys():
            return None
        # Of several lines that name a topic the first one wins, since it comes last here.
        first = dict(zip(reversed(names), range(len(names) - 1, -1, -1), strict=True))
        for name, index in sorted(first.items(), key=itemgetter(1)):
            if name in self._numbers:
                continue
            line = lines.line_of(index)
            if len(self._topics) >= LOGS_MAX:
                reason = f"the input up to here goes to more than {LOGS_MAX} topics"
                return InvalidRecordError(line, reason, remedy="publish it in parts")
            try:
                intake = self._intake_of(msgspec.json.decode(name, type=str))
            except (TopicNotFoundError, InvalidNameError) as error:
                reason, _, remedy = str(error).rpartition("; ")
                return InvalidRecordError(line, reason, remedy=remedy)
            self._numbers[name] = len(self._topics)
            self._topics.append(Gathered(intake))
            self._given.append(0)
        return None

    def _distribute(self, lines: Lines, names: list[bytes]) -> InvalidRecordError | None:
        """Give each topic its lines; returns the error of the first line that its topic refuses."""
        numbers = list(map(self._numbers.__getitem__, names))
        errors = []
        for number, part in route(RecordBatch(lines=lines.data, count=lines.count), numbers).items():
            before, self._given[number] = self._given[number], self._given[number] + part.count
            error = self._topics[number].take(part.lines)
            if error is not None:
                own = compress(count(), map(number.__eq__, numbers))
                index = next(islice(own, error.line - 1 - before, None))
                errors.append(InvalidRecordError(lines.line_of(index), error.reason, remedy=error.remedy))
        return min(errors, key=attrgetter("line"), default=None)

    def refuse_rest(self, size_bytes: int) -> bool:
        if size_bytes > self._line_bytes_max:
            raise self._checker.too_long(size_bytes)
        return False

    def drain(self) -> list[Append]:
        return [append for topic in self._topics for append in topic.drain()]

    def count(self, done: Published) -> None:
        done.blank_lines += self._checker.blank_lines
