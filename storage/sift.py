"""Sifting: the good lines of a chunk that does not pass as a whole, found in small steps, then line by line.

Nothing here runs for good input, so it is imported only when some is not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from storage.errors import InvalidRecordError
from storage.keys import KeyDelimiter, KeyField
from storage.line_problem import Problem, json_problem, size_problem, text_problem
from storage.lines import ERRORS_KEPT, REFUSALS

_SIFT_LINES = 32


class Sifted(NamedTuple):
    """The good lines of a chunk that does not pass as a whole, and the positions in it of the others.

    `consumed` lines of the chunk are decided: all, or those before the one that the error names.
    """

    good: list[bytes]
    dropped: list[int]
    error: InvalidRecordError | None
    consumed: int


class Sifter:
    """Looks for refused and blank lines, and counts them; the options are those of a `LineChecker`."""

    def __init__(
        self,
        *,
        max_record_bytes: int,
        max_nesting: int,
        keys: KeyField | KeyDelimiter | None,
        text: bool,
        empty_is_null: bool,
        on_error: Literal["stop", "skip"],
    ) -> None:
        self.blank_lines = 0
        self.refused_lines = 0
        self.errors: list[InvalidRecordError] = []
        self._max_record_bytes = max_record_bytes
        self._max_nesting = max_nesting
        self._key_field = keys if isinstance(keys, KeyField) else None
        self._key_delimiter = keys if isinstance(keys, KeyDelimiter) else None
        self._text = text
        self._empty_is_null = empty_is_null
        self._skip = on_error == "skip"

    def sift(self, lines: list[bytes], *, first_line: int, take: Callable[[list[bytes]], object]) -> Sifted:
        """What is good in a chunk that does not pass, whose first line has the number `first_line`."""
        positions = self._positions_of_records(lines)
        records = [lines[position] for position in positions]
        if self._empty_is_null and not self._text:
            records = list(map(self._filled, records))
        good: list[int] = []
        for start in range(0, len(records), _SIFT_LINES):
            step = range(start, min(start + _SIFT_LINES, len(records)))
            try:
                take(records[step.start : step.stop])
                good += step
            except REFUSALS:
                for index in step:
                    problem = self._problem(records[index])
                    if problem is None:
                        good.append(index)
                        continue
                    error = self._refused(first_line + positions[index], problem)
                    if error is not None:
                        return self._sifted(records, positions, good, error, positions[index])
        return self._sifted(records, positions, good, None, len(lines))

    def _positions_of_records(self, lines: list[bytes]) -> list[int]:
        if self._text or (self._empty_is_null and self._key_delimiter is None):
            return list(range(len(lines)))
        return [position for position, line in enumerate(lines) if not line.isspace()]

    def _sifted(
        self,
        records: list[bytes],
        positions: list[int],
        good: list[int],
        error: InvalidRecordError | None,
        consumed: int,
    ) -> Sifted:
        kept = {positions[index] for index in good}
        dropped = [position for position in range(consumed) if position not in kept]
        recorded = len(positions) if error is None else positions.index(consumed)
        self.blank_lines += consumed - recorded
        return Sifted([records[index] for index in good], dropped, error, consumed)

    def _filled(self, line: bytes) -> bytes:
        """`line` with null in the place of a missing value."""
        if self._key_delimiter is None:
            return b"null\n" if line.isspace() else line
        _, delimiter, value = line.partition(self._key_delimiter.delimiter)
        return line[: -len(value)] + b"null\n" if delimiter and value.isspace() else line

    def _refused(self, line: int, problem: Problem) -> InvalidRecordError | None:
        """The error to stop with, or `None` if such lines are left out."""
        error = InvalidRecordError(line, problem.reason, remedy=problem.remedy)
        self.refused_lines += 1
        if not self._skip:
            return error
        if len(self.errors) < ERRORS_KEPT:
            self.errors.append(error)
        return None

    def _problem(self, line: bytes) -> Problem | None:
        if self._key_delimiter is not None:
            problem = self._key_delimiter.problem(line)
            if problem is not None:
                return problem
            line = line.partition(self._key_delimiter.delimiter)[2]
        value = line.removesuffix(b"\n")
        if self._text:
            if self._empty_is_null and not value:
                return size_problem(len(b"null"), max_record_bytes=self._max_record_bytes)
            return text_problem(value, max_record_bytes=self._max_record_bytes)
        problem = json_problem(value, max_record_bytes=self._max_record_bytes, max_nesting=self._max_nesting)
        if problem is None and self._key_field is not None:
            problem = self._key_field.problem(value)
        return problem
