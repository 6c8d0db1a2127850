"""Cuts the power at every moment of a trace, recovers what could be left, and holds it against the promises.

What recovery makes of a tree depends on that tree alone, so each tree is recovered once and held against all
moments at which it can be left behind.
"""

# The seam speaks of plain strings and descriptors, as the store does.
# ruff: noqa: PTH102, PTH103, PTH110, PTH112, PTH118, PTH123, PTH208
from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import FrameType

from storage import Store
from storage.batch import RecordBatch
from storage.errors import StorageError
from storage.files import Sync
from storage.store import Append
from tests.power_cut import aftermath
from tests.power_cut.disk import Disk, database_at, page_at
from tests.power_cut.promises import Facts, Line, View, look
from tests.power_cut.recorder import recording
from tests.power_cut.trace import Marked, Trace, Tree


class HungError(Exception):
    """Opening or reading a store did not end."""


# What a store that was cut off must never raise, whatever it is: a promise is broken then.
_FAILURES = (
    HungError, StorageError, OSError, AssertionError, RuntimeError, ValueError, LookupError, TypeError,
    StopIteration, OverflowError, MemoryError,
)  # fmt: skip
SHARED = "store/journal/shared"
DATABASE = "out.db"


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken promise: after which event, with what left on the disk."""

    event: int
    label: str
    problem: str


@dataclass(slots=True)
class Report:
    """What an exploration found. `recovered` counts distinct disks, `states` all that were looked at."""

    states: int = 0
    recovered: int = 0
    violations: list[Violation] = field(default_factory=list)

    def __str__(self) -> str:
        first = "\n".join(f"  event {v.event}, {v.label}: {v.problem}" for v in self.violations[:8])
        return f"{self.states} states, {self.recovered} disks, {len(self.violations)} violations\n{first}"


@dataclass(slots=True)
class Outcome:
    """What became of one disk: what a reader saw before and after recovery, and after publishing again.

    `refused` says that the store raised an error of its own, which names what is wrong.
    """

    before: View | None = None
    after: View | None = None
    again: View | None = None
    quarantined: bytes = b""
    gone: bool = False
    problems: list[str] = field(default_factory=list)
    refused: bool = False


@dataclass(slots=True)
class Explorer:
    """Looks at what power cuts leave behind. `scratch` is a directory for the disks.

    `states_per_cut` bounds the states of one moment (all of them without), `seed` chooses which.
    """

    scratch: str
    ignored: Sync | None = None
    states_per_cut: int | None = None
    randoms: int = 4
    seed: int = 1
    violations_max: int = 1000
    report: Report = field(default_factory=Report)
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    _count: int = 0

    def explore(self, trace: Trace, facts: Facts | None = None) -> Report:
        """Cut the power after every event."""
        for event, label, tree, known in self.cuts(trace, facts or Facts()):
            self.report.states += 1
            for problem in self.judge(tree, known):
                self.report.violations.append(Violation(event, label, problem))
            if len(self.report.violations) >= self.violations_max:
                break
        return self.report

    def cuts(self, trace: Trace, facts: Facts) -> Iterator[tuple[int, str, Tree, Facts]]:
        """Every state to look at: the event it follows, its label, the disk, what was promised by then."""
        rng = random.Random(self.seed)
        disk = Disk(trace.initial)
        events = trace.events
        for index, event in enumerate(events):
            # What was prepared was prepared with every sync.
            disk.ignored = self.ignored if index >= trace.start else None
            disk.follow(event)
            if isinstance(event, Marked):
                for problem in facts.learn(event.fact, index):
                    self.report.violations.append(Violation(index, "live", problem))
                    if len(self.report.violations) >= self.violations_max:
                        return
            if index + 1 < len(events) and isinstance(events[index + 1], Marked):
                continue  # the same disk, less promised
            if index < trace.start:
                continue
            choices = list(disk.choices(rng, randoms=self.randoms))
            if self.states_per_cut is not None and len(choices) > self.states_per_cut:
                choices = choices[:2] + rng.sample(choices[2:], self.states_per_cut - 2)
            page = page_at(trace, index + 1)
            for number, choice in enumerate(choices):
                tree = disk.build(choice)
                if SHARED in tree:
                    content = (None, bytes(4096), page)[(index + number) % 3]
                    if content is None:
                        del tree[SHARED]
                    else:
                        tree[SHARED] = content
                database = database_at(trace, index + 1, before=(index + number) % 2 == 0)
                if database is not None:
                    tree[DATABASE] = database
                yield index, choice.label, tree, facts

    def judge(self, tree: Tree, facts: Facts) -> list[str]:
        """How the disk, recovered, breaks what was promised."""
        key = hash(frozenset((path, content) for path, content in tree.items() if path != SHARED))
        outcome = self.outcomes.get(key)
        if outcome is None:
            self.report.recovered += 1
            outcome = self.outcomes[key] = self._recover(tree)
        return assess(outcome, facts)

    def _recover(self, tree: Tree) -> Outcome:
        self._count += 1
        root = os.path.join(self.scratch, f"disk{self._count}")
        try:
            write_tree(root, tree)
            return recovered(os.path.join(root, "store"))
        finally:
            shutil.rmtree(root, ignore_errors=True)


def write_tree(root: str, tree: Tree) -> None:
    """Put a tree on the real disk."""
    os.makedirs(root)
    for path, content in tree.items():
        full = os.path.join(root, path)
        if content is None:
            os.mkdir(full)
        else:
            with open(full, "wb", buffering=0) as file:
                file.write(content)


@contextlib.contextmanager
def cpu_limit(seconds: float) -> Iterator[None]:
    """Raise `HungError` here when this process has worked for so long."""

    def expire(number: int, frame: FrameType | None) -> None:
        # What is raised inside a finalizer reaches nobody; the next signal comes soon.
        if frame is not None and frame.f_code.co_name == "__del__":
            return
        raise HungError(f"still at work after {seconds} s")

    before = signal.signal(signal.SIGPROF, expire)
    signal.setitimer(signal.ITIMER_PROF, seconds, 0.02)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def recovered(path: str) -> Outcome:
    """Open the store at `path`, which recovers it; read it all, publish to every partition, read again."""
    outcome = Outcome()
    outcome.gone = not os.path.exists(os.path.join(path, "aegis.toml"))
    for action in (_go_on, _look_before, _recover_and_use):
        try:
            with cpu_limit(1.0):
                action(path, outcome)
        except _FAILURES as error:
            outcome.refused = outcome.refused or isinstance(error, StorageError)
            outcome.problems.append(f"{action.__name__}: {type(error).__name__}: {error}")
    return outcome


def _go_on(path: str, outcome: Outcome) -> None:
    with aftermath.copied(path) as copy:
        if copy is not None and not outcome.gone:
            outcome.problems += aftermath.problems(copy)


def _look_before(path: str, outcome: Outcome) -> None:
    if not outcome.gone:
        with Store(path, read_only=True) as reader:
            outcome.before = look(reader)


def _recover_and_use(path: str, outcome: Outcome) -> None:
    with Store(path, create=outcome.gone, lock_wait_seconds=1.0) as store:
        outcome.after = look(store, raw=True)
        outcome.quarantined = _quarantined(path)
        problems, added = _publish_everywhere(store, outcome.after)
        outcome.problems += problems
        outcome.again = look(store, raw=True)
    for place, (offset, line) in added.items():
        if outcome.again.partitions[place].lines.pop(offset, None) != line:
            outcome.problems.append(f"{place[1]}: what is published after recovery cannot be read")
        outcome.again.partitions[place].end -= 1


def _publish_everywhere(
    store: Store, view: View
) -> tuple[list[str], dict[tuple[str, int], tuple[int, Line]]]:
    problems, added = [], {}
    for (topic, number), partition in view.partitions.items():
        name = view.topics[topic][0]
        line = Line(b'"after"', b'"k"', None)
        batch = RecordBatch(lines=line.value + b"\n", count=1, keys=[b'"k"'])
        (receipt,) = store.append([Append(topic=name, partition=number, batches=[batch])])
        if receipt.base_offset != partition.end:
            problems.append(f"{number}: offset {receipt.base_offset} given behind {partition.end}")
        added[topic, number] = receipt.base_offset, line
    return problems, added


def _quarantined(path: str) -> bytes:
    directory = os.path.join(path, "quarantine")
    pieces = []
    if os.path.isdir(directory):
        for name in sorted(os.listdir(directory)):
            with open(os.path.join(directory, name), "rb") as file:
                pieces.append(file.read())
    return b"".join(pieces)


def assess(outcome: Outcome, facts: Facts) -> list[str]:
    """How what became of a disk breaks what was promised."""
    found = list(outcome.problems)
    if facts.made and outcome.gone:
        found.append("the store is gone")
    if outcome.after is None:
        return found
    found += facts.problems(outcome.after)
    found += facts.quarantine_problems(outcome.quarantined)
    if outcome.before is not None:
        found += _taken_back(outcome.before, outcome.after, facts)
    if outcome.again is not None:
        found += [f"after publishing again, {problem}" for problem in facts.problems(outcome.again)]
    return found


def _taken_back(before: View, after: View, facts: Facts) -> list[str]:
    found = []
    for place, partition in before.partitions.items():
        kept = after.partitions.get(place)
        if kept is None or not facts.waits(place[0]):
            continue
        for offset, line in partition.lines.items():
            if offset >= kept.start and kept.lines.get(offset) != line:
                found.append(f"{place[1]}: recovery took back offset {offset}, which a reader could see")
    return found


def record_recovery(scratch: str, tree: Tree) -> Trace:
    """What recovering this disk does, with a reader looking at every moment."""
    from tests.power_cut.promises import Seen

    root = os.path.join(scratch, "again")
    shutil.rmtree(root, ignore_errors=True)
    write_tree(root, tree)
    path = os.path.join(root, "store")
    with Store(path, read_only=True) as reader, recording(root) as recorder:

        def see() -> None:
            began = recorder.now
            recorder.mark(Seen(look(reader), began, recovering=True))

        recorder.look = see
        with Store(path, lock_wait_seconds=1.0) as store:
            recorder.look = None
            began = recorder.now
            recorder.mark(Seen(look(store), began))
    shutil.rmtree(root, ignore_errors=True)
    return recorder.trace
