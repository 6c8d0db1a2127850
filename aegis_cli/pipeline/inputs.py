"""What a pipeline reads, in one order: the batches of all its places by the time of their append.

Promise: two runs over the same messages see them in the same order, whether they were there at once or came
bit by bit, since of what is there the oldest comes first, and of equally old ones that of the first topic and
partition.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from storage.batch import Batch
from storage.entry import Entry
from storage.read_segment import ReadSegment
from storage.reader import Gap, LogReader
from storage.segment import index_path, segment_bases
from storage.store import Store
from storage.watch import Watch, open_watch

# Somebody may publish all the time: so often the ends of places are looked for at one moment.
_LOOKS_MAX = 20


@dataclass(frozen=True, slots=True)
class Chunk:
    """Records of one place. `next_position` is the place's position when they are done.

    `offsets` says where each one stands, `place` is what positions are kept by. `peers` are places that
    begin at the same time as this one, by topic and partition: what was appended at once is read one after
    the other, and yet none of it may be late for having come second. `batch` has the messages' keys, if they
    are asked for. Without lines it is a gap, behind which the place goes on.
    """

    topic: str
    partition: int
    place: str
    lines: bytes
    offsets: Sequence[int]
    append_time_ms: int
    next_position: int
    peers: Sequence[tuple[str, int]] = ()
    batch: Batch | None = None


def until(chunk: Chunk, position: int) -> Chunk:
    """The records of a chunk before the one at `position`, and the place at it."""
    index = list(chunk.offsets).index(position)
    lines = b"".join(line + b"\n" for line in chunk.lines.split(b"\n")[:index])
    return replace(chunk, lines=lines, offsets=chunk.offsets[:index], next_position=position)


class Inputs:
    """The messages of several topics from `positions` on; to the end as it is now, with `once`.

    A place without a position begins at its oldest message, or, with `from_end`, behind its newest; the
    topics in `whole` always begin at their oldest one. With `ends`, places end there; others are not read.
    `portion` is asked about how many records a chunk shall have, since between two of them a run looks
    whether it is to end; it has no more than about `chunk_bytes`, unless it is of a topic in `whole`.
    """

    def __init__(
        self,
        store: Store,
        topics: Sequence[str],
        positions: dict[str, int],
        *,
        once: bool,
        from_end: bool = False,
        whole: Sequence[str] = (),
        ends: Mapping[str, int] | None = None,
        records_max: int = 1 << 30,
        portion: Callable[[], int] | None = None,
        chunk_bytes: int = 1 << 30,
        on_gap: Callable[[Gap], None] | None = None,
    ) -> None:
        self._store = store
        self._topics = sorted(topics)
        self._positions = positions
        self._once = once
        self._from_end = from_end
        self._whole = whole
        self._ends = ends
        self._records_max = records_max
        self._portion = portion
        self._chunk_bytes = chunk_bytes
        self._on_gap = on_gap
        self._places: dict[str, _Place] = {}
        self._met: set[str] = set()
        self._chunks: Iterator[Chunk] = iter(())
        self._watch: Watch | None = None
        self.look_around()

    def look_around(self) -> None:
        """Find partitions that were added, and what dead publishers committed and did not show."""
        new: dict[str, LogReader] = {}
        begins_at_end: set[str] = set()
        for name in self._topics:
            topic = self._store.topic(name)
            prefix = f"{name}|{topic.topic_id.hex()}|"
            # A partition that was added since the pipeline began has nothing that it is not to see.
            from_end = self._from_end and name not in self._whole
            from_end = from_end and not any(key.startswith(prefix) for key in self._positions)
            for number in range(topic.partitions):
                key = f"{prefix}{number}"
                reader = self._store.reader(name, number)
                if key in self._places or (self._ends is not None and key not in self._ends):
                    continue
                new[key] = reader
                if from_end:
                    begins_at_end.add(key)
        found = _ends_at_once(new) if self._once or begins_at_end else {}
        for key, reader in new.items():
            start = self._positions.get(key)
            if start is None:
                start = found[key] if key in begins_at_end else reader.start_offset
                self._positions[key] = start
            end = found[key] if self._once else None
            if self._ends is not None:
                end = self._ends[key]
            self._places[key] = _Place(key, reader, start, end)

    def take(self) -> Chunk | None:
        """The next chunk, or `None` where nothing is there (yet)."""
        while True:
            chunk = next(self._chunks, None)
            if chunk is not None:
                return chunk
            place = self._oldest()
            if place is None:
                return None
            peers = self._peers(place)
            batch = place.pop()
            if isinstance(batch, Gap):
                if self._on_gap is not None:
                    self._on_gap(batch)
                # Where the position is depends on what came before it, which may not be processed yet.
                return _behind(batch, place.key)
            elif batch is not None:
                self._chunks = self._pieces(place, batch, peers)

    def _oldest(self) -> _Place | None:
        oldest, oldest_ms = None, 0
        for place in self._places.values():
            append_time_ms = place.head_time_ms()
            if append_time_ms is not None and (oldest is None or append_time_ms < oldest_ms):
                oldest, oldest_ms = place, append_time_ms
        return oldest

    def _peers(self, place: _Place) -> list[tuple[str, int]]:
        """The places that were not read yet and have something as old as this one."""
        if len(self._met) == len(self._places):
            return []
        time_ms = place.head_time_ms()
        new = [
            other
            for other in self._places.values()
            if other.key not in self._met and other.head_time_ms() == time_ms
        ]
        self._met.update(other.key for other in new)
        return [(other.reader.topic.name, other.reader.partition) for other in new]

    def _pieces(self, place: _Place, batch: Batch, peers: Sequence[tuple[str, int]]) -> Iterator[Chunk]:
        for piece in batch.pieces(self._records_max):
            offsets = piece.offsets()
            records = len(offsets) if self._portion is None else self._portion()
            records = min(records, max(1, len(offsets) * self._chunk_bytes // max(1, len(piece.lines))))
            # Of the other topics more is asked for than lines: they come as they are.
            is_cut = place.reader.topic.name not in self._whole and len(offsets) > 2 * records
            for lines, first, end in _portions(piece.lines, len(offsets), records if is_cut else None):
                yield Chunk(
                    piece.topic,
                    piece.partition,
                    place.key,
                    lines,
                    offsets[first:end],
                    piece.append_time_ms,
                    offsets[end - 1] + 1,
                    peers,
                    None if is_cut else piece,
                )

    def tails(self) -> dict[str, int]:
        """Nothing: a position in a topic is of that topic alone."""
        return {}

    def lag(self) -> int:
        """How many messages are there that were not taken yet."""
        return sum(
            max(0, place.reader.end_offset - self._positions[place.key]) for place in self._places.values()
        )

    @property
    def comes_again(self) -> bool:
        """Whether what was taken can be taken once more."""
        return True

    @property
    def ended(self) -> bool:
        """Whether nothing will come any more, once `take` finds nothing."""
        return self._once

    def wait(self, timeout_seconds: float) -> bool:
        """Wait until something may be there; says whether that is so."""
        if self._watch is None:
            self._watch = open_watch()
        for place in self._places.values():
            directory = place.reader.directory
            newest = segment_bases(directory)[-1:]
            self._watch.add(directory, [index_path(directory, base) for base in newest])
        # The watch stands before this look, so that nothing which comes after it is missed.
        if self._oldest() is not None:
            return True
        self._watch.wait(timeout_seconds)
        return self._oldest() is not None

    def close(self) -> None:
        if self._watch is not None:
            self._watch.close()
            self._watch = None


def _behind(gap: Gap, place: str) -> Chunk:
    return Chunk(gap.topic, gap.partition, place, b"", (), 0, gap.end_offset)


def _portions(lines: bytes, count: int, records: int | None) -> Iterator[tuple[bytes, int, int]]:
    """Lines, cut into pieces of about so many, and which of the `count` records they are."""
    if records is None:
        yield lines, 0, count
        return
    # Cut by bytes, in which lines are found far faster than one by one.
    size_bytes = len(lines) * records // count
    start = first = 0
    while start < len(lines):
        end = lines.find(b"\n", start + size_bytes) + 1 or len(lines)
        portion = lines[start:end]
        last = first + portion.count(b"\n")
        yield portion, first, last
        start, first = end, last


def _ends_at_once(readers: Mapping[str, LogReader]) -> dict[str, int]:
    """The ends of places at one moment, so that they do not lie before and behind an append to several.

    Ends only grow: where they are the same twice, they were so in between. While somebody publishes all the
    time that may never be, and then they are of several moments.
    """
    ends = {key: reader.end_offset for key, reader in readers.items()}
    for _ in range(_LOOKS_MAX if len(ends) > 1 else 0):
        before, ends = ends, {key: reader.end_offset for key, reader in readers.items()}
        if ends == before:
            break
    return ends


class _Place:
    """One partition: its entries that were found and not taken yet."""

    def __init__(self, key: str, reader: LogReader, start: int, end: int | None) -> None:
        self.key = key
        self.reader = reader
        self._cursor = reader.cursor(start)
        self._start = start
        self._end = end
        self._found: deque[tuple[ReadSegment, Entry] | Gap] = deque()

    def head_time_ms(self) -> int | None:
        """The append time of the next batch; a gap is taken at once. `None` where nothing is there."""
        if not self._found and not self._find():
            return None
        head = self._found[0]
        return 0 if isinstance(head, Gap) else head[1].append_time_ms

    def _find(self) -> bool:
        taken = self._cursor.take(self._end)
        if taken is None:
            return False
        if isinstance(taken, Gap):
            self._found.append(taken)
        else:
            self._found.extend((taken.segment, entry) for entry in taken.entries)
        return True

    def pop(self) -> Batch | Gap | None:
        head = self._found.popleft()
        if isinstance(head, Gap):
            return head
        batch = self.reader.batch(*head)
        if isinstance(batch, Gap):
            return batch
        return batch.between(self._start, 1 << 63 if self._end is None else self._end)
