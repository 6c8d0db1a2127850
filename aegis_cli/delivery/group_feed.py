"""What a member of a group gets to do, in portions, and what becomes of it when the group changes.

Promises: a portion holds messages of one place, as many as may be and are there; a place that others wait for
is given up when the consumer has nothing of it in work; a member that was taken for dead joins again and says
so.
"""

from __future__ import annotations

from collections.abc import Callable, Container

from aegis_cli.delivery.portion import Portion
from storage.assignor import Place
from storage.batch import Batch
from storage.errors import MemberFencedError
from storage.group_reader import GroupReader
from storage.member import Member
from storage.reader import Gap
from storage.watch import Watch

# Portions that wait for more messages to come may hold this many times what one may.
_GATHERED_PORTIONS = 4


class GroupFeed:
    """The messages of a member that has joined, at most `records_max` and about `bytes_max` bytes at a time.

    Without `follow` it ends where each place ended when this was made.
    """

    def __init__(
        self,
        member: Member,
        *,
        follow: bool,
        records_max: int,
        bytes_max: int,
        on_notice: Callable[[str], None] | None = None,
        on_gap: Callable[[Gap], None] | None = None,
    ) -> None:
        self.member = member
        self._reader = GroupReader(member, follow=follow, pieces=records_max, on_gap=on_gap)
        self._records_max = records_max
        self._bytes_max = bytes_max
        self._on_notice = on_notice
        self._gathered: dict[Place, Portion] = {}
        self._gathered_bytes = 0
        self._handed: set[Place] = set()
        self._closing: set[Place] = set()

    # -- messages -------------------------------------------------------------------------------------

    def take(self, *, full: bool = False) -> Portion | None:
        """The next portion; `None` where there is no message now, or, with `full`, not a full one."""
        discarded = 0
        while discarded <= len(self._closing) and self._gathered_bytes < _GATHERED_PORTIONS * self._bytes_max:
            taken = self._reader.take()
            if taken is None:
                break
            place, batch = taken
            if place in self._closing:
                # It is read again from its position, once what is in work of it is committed.
                discarded += 1
                continue
            handed = self._gather(place, batch)
            if handed is not None:
                return handed
        return None if full or not self._gathered else self._hand_out(next(iter(self._gathered)))

    def _gather(self, place: Place, batch: Batch) -> Portion | None:
        """Put a batch to what there is of the place; returns that when it is full."""
        handed = None
        gathered = self._gathered.get(place)
        if gathered is not None:
            room = self._records_max - gathered.count
            if not room or gathered.size_bytes + len(batch.lines) > self._bytes_max:
                handed = self._hand_out(place)
            elif batch.count > room:
                # A command is dear to start, so each gets as much as it may.
                self._add(place, batch.select(range(room)))
                handed = self._hand_out(place)
                batch = batch.select(range(room, batch.count))
        gathered = self._add(place, batch)
        is_full = gathered.count >= self._records_max or gathered.size_bytes >= self._bytes_max
        return self._hand_out(place) if is_full and handed is None else handed

    def _add(self, place: Place, batch: Batch) -> Portion:
        self._gathered_bytes += len(batch.lines)
        gathered = self._gathered.setdefault(place, Portion(place))
        gathered.add(batch)
        return gathered

    def _hand_out(self, place: Place) -> Portion:
        portion = self._gathered.pop(place)
        self._gathered_bytes -= portion.size_bytes
        self._handed.add(place)
        return portion

    def _drop(self, place: Place) -> None:
        portion = self._gathered.pop(place, None)
        if portion is not None:
            self._gathered_bytes -= portion.size_bytes

    @property
    def finished(self) -> bool:
        """Whether all that was there at the beginning was taken."""
        return self._reader.finished and not self._gathered

    def watch(self, watch: Watch) -> None:
        """Have `watch` wake for new messages and for what happens in the group."""
        self._reader.watch(watch)

    # -- the group ------------------------------------------------------------------------------------

    def sync(self, *, deaths: bool = False) -> set[Place]:
        """Take over what changed; returns places of which nothing may be gone on with nor committed.

        `deaths` says that a member may have died just now.
        """
        if deaths:
            self.member.may_have_died()
        try:
            void = self._reader.sync()
            for place in void & self._handed:
                self._notice(
                    f"topic '{place.topic}' partition {place.partition} went to another member of group "
                    f"'{self.member.group}', or its position was set by hand; what was in work is given up"
                )
        except MemberFencedError:
            void = self._join_again()
        for place in void:
            self._drop(place)
        self._handed -= void
        self._closing -= void
        for place in self.member.to_release:
            self._drop(place)
            self._closing.add(place)
        return void

    def _join_again(self) -> set[Place]:
        void = self._handed | self._gathered.keys()
        self._reader.join_again()
        self._notice(
            f"group '{self.member.group}' went on without this member, which was away for too long; what it "
            "had in work was given up, and it has joined again"
        )
        return void

    @property
    def closing(self) -> frozenset[Place]:
        """Places that others wait for: nothing new of them is handed out."""
        return frozenset(self._closing)

    def release(self, busy: Container[Place]) -> set[Place]:
        """Give up the closing places that are not `busy`; all that is done of them must be committed.

        Returns places that turned out to be void.
        """
        idle = {place for place in self._closing if place not in busy}
        if not idle:
            return set()
        self._closing -= idle
        for place in idle.difference(self.member.to_release):
            # Nobody waits for it any more, and what was read ahead of it was dropped.
            self.rewind(place)
        waited_for = idle.intersection(self.member.to_release)
        if not waited_for:
            return set()
        given = self.member.release(waited_for)
        for place in waited_for - given:
            self.rewind(place)
        self._handed -= given
        return self.sync() - given

    def rewind(self, place: Place) -> None:
        """Read a place again from its position; nothing of it may be in work."""
        self._drop(place)
        self._reader.rewind(place)

    def _notice(self, text: str) -> None:
        if self._on_notice is not None:
            self._on_notice(text)
