"""The verdict on a soak: what the log holds against what was acknowledged and what the followers saw."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from storage.reader import Gap
from storage.store import Store
from tests.soak.cast import ATOMIC, TOPICS, Role
from tests.soak.record import name, read_ack, read_envelope, read_value, source_of

# Who publishes the last record of each partition, when all others are gone.
END_PRODUCER = 1000
_PROBLEMS_MAX = 50
Place = tuple[str, int]


@dataclass
class Log:
    """One partition as it is in the end: its records' names from `start` on, offsets without holes."""

    start: int
    records: list[int]

    @property
    def end(self) -> int:
        return self.start + len(self.records)


@dataclass
class Verdict:
    """What was found. Each problem is a sentence; none means that the soak is clean."""

    acknowledged: int = 0
    stored: int = 0
    followed: int = 0
    problems: list[str] = field(default_factory=list)

    def add(self, problem: str) -> None:
        if len(self.problems) < _PROBLEMS_MAX:
            self.problems.append(problem)


def judge(store_path: Path, publishers: list[Role], followers: list[Role]) -> Verdict:
    """Read everything and compare."""
    verdict = Verdict()
    logs = read_logs(store_path, verdict)
    verdict.stored = sum(len(log.records) for log in logs.values())
    for place, log in logs.items():
        check_order(place, log, verdict)
    check_twice(logs, verdict)
    check_atomic(logs, verdict)
    for producer, role in enumerate(publishers):
        for incarnation, path in role.outputs():
            check_acknowledged(name(producer, incarnation, 0), path, logs, verdict)
    for role in followers:
        for incarnation, path in role.outputs():
            check_follower(f"{role.name}.{incarnation}", path, logs, verdict)
    return verdict


def read_logs(store_path: Path, verdict: Verdict) -> dict[Place, Log]:
    logs = {}
    with Store(store_path, read_only=True) as store:
        for topic in TOPICS:
            for partition in range(store.topic(topic).partitions):
                start = store.reader(topic, partition).start_offset
                log = logs[topic, partition] = Log(start, [])
                for batch in store.batches(topic, partition):
                    if isinstance(batch, Gap):
                        gap = f"gap {batch.first_offset}-{batch.end_offset}: {batch.reason}"
                        verdict.add(f"{topic}/{partition}: {gap}")
                        continue
                    if batch.base_offset != log.end:
                        verdict.add(f"{topic}/{partition}: offset {batch.base_offset} follows {log.end - 1}")
                        # Later comparisons go by offset: what is missing stays missing.
                        log.records += [-1] * (batch.base_offset - log.end)
                    log.records += [read_value(value).id for value in batch.values()]
    return logs


def check_order(place: Place, log: Log, verdict: Verdict) -> None:
    """Order kept per producer and partition, and with it: nothing twice in one partition."""
    newest: dict[int, int] = {}
    for offset, record in enumerate(log.records, start=log.start):
        source = source_of(record)
        if newest.get(source, -1) >= record:
            verdict.add(f"{place}: offset {offset} holds record {record} behind {newest[source]}")
        newest[source] = record


def check_twice(logs: dict[Place, Log], verdict: Verdict) -> None:
    """Nothing twice in one topic; atomic appends go to each of their places once, which order has checked."""
    for topic in ("small", "keyed"):
        seen: Counter[int] = Counter()
        for (name_, _), log in logs.items():
            if name_ == topic:
                seen.update(log.records)
        for record, times in seen.items():
            if times > 1:
                verdict.add(f"{topic}: record {record} is there {times} times")


def check_atomic(logs: dict[Place, Log], verdict: Verdict) -> None:
    """An append to several partitions is in all of them or in none."""
    own = name(END_PRODUCER, 0, 0)
    sets = [{record for record in logs[place].records if record < own} for place in ATOMIC]
    torn = sets[0].union(*sets) - sets[0].intersection(*sets)
    if torn:
        verdict.add(f"{len(torn)} atomic appends are torn, such as record {min(torn)}")


def check_acknowledged(first: int, path: Path, logs: dict[Place, Log], verdict: Verdict) -> None:
    """Everything acknowledged is where the receipt says, and is the beginning of what was published."""
    found: set[int] = set()
    gone = False
    for raw in whole_lines(path):
        ack = read_ack(raw)
        log = logs[ack.topic, ack.partition]
        verdict.acknowledged += ack.last_offset - ack.base_offset + 1
        if ack.base_offset < log.start:
            gone = True  # removed by retention since
            continue
        records = log.records[ack.base_offset - log.start : ack.last_offset + 1 - log.start]
        if len(records) != ack.last_offset - ack.base_offset + 1:
            verdict.add(f"{path.name}: lost {ack.topic}/{ack.partition} {ack.base_offset}-{ack.last_offset}")
        for record in records:
            if source_of(record) != first:
                where = f"{ack.topic}/{ack.partition} {ack.base_offset}"
                verdict.add(f"{path.name}: {where} is record {record}")
                break
        found.update(records)
    # A killed publish may have committed a step whose receipts were printed in part: the start is whole.
    if not gone and found and found != set(range(first, first + len(found))):
        missing = min(set(range(first, max(found))) - found)
        if "keyed" not in path.name:
            verdict.add(f"{path.name}: record {missing} is not acknowledged, and later ones are")


def check_follower(title: str, path: Path, logs: dict[Place, Log], verdict: Verdict) -> None:
    """What a follower saw is the log, from where it began: each offset once, in order, with its record."""
    following: dict[Place, int] = {}
    for raw in whole_lines(path):
        try:
            seen = read_envelope(raw)
        except msgspec.MsgspecError as error:
            verdict.add(f"{title}: {error}: {raw[:100]!r}")
            return
        place = (seen.topic, seen.partition)
        log = logs[place]
        expected = following.get(place)
        behind_retention = expected is not None and expected < seen.offset <= log.start
        if expected is not None and seen.offset != expected and not behind_retention:
            verdict.add(f"{title}: {place}: offset {seen.offset} follows {expected - 1}")
        following[place] = seen.offset + 1
        if seen.offset >= log.start:
            at = seen.offset - log.start
            if at >= len(log.records) or log.records[at] != seen.value.id:
                verdict.add(f"{title}: {place}: offset {seen.offset} was record {seen.value.id} and is not")
        verdict.followed += 1


def ends_seen(path: Path, places: set[Place], ends: dict[Place, int]) -> bool:
    """Whether a follower has seen the last record of each place."""
    missing = {(place, ends[place] - 1) for place in places}
    for raw in whole_lines(path):
        seen = read_envelope(raw)
        missing.discard(((seen.topic, seen.partition), seen.offset))
    return not missing


def whole_lines(path: Path) -> list[bytes]:
    """The lines that were written to their end: a process may be killed within one."""
    raw = path.read_bytes()
    return raw[: raw.rfind(b"\n") + 1].splitlines()
