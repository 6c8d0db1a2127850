"""Setting the positions of a group by hand, also while its members run.

Promises: all positions change in one append or none does; it makes a generation of its own, so what members
had in hand is refused when they commit it, and they go on from the new positions; a position lies between the
oldest message of its partition and the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from storage.assignor import Place
from storage.errors import FencedError
from storage.extent import Extents
from storage.group_admin import open_group_state, places_of
from storage.group_state import Commit, GroupState, rows_of
from storage.offsets import OffsetError, Position, parse_offset_spec, resolve
from storage.state_log import StateLog
from storage.store import Store

if TYPE_CHECKING:
    from datetime import tzinfo

_TRIES = 100
_REMEDY = "write earliest, latest, 42, +10, -10 or a time such as 2024-05-01, @10:30 or -1h"

# What a place's position is to be; `None` leaves it as it is.
_Chooser = Callable[[Place, int | None], int | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset:
    """A position that was set, or would be. `before` is `None` where there was none."""

    topic: str
    partition: int
    before: int | None
    after: int


def parse_target(text: str, *, now_ms: int, local_zone: tzinfo | None = None) -> Position:
    """The place that `text` names: a start as `-o` of consume takes it, or a time as `--since` does.

    Raises OffsetError.
    """
    from storage.times import TimeError, parse_time

    try:
        wanted = parse_offset_spec(text, now_ms=now_ms, local_zone=local_zone)
    except (OffsetError, TimeError) as error:
        if text.strip().isdigit():
            raise
        try:
            return Position("time", parse_time(text, now_ms=now_ms, local_zone=local_zone))
        except TimeError:
            raise OffsetError(text, "is neither an offset nor a time", remedy=_REMEDY) from error
    if wanted.end is not None:
        raise OffsetError(text, "is a range, not one place", remedy=_REMEDY)
    return wanted.start


def reset_group(
    store: Store,
    name: str,
    *,
    to: Position | None = None,
    by: int | None = None,
    to_group: str | None = None,
    topics: Sequence[str] | None = None,
    dry_run: bool = False,
) -> list[Reset]:
    """Set positions: all `to` one kind of place, `by` so many messages, or to where `to_group` is.

    It sets those of the places that the group has to do with, or of all partitions of `topics`. Left alone is
    what was deleted, with `by` what has no position yet, and with `to_group` where that group has none. With
    `dry_run` nothing is changed. Returns what was set; `before` is what was read just before, and a commit
    that came between is overwritten.

    Raises `GroupNotFoundError`, `InvalidNameError`, `TopicNotFoundError`, `DamageError`, and `FencedError`
    where others change the group without end.
    """
    assert 1 == sum(wanted is not None for wanted in (to, by, to_group)), "exactly one of the three"
    extents = Extents(store)
    state = GroupState()
    log = open_group_state(store, name, state)
    choose = _chooser(store, extents, to=to, by=by, to_group=to_group)
    named = None if topics is None else [place for topic in topics for place in extents.places_of(topic)]
    for _ in range(_TRIES):
        chosen: dict[Place, int] = {}
        for place in places_of(state) if named is None else named:
            wanted = choose(place, state.positions.get(place))
            if wanted is not None:
                chosen[place] = wanted
        found = [
            Reset(
                topic=place.topic, partition=place.partition, before=state.positions.get(place), after=offset
            )
            for place, offset in chosen.items()
        ]
        if dry_run or not chosen or _append(store, log, state, chosen):
            return found
        log.refresh()
    raise FencedError(log.name, log.fence, log.fence)


def _append(store: Store, log: StateLog, state: GroupState, positions: dict[Place, int]) -> bool:
    """Commit the positions in a generation of their own; `False` if another generation came before."""
    now_ms = store.clock_ms()
    commit = Commit(positions=rows_of(positions.items()), member="", reset=True, at_ms=now_ms)
    generation = state.record(now_ms)
    generation.generation = log.fence + 1
    try:
        store.append([log.append([commit, generation], expect_fence=log.fence, fence=generation.generation)])
    except FencedError:
        return False
    return True


def _chooser(
    store: Store, extents: Extents, *, to: Position | None, by: int | None, to_group: str | None
) -> _Chooser:
    """What says where a place is to stand."""
    others: dict[Place, int] = {}
    if to_group is not None:
        other = GroupState()
        open_group_state(store, to_group, other)
        others = other.positions
    resolved: dict[Place, int] = {}

    def choose(place: Place, position: int | None) -> int | None:
        start, end, _, damage = extents.of(place)
        if damage is not None:
            raise damage
        if start is None or end is None:
            return None
        if to is not None:
            if place not in resolved:
                # Looking for a time reads messages: once for each place, however often the append is tried.
                reader = store.reader(place.topic, place.partition)
                resolved[place] = resolve(
                    to, start_offset=start, end_offset=end, offset_at_time=reader.offset_at_time
                )
            return resolved[place]
        wanted = others.get(place) if by is None else None if position is None else position + by
        return None if wanted is None else max(start, min(wanted, end))

    return choose
