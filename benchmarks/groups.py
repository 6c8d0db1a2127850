"""Consumer groups: taking over from the dead, joining, sharing the work, committing, describing."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.data import write_lines
from benchmarks.group_process import WAIT_SECONDS, GroupMember, changes_of
from benchmarks.processes import BenchmarkError, Command, aegis, environment, run
from benchmarks.rows import Row, Settings, in_turn, ratios
from storage.group_admin import describe_group
from storage.group_state import Commit, Generation
from storage.member import Member
from storage.store import Store
from storage.topic import TopicSettings

_HERE = Path(__file__).parent
_ROOT = _HERE.parent
_PER_SECOND = 200
_KILLS = 50
_COMMITTERS = 8
_PLACES = 1000
# A small run describes fewer of them.
_MESSAGES_A_PLACE = 10_000
# What is shared is measured between these parts of all messages, when everyone is at work.
_STEADY = (0.2, 0.8)


class Groups:
    """A store, and what is done in it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.directory = settings.directory / "groups"
        self.directory.mkdir()
        path = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(_ROOT))))
        # A member that is stopped until there is something to do is no dead one.
        timeout = {"AEGIS_STREAMING_CONSUMER_SESSION_TIMEOUT": "10m"}
        self.environment = environment(self.directory) | {"PYTHONPATH": path} | timeout
        self.store_path = Path(self.environment["AEGIS_STORE"])
        self.made = 0
        self.places = max(10, min(_PLACES, settings.stored_messages // _MESSAGES_A_PLACE))

    def create(self, partitions: int) -> str:
        """A new topic."""
        self.made += 1
        with Store(self.store_path, create=True) as store:
            store.create_topic(f"topic-{self.made}", TopicSettings(partitions=partitions))
        return f"topic-{self.made}"

    # -- taking over and joining ----------------------------------------------------------------------

    def takeovers(self) -> tuple[list[float], list[float], list[float]]:
        """Milliseconds from each kill to the heir's first message of what the dead one had; from the start of
        each process that joins to its first message; and from its joining, as the group's log has it.
        """
        kills = max(2, min(_KILLS, round(_KILLS * self.settings.seconds / 2)))
        topic = self.create(2)
        members = [GroupMember(topic, "takeover", self.environment) for _ in range(2)]
        took, joined, owned = [], [], []
        with self._ticking(topic):
            try:
                for member in members:
                    member.start()
                for _ in range(kills):
                    first = self._shared(members)
                    doomed, heir = members
                    heir.mark()
                    died_ns = doomed.kill()
                    took.append((heir.wait_for({first[0]}).at_ns - died_ns) / 1e6)
                    members = [heir, GroupMember(topic, "takeover", self.environment)]
                    members[1].start()
                    arrival = members[1].wait_for({0, 1})
                    joined.append((arrival.at_ns - members[1].started_ns) / 1e6)
                    owned.append((members[1].process.pid, arrival.at_ms))
            finally:
                for member in members:
                    member.kill()
        return took, joined, self._since_joining("takeover", owned)

    def _shared(self, members: list[GroupMember]) -> list[int]:
        """Wait until each member has a partition of its own; returns them."""
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            for member in members:
                member.mark()
            for member in members:
                member.wait_for({0, 1})
            found = [sorted(member.arrivals) for member in members]
            if sorted(found) == [[0], [1]]:
                return [partitions[0] for partitions in found]
            if time.monotonic() > deadline:
                raise BenchmarkError("two members do not share two partitions")

    def _since_joining(self, group: str, arrivals: list[tuple[int, int]]) -> list[float]:
        joined_ms: dict[int, int] = {}
        for change in changes_of(self.store_path, group):
            if isinstance(change, Generation):
                for info in change.members.values():
                    joined_ms.setdefault(info.process, change.at_ms)
        return [float(at_ms - joined_ms[process]) for process, at_ms in arrivals if process in joined_ms]

    @contextmanager
    def _ticking(self, topic: str) -> Iterator[None]:
        """A program that publishes to all partitions in turn, 200 messages a second."""
        words = [
            str(_HERE / "ticker.py"),
            "library",
            str(self.store_path),
            topic,
            str(_PER_SECOND),
            "1000000",
        ]
        process = subprocess.Popen([sys.executable, *words], stdin=subprocess.PIPE, env=self.environment)
        try:
            assert process.stdin is not None
            process.stdin.write(b"go\n")
            process.stdin.flush()
            yield
        finally:
            process.kill()
            process.communicate()

    # -- sharing --------------------------------------------------------------------------------------

    def rate(self, members: int) -> float:
        """Messages a second that so many members take together, as JSON, of four partitions."""
        topic = self.create(4)
        path = self.directory / "lines"
        if not path.exists():
            write_lines(path, self.settings.lines // 4)
        command: Command = [aegis(), "consume", topic, "-g", topic, "-f", "--json", "-o", "start"]
        readers = [
            subprocess.Popen(["wc", "-l"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            for _ in range(members)
        ]
        processes = []
        for reader in readers:
            assert reader.stdin is not None
            processes.append(subprocess.Popen(command, stdout=reader.stdin, env=self.environment))
            # Only the member may hold the pipe, and nothing else is to be flushed into it.
            reader.stdin.close()
            reader.stdin = None
        try:
            self._wait_for(topic, lambda store: self._settled(store, topic, members))
            for process in processes:
                process.send_signal(signal.SIGSTOP)
            for partition in range(4):
                publish: Command = [aegis(), "publish", topic, "-p", str(partition), "--file", path]
                run(publish, environment=self.environment)
            for process in processes:
                process.send_signal(signal.SIGCONT)
            total = 4 * (self.settings.lines // 4)
            self._wait_for(topic, lambda store: total == self._committed(store, topic))
        finally:
            for process in processes:
                process.terminate()
                process.wait()
        counted = sum(int(reader.communicate()[0]) for reader in readers)
        if counted != total:
            raise BenchmarkError(f"{counted} messages came of {total}")
        rate = self._steady_rate(topic, total)
        with Store(self.store_path) as store:
            store.delete_topic(topic)
        return rate

    def _settled(self, store: Store, group: str, members: int) -> bool:
        places = describe_group(store, group).places
        owners = {place.owner for place in places}
        return len(owners) == members and all(place.following is None for place in places)

    def _committed(self, store: Store, group: str) -> int:
        return sum(place.position or 0 for place in describe_group(store, group).places)

    def _wait_for(self, group: str, condition: object) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        with Store(self.store_path, read_only=True) as store:
            while group not in store.catalog.names("groups") or not condition(store):  # type: ignore[operator]
                if time.monotonic() > deadline:
                    raise BenchmarkError(f"group '{group}' does not get where it should")
                time.sleep(0.05)

    def _steady_rate(self, group: str, total: int) -> float:
        positions: dict[int, int] = {}
        points = []
        for change in changes_of(self.store_path, group):
            if isinstance(change, Commit):
                positions |= {row.partition: row.offset for row in change.positions}
                points.append((change.at_ms, sum(positions.values())))
        low, high = (total * part for part in _STEADY)
        steady = [point for point in points if low <= point[1] <= high]
        if len(steady) < 2 or steady[0][0] == steady[-1][0]:
            steady = [points[0], points[-1]]
        (began_ms, first), (ended_ms, last) = steady[0], steady[-1]
        return (last - first) * 1000 / max(1, ended_ms - began_ms)

    # -- committing and describing --------------------------------------------------------------------

    def commits(self) -> float:
        """Commits a second of eight processes, each a member with a place of its own."""
        topic = self.create(_COMMITTERS)
        words = [str(self.store_path), topic, topic, "1", str(self.settings.seconds)]
        running = [
            subprocess.Popen(
                [sys.executable, str(_HERE / "committer.py"), *words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=self.environment,
                text=True,
            )
            for _ in range(_COMMITTERS)
        ]
        try:
            for process in running:
                assert process.stdout is not None
                if process.stdout.readline() != "ready\n":
                    raise BenchmarkError("a member does not start")
            for process in running:
                assert process.stdin is not None
                process.stdin.write("go\n")
                process.stdin.flush()
            results = []
            for process in running:
                assert process.stdout is not None
                count, seconds = process.stdout.readline().split()
                results.append((int(count), float(seconds)))
        finally:
            for process in running:
                process.communicate()
        with Store(self.store_path, read_only=True) as store:
            stored = self._committed(store, topic)
        committed = sum(count for count, _ in results)
        if committed != stored:
            raise BenchmarkError(f"{committed} positions were committed and {stored} are there")
        return committed / max(seconds for _, seconds in results)

    def prepare_description(self) -> str:
        """A group that has read one message of each of many partitions."""
        topic = self.create(self.places)
        with Store(self.store_path) as store:
            with store.transaction() as transaction:
                for partition in range(self.places):
                    transaction.publish(topic, {"n": partition}, partition=partition)
            with Member(store, topic, [topic]) as member:
                member.commit(dict.fromkeys(member.owned, 1))
        return topic

    def description(self, group: str) -> float:
        """Milliseconds of a process that describes the group."""
        done = run([aegis(), "group", "describe", group], environment=self.environment)
        if done.output.count(b"\n") < self.places:
            raise BenchmarkError("the description is not whole")
        return done.wall_seconds * 1000


def measure(settings: Settings) -> Iterator[Row]:
    """Rows about groups."""
    groups = Groups(settings)
    took, joined, owned = groups.takeovers()
    title = f"takeover after kill -9, {_PER_SECOND} messages a second"
    yield Row(what=f"{title}: p50", figures=took, unit="ms", better="less")
    yield Row(
        what=f"{title}: p99 of {len(took)}", figures=[_p99(took)], unit="ms", must=200, aim=20, better="less"
    )
    yield Row(
        what="joining, from start of process to message", figures=joined, unit="ms", must=500, better="less"
    )
    yield Row(what="the same: p99", figures=[_p99(joined)], unit="ms", better="less")
    yield Row(what="the same, from its record of joining", figures=owned, unit="ms", better="less")
    rates = in_turn(settings.rounds, {"one": lambda: groups.rate(1), "two": lambda: groups.rate(2)})
    yield Row(what="one member of 4 partitions, as JSON: messages a second", figures=rates["one"], unit="/s")
    yield Row(what="two members, against one", figures=ratios(rates["two"], rates["one"]), unit="x", must=1.5)
    figures = [groups.commits() for _ in range(settings.rounds)]
    yield Row(
        what=f"position commits, {_COMMITTERS} members: a second", figures=figures, unit="/s", must=2000
    )
    group = groups.prepare_description()
    figures = [groups.description(group) for _ in range(3 * settings.rounds)]
    what = f"group describe of {groups.places:,} partitions"
    yield Row(what=what, figures=figures, unit="ms", must=300, better="less")
    shutil.rmtree(groups.directory)


def _p99(took: list[float]) -> float:
    return sorted(took)[min(len(took) - 1, len(took) * 99 // 100)]
