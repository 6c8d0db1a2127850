"""The intake of a publish: from blocks of input to batches for the partitions of one topic.

It puts together what a publish was asked for: how lines become values, where keys, headers, timestamps and
partitions come from. It touches single records only where a record itself says something (an envelope).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Literal, TypeVar

import msgspec

from storage.batch import RecordBatch, merged
from storage.errors import InvalidRecordError, PartitionNotFoundError, SettingError
from storage.keys import KEYLESS, KeyDelimiter, KeyField, PlacedBatch, keys_of_lines, partitions_for, route
from storage.lines import ERRORS_KEPT, LineChecker, Lines, single_value
from storage.store import Append, Store
from storage.timestamp_field import NO_TIME, TimestampField
from storage.topic import Topic

if TYPE_CHECKING:
    from storage.envelope_reader import Envelopes

# What an envelope may add to the value that it holds: key, headers, names.
_ENVELOPE_BYTES_MAX = 1024 * 1024
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_Item = TypeVar("_Item")


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
        _check_partition(topic, options)
        key_field = options.key_field
        # A declared key is a field of the message; a key given otherwise is stored beside it.
        if key_field is None and options.key is None and options.key_delimiter is None:
            key_field = None if options.envelope or options.text else topic.settings.key
        self._stores_keys = key_field != topic.settings.key
        self._keys: KeyField | KeyDelimiter | None = None
        if key_field is not None:
            self._keys = KeyField(key_field)
        elif options.key_delimiter is not None:
            self._keys = KeyDelimiter(options.key_delimiter)
            self._stores_keys = True
        self._timestamps = (
            TimestampField(options.timestamp_field) if options.timestamp_field is not None else None
        )
        # For envelopes the checker sees only their values, and `_next_line` counts the lines.
        self._checker = LineChecker(
            max_record_bytes=options.max_record_bytes,
            keys=self._keys,
            text=options.text,
            empty_is_null=options.empty_is_null and not options.envelope,
            on_error=options.on_error,
        )
        self._next_line = 1
        self._values_taken = 0
        self._blank_envelopes = 0
        self._refused = 0
        self._refusals: list[InvalidRecordError] = []

    @property
    def sorts_late(self) -> bool:
        """Whether records are sorted into partitions only when they are appended."""
        has_keys = self._keys is not None or self._options.envelope
        return self._is_sorted and has_keys and not self._sorts_early

    @property
    def _is_sorted(self) -> bool:
        """Whether each record may go to another partition than the one before."""
        return self._topic.partitions > 1 and self._options.partition is None

    @property
    def _sorts_early(self) -> bool:
        """Whether records are sorted while they are checked: where there is nothing to them but keys."""
        options = self._options
        if self._keys is None or not self._is_sorted or options.envelope:
            return False
        if options.key is not None or options.headers is not None:
            return False
        if options.timestamp_ms is not None or self._timestamps is not None:
            return False
        # Beside a declared key, only those are stored that the values do not hold: that takes a second look.
        return not self._stores_keys or self._topic.settings.key is None

    @property
    def blank_lines(self) -> int:
        return self._checker.blank_lines + self._blank_envelopes

    @property
    def refused_lines(self) -> int:
        return self._checker.refused_lines + self._refused

    @property
    def refusals(self) -> list[InvalidRecordError]:
        """The first of the lines that were skipped, in their order."""
        found = self._refusals if self._options.envelope else self._refusals + self._checker.errors
        return sorted(found, key=attrgetter("line"))[:ERRORS_KEPT]

    def take(self, block: bytes) -> tuple[list[RecordBatch], InvalidRecordError | None]:
        """The records of a block of whole lines, and the error of the line that ended them."""
        if not block:
            return [], None
        if self._options.envelope:
            batch, error = self._take_envelopes(block)
        else:
            checker = self._checker
            if checker.router is None and self._sorts_early:
                from storage.router import Router

                checker.router = Router(self._topic.partitions, stores_keys=self._stores_keys)
            checked = checker.check(block)
            if checker.router is not None:
                return checker.router.take(), checked.error
            batch, error = self._finished(checked.lines, checked.error)
        return [] if batch is None else [batch], error

    def take_values(self, values: Sequence[bytes]) -> RecordBatch | None:
        """The records of values given one by one. Raises `InvalidRecordError`, which has their number."""
        options, keys = self._options, []
        lines = []
        for number, given in enumerate(values, start=1):
            value = given
            if isinstance(self._keys, KeyDelimiter):
                key, value = self._keyed_value(self._keys, value, number)
                keys.append(key)
            # The checks below find the real limit; this one is there for what `single_value` makes longer.
            value = single_value(
                value,
                max_record_bytes=options.max_record_bytes + _ENVELOPE_BYTES_MAX * options.envelope,
                text=options.text,
                empty_is_null=options.empty_is_null and not options.envelope,
                number=number,
            )
            lines.append(value + b"\n")
        if options.envelope:
            batch, error = self._take_envelopes(b"".join(lines))
        else:
            field = self._keys if isinstance(self._keys, KeyField) else None
            checker = LineChecker(max_record_bytes=options.max_record_bytes, keys=field)
            checked = checker.check(b"".join(lines))
            taken = checked.lines if field is not None else replace(checked.lines, keys=keys or None)
            batch, error = self._finished(taken, checked.error)
        if error is not None:
            raise error
        if self._refusals:
            raise self._refusals[0]
        return batch

    def _keyed_value(self, keys: KeyDelimiter, value: bytes, number: int) -> tuple[bytes, bytes]:
        problem = keys.problem(value)
        if problem is not None:
            raise InvalidRecordError(number, problem.reason, remedy=problem.remedy)
        key, _, rest = value.partition(keys.delimiter)
        return msgspec.json.encode(key.decode()), rest

    def _finished(
        self, lines: Lines, error: InvalidRecordError | None
    ) -> tuple[RecordBatch | None, InvalidRecordError | None]:
        """Checked lines with all else that they were asked to carry."""
        if not lines.count:
            return None, error
        options = self._options
        times: list[int] | None = None
        if options.timestamp_ms is not None:
            times = [options.timestamp_ms] * lines.count
        elif self._timestamps is not None:
            times = self._timestamps.read(lines.data)
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
        if self._timestamps is None or times is None or NO_TIME not in times:
            return batch, error
        refusals = [
            self._timestamps.refusal(lines.line_of(index))
            for index, time in enumerate(times)
            if time == NO_TIME
        ]
        if options.on_error == "stop":
            # It comes before the line that ended the block, if one did.
            return _select(batch, range(times.index(NO_TIME))), refusals[0]
        self._skip(refusals)
        return _select(batch, [index for index, time in enumerate(times) if time != NO_TIME]), error

    def _skip(self, refusals: list[InvalidRecordError]) -> None:
        self._refused += len(refusals)
        self._refusals += refusals[: ERRORS_KEPT - len(self._refusals)]

    def _take_envelopes(self, block: bytes) -> tuple[RecordBatch | None, InvalidRecordError | None]:
        first_line = self._next_line
        envelopes, error = self._decode(block.removeprefix(_BYTE_ORDER_MARK) if first_line == 1 else block)
        if not envelopes.count:
            return None, error
        refused_before = self._checker.refused_lines
        checked = self._checker.check(envelopes.lines)
        batch = RecordBatch(
            lines=envelopes.lines,
            count=envelopes.count,
            keys=envelopes.keys,
            headers=envelopes.headers,
            timestamps_ms=envelopes.timestamps_ms,
        )
        taken, self._values_taken = self._values_taken, self._values_taken + envelopes.count
        if checked.error is None and checked.lines.count == envelopes.count:
            return batch, error

        # Values break limits that envelopes as such do not have. Name the envelopes' lines.
        def named(refusal: InvalidRecordError) -> InvalidRecordError:
            at = refusal.line - taken - 1
            line = envelopes.line_numbers[at] if envelopes.line_numbers is not None else first_line + at
            return InvalidRecordError(line, refusal.reason, remedy=refusal.remedy)

        if checked.error is not None:
            return _select(batch, range(checked.lines.count)), named(checked.error)
        self._refusals += map(named, self._checker.errors[refused_before:])
        dropped = set(checked.lines.dropped)
        return _select(batch, [index for index in range(batch.count) if index not in dropped]), error

    def _decode(self, block: bytes) -> tuple[Envelopes, InvalidRecordError | None]:
        """The envelopes of a block; those before the first bad one, or without the bad ones."""
        first_line = self._next_line
        self._next_line += block.count(b"\n") + (not block.endswith(b"\n"))
        from storage.envelope_reader import decode_envelopes

        try:
            envelopes = decode_envelopes(block, first_line=first_line)
            self._blank_envelopes += envelopes.blank_lines
            return envelopes, None
        except InvalidRecordError as error:
            lines = block.removesuffix(b"\n").split(b"\n")
            first_error = error
        if self._options.on_error == "stop":
            good = b"\n".join([*lines[: first_error.line - first_line], b""])
            return decode_envelopes(good, first_line=first_line), first_error
        refusals = []
        for index, line in enumerate(lines):
            try:
                decode_envelopes(line, first_line=first_line + index)
            except InvalidRecordError as error:
                refusals.append(error)
                lines[index] = b""
        self._skip(refusals)
        envelopes = decode_envelopes(b"\n".join([*lines, b""]), first_line=first_line)
        self._blank_envelopes += envelopes.blank_lines - len(refusals)
        return envelopes, None

    def refuse_rest(self, size_bytes: int) -> bool:
        """Look at the unfinished line that `size_bytes` were read of, which may be over the limit already.

        Says whether to skip it; raises `InvalidRecordError` where such lines are not skipped.
        """
        options = self._options
        if size_bytes <= options.max_record_bytes + _ENVELOPE_BYTES_MAX * options.envelope + 1:
            return False
        error = self._checker.too_long(size_bytes)
        if options.envelope:
            error = InvalidRecordError(self._next_line, error.reason, remedy=error.remedy)
        if options.on_error == "stop":
            raise error
        self._skip([error])
        self._next_line += 1
        if not options.envelope:
            self._checker.next_line += 1
        return True

    def appends(self, batches: Sequence[RecordBatch]) -> list[Append]:
        """Which partition gets what, order kept within each."""
        expect, self._expect_offset = self._expect_offset, None
        by_partition: dict[int, list[RecordBatch]] = {}
        for batch in batches:
            for partition, part in self._route(batch).items():
                by_partition.setdefault(partition, []).append(part)
        return [
            Append(topic=self._topic.name, partition=partition, batches=merged(parts), expect_offset=expect)
            for partition, parts in by_partition.items()
        ]

    def _route(self, batch: RecordBatch) -> dict[int, RecordBatch]:
        if isinstance(batch, PlacedBatch):
            return {batch.partition: batch}
        fixed, partitions = self._options.partition, self._topic.partitions
        if fixed is not None or partitions == 1:
            return {fixed or 0: self._stored(batch)}
        keys = batch.keys
        if self._options.envelope and self._topic.settings.key is not None:
            keys = self._all_keys(batch, self._topic.settings.key)
        if keys is None:
            return {self._turn(): self._stored(batch)}
        chosen = partitions_for(keys, partitions)
        if KEYLESS in chosen:
            turn = self._turn()
            chosen = [turn if partition == KEYLESS else partition for partition in chosen]
        return {partition: self._stored(part) for partition, part in route(batch, chosen).items()}

    def _turn(self) -> int:
        """The partition for those records of a batch that have no key."""
        return self._store.choose_partition(self._topic.name)

    def _all_keys(self, batch: RecordBatch, field: str) -> list[bytes]:
        """The keys as readers will see them: a record without one of its own has that of its field."""
        derived = _derived(batch, field)
        if batch.keys is None:
            return derived
        return [other if own == b"null" else own for own, other in zip(batch.keys, derived, strict=True)]

    def _stored(self, batch: RecordBatch) -> RecordBatch:
        """The batch without the keys that its values hold already."""
        field = self._topic.settings.key
        if batch.keys is None or field is None:
            return batch
        if not self._stores_keys and self._options.key is None:
            return batch.with_keys(None)
        derived = _derived(batch, field)
        own = [b"null" if key == other else key for key, other in zip(batch.keys, derived, strict=True)]
        return batch.with_keys(None if set(own) == {b"null"} else own)


def _derived(batch: RecordBatch, field: str) -> list[bytes]:
    return [key or b"null" for key in keys_of_lines(batch.lines, field)]


def _check_partition(topic: Topic, options: IntakeOptions) -> None:
    """Refuse at once what no append could carry out."""
    if options.partition is not None and not 0 <= options.partition < topic.partitions:
        raise PartitionNotFoundError(topic.name, options.partition, topic.partitions)
    if options.expect_offset is not None and options.partition is None and topic.partitions > 1:
        raise SettingError(
            "expect-offset", f"is for one partition and '{topic.name}' has several", remedy="add -p N"
        )


def _select(batch: RecordBatch, indexes: Sequence[int]) -> RecordBatch | None:
    """The records at these places, ascending; `None` if there are none."""
    if not indexes:
        return None

    def picked(column: list[_Item]) -> list[_Item]:
        return [column[index] for index in indexes]

    return RecordBatch(
        lines=b"\n".join([*picked(batch.lines.split(b"\n")), b""]),
        count=len(indexes),
        keys=None if batch.keys is None else picked(batch.keys),
        headers=None if batch.headers is None else picked(batch.headers),
        timestamps_ms=None if batch.timestamps_ms is None else picked(batch.timestamps_ms),
    )
