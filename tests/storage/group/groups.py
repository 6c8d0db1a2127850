"""What tests of groups from outside share: a clock, members that come and go, and positions."""

from __future__ import annotations

import os

from storage.batch import RecordBatch
from storage.group_admin import PlaceDescription, describe_group
from storage.member import Member
from storage.store import Append, Store, clock_ms


class Clock:
    """The time that a store is told."""

    def __init__(self) -> None:
        self.ahead_ms = 0

    def __call__(self) -> int:
        return clock_ms() + self.ahead_ms


def fill(store: Store, topic: str = "t", *, count: int = 10) -> None:
    """So many messages in each partition."""
    batch = RecordBatch(lines=b"".join(b"%d\n" % number for number in range(count)), count=count)
    partitions = range(store.topic(topic).partitions)
    store.append([Append(topic=topic, partition=partition, batches=[batch]) for partition in partitions])


def read_to(store: Store, offset: int, *, group: str = "g", topic: str = "t") -> None:
    """A member that commits this offset in all partitions, and leaves."""
    with Member(store, group, [topic]) as member:
        member.commit(dict.fromkeys(member.owned, offset))


def die(member: Member) -> None:
    """What is seen of a member whose process was killed: its lock is free, its file is still there."""
    presence = member._presence
    assert presence is not None
    presence._stop.set()
    presence._thread.join()
    os.close(presence._fd)
    member._presence = None


def places(store: Store, group: str = "g") -> list[PlaceDescription]:
    return list(describe_group(store, group).places)


def positions(store: Store, group: str = "g") -> list[int | None]:
    return [place.position for place in places(store, group)]
