"""A running `aegis consume --group`, and what its group's log says afterwards."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import msgspec

from benchmarks.processes import BenchmarkError, Command, aegis
from storage.group_state import Commit, Generation
from storage.member import group_log_name
from storage.reader import Gap
from storage.store import Store

WAIT_SECONDS = 60.0
_STEP_SECONDS = 0.0005


class _Envelope(msgspec.Struct):
    partition: int


_read_envelope = msgspec.json.Decoder(_Envelope).decode


class Arrival(NamedTuple):
    """A message that was read from a member, on the monotonic clock and the one of the day, in ns."""

    at_ns: int
    at_ms: int
    partition: int


@dataclass
class GroupMember:
    """A member whose messages are read as soon as they come; `arrivals` holds the first after `mark`."""

    topic: str
    group: str
    environment: Mapping[str, str]
    started_ns: int = 0
    marked_ns: int = 0
    arrivals: dict[int, Arrival] = field(default_factory=dict)

    def start(self) -> None:
        command: Command = [aegis(), "consume", self.topic, "-g", self.group, "-f", "--json", "-o", "start"]
        self.started_ns = self.marked_ns = time.monotonic_ns()
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, env=self.environment)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            for line in output:
                now_ns, now_ms = time.monotonic_ns(), time.time_ns() // 1_000_000
                arrival = Arrival(now_ns, now_ms, _read_envelope(line).partition)
                if arrival.at_ns > self.marked_ns:
                    self.arrivals.setdefault(arrival.partition, arrival)

    def mark(self) -> None:
        """From now on look for the first message of each partition."""
        self.arrivals = {}
        self.marked_ns = time.monotonic_ns()

    def wait_for(self, partitions: set[int]) -> Arrival:
        """The first message of any of these partitions since the mark."""
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            came = [arrival for number, arrival in self.arrivals.copy().items() if number in partitions]
            if came:
                return min(came)
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise BenchmarkError(f"a member of group '{self.group}' got no message")
            time.sleep(_STEP_SECONDS)

    def kill(self) -> int:
        """Kill it; returns when, on the monotonic clock, in ns."""
        now = time.monotonic_ns()
        self.process.kill()
        self.process.wait()
        self._thread.join()
        return now


def changes_of(store_path: Path, group: str) -> Iterator[Generation | Commit]:
    """The records of a group's log that are still there."""
    with Store(store_path, read_only=True) as store:
        for batch in store.batches(group_log_name(group), 0):
            if isinstance(batch, Gap):
                raise BenchmarkError(f"the log of group '{group}' cannot be read: {batch.reason}")
            for raw in batch.values():
                change = msgspec.json.decode(raw, type=dict[str, object])
                if "generation" in change:
                    yield msgspec.convert(change, Generation)
                elif "positions" in change:
                    yield msgspec.convert(change, Commit)
