"""A group's messages to an output: at most once, or at least once.

At least once: a position is committed when the messages before it were taken from the pipe, or are synced in
the file, and at most `max_in_flight` messages are handed over and not committed. At most once: a position is
committed before its messages are handed over. In both, who was taken for dead says so and joins again, and
what it had begun is delivered to another member.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from aegis_cli.delivery.taken import Taken
from storage.assignor import Place
from storage.batch import Batch
from storage.errors import MemberFencedError
from storage.group_reader import GroupReader
from storage.member import Member
from storage.output import Output
from storage.watch import Watch, open_watch

_IDLE_SECONDS = 0.1
# The group is looked at this often while messages flow.
_LOOK_SECONDS = 0.005
# Batches of which nothing is wanted, before the group is looked at again.
_REJECTED_MAX = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupOptions:
    """How to consume as a member. `pieces` is how many messages are handed over at a time.

    Without `commit` no position is ever committed. `interval_seconds` is how often positions are, or sooner
    where `max_in_flight` messages were handed over since.
    """

    follow: bool = False
    at_most_once: bool = False
    commit: bool = True
    max_in_flight: int = 10_000
    pieces: int = 500
    limit: int | None = None
    idle_seconds: float | None = None
    interval_seconds: float = 0.1
    render: Callable[[Batch], bytes] | None = None
    select: Callable[[Batch], Batch | None] | None = None
    on_notice: Callable[[str], None] | None = None


@dataclass(slots=True)
class Delivered:
    """What came of it: `records` were handed over; `idle` says that nothing came for so long."""

    records: int = 0
    idle: bool = False


class _Handed(NamedTuple):
    """Messages on their way: they count when `end_byte` bytes were taken."""

    place: Place
    next_offset: int
    end_byte: int
    batch: Batch | None = None
    data: bytes = b""

    @property
    def records(self) -> int:
        return 0 if self.batch is None else self.batch.count

    def next_offset_after(self, taken_bytes: int) -> int | None:
        """Where the place stands when only a part was taken; `None` if not one whole message was."""
        if self.batch is None or self.data.count(b"\n") != self.batch.count:
            return None  # in a format of one's own nobody knows where a message ends
        whole = self.data[: max(0, taken_bytes - (self.end_byte - len(self.data)))].count(b"\n")
        return self.batch.offsets()[whole - 1] + 1 if whole else None


class _Pending(NamedTuple):
    """Messages that were read and wait for room: the place stands at `next_offset` behind them."""

    place: Place
    batch: Batch
    next_offset: int


def deliver(member: Member, reader: GroupReader, output: Output, options: GroupOptions) -> Delivered:
    """Hand the group's messages to `output`. Raises BrokenPipeError when nobody reads any more."""
    watch = open_watch()
    try:
        return _Delivery(member, reader, Taken(output), options, watch).run()
    finally:
        watch.close()


