"""Who of a group reads which partitions: balanced, and with as few changes as that allows.

A partition stays with its owner where the owner is there and wants its topic; what nobody owns goes to who
has least; then partitions move from who has most to who has least, until nobody has two more than another
who could take one. Same input, same output.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple


class Place(NamedTuple):
    """A partition of one topic, whatever other topic had or will have its name. `topic_id` is hexadecimal."""

    topic: str
    topic_id: str
    partition: int


def assign(
    places: Iterable[Place], wants: Mapping[str, frozenset[str]], owners: Mapping[Place, str]
) -> dict[Place, str]:
    """The member that each place should have; `wants` says for each member the topics that it reads.

    A place whose topic nobody wants is left out.
    """
    members = sorted(wants)
    taken: dict[str, list[Place]] = {member: [] for member in members}
    free = []
    for place in sorted(places):
        owner = owners.get(place)
        if owner is not None and place.topic in wants.get(owner, ()):
            taken[owner].append(place)
        else:
            free.append(place)
    for place in free:
        able = [member for member in members if place.topic in wants[member]]
        if able:
            taken[min(able, key=lambda member: len(taken[member]))].append(place)
    _even_out(taken, wants)
    return {place: member for member, held in taken.items() for place in held}


def _even_out(taken: dict[str, list[Place]], wants: Mapping[str, frozenset[str]]) -> None:
    """Move places to members that have at least two fewer. Each move lowers the sum of squares: it ends."""
    moved = True
    while moved:
        moved = False
        for giver in sorted(taken, key=lambda member: (-len(taken[member]), member)):
            place_and_taker = _best_move(giver, taken, wants)
            if place_and_taker is not None:
                place, taker = place_and_taker
                taken[giver].remove(place)
                taken[taker].append(place)
                moved = True
                break


def _best_move(
    giver: str, taken: Mapping[str, list[Place]], wants: Mapping[str, frozenset[str]]
) -> tuple[Place, str] | None:
    """A place of the giver's, and who of those with at least two fewer has least and could take it."""
    held = taken[giver]
    for taker in sorted(taken, key=lambda member: (len(taken[member]), member)):
        if len(taken[taker]) > len(held) - 2:
            return None
        # The last one taken goes first: it is the one that was most likely just given.
        for place in reversed(held):
            if place.topic in wants[taker]:
                return place, taker
    return None
