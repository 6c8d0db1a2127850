"""Appending: one or more batches to one or more logs, all or nothing. FORMAT.md section 6.

The way of an append: reserve under the logs' locks; commit with one journal record; release; wait until the
record is durable; apply; acknowledge. Payloads above `PAYLOAD_BYTES_MAX` are written to the segment and
synced there under the lock, before the record that makes them count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from storage import checksum, files
from storage.batch import Receipt, RecordBatch
from storage.entry import HAS_META, Entry
from storage.errors import FencedError, OffsetConflictError
from storage.files import Sync
from storage.head import Tail
from storage.journal import Committed, Journal
from storage.journal_record import PAYLOAD_BYTES_MAX, Kind, Part
from storage.log import Log, advance
from storage.meta import encode_columns
from storage.segment import data_path, meta_path

# All that the parts of one record carry inline together.
_RECORD_PAYLOAD_BYTES_MAX = 1024 * 1024
# What one part carries inline; tests make it smaller.
INLINE_BYTES_MAX = PAYLOAD_BYTES_MAX
LOGS_MAX = 1024


class Append(msgspec.Struct, frozen=True, kw_only=True):
    """What goes to one partition in an atomic append. With `expect_offset` the partition must end there.

    `expect_fence` and `fence` are for logs whose owners change, see `Write`.
    """

    topic: str
    partition: int
    batches: Sequence[RecordBatch]
    expect_offset: int | None = None
    expect_fence: int | None = None
    fence: int | None = None


class Write(msgspec.Struct, frozen=True):
    """Batches for one log. With `expect_offset` the log must end there, or nothing of the append happens.

    With `expect_fence` the newest batch of the log must carry this fence; these carry `fence`, or the same.
    """

    log: Log
    batches: Sequence[RecordBatch]
    expect_offset: int | None = None
    expect_fence: int | None = None
    fence: int | None = None

    @property
    def lone_batch(self) -> RecordBatch | None:
        """Its only batch, if it rests on no condition and its fence is the newest one's."""
        unconditional = self.expect_offset is None and self.expect_fence is None and self.fence is None
        return self.batches[0] if unconditional and len(self.batches) == 1 else None


class _Plan(msgspec.Struct):
    """What an append will do to one log, worked out under its lock."""

    write: Write
    tail: Tail
    part: Part
    data: list[bytes]
    meta: bytes
    direct: bool


def append(
    journal: Journal,
    writes: Sequence[Write],
    *,
    clock_ms: Callable[[], int],
    lock_wait_seconds: float,
    durable: bool = True,
) -> list[Receipt]:
    """Append to all logs or to none; returns once it is durable (unless told otherwise) and visible.

    The logs must be distinct. Raises `OffsetConflictError`, `FencedError`, `TopicChangedError`,
    `LockTimeoutError`, `DiskFullError` or `StoreFailedError` with nothing stored; `SyncFailedError` in
    doubt; and `NotYetVisibleError` when it is committed all the same.
    """
    assert 0 < len(writes) <= LOGS_MAX
    journal.check_healthy()
    held: list[Log] = []
    # Segments are synced here too, and a sync of theirs that fails concerns everybody as the journal's do.
    with journal.failing():
        try:
            for write in writes if len(writes) == 1 else sorted(writes, key=_lock_order):
                write.log.lock.acquire(timeout_seconds=lock_wait_seconds)
                held.append(write.log)
            files.step("append.locked")
            now_ms = clock_ms()
            plans = _plan(writes, now_ms=now_ms, durable=durable)
            committed = _commit(journal, plans, now_ms=now_ms)
        finally:
            for log in held:
                log.lock.release()
        files.step("append.released")
        if durable:
            journal.wait_durable(committed.location.sequence)
        files.step("append.durable")
        receipts = []
        for write, part in zip(writes, committed.parts, strict=True):
            write.log.make_visible(part)
            receipts.append(_receipt(write, part))
        return receipts


def _lock_order(write: Write) -> bytes:
    return write.log.place.log_id


def _plan(writes: Sequence[Write], *, now_ms: int, durable: bool) -> list[_Plan]:
    """Check every condition, assign offsets and places, reserve the room. Changes nothing that lasts."""
    plans = []
    inline_bytes = 0
    for write in writes:
        log = write.log
        log.check_current()
        tail = log.load()
        if write.expect_offset is not None and write.expect_offset != tail.next_offset:
            # The answer rests on a tail that may not be durable yet: it may not be given before that is.
            log.finish_last(tail)
            raise OffsetConflictError(
                log.place.topic, log.place.partition, write.expect_offset, tail.next_offset
            )
        if write.expect_fence is not None and write.expect_fence != tail.fence:
            log.finish_last(tail)
            raise FencedError(log.place.topic, write.expect_fence, tail.fence)
        data_bytes = sum([len(batch.lines) for batch in write.batches])
        log.roll_if_due(tail, adding_bytes=data_bytes, now_ms=now_ms)
        plan = _lay_out(write, tail, now_ms=now_ms)
        size = data_bytes + len(plan.meta)
        plan.direct = size > INLINE_BYTES_MAX or inline_bytes + size > _RECORD_PAYLOAD_BYTES_MAX
        if plan.direct:
            # Cutting an abandoned range must never cut anything but that range.
            log.finish_last(tail)
        else:
            inline_bytes += size
            plan.part = Part(*plan.part[:6], b"".join(plan.data), plan.meta)
        if not durable:
            log.raise_ceiling(plan.part.entries[-1].last_offset + 1)
        log.reserve(tail, data_bytes=data_bytes, meta_bytes=len(plan.meta), slots=len(plan.part.entries))
        plans.append(plan)
    return plans


