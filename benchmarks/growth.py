"""What little work costs in a topic of a thousand messages, and in one of ten million."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.processes import BenchmarkError, aegis, environment, run
from benchmarks.rows import Row, Settings, in_turn, ratios
from storage.batch import RecordBatch
from storage.store import Append, Store, clock_ms
from storage.topic import TopicSettings

_SMALL = 1000
# A batch is as small as a live input makes it: the index is then long.
_BATCH_MESSAGES = 100
_APPEND_BATCHES = 200
_APPEND_SPAN_MS = 1000
_ROUNDS_MIN = 5


def fill(path: Path, topic: str, count: int) -> int:
    """Make a topic of `count` messages, appended a second apart; returns when the last were (ms UTC)."""
    per_append = _BATCH_MESSAGES * _APPEND_BATCHES
    now = clock_ms() - _APPEND_SPAN_MS * -(-count // per_append)
    with Store(path, create=True, clock_ms=lambda: now) as store:
        store.create_topic(topic, TopicSettings())
        for first in range(0, count, per_append):
            now += _APPEND_SPAN_MS
            end = min(count, first + per_append)
            batches = [
                _batch(start, min(end, start + _BATCH_MESSAGES))
                for start in range(first, end, _BATCH_MESSAGES)
            ]
            store.append([Append(topic=topic, partition=0, batches=batches)])
    return now


def _batch(first: int, end: int) -> RecordBatch:
    return RecordBatch(
        lines=b"".join([b'{"id":%d}\n' % number for number in range(first, end)]), count=end - first
    )


def measure(settings: Settings) -> Iterator[Row]:
    """Rows that compare a large topic with a small one."""
    directory = settings.directory / "growth"
    directory.mkdir()
    sizes = {"small": _SMALL, "large": settings.stored_messages}
    # The topics lie in stores of their own: what one did must not cost the other.
    stores = {name: Topic(directory / name, size) for name, size in sizes.items()}
    rounds = max(_ROUNDS_MIN, 2 * settings.rounds + 1)
    works: dict[str, Callable[[Topic], float]] = {
        "opening and publishing one message": Topic.publish,
        "consume -n 1 by offset, at the end": Topic.consume_by_offset,
        "consume -n 1 by time, at the end": Topic.consume_by_time,
    }
    for what, work in works.items():
        spent = in_turn(rounds, {name: _bound(work, topic) for name, topic in stores.items()})
        yield Row(
            what=f"{what}: CPU with {settings.stored_messages:,} stored, against {_SMALL:,}",
            figures=ratios(spent["large"], spent["small"]),
            unit="x",
            must=1.5,
            aim=1.1,
            better="less",
        )
    shutil.rmtree(directory)


def _bound(work: Callable[[Topic], float], topic: Topic) -> Callable[[], float]:
    return lambda: work(topic)


class Topic:
    """A filled topic and what is timed on it: the seconds of processor time of whole processes."""

    def __init__(self, directory: Path, count: int) -> None:
        directory.mkdir()
        self._count = count
        self._environment = environment(directory)
        # Filling takes memory; a process of its own keeps this one small.
        script = "import sys; from pathlib import Path; from benchmarks.growth import fill; "
        script += "print(fill(Path(sys.argv[1]), 't', int(sys.argv[2])))"
        command = [sys.executable, "-c", script, self._environment["AEGIS_STORE"], str(count)]
        self._last_ms = int(subprocess.check_output(command, cwd=Path(__file__).resolve().parents[1]))

    def publish(self) -> float:
        return run([aegis(), "publish", "t", '{"id":-1}'], environment=self._environment).cpu_seconds

    def consume_by_offset(self) -> float:
        offset = self._count - 1
        return self._consume("-o", str(offset), expected=offset)

    def consume_by_time(self) -> float:
        per_append = _BATCH_MESSAGES * _APPEND_BATCHES
        first_of_last = (self._count - 1) // per_append * per_append
        return self._consume("-o", f"@{self._last_ms}", expected=first_of_last)

    def _consume(self, *options: str, expected: int) -> float:
        done = run([aegis(), "consume", "t", "-n", "1", *options], environment=self._environment)
        if done.output != b'{"id":%d}\n' % expected:
            raise BenchmarkError(f"consume {' '.join(options)} gave {done.output!r}, not message {expected}")
        return done.cpu_seconds
