"""The input of a producer: what it published already is skipped, the rest is published step by step.

Where a message goes depends on the input alone, never on how it was read: a message with a key goes to the
partition of its key; of those without, `LINES_A_TURN` lines go to one partition, then as many to the next:
line n, counted from 0 over all of the input, blank lines too, to (n // LINES_A_TURN) modulo the partitions.

Promises: messages of one partition have the order of the input; an input that does not begin with what was
published is refused before anything is stored; a last line without a line end is refused, since one that was
cut would be published as another line than the one that comes when the input is given again.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

from storage.batch import Receipt, RecordBatch
from storage.checksum import extend
from storage.errors import InvalidRecordError
from storage.intake import Intake, IntakeOptions
from storage.producer import PARTITIONS_MAX, Producer, Progress, too_many_partitions
from storage.producer_errors import InputChangedError
from storage.publish import LINGER_MS_DEFAULT, Commit, Published, publish_blocks
from storage.source import BLOCK_BYTES, Source
from storage.store import Append, Store
from storage.topic import Topic

LINES_A_TURN = 1000
# Looking for the end of so many lines: in steps of this size, each cut to a quarter where the end lies in it.
_LOOK_BYTES = 65_536
_LEAST_LOOK_BYTES = 64


def publish_resumable(
    store: Store,
    producer: Producer,
    topic: Topic,
    options: IntakeOptions,
    fd: int,
    *,
    name: str = "the input",
    linger_ms: int = LINGER_MS_DEFAULT,
    on_receipts: Callable[[list[Receipt]], None] | None = None,
    on_progress: Callable[[int], None] | None = None,
    published: Published | None = None,
) -> Published:
    """Publish what of `fd` the producer has not published to `topic` yet.

    `published.lines_before` is how many lines were skipped; the rest is as in `publish_stream`. Raises
    `InputChangedError` if those are not the first lines of the input, with nothing stored;
    `ProducerFencedError` if another run has taken over; and whatever `publish_stream` raises.
    """
    done = published if published is not None else Published()
    if options.partition is None and topic.partitions > PARTITIONS_MAX:
        raise too_many_partitions(topic, topic.partitions)
    before = producer.progress(topic)
    if before.lines:
        producer.show(topic)
    intake = NumberedIntake(store, topic, options, after=before)
    source = NumberedSource(fd, linger_ms=linger_ms, name=name)
    done.lines_before = before.lines
    skipped = source.skip_lines(before.lines, on_progress=on_progress)
    if skipped.lines < before.lines:
        raise InputChangedError(producer.name, topic.name, published_lines=before.lines, lines=skipped.lines)
    if before.crc32c is not None and skipped.crc32c != before.crc32c:
        raise InputChangedError(producer.name, topic.name, published_lines=before.lines)

    def append(appends: list[Append]) -> list[Receipt]:
        return producer.append(appends, topic, intake.routed)

    commit = Commit(append, intake, done, on_receipts, logs_a_step=PARTITIONS_MAX)
    try:
        publish_blocks(commit, intake, source, done, on_progress=on_progress)
    except InvalidRecordError:
        # What came before that line is stored: blank lines, too, need not be looked at again.
        producer.remember(topic, intake.taken)
        raise
    producer.remember(topic, intake.taken)
    return done


class NumberedSource(Source):
    """A source of which lines can be skipped before anything is read."""

    def __init__(self, fd: int, *, linger_ms: int, name: str) -> None:
        super().__init__(fd, linger_ms=linger_ms, name=name)
        self._unread = b""

    def skip_lines(self, count: int, *, on_progress: Callable[[int], None] | None = None) -> Progress:
        """Skip whole lines, `count` of them or all that there are; says how many, and their checksum."""
        skipped, crc = 0, 0
        while skipped < count and (piece := self._read()):
            lines = piece.count(b"\n")
            if skipped + lines >= count:
                lines = count - skipped
                end = end_of_lines(piece, 0, lines)
                assert end is not None
                piece, self._unread = piece[:end], piece[end:]
            skipped += lines
            crc = extend(crc, piece)
            if on_progress is not None:
                on_progress(len(piece))
        if self._is_file and self._unread:
            os.lseek(self._fd, -len(self._unread), os.SEEK_CUR)
            self._unread = b""
        return Progress(skipped, crc)

    def _read(self, size_bytes: int = BLOCK_BYTES) -> bytes:
        if self._unread:
            piece, self._unread = self._unread, b""
            return piece
        return super()._read(size_bytes)

    def _ready(self, timeout_seconds: float) -> bool:
        return bool(self._unread) or super()._ready(timeout_seconds)


class _Mark(NamedTuple):
    """Where in the input a batch ends, and the number of the turn that it lies in."""

    progress: Progress
    turn: int


class NumberedIntake(Intake):
    """An intake that knows how much of the input its batches are.

    `taken` is how much was taken in so far, `routed` how much of that has been given out by `appends`: these
    two are for the thread that reads and for the one that appends.
    """

    def __init__(self, store: Store, topic: Topic, options: IntakeOptions, *, after: Progress) -> None:
        super().__init__(store, topic, options)
        self._next_line = after.lines + 1
        if not options.envelope:
            self._checker.next_line = after.lines + 1
        self.taken = self.routed = after
        self._marks: deque[_Mark] = deque()
        self._turn_now = 0

    def take(self, block: bytes) -> tuple[list[RecordBatch], InvalidRecordError | None]:
        batches: list[RecordBatch] = []
        for piece in self._pieces(block) if self._takes_turns else [block]:
            more, error = self._take_piece(piece)
            batches += more
            if error is not None:
                return batches, error
        return batches, None

    @property
    def _takes_turns(self) -> bool:
        """Whether there may be records without a key, and several partitions for them."""
        return self._is_sorted and self._options.key is None and self._keys is None

    def _pieces(self, block: bytes) -> Iterator[bytes]:
        """The block, cut where another partition's turn is."""
        line, start = self.taken.lines, 0
        while start < len(block):
            left = LINES_A_TURN - line % LINES_A_TURN
            end = end_of_lines(block, start, left) or len(block)
            yield block[start:end]
            line += left
            start = end

    def _take_piece(self, piece: bytes) -> tuple[list[RecordBatch], InvalidRecordError | None]:
        before = self.taken
        if piece and not piece.endswith(b"\n"):
            reason = "it has no line end and may be cut"
            remedy = "end the last line with a line end and run the same command again"
            return [], InvalidRecordError(before.lines + 1, reason, remedy=remedy)
        batches, error = super().take(piece)
        if error is not None:
            piece = piece[: end_of_lines(piece, 0, error.line - 1 - before.lines)]
        crc = None if before.crc32c is None else extend(before.crc32c, piece)
        self.taken = Progress(before.lines + piece.count(b"\n"), crc)
        self._marks += [_Mark(self.taken, before.lines // LINES_A_TURN)] * len(batches)
        return batches, error

    def refuse_rest(self, size_bytes: int) -> bool:
        skips = super().refuse_rest(size_bytes)
        if skips:
            # Nobody reads the rest of the line, so nobody can know it again.
            self.taken = Progress(self.taken.lines + 1, None)
        return skips

    def _route(self, batch: RecordBatch) -> dict[int, RecordBatch]:
        self.routed, self._turn_now = self._marks.popleft()
        return super()._route(batch)

    def _turn(self) -> int:
        return self._turn_now % self._topic.partitions


def end_of_lines(data: bytes, start: int, count: int) -> int | None:
    """The position behind `count` lines from `start`, or `None` if `data` holds fewer."""
    size = _LOOK_BYTES
    while count:
        if start >= len(data):
            return None
        if size <= _LEAST_LOOK_BYTES:
            start = data.find(b"\n", start) + 1
            if not start:
                return None
            count -= 1
            continue
        found = data.count(b"\n", start, start + size)
        if found < count:
            start += size
            count -= found
        else:
            size //= 4
    return start
