"""What the store holds in the end, against what publishers were told: nothing lost, torn, aborted, twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from storage.reader import Gap
from storage.store import Store
from tests.history.cast import INPUT_RECORDS, PARTS, RESUMED, SOURCE, TOPICS, UNIT, UNIT_RECORDS, Cast
from tests.history.findings import Findings
from tests.history.part import Part
from tests.history.timeline import At
from tests.history.transactor import is_dropped
from tests.soak.check import whole_lines
from tests.soak.record import name, producer_of, read_ack, read_value, source_of

Logs = Mapping[At, list[int]]


def read_logs(store_path: Path, findings: Findings) -> dict[At, list[int]]:
    """The records of each partition, from offset 0."""
    logs: dict[At, list[int]] = {}
    with Store(store_path, read_only=True) as store:
        for topic, partitions in TOPICS.items():
            for partition in range(partitions):
                records: list[int] = []
                logs[topic, partition] = records
                for batch in store.batches(topic, partition):
                    if isinstance(batch, Gap) or batch.base_offset != len(records):
                        findings.add("gap", f"{topic}/{partition} behind {len(records)}: {batch}")
                        break
                    records += [read_value(value).id for value in batch.values()]
    return logs


def check_store(cast: Cast, logs: Logs, findings: Findings) -> None:
    """All that can be said without the groups."""
    for topic in (SOURCE, *PARTS):
        _check_once(topic, logs, findings)
    _check_transactions(logs, findings)
    _check_units(cast, logs, findings)
    _check_inputs(cast, logs, findings)
    for producer, part in enumerate([*cast.publishers, cast.transactor]):
        _check_acknowledged(part, producer, logs, findings)


def of_topic(topic: str, logs: Logs) -> Counter[int]:
    """How often each record is in a topic."""
    found: Counter[int] = Counter()
    for (of, _), records in logs.items():
        if of == topic:
            found.update(records)
    return found


def _check_once(topic: str, logs: Logs, findings: Findings) -> None:
    """Nothing twice, and the records of one publisher in their order within a partition."""
    for record, times in of_topic(topic, logs).items():
        if times > 1:
            findings.add("duplicate", f"record {record} is in topic {topic} {times} times")
    for (of, partition), records in logs.items():
        if of != topic:
            continue
        newest: dict[int, int] = {}
        for record in records:
            before = newest.get(source_of(record), -1)
            if record < before:
                findings.add("disorder", f"{topic}/{partition}: record {record} behind {before}")
            newest[source_of(record)] = record


def _check_transactions(logs: Logs, findings: Findings) -> None:
    sets = [set(of_topic(topic, logs)) for topic in PARTS]
    everywhere = set.intersection(*sets)
    for record in sorted(set.union(*sets) - everywhere):
        there = [topic for topic, records in zip(PARTS, sets, strict=True) if record in records]
        findings.add("torn", f"transaction {record} is only in {', '.join(there)}")
    for record in sorted(filter(is_dropped, set.union(*sets))):
        findings.add("aborted", f"transaction {record} was dropped and is there")
    findings.count("transactions", len(everywhere))


def _check_units(cast: Cast, logs: Logs, findings: Findings) -> None:
    """What was published at once is there as a whole or not at all."""
    producer = [part.name for part in cast.publishers].index(UNIT)
    there = Counter(source_of(record) for record in of_topic(SOURCE, logs) if producer_of(record) == producer)
    for source, records in there.items():
        if records != UNIT_RECORDS:
            findings.add("torn", f"of unit {source} there are {records} records of {UNIT_RECORDS}")
    findings.count("units", len(there))


def _check_inputs(cast: Cast, logs: Logs, findings: Findings) -> None:
    """Of each input that was published to its end everything is there; of the last one its beginning."""
    producer = [part.name for part in cast.publishers].index(RESUMED)
    records = of_topic(SOURCE, logs)
    for number in range(cast.inputs_published + 1):
        first = name(producer, number, 0)
        there = [record in records for record in range(first, first + INPUT_RECORDS)]
        if number < cast.inputs_published and not all(there):
            findings.add(
                "lost", f"input {number} was published, and record {there.index(False)} is not there"
            )
        elif there != sorted(there, reverse=True):
            findings.add("lost", f"input {number} has a gap before record {there.index(False)}")
    findings.count("inputs", cast.inputs_published)


def _check_acknowledged(part: Part, producer: int, logs: Logs, findings: Findings) -> None:
    """Each receipt names a place that holds records of who got it."""
    for _, path in part.outputs():
        for raw in whole_lines(path):
            ack = read_ack(raw)
            records = logs[ack.topic, ack.partition][ack.base_offset : ack.last_offset + 1]
            where = f"{path.name}: {ack.topic}/{ack.partition} {ack.base_offset} to {ack.last_offset}"
            if len(records) != ack.last_offset - ack.base_offset + 1:
                findings.add("lost", f"{where} was acknowledged and is not there")
            elif any(producer_of(record) != producer for record in records):
                findings.add("lost", f"{where} was acknowledged and is something else")
            findings.count("acknowledged", len(records))
