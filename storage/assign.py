"""Where to consume from: offset specs, times and counts, resolved for each partition of each topic."""

from __future__ import annotations

from collections.abc import Sequence

from storage.consume import Assignment
from storage.offsets import Position, Range, parse_offset_specs, resolve
from storage.reader import Gap, LogReader
from storage.store import Store


def assign(
    store: Store,
    topics: Sequence[str],
    *,
    partitions: Sequence[int] | None = None,
    offsets: Sequence[str] = (),
    since: str | None = None,
    last: int | None = None,
    follow: bool = False,
) -> list[Assignment]:
    """What to consume. Starts at the oldest record unless told otherwise, with `follow` at the newest.

    Raises OffsetError or TimeError for a spec that is none, `TopicNotFoundError`, `PartitionNotFoundError`.
    """
    from storage.times import parse_time

    now_ms = store.clock_ms()
    wanted = parse_offset_specs(offsets, now_ms=now_ms) if offsets else None
    since_ms = None if since is None else parse_time(since, now_ms=now_ms)
    readers = []
    for name in dict.fromkeys(topics):
        topic = store.topic(name)
        numbers = list(dict.fromkeys(partitions)) if partitions else list(range(topic.partitions))
        readers += [store.reader(topic.name, number) for number in numbers]
    if last is not None:
        return [
            _assignment(reader, start, None if follow else end)
            for reader, (start, end) in zip(readers, _last(store, readers, last), strict=True)
        ]
    chosen = []
    for reader in readers:
        start, end = _resolved(reader, wanted, since_ms, follow)
        chosen.append(_assignment(reader, start, end))
    return chosen


def _assignment(reader: LogReader, start: int, end: int | None) -> Assignment:
    return Assignment(topic=reader.topic.name, partition=reader.partition, start_offset=start, end_offset=end)


def _resolved(
    reader: LogReader, wanted: Range | None, since_ms: int | None, follow: bool
) -> tuple[int, int | None]:
    """Start and end in one partition; without an end it goes on and on."""
    start_offset, end_offset = reader.start_offset, reader.end_offset
    open_end = None if follow else end_offset
    if wanted is None:
        if since_ms is not None:
            return reader.offset_at_time(since_ms), open_end
        return (end_offset if follow else start_offset), open_end

    def resolved(position: Position) -> int:
        return resolve(
            position,
            start_offset=start_offset,
            end_offset=end_offset,
            offset_at_time=reader.offset_at_time,
        )

    start = resolved(wanted.start)
    if since_ms is not None:
        start = max(start, reader.offset_at_time(since_ms))
    if wanted.end is None or wanted.end.kind == "time":
        # Records may carry times out of order: those from the end of a range on are left out one by one
        # (`storage.select`), so that none before it is lost.
        return start, open_end
    if follow and wanted.end.kind == "absolute":
        return start, wanted.end.number
    return start, resolved(wanted.end)


def _last(store: Store, readers: list[LogReader], count: int) -> list[tuple[int, int]]:
    """Where each partition's part of the newest `count` records (by append time) begins and ends."""
    ends = [reader.end_offset for reader in readers]
    if len(readers) == 1:
        return [(max(readers[0].start_offset, ends[0] - count), ends[0])]
    newest: list[tuple[int, int, int]] = []
    for number, (reader, end) in enumerate(zip(readers, ends, strict=True)):
        start = max(reader.start_offset, end - count)
        for batch in store.batches(reader.topic.name, reader.partition, start_offset=start, end_offset=end):
            if not isinstance(batch, Gap):
                newest += [(batch.append_time_ms, number, offset) for offset in batch.offsets()]
    newest.sort()
    starts = list(ends)
    for _, number, offset in newest[max(0, len(newest) - count) :]:
        starts[number] = min(starts[number], offset)
    return list(zip(starts, ends, strict=True))
