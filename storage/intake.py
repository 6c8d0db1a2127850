"""The intake of a publish: from blocks of input to batches for the partitions of one topic.

It puts together what a publish was asked for: how lines become values, where keys, headers, timestamps and
partitions come from. It touches single records only where a record itself says something (an envelope).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from storage.batch import RecordBatch
from storage.envelope_reader import Envelopes, decode_envelopes
from storage.errors import InvalidRecordError, SettingError
from storage.keys import KEYLESS, KeyDelimiter, KeyField, partitions_for, route
from storage.lines import ERRORS_KEPT, LineChecker
from storage.store import Append, Store
from storage.timestamp_field import TimestampField
from storage.topic import Topic

# What an envelope may add to the value that it holds: key, headers, names.
_ENVELOPE_BYTES_MAX = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeOptions:
    """How input becomes records. Keys and headers are raw JSON text; `partition` fixes the partition.

    `key_field` names the field that is the key, `key_delimiter` what ends a key in front of a value.
    `expect_offset` makes the first append conditional; it needs one partition.
    """

    max_record_bytes: int
    key: bytes | None = None
    key_field: str | None = None
    key_delimiter: bytes | None = None
    headers: bytes | None = None
    partition: int | None = None
    timestamp_ms: int | None = None
    timestamp_field: str | None = None
    text: bool = False
    envelope: bool = False
    empty_is_null: bool = False
    on_error: Literal["stop", "skip"] = "stop"
    expect_offset: int | None = None


class Intake:
    """The state of one publish: the number of the next line, what was left out, whose turn it is."""

    def __init__(self, store: Store, topic: Topic, options: IntakeOptions) -> None:
        self._store = store
        self._topic = topic
        self._options = options
        self._expect_offset = options.expect_offset
        if options.expect_offset is not None and options.partition is None and topic.partitions > 1:
            raise SettingError(
                "expect-offset", f"is for one partition and '{topic.name}' has several", remedy="add -p N"
            )
        key_field = options.key_field
        # A declared key is a field of the message; a key given otherwise is stored beside it.
        if key_field is None and options.key is None and options.key_delimiter is None:
            key_field = None if options.envelope or options.text else topic.settings.key
        self._stores_keys = key_field != topic.settings.key
        keys: KeyField | KeyDelimiter | None = None
        if key_field is not None:
            keys = KeyField(key_field)
        elif options.key_delimiter is not None:
            keys = KeyDelimiter(options.key_delimiter)
            self._stores_keys = True
        self._checker = LineChecker(
            max_record_bytes=options.max_record_bytes,
            keys=keys,
            text=options.text,
            empty_is_null=options.empty_is_null,
            on_error=options.on_error,
        )
        self._timestamps = (
            TimestampField(options.timestamp_field) if options.timestamp_field is not None else None
        )
        # Envelopes are counted here; the checker then sees only their values.
        self._next_line = 1
        self._values = LineChecker(max_record_bytes=options.max_record_bytes)
        self._values_taken = 0
        self._refused_envelopes = 0
        self._envelope_refusals: list[InvalidRecordError] = []

    @property
    def blank_lines(self) -> int:
        return self._checker.blank_lines

    @property
    def refused_lines(self) -> int:
        return self._checker.refused_lines + self._refused_envelopes

    @property
    def refusals(self) -> list[InvalidRecordError]:
        """The first of the lines that were skipped."""
        return self._checker.errors or self._envelope_refusals

    def take(self, block: bytes) -> tuple[RecordBatch | None, InvalidRecordError | None]:
        """The records of a block of whole lines, and the error of the line that ended them."""
        if self._options.envelope:
            return self._take_envelopes(block)
        checked = self._checker.check(block)
        lines = checked.lines
        if not lines.count:
            return None, checked.error
        options = self._options
        times: list[int] | None = None
        if options.timestamp_ms is not None:
            times = [options.timestamp_ms] * lines.count
        elif self._timestamps is not None:
            times = self._timestamps.read(lines.data, lines.line_of)
        keys = lines.keys
        if options.key is not None:
            keys = [options.key] * lines.count
        batch = RecordBatch(
            lines=lines.data,
            count=lines.count,
            keys=keys,
            headers=None if options.headers is None else [options.headers] * lines.count,
            timestamps_ms=times,
        )
        return batch, checked.error

    def _take_envelopes(self, block: bytes) -> tuple[RecordBatch | None, InvalidRecordError | None]:
        first_line = self._next_line
        envelopes, error = self._decode(block)
        if not envelopes.count:
            return None, error
        checked = self._values.check(envelopes.lines)
        count = checked.lines.count
        if checked.error is not None:
            # The value breaks a limit that an envelope as such does not have. Name the envelope's line.
            numbers, at = envelopes.line_numbers, checked.error.line - self._values_taken - 1
            line = numbers[at] if numbers is not None else first_line + at
            error = InvalidRecordError(line, checked.error.reason, remedy=checked.error.remedy)
        self._values_taken += envelopes.count
        if not count:
            return None, error
        batch = RecordBatch(
            lines=checked.lines.data,
            count=count,
            keys=None if envelopes.keys is None else envelopes.keys[:count],
            headers=None if envelopes.headers is None else envelopes.headers[:count],
            timestamps_ms=None if envelopes.timestamps_ms is None else envelopes.timestamps_ms[:count],
        )
        return batch, error

    def _decode(self, block: bytes) -> tuple[Envelopes, InvalidRecordError | None]:
        """The envelopes of a block; those before the first bad one, or without the bad ones."""
        first_line = self._next_line
        self._next_line += block.count(b"\n") + (not block.endswith(b"\n"))
        try:
            return decode_envelopes(block, first_line=first_line), None
        except InvalidRecordError as error:
            lines = block.splitlines(keepends=True)
            first_error = error
        if self._options.on_error == "stop":
            good = b"".join(lines[: first_error.line - first_line])
            return decode_envelopes(good, first_line=first_line), first_error
        for index, line in enumerate(lines):
            try:
                decode_envelopes(line, first_line=first_line + index)
            except InvalidRecordError as error:
                self._refused_envelopes += 1
                if len(self._envelope_refusals) < ERRORS_KEPT:
                    self._envelope_refusals.append(error)
                lines[index] = b"\n"
        return decode_envelopes(b"".join(lines), first_line=first_line), None

    def check_rest(self, size_bytes: int) -> None:
        """Refuse a line that is over the limit of a record before its end was even read."""
        if size_bytes > self._options.max_record_bytes + _ENVELOPE_BYTES_MAX * self._options.envelope + 1:
            raise self._checker.too_long(size_bytes)

    def appends(self, batches: Sequence[RecordBatch]) -> list[Append]:
        """Which partition gets what, order kept within each."""
        expect, self._expect_offset = self._expect_offset, None
        by_partition: dict[int, list[RecordBatch]] = {}
        for batch in batches:
            for partition, part in self._route(batch).items():
                by_partition.setdefault(partition, []).append(part)
        return [
            Append(topic=self._topic.name, partition=partition, batches=parts, expect_offset=expect)
            for partition, parts in by_partition.items()
        ]

    def _route(self, batch: RecordBatch) -> dict[int, RecordBatch]:
        fixed, partitions = self._options.partition, self._topic.partitions
        if fixed is not None or partitions == 1:
            return {fixed or 0: self._stored(batch)}
        if batch.keys is None:
            return {self._store.choose_partition(self._topic.name): self._stored(batch)}
        chosen = partitions_for(batch.keys, partitions)
        if KEYLESS in chosen:
            turn = self._store.choose_partition(self._topic.name)
            chosen = [turn if partition == KEYLESS else partition for partition in chosen]
        return {partition: self._stored(part) for partition, part in route(batch, chosen).items()}

    def _stored(self, batch: RecordBatch) -> RecordBatch:
        """The batch without the keys that its values hold already."""
        if batch.keys is None or self._stores_keys or self._options.key is not None:
            return batch
        if self._options.envelope:
            return batch
        return RecordBatch(
            lines=batch.lines,
            count=batch.count,
            headers=batch.headers,
            timestamps_ms=batch.timestamps_ms,
        )
