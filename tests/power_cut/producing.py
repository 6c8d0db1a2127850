"""Producers while the power is cut: their messages and how far they came are stored together or not at all.

The input is always the same (`LINES`); each run is given more of it, from the start. What is found after
recovery is then given all of it: see `aftermath`.
"""

from __future__ import annotations

import contextlib
import tempfile

from storage import Store, producer_input
from storage.intake import IntakeOptions
from storage.producer import Producer
from storage.producer_input import publish_resumable
from storage.topic import TopicSettings
from tests.power_cut.observed import observed
from tests.power_cut.recorder import ProcessDiedError, die
from tests.power_cut.stage import BULK_BYTES, Stage
from tests.power_cut.workloads import Workload

PARTITIONS = 2
# Small ones, blank ones, and some that are written before they are committed.
LINES = [
    b'{"line":0}',
    b'{"line":1}',
    b"",
    b'{"line":3}',
    b'{"line":4,"fill":"%s"}' % (b"x" * BULK_BYTES),
    b'{"line":5,"fill":"%s"}' % (b"y" * BULK_BYTES),
    b'{"line":6}',
    b'{"line":7}',
    b"",
    b'{"line":9}',
    b'{"line":10}',
]


def produce(store: Store, lines: int) -> None:
    """A run of the producer with the first lines of the input."""
    options = IntakeOptions(max_record_bytes=1_000_000)
    with tempfile.TemporaryFile() as file, Producer(store, "p") as producer:
        file.write(b"".join(line + b"\n" for line in LINES[:lines]))
        file.seek(0)
        publish_resumable(store, producer, store.topic("t"), options, file.fileno())


def placed(lines: int) -> list[list[bytes]]:
    """What belongs into each partition of the first lines of the input."""
    places: list[list[bytes]] = [[] for _ in range(PARTITIONS)]
    for number, line in enumerate(LINES[:lines]):
        if line:
            places[number // producer_input.LINES_A_TURN % PARTITIONS].append(line)
    return places


def published(store: Store) -> list[list[bytes]]:
    """What each partition holds."""
    return [
        [message.value for message in store.read("t", partition=partition)] for partition in range(PARTITIONS)
    ]


def producing(stage: Stage) -> None:
    """A producer comes into being, and goes on three times."""
    store = observed(stage)
    store.create_topic("t", TopicSettings(partitions=PARTITIONS))
    stage.begin()
    for lines in (2, 6, 9, len(LINES)):
        produce(store, lines)


def _dies_producing(step: str) -> Workload:
    def work(stage: Stage) -> None:
        """A run dies in the middle of a step; the next one goes on."""
        store = observed(stage)
        store.create_topic("t", TopicSettings(partitions=PARTITIONS))
        produce(store, 2)
        stage.begin()
        # The first record of a run says that it began.
        stage.recorder.at("", step, die, skip=0 if step.startswith("bulk") else 1)
        with contextlib.suppress(ProcessDiedError):
            produce(store, 6)
        stage.bury(store)
        other = observed(stage)
        produce(other, 8)
        assert placed(8) == published(other)

    return work


PRODUCING: dict[str, Workload] = {"producing": producing}
PRODUCING |= {
    f"dies_producing_at_{step}": _dies_producing(step)
    for step in ("bulk.written", "journal.written", "journal.moved", "append.durable", "applied")
}
