"""Groups and transactions while the power is cut.

All records of a group's log are held against the promises, as messages are: a generation or a position that
was acknowledged is there afterwards. What they add up to is looked at in `aftermath`.
"""

# The seam speaks of plain strings and descriptors, as the store does.
# ruff: noqa: PTH118
from __future__ import annotations

import contextlib
import os

from aegis_cli.delivery.group_output import GroupOptions
from aegis_cli.delivery.output_file import deliver_to_file
from storage import Store
from storage.errors import FencedError
from storage.group_reader import GroupReader
from storage.member import Member
from storage.state_log import Change, open_state_log
from storage.topic import TopicSettings
from tests.power_cut.observed import observed
from tests.power_cut.recorder import die
from tests.power_cut.stage import BULK_BYTES, Stage
from tests.power_cut.workloads import Workload

OUTPUT = "output.jsonl"
# No beat falls into a workload.
_TIMEOUT_SECONDS = 10_000.0


class _Nothing:
    """A state that nobody is interested in."""

    def apply(self, change: Change, offset: int) -> None: ...

    def snapshot(self) -> object: ...

    def restore(self, snapshot: object) -> None: ...


def transactions(stage: Stage) -> None:
    """Messages to three partitions of two topics, and a change of state: small, bulk, and refused."""
    store = observed(stage)
    store.create_topic("t", TopicSettings(partitions=2))
    store.create_topic("u")
    log = open_state_log(store, "pipelines/x", _Nothing(), create=True)
    stage.begin()
    for number, size in enumerate((10, BULK_BYTES, 10)):
        # The last one relies on a fence that is not the newest.
        refused = number == 2
        with contextlib.suppress(FencedError), store.transaction() as transaction:
            for topic, partition in (("t", 0), ("t", 1), ("u", 0)):
                value = {"n": number, "at": f"{topic}{partition}", "fill": "x" * size}
                transaction.publish(topic, value, partition=partition)
            fence = None if refused else number + 1
            transaction.change(log.append([{"seen": number}], expect_fence=number - refused, fence=fence))
    store.append([log.append([{"seen": 9}], expect_fence=2)])


def member_of(store: Store) -> Member:
    """A member of the group, not joined yet."""
    return Member(store, "g", ["t"], session_timeout_seconds=_TIMEOUT_SECONDS)


def generations(stage: Stage) -> None:
    """Members join, commit, give up what is to be another's, and leave."""
    store, other_store = observed(stage), observed(stage)
    store.create_topic("t", TopicSettings(partitions=2))
    for number in range(4):
        store.publish("t", {"n": number}, partition=number % 2)
    stage.begin()
    first, second = member_of(store), member_of(other_store)
    first.join()
    low, high = sorted(first.owned)
    first.commit({low: 1, high: 1})
    second.join()
    first.refresh()
    first.release(first.to_release)
    second.refresh()
    (own,) = second.owned
    second.commit({own: 2})
    first.close()
    second.refresh()
    second.commit(dict.fromkeys(second.owned, 2))
    second.close()


def deliver(stage: Stage, member: Member) -> None:
    """A member joins and writes all that is there to the file."""
    with member:
        reader = GroupReader(member, follow=False, pieces=2)
        deliver_to_file(member, reader, os.path.join(stage.recorder.root, OUTPUT), GroupOptions())


def delivering(stage: Stage) -> None:
    """A group's messages go to a file, and the positions commit with its length."""
    store = observed(stage)
    store.create_topic("t")
    store.publish("t", {"n": 0})
    stage.begin()
    deliver(stage, member_of(store))
    for number in range(1, 4):
        store.publish("t", {"n": number, "fill": "x" * 700})
    deliver(stage, member_of(store))


def _dies_delivering(step: str) -> Workload:
    def work(stage: Stage) -> None:
        """A member dies with messages in the file, before or after they count; another goes on."""
        store = observed(stage)
        store.create_topic("t")
        for number in range(3):
            store.publish("t", {"n": number, "fill": "x" * 700})
        stage.begin()
        member = member_of(store)
        stage.recorder.at("dying", step, die)
        with stage.recorder.actor("dying"):
            deliver(stage, member)
        assert member._presence is not None
        os.close(member._presence._fd)
        stage.bury(store)
        other = observed(stage)
        other.publish("t", {"n": 3})
        deliver(stage, member_of(other))

    return work


GROUPS: dict[str, Workload] = {work.__name__: work for work in (transactions, generations, delivering)}
GROUPS |= {
    f"dies_delivering_at_{step}": _dies_delivering(step) for step in ("output.synced", "output.committed")
}
