"""What the members of groups handed out, against what their group's log says of them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

import msgspec

from tests.history.cast import GROUPS, SOURCE, TARGET, TOPICS, Cast
from tests.history.findings import Findings
from tests.history.part import Part
from tests.history.store_check import Logs, of_topic
from tests.history.timeline import At, Holding, Timeline
from tests.soak.check import whole_lines
from tests.soak.record import read_envelope


def check_group(group: str, cast: Cast, timeline: Timeline, logs: Logs, findings: Findings) -> None:
    """All that is promised to a group."""
    for problem in timeline.problems:
        findings.add("group", problem)
    _check_end(timeline, logs, findings)
    findings.count("resets", timeline.resets)
    if group == "files":
        _check_files(cast, timeline, logs, findings)
    elif group == "copy":
        _check_copies(logs, findings)
    else:
        _check_members(cast.members[group], timeline, logs, findings, at_most_once=group == "once")
    _count_expelled(cast.members[group], timeline, findings)


def _check_end(timeline: Timeline, logs: Logs, findings: Findings) -> None:
    for topic in GROUPS[timeline.group][1]:
        for partition in range(TOPICS[topic]):
            end = len(logs[topic, partition])
            position = timeline.positions.get((topic, partition), 0)
            if position != end:
                where = f"{timeline.group}: {topic}/{partition}"
                findings.add("lost", f"{where} was read up to {position} and ends at {end}")


def _count_expelled(parts: Iterable[Part], timeline: Timeline, findings: Findings) -> None:
    """How many members were taken for dead though nobody did anything to them: the machine was too busy."""
    disturbed = {part.processes[incarnation] for part in parts for incarnation in part.disturbed}
    gone = [member for member in timeline.expelled if int(member.partition("-")[0]) not in disturbed]
    findings.count("expelled for nothing", len(gone))


# -- what is handed out into pipes ------------------------------------------------------------------------


def _read(lines: Iterable[bytes], title: str, logs: Logs, findings: Findings) -> list[tuple[At, int]]:
    """Place and offset of each message that was handed out; each must be the one that the log has there."""
    found = []
    for raw in lines:
        try:
            seen = read_envelope(raw)
        except msgspec.MsgspecError as error:
            findings.add("garbage", f"{title}: {error}: {raw[:100]!r}")
            break
        at = (seen.topic, seen.partition)
        if seen.offset >= len(logs[at]) or logs[at][seen.offset] != seen.value.id:
            findings.add("aborted", f"{title}: {at} offset {seen.offset} was {seen.value.id} and is not")
        found.append((at, seen.offset))
    findings.count("delivered", len(found))
    return found


def _check_members(
    parts: list[Part], timeline: Timeline, logs: Logs, findings: Findings, *, at_most_once: bool
) -> None:
    seen: dict[At, Counter[int]] = defaultdict(Counter)
    for part in parts:
        for incarnation, path in part.outputs():
            offsets: dict[At, list[int]] = defaultdict(list)
            for at, offset in _read(whole_lines(path), path.name, logs, findings):
                offsets[at].append(offset)
                seen[at][offset] += 1
            held = timeline.holdings[part.processes[incarnation]]
            for at in offsets.keys() | held.keys():
                title = f"{path.name}: {at[0]}/{at[1]}"
                _check_polls(title, offsets[at], held[at], findings)
                if not at_most_once:
                    _check_committed(title, offsets[at], held[at], findings)
    if at_most_once:
        for at, counter in seen.items():
            for offset, times in counter.items():
                if times > 1:
                    findings.add("duplicate", f"{timeline.group}: {at} offset {offset} came {times} times")
        return
    for at, passed in timeline.passed.items():
        missing = passed.keys() - seen[at].keys() - timeline.skipped[at]
        for offset in sorted(missing):
            findings.add("lost", f"{timeline.group}: {at} offset {offset} was never delivered")


def _check_polls(title: str, offsets: list[int], held: list[Holding], findings: Findings) -> None:
    """A member goes on where it is, or from where it was given the place or the place was set.

    It may hand out a message once for each time that it held the place.
    """
    following: int | None = None
    index = -1
    for offset in offsets:
        if offset != following:
            index = next((i for i in range(index + 1, len(held)) if held[i].start == offset), -1)
            if index < 0:
                was = "nothing" if following is None else str(following - 1)
                findings.add("poll", f"{title}: offset {offset} follows {was}, and nothing says why")
                return
        following = offset + 1
    for offset, times in Counter(offsets).items():
        may = sum(holding.may_deliver(offset) for holding in held)
        if times > may:
            findings.add("duplicate", f"{title}: offset {offset} came {times} times instead of {may}")


def _check_committed(title: str, offsets: list[int], held: list[Holding], findings: Findings) -> None:
    """What a member committed it had handed out."""
    handed = set(offsets)
    for holding in held:
        missing = set(range(holding.start or 0, holding.committed)) - handed
        if missing:
            sample = f"such as {min(missing)}"
            findings.add("lost", f"{title}: {len(missing)} were committed and not handed out, {sample}")


# -- exactly once -----------------------------------------------------------------------------------------


def _check_files(cast: Cast, timeline: Timeline, logs: Logs, findings: Findings) -> None:
    """In all files together each message is as often as the positions passed: once, if none was set."""
    seen: dict[At, Counter[int]] = defaultdict(Counter)
    for part in cast.members["files"]:
        path = cast.file_of(part)
        content = path.read_bytes() if path.exists() else b""
        committed = timeline.files.get(str(path.resolve()), 0)
        if len(content) != committed:
            findings.add("file", f"{path.name} has {len(content)} bytes and {committed} are committed")
        for at, offset in _read(content[:committed].splitlines(), path.name, logs, findings):
            seen[at][offset] += 1
    for at in timeline.passed.keys() | seen.keys():
        wanted = timeline.passed[at]
        for offset in wanted.keys() | seen[at].keys():
            times, may = seen[at][offset], wanted[offset]
            if times != may:
                kind = "duplicate" if times > may else "lost"
                findings.add(kind, f"files: {at} offset {offset} is there {times} times instead of {may}")
    for topic, partition in timeline.passed:
        if not timeline.resets and len(timeline.passed[topic, partition]) != len(logs[topic, partition]):
            findings.add("lost", f"files: positions of {topic}/{partition} passed over a part of it only")


def _check_copies(logs: Logs, findings: Findings) -> None:
    """Each record of the source is in the target once; those of one place keep their order in each place."""
    source, target = of_topic(SOURCE, logs), of_topic(TARGET, logs)
    for record, times in target.items():
        if times > source[record]:
            findings.add("duplicate", f"copy: record {record} was copied {times} times")
    for record in source.keys() - target.keys():
        findings.add("lost", f"copy: record {record} was not copied")
    place_of = {
        record: (partition, offset)
        for (topic, partition), records in logs.items()
        if topic == SOURCE
        for offset, record in enumerate(records)
    }
    for (topic, partition), records in logs.items():
        newest: dict[int, int] = {}
        for record in records if topic == TARGET else ():
            of, offset = place_of.get(record, (-1, -1))
            if offset < newest.get(of, -1):
                findings.add("disorder", f"{TARGET}/{partition}: record {record} came too late")
            newest[of] = offset
    findings.count("copied", sum(target.values()))
