"""A member of a group that commits its own places, one after another, as fast as it can, and counts.

    python committer.py STORE GROUP TOPIC PLACES SECONDS

It prints a line when it owns as many places as it should, begins when stdin gives it one, and prints how many
commits it made and how many seconds that took. Now and then it looks at the group, as every member does.
"""

from __future__ import annotations

import itertools
import sys
import time

from storage.errors import MemberFencedError
from storage.member import LIVENESS_SECONDS, Member
from storage.store import Store

_SETTLE_SECONDS = 60.0
# So many commits, then a look at the clock.
_COMMITS_A_TURN = 10


def main(path: str, group: str, topic: str, places: int, seconds: float) -> None:
    with Store(path) as store, Member(store, group, [topic]) as member:
        _settle(member, places)
        print("ready", flush=True)
        sys.stdin.readline()
        began = time.perf_counter()
        committed = _commit(member, began + seconds)
        print(committed, time.perf_counter() - began, flush=True)
        # Nobody leaves while another counts.
        sys.stdin.readline()


def _settle(member: Member, places: int) -> None:
    deadline = time.monotonic() + _SETTLE_SECONDS
    while len(member.owned) != places or member.state.following:
        member.refresh()
        member.release(member.to_release)
        if time.monotonic() > deadline:
            raise TimeoutError(f"it owns {len(member.owned)} places and should own {places}")
        time.sleep(0.01)


def _commit(member: Member, deadline: float) -> int:
    owned = member.owned
    positions = {place: member.position(place) for place in owned}
    next_look = 0.0
    committed = 0
    for place in itertools.cycle(owned):
        if committed % _COMMITS_A_TURN == 0:
            now = time.perf_counter()
            if now >= deadline:
                return committed
            if now >= next_look:
                next_look = now + LIVENESS_SECONDS
                member.refresh()
        positions[place] += 1
        try:
            member.commit({place: positions[place]})
        except MemberFencedError:
            raise SystemExit("its place was taken") from None
        committed += 1
    return committed


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), float(sys.argv[5]))
