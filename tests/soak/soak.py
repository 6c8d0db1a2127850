"""The soak: processes that publish, follow and clean one store, killed, stopped and continued at random.

Which process is hit when comes from a seed; what they were doing at that moment does not: a seed repeats the
pressure, not the run.
"""

from __future__ import annotations

import os
import random
import time
from dataclasses import dataclass
from pathlib import Path

from storage import files
from storage.batch import RecordBatch
from storage.journal_file import existing_files
from storage.store import Append, Store
from storage.topic import TopicSettings
from tests.soak.cast import TOPICS, Role, cast
from tests.soak.check import END_PRODUCER, Verdict, ends_seen, judge
from tests.soak.record import line, name

# A checkpoint follows each switch; it may be killed, and the next one does its work.
JOURNAL_FILES_MAX = 10
_LONGEST_STOP_SECONDS = 0.4
_CATCH_UP_SECONDS = 120.0
_STEP_SECONDS = 0.02
_UNLOCK_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Summary:
    """What a soak did and found."""

    seconds: float
    seed: int
    kills: int
    stops: int
    journal_files: int
    verdict: Verdict

    def __str__(self) -> str:
        verdict = self.verdict
        result = "clean" if not verdict.problems else f"{len(verdict.problems)} PROBLEMS"
        return (
            f"soak: {result}; {self.seconds:.0f} s with seed {self.seed}, {self.kills} kills, "
            f"{self.stops} stops; {verdict.acknowledged} records acknowledged, {verdict.stored} stored, "
            f"{verdict.followed} followed; "
            f"at most {self.journal_files} journal files"
        )


def run(directory: Path, *, seconds: float, seed: int) -> Summary:
    """Run a soak in `directory`, which should be empty."""
    store_path = directory / "store"
    output = directory / "output"
    output.mkdir()
    with Store(store_path, create=True) as store:
        for topic, settings in TOPICS.items():
            store.create_topic(topic, TopicSettings(**settings))  # type: ignore[arg-type]
    publishers, followers, cleaners = cast(store_path, output)
    everyone = [*publishers, *followers, *cleaners]
    began = time.monotonic()
    try:
        chaos = _Chaos(random.Random(seed), everyone, store_path)
        chaos.run(began + seconds)
        for role in (*publishers, *cleaners):
            role.end()
        problems = _finish(store_path, followers)
    finally:
        for role in everyone:
            role.end()
    verdict = judge(store_path, publishers, followers)
    for problem in [*problems, *(failure for role in everyone for failure in role.failures)]:
        verdict.add(problem)
    if chaos.journal_files > JOURNAL_FILES_MAX:
        verdict.add(f"the journal had {chaos.journal_files} files")
    return Summary(time.monotonic() - began, seed, chaos.kills, chaos.stops, chaos.journal_files, verdict)


class _Chaos:
    """Kills, stops and continues, until the time is over."""

    def __init__(self, chance: random.Random, roles: list[Role], store_path: Path) -> None:
        self._chance = chance
        self._roles = roles
        self._journal = str(store_path / "journal")
        self._stopped: dict[str, tuple[Role, float]] = {}
        self.kills = 0
        self.stops = 0
        self.journal_files = 0

    def run(self, deadline: float) -> None:
        for role in self._roles:
            role.start()
        next_hit = 0.0
        while (now := time.monotonic()) < deadline:
            for role in self._roles:
                role.look()
            for role, until in list(self._stopped.values()):
                if now >= until:
                    self._go_on(role)
            self.journal_files = max(self.journal_files, len(existing_files(self._journal)))
            if now >= next_hit:
                self._hit(self._chance.choice(self._roles), now)
                next_hit = now + self._chance.uniform(0.02, 0.4)
            time.sleep(_STEP_SECONDS)
        for role, _ in list(self._stopped.values()):
            self._go_on(role)

    def _hit(self, role: Role, now: float) -> None:
        if self._chance.random() < 0.4:
            self.kills += 1
            self._stopped.pop(role.name, None)
            role.kill()
        elif role.name not in self._stopped:
            self.stops += 1
            role.stop()
            self._stopped[role.name] = (role, now + self._chance.uniform(0.001, _LONGEST_STOP_SECONDS))

    def _go_on(self, role: Role) -> None:
        del self._stopped[role.name]
        role.go_on()


def _finish(store_path: Path, followers: list[Role]) -> list[str]:
    """With all publishers gone: no lock is left, everything committed is shown, the followers catch up."""
    problems = [f"{path} is locked and nobody is there" for path in _locked(store_path)]
    ends: dict[tuple[str, int], int] = {}
    with Store(store_path, lock_wait_seconds=5.0) as store:
        for topic in TOPICS:
            for partition in range(store.topic(topic).partitions):
                batch = RecordBatch(lines=line(name(END_PRODUCER, partition, 0), padding=1), count=1)
                receipt = store.append([Append(topic=topic, partition=partition, batches=[batch])])[0]
                ends[topic, partition] = receipt.last_offset + 1
        store.maintenance.run_if_idle()
    topics = {
        "follow-small": ("small", "quick"),
        "follow-bulk": ("bulk",),
        "follow-keyed": ("keyed",),
        "follow-atomic": ("left", "right"),
        "follow-ring": ("ring",),
    }
    deadline = time.monotonic() + _CATCH_UP_SECONDS
    for role in followers:
        role.look()
        places = {place for place in ends if place[0] in topics[role.name]}
        while not ends_seen(role.output, places, ends):
            if time.monotonic() > deadline:
                problems.append(f"{role.name}.{role.incarnation} did not reach the end")
                break
            time.sleep(0.2)
    return problems


def _locked(store_path: Path) -> list[Path]:
    """Lock files that stay held.

    Followers hold the store open, and share that lock; and they take the locks of a partition for the moment
    in which they show what a killed publisher had committed.
    """
    held: list[Path] = [
        *store_path.glob("journal/*.lock"),
        *store_path.glob("topics/*/*/head"),
        store_path / "topics/.lock",
    ]
    deadline = time.monotonic() + _UNLOCK_SECONDS
    while (held := [path for path in held if _is_held(path)]) and time.monotonic() < deadline:
        time.sleep(_STEP_SECONDS)
    return held


def _is_held(path: Path) -> bool:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not files.try_lock(fd, shared=path.name == "use.lock")
    finally:
        os.close(fd)
