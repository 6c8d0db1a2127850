"""Reading what a member owns: batches of its partitions in turn, from where the group stands.

Promises: nothing of a partition is handed out before it is the member's, nor after it was given up, taken or
set to another position; each partition's messages come in the order of their offsets; a partition that
another member waits for is not read any further.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from storage.assignor import Place
from storage.batch import Batch
from storage.errors import (
    ConflictError,
    DamageError,
    DiskFullError,
    MemberFencedError,
    NotFoundError,
    TopicChangedError,
)
from storage.member import Member
from storage.reader import Cursor, Gap, Run
from storage.segment import index_path, segment_bases
from storage.watch import Watch

# Whether a dead publisher left something to show is looked for this often in silence.
_HELP_SECONDS = 1.0
# Each of these is a join after which the member was silent for longer than its session timeout.
_JOINS = 10


class _Position:
    """How far one place was handed out, and what of it was read already."""

    def __init__(self, cursor: Cursor, offset: int, end_offset: int | None) -> None:
        self.cursor = cursor
        self.offset = offset
        self.end_offset = end_offset
        self.ready: Iterator[Batch] = iter(())


class GroupReader:
    """The partitions of a member that has joined.

    Without `follow` each place is read to the end that it had when this was made. `pieces` is how many
    messages a batch that is handed out has at most. `on_gap` is told of offsets that cannot be read.
    """

    def __init__(
        self,
        member: Member,
        *,
        follow: bool,
        pieces: int,
        on_gap: Callable[[Gap], None] | None = None,
    ) -> None:
        self.member = member
        self._follow = follow
        self._pieces = pieces
        self._on_gap = on_gap
        self._positions: dict[Place, _Position] = {}
        self._turn: list[Place] = []
        self._ends: dict[Place, int] = {}
        self._next_help = time.monotonic() + _HELP_SECONDS
        if not follow:
            for name in member.topics:
                topic = member.store.topic(name)
                for number in range(topic.partitions):
                    place = Place(name, topic.topic_id.hex(), number)
                    self._ends[place] = member.store.reader(name, number).end_offset
        try:
            self.sync()
        except MemberFencedError:
            self.join_again()

    def join_again(self) -> None:
        """After `MemberFencedError`: be a member again, and read from where the group stands.

        Raises it when the member is taken for dead again and again.
        """
        for attempt in range(_JOINS):
            self.member.join()
            try:
                self.sync()
                return
            except MemberFencedError:
                if attempt == _JOINS - 1:
                    raise

    def sync(self) -> set[Place]:
        """Take over what changed in the group; returns the places whose begun messages are void.

        They are another member's by now, or their position was set by hand. Raises `MemberFencedError` when
        the member was taken for dead; all its places are void then.
        """
        member = self.member
        try:
            member.refresh()
        except MemberFencedError:
            self._positions.clear()
            raise
        owned = set(member.owned)
        void = {place for place in self._positions if place not in owned or member.was_reset(place)}
        for place in void:
            del self._positions[place]
        for place in owned - self._positions.keys():
            if place in member.state.positions:
                self._begin(place)
        self._turn = [place for place in self._turn if place in self._positions]
        self._turn += [place for place in self._positions if place not in self._turn]
        return void

    def _begin(self, place: Place) -> None:
        offset = self.member.position(place)
        try:
            reader = self.member.store.reader(place.topic, place.partition)
        except NotFoundError:
            return
        if reader.topic.topic_id.hex() == place.topic_id:
            end = None if self._follow else self._ends.get(place, offset)
            self._positions[place] = _Position(reader.cursor(offset), offset, end)

    def rewind(self, place: Place) -> None:
        """Read a place again from where the group stands: what was handed out of it does not count."""
        self._positions.pop(place, None)
        if place in self.member.owned:
            self._begin(place)

    def take(self) -> tuple[Place, Batch] | None:
        """The next messages of some place; `None` where there are none now."""
        for _ in range(len(self._turn)):
            place = self._turn.pop(0)
            self._turn.append(place)
            position = self._positions.get(place)
            if position is None or place in self.member.state.following:
                continue
            batch = next(position.ready, None) or self._read(position)
            if batch is not None:
                position.offset = batch.last_offset + 1
                return place, batch
        return None

    def _read(self, position: _Position) -> Batch | None:
        """Read on in one place."""
        while True:
            try:
                taken = position.cursor.take(position.end_offset)
            except TopicChangedError:
                position.end_offset = position.offset  # deleted; the next generation is without it
                return None
            if taken is None:
                # Offsets that no record has, or none that can be read, are behind us as well.
                position.offset = max(position.offset, position.cursor.offset)
                return None
            if isinstance(taken, Gap):
                self._tell(taken)
            else:
                position.ready = self._batches(position, taken)
                batch = next(position.ready, None)
                if batch is not None:
                    return batch

    def _batches(self, position: _Position, run: Run) -> Iterator[Batch]:
        end = position.end_offset
        for entry in run.entries:
            batch = position.cursor.reader.batch(run.segment, entry)
            if isinstance(batch, Gap):
                self._tell(batch)
                continue
            wanted = batch.between(position.offset, batch.last_offset + 1 if end is None else end)
            if wanted is not None:
                yield from wanted.pieces(self._pieces)

    def _tell(self, gap: Gap) -> None:
        if self._on_gap is not None:
            self._on_gap(gap)

    @property
    def finished(self) -> bool:
        """Whether all that was there when this was made is handed out, as far as it is the member's."""
        member = self.member
        if self._follow or member.member_id in member.state.following.values():
            return False
        return all(
            position.end_offset is not None and position.offset >= position.end_offset
            for place, position in self._positions.items()
            if place not in self.member.state.following
        )

    def watch(self, watch: Watch) -> None:
        """Have `watch` wake for new messages and for what happens in the group."""
        self._help_the_dead()
        self.member.watch(watch)
        for position in self._positions.values():
            directory = position.cursor.reader.directory
            try:
                newest = segment_bases(directory)[-1:]
            except FileNotFoundError:
                continue
            watch.add(directory, [index_path(directory, base) for base in newest])

    def _help_the_dead(self) -> None:
        """Show what a publisher committed and did not live to show: nobody else may come to write there."""
        now = time.monotonic()
        if now < self._next_help:
            return
        self._next_help = now + _HELP_SECONDS
        for place, position in self._positions.items():
            with contextlib.suppress(NotFoundError, ConflictError, DamageError, DiskFullError):
                self.member.store.show_committed(
                    place.topic, place.partition, beyond_offset=position.cursor.offset
                )