def _lay_out(write: Write, tail: Tail, *, now_ms: int) -> _Plan:
    append_time_ms = max(now_ms, tail.append_time_ms)
    max_timestamp_ms = tail.max_timestamp_ms
    offset, data_position, meta_position = tail.next_offset, tail.data_end, tail.meta_end
    fence = tail.fence if write.fence is None else write.fence
    entries, data, metas = [], [], []
    for batch in write.batches:
        meta = encode_meta(batch, offset)
        first_ms, newest_ms = timestamps_of(batch, append_time_ms)
        max_timestamp_ms = max(max_timestamp_ms, newest_ms)
        entries.append(
            Entry(
                HAS_META if meta else 0,
                offset,
                offset + batch.count - 1,
                batch.count,
                checksum.value(batch.lines),
                data_position,
                len(batch.lines),
                meta_position,
                len(meta),
                checksum.value(meta) if meta else 0,
                first_ms,
                max_timestamp_ms,
                append_time_ms,
                0,
                fence,
                0,
            )
        )
        offset += batch.count
        data_position += len(batch.lines)
        meta_position += len(meta)
        data.append(batch.lines)
        metas.append(meta)
    part = Part(Kind.BATCHES, write.log.place.log_id, tail.segment, tail.next_slot, tail.last, tuple(entries))
    return _Plan(write, tail, part, data, b"".join(metas), False)


def encode_meta(batch: RecordBatch, base_offset: int) -> bytes:
    if batch.keys is None and batch.headers is None and batch.timestamps_ms is None:
        return b""
    return encode_columns(
        base_offset=base_offset,
        count=batch.count,
        keys=batch.keys,
        headers=batch.headers,
        timestamps_ms=batch.timestamps_ms,
    )


def timestamps_of(batch: RecordBatch, append_time_ms: int) -> tuple[int, int]:
    """The first and the newest timestamp of a batch; a record without its own has that of its append."""
    own = batch.timestamps_ms
    if own is None:
        return append_time_ms, append_time_ms
    first = own[0] if own[0] >= 0 else append_time_ms
    newest = max(own)
    return first, max(newest, append_time_ms) if min(own) < 0 else newest


def _commit(journal: Journal, plans: list[_Plan], *, now_ms: int) -> Committed:
    direct = []
    for plan in plans:
        if plan.direct:
            direct.append(plan)
        plan.write.log.mark(plan.tail, bulk=plan.direct)
    # If anything fails from here on the heads stay dirty, and whoever takes a lock next looks behind the
    # mark: only the journal can tell whether this append happened.
    if direct:
        _write_direct(direct)
    committed = journal.append([plan.part for plan in plans], now_ms=now_ms)
    for plan, part in zip(plans, committed.parts, strict=True):
        advance(plan.tail, part, committed.location)
        plan.write.log.settle(plan.tail)
    return committed


def _write_direct(plans: list[_Plan]) -> None:
    """Write large payloads to their segments and make them durable, before the record that names them."""
    for plan in plans:
        segment = plan.write.log.segment(plan.tail.segment)
        files.write_pieces_at(segment.data_fd, plan.data, plan.tail.data_end)
        if plan.meta:
            files.write_at(segment.meta_fd, plan.meta, plan.tail.meta_end)
    files.step("bulk.written")
    for plan in plans:
        segment = plan.write.log.segment(plan.tail.segment)
        base = segment.base_offset
        files.sync(segment.data_fd, Sync.BULK_DATA, data_path(segment.directory, base))
        if plan.meta:
            files.sync(segment.meta_fd, Sync.BULK_META, meta_path(segment.directory, base))
            # An earlier append that made the file had its lines in the journal, and no need to sync it.
            segment.make_meta_findable()
    files.step("bulk.synced")


def _receipt(write: Write, part: Part) -> Receipt:
    return Receipt(
        topic=write.log.place.topic,
        partition=write.log.place.partition,
        base_offset=part.entries[0].base_offset,
        last_offset=part.entries[-1].last_offset,
        append_time_ms=part.entries[0].append_time_ms,
    )