class _Delivery:
    def __init__(
        self, member: Member, reader: GroupReader, taken: Taken, options: GroupOptions, watch: Watch
    ) -> None:
        self._member = member
        self._reader = reader
        self._taken = taken
        self._options = options
        self._watch = watch
        self._handed: deque[_Handed] = deque()
        self._in_flight = 0
        self._done: dict[Place, tuple[int, int]] = {}
        self._next_commit = self._next_look = 0.0
        self._result = Delivered()
        self._pending: _Pending | None = None
        self._last_message = time.monotonic()

    def run(self) -> Delivered:
        try:
            while not self._step():
                pass
        finally:
            # Also when the reader has gone or a signal came: what was taken is taken.
            self._next_commit = 0.0
            self._settle()
            self._settle_part()
            self._commit()
        return self._result

    def _step(self) -> bool:
        """One round; says whether all is done."""
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + _LOOK_SECONDS
            self._sync()
            self._settle()
            if now >= self._next_commit:
                self._commit()
            self._release()
        if self._ended:
            return self._is_settled()
        if self._in_flight >= self._options.max_in_flight:
            self._make_room()
            return False
        if self._pending is None:
            self._pending = self._take()
        if self._pending is None:
            return self._rest()
        # What others wait for goes no further: it is theirs once nothing of it is on its way, or, if they
        # wait no longer, it goes on from here.
        if self._pending.place in self._member.state.following or not self._taken.has_room(
            len(self._pending.batch.lines)
        ):
            self._taken.wait()
            return False
        pending, self._pending = self._pending, None
        self._hand_over(pending)
        return False

    def _make_room(self) -> None:
        """Commit what was taken, so that more may be handed over, or wait for the reader."""
        self._next_commit = 0.0
        self._settle()
        if self._done:
            self._commit()
        else:
            self._taken.wait()

    def _is_settled(self) -> bool:
        """Whether nothing is on its way any more; waits a little where something is."""
        self._next_commit = 0.0
        self._settle()
        if self._handed:
            self._next_look = 0.0
            self._taken.wait()
        return not self._handed

    @property
    def _ended(self) -> bool:
        limit = self._options.limit
        return self._result.idle or (limit is not None and self._result.records >= limit)

    # -- the group ------------------------------------------------------------------------------------

    def _sync(self) -> None:
        try:
            self._forget(self._reader.sync())
        except MemberFencedError:
            self._rejoin()

    def _rejoin(self) -> None:
        """The others went on without us: all that was begun is theirs."""
        self._notice(
            f"group '{self._member.group}' has gone on without this member, which was away for too long; "
            f"{self._in_flight} messages that were not committed go to others; joining again"
        )
        self._handed.clear()
        self._in_flight = 0
        self._done.clear()
        self._pending = None
        self._reader.join_again()

    def _forget(self, void: set[Place]) -> None:
        if not void:
            return
        self._handed = deque(handed for handed in self._handed if handed.place not in void)
        self._done = {place: done for place, done in self._done.items() if place not in void}
        self._in_flight = sum(handed.records for handed in self._handed)
        self._in_flight += sum(records for _, records in self._done.values())
        if self._pending is not None and self._pending.place in void:
            self._pending = None

    def _release(self) -> None:
        """Give up what others wait for, as soon as nothing of it is on its way."""
        wanted = set(self._member.to_release)
        if not wanted:
            return
        free = wanted - {handed.place for handed in self._handed}
        if free:
            self._commit()
            self._member.release(free)
            self._sync()

    def _commit(self) -> None:
        self._next_commit = time.monotonic() + self._options.interval_seconds
        done, self._done = self._done, {}
        self._in_flight -= sum(records for _, records in done.values())
        if not done or not self._options.commit:
            return
        try:
            self._member.commit({place: next_offset for place, (next_offset, _) in done.items()})
        except MemberFencedError as error:
            self._notice(str(error))
            for place in done:
                self._reader.rewind(place)
            self._forget(set(done))

    # -- messages -------------------------------------------------------------------------------------

    def _take(self) -> _Pending | None:
        """The next messages that are wanted; those that are not count as handed over."""
        for _ in range(_REJECTED_MAX):
            taken = self._reader.take()
            if taken is None:
                return None
            place, batch = taken
            next_offset = batch.last_offset + 1
            wanted = batch if self._options.select is None else self._options.select(batch)
            left = None if self._options.limit is None else self._options.limit - self._result.records
            if wanted is None:
                self._handed.append(_Handed(place, next_offset, self._taken.output.written_bytes))
            elif left is not None and wanted.count > left:
                cut = wanted.select(range(left))
                return _Pending(place, cut, cut.last_offset + 1)
            else:
                return _Pending(place, wanted, next_offset)
        return None

    def _hand_over(self, pending: _Pending) -> None:
        place, batch, next_offset = pending
        if self._options.at_most_once and self._options.commit:
            try:
                self._member.commit({place: next_offset})
            except MemberFencedError:
                return  # the next look at the group says what has become of the place
        render = self._options.render
        data = batch.lines if render is None else render(batch)
        self._taken.output.write(data)
        self._result.records += batch.count
        self._last_message = time.monotonic()
        if not self._options.at_most_once:
            end_byte = self._taken.output.written_bytes
            self._handed.append(_Handed(place, next_offset, end_byte, batch, data))
            self._in_flight += batch.count

    def _settle(self) -> None:
        """Note what was taken since."""
        if not self._handed:
            return
        if self._taken.is_file and time.monotonic() < self._next_commit and not self._ended:
            return  # each look syncs the file
        taken_bytes = self._taken.taken_bytes()
        while self._handed and self._handed[0].end_byte <= taken_bytes:
            handed = self._handed.popleft()
            records = self._done.get(handed.place, (0, 0))[1] + handed.records
            self._done[handed.place] = (handed.next_offset, records)
            self._taken.moved()

    def _settle_part(self) -> None:
        """At the end: of the messages that were taken in part, note those that were taken whole."""
        if self._handed:
            first = self._handed[0]
            next_offset = first.next_offset_after(self._taken.taken_bytes())
            if next_offset is not None:
                self._done[first.place] = (next_offset, self._done.get(first.place, (0, 0))[1])

    def _rest(self) -> bool:
        """Nothing to hand over now: end, or wait for more."""
        if self._reader.finished:
            return self._is_settled()
        self._next_look = 0.0
        idle_seconds = self._options.idle_seconds
        if idle_seconds is not None and time.monotonic() - self._last_message >= idle_seconds:
            self._result.idle = True
            return False
        self._taken.output.check_reader()
        self._reader.watch(self._watch)
        if self._handed:
            self._taken.wait()
        elif self._watch.wait(_IDLE_SECONDS):
            self._member.may_have_died()
        return False

    def _notice(self, text: str) -> None:
        if self._options.on_notice is not None:
            self._options.on_notice(text)
