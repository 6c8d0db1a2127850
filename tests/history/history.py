"""A history: real processes of the command line over one store, troubled at random, and the verdict on it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from storage.store import Store
from storage.topic import TopicSettings
from tests.history.cast import GROUPS, TOPICS, Cast
from tests.history.findings import Findings
from tests.history.group_check import check_group
from tests.history.nemesis import Nemesis, Targets
from tests.history.store_check import check_store, read_logs
from tests.history.timeline import Timeline
from tests.history.witness import Witness

CATCH_UP_SECONDS = 120.0
_STEP_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Summary:
    """What happened and what was found."""

    seconds: float
    seed: int
    did: Counter[str]
    findings: Findings

    def __str__(self) -> str:
        found = sum(self.findings.kinds.values())
        result = f"{found} PROBLEMS" if found else "clean"
        did = ", ".join(f"{number} x {what}" for what, number in self.did.most_common())
        counts = ", ".join(f"{number} {what}" for what, number in self.findings.counts.most_common())
        return f"history: {result}; {self.seconds:.0f} s with seed {self.seed}: {did}; {counts}"


def run(
    directory: Path,
    *,
    seconds: float,
    seed: int,
    groups: Sequence[str] = tuple(GROUPS),
    breakage: str | None = None,
    pause_seconds: float = 0.3,
    targets: Targets = "everyone",
    catch_up_seconds: float = CATCH_UP_SECONDS,
) -> Summary:
    """Make a history in `directory`, which should be empty, and judge it."""
    began = time.monotonic()
    findings = Findings()
    cast = Cast(directory, groups=groups, breakage=breakage)
    cast.output.mkdir()
    with Store(cast.store, create=True) as store:
        for topic, partitions in TOPICS.items():
            store.create_topic(topic, TopicSettings(partitions=partitions))
    witnesses = [Witness(cast.store, group) for group in groups]
    nemesis = Nemesis(cast, witnesses, seed=seed, pause_seconds=pause_seconds, targets=targets)
    try:
        for part in cast.everyone:
            part.start()
        nemesis.run(seconds)
        for part in (*cast.publishers, cast.transactor):
            part.end()
        _catch_up(cast, witnesses, findings, seconds=catch_up_seconds)
        for part in cast.everyone:
            part.end_politely()
    finally:
        for part in cast.everyone:
            part.end()
        for witness in witnesses:
            witness.end()
    _judge(cast, witnesses, findings)
    for problem in nemesis.problems:
        findings.add("reset", problem)
    return Summary(time.monotonic() - began, seed, nemesis.did, findings)


def _catch_up(cast: Cast, witnesses: list[Witness], findings: Findings, *, seconds: float) -> None:
    """Wait until each group has read everything, with nobody troubled any more."""
    with Store(cast.store, lock_wait_seconds=5.0) as store:
        deadline = time.monotonic() + seconds
        for witness in witnesses:
            ends = {}
            for topic in GROUPS[witness.group][1]:
                for partition in range(TOPICS[topic]):
                    # What a killed publisher committed and did not live to show belongs to the end.
                    store.show_committed(topic, partition, beyond_offset=0)
                    ends[topic, partition] = store.reader(topic, partition).end_offset
            while any(witness.positions().get(at, 0) != end for at, end in ends.items()):
                for part in cast.members[witness.group]:
                    part.look()
                if time.monotonic() > deadline:
                    findings.add(
                        "stuck", f"group '{witness.group}' did not reach the end: {_behind(witness, ends)}"
                    )
                    break
                time.sleep(_STEP_SECONDS)


def _behind(witness: Witness, ends: dict[tuple[str, int], int]) -> str:
    stands = witness.positions()
    return ", ".join(
        f"{at[0]}/{at[1]} at {stands.get(at)} of {end}" for at, end in ends.items() if stands.get(at) != end
    )


def _judge(cast: Cast, witnesses: list[Witness], findings: Findings) -> None:
    logs = read_logs(cast.store, findings)
    check_store(cast, logs, findings)
    for witness in witnesses:
        for problem in witness.problems:
            findings.add("witness", problem)
        timeline = Timeline(witness.group, witness.changes)
        check_group(witness.group, cast, timeline, logs, findings)
        if witness.processes():
            findings.add("member", f"group '{witness.group}' has members, and all of them left")
    for part in cast.everyone:
        for failure in part.failures:
            findings.add("failure", failure)
