"""Narrowing batches to the records that are wanted: by key, by text, by time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from storage.batch import Batch

Filter = Callable[[Batch], list[int]]


def selection(
    *,
    offsets: Sequence[str] = (),
    key: str | None = None,
    grep: str | None = None,
    since: str | None = None,
    until: str | None = None,
    now_ms: int,
) -> tuple[Callable[[Batch], Batch | None] | None, int | None]:
    """A function that narrows a batch, or `None` where all is wanted; and where its times end, in ms UTC.

    `offsets` are the specs of `storage.assign.assign`: a range that ends at a time is a range of times.
    """
    from storage.grep import compile_pattern, filter_batch_key, filter_batch_lines

    filters: list[Filter] = []
    since_ms, until_ms = _time_range(offsets, since, until, now_ms)
    if since_ms is not None or until_ms is not None:
        filters.append(lambda batch: filter_batch_time(batch, since_ms, until_ms))
    if key is not None:
        filters.append(lambda batch: filter_batch_key(batch, key))
    if grep is not None:
        pattern = compile_pattern(grep)
        filters.append(lambda batch: filter_batch_lines(batch, pattern))
    if not filters:
        return None, until_ms
    return lambda batch: _narrow(batch, filters), until_ms


def _time_range(
    offsets: Sequence[str], since: str | None, until: str | None, now_ms: int
) -> tuple[int | None, int | None]:
    from storage.times import parse_time

    starts = [] if since is None else [parse_time(since, now_ms=now_ms)]
    ends = [] if until is None else [parse_time(until, now_ms=now_ms)]
    if offsets:
        from storage.offsets import parse_offset_specs

        wanted = parse_offset_specs(offsets, now_ms=now_ms)
        if wanted.end is not None and wanted.end.kind == "time":
            ends.append(wanted.end.number)
            if wanted.start.kind == "time":
                starts.append(wanted.start.number)
    return max(starts, default=None), min(ends, default=None)


def _narrow(batch: Batch, filters: list[Filter]) -> Batch | None:
    for wanted in filters:
        indexes = wanted(batch)
        if not indexes:
            return None
        if len(indexes) < batch.count:
            batch = batch.select(indexes)
    return batch


def filter_batch_time(batch: Batch, since_ms: int | None, until_ms: int | None) -> list[int]:
    """The places of the records from `since_ms` on and before `until_ms`."""
    low = -1 if since_ms is None else since_ms
    high = 1 << 62 if until_ms is None else until_ms
    times = batch.timestamps_ms()
    if times is None:
        return list(range(batch.count)) if low <= batch.append_time_ms < high else []
    return [index for index, time in enumerate(times) if low <= time < high]
