"""From a publish to the stdout of a process that follows, and what following costs while nothing comes."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.processes import BenchmarkError, Command, aegis, environment, run
from benchmarks.rows import Row, Settings

_TICKER = Path(__file__).with_name("ticker.py")
_ROOT = Path(__file__).resolve().parents[1]
# These take so many times as long as a round of writing: a percentile wants many messages, idleness patience.
_SAMPLING = 2.5
_START_SECONDS = 20.0


class Follower:
    """A running `aegis consume -f`, whose stdout is read as soon as something is there."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        self._process = process
        self._fd = process.stdout.fileno()
        self._rest = b""

    def messages(self) -> Iterator[tuple[int, dict[str, int]]]:
        """Each message, with the time on the monotonic clock, in ns, at which it was read."""
        while True:
            data = os.read(self._fd, 1 << 20)
            now = time.monotonic_ns()
            if not data:
                raise BenchmarkError("the follower ended")
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                yield now, json.loads(line)

    def cpu_ns(self) -> int:
        """The processor time of all its threads, as the scheduler counts it."""
        tasks = Path(f"/proc/{self._process.pid}/task")
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir())


class Latencies:
    """Topics that are published to and followed."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.directory = settings.directory / "latency"
        self.directory.mkdir()
        path = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(_ROOT))))
        self.environment = environment(self.directory) | {"PYTHONPATH": path}
        self.topics = 0

    @contextmanager
    def follower(self) -> Iterator[tuple[str, Follower]]:
        """A new topic and a follower of it that is known to follow: it printed a first message."""
        self.topics += 1
        topic = f"topic-{self.topics}"
        run([aegis(), "topic", "create", topic], environment=self.environment)
        process = subprocess.Popen(
            [aegis(), "consume", topic, "-f", "-o", "start"], stdout=subprocess.PIPE, env=self.environment
        )
        try:
            run([aegis(), "publish", topic, '{"number": -1, "sent_ns": 0}'], environment=self.environment)
            follower = Follower(process)
            next(follower.messages())
            yield topic, follower
        finally:
            process.kill()
            process.communicate()

    def from_library(self, per_second: int) -> list[float]:
        """Milliseconds that each message took whose publisher is a program that uses the library."""
        with self.follower() as (topic, follower):
            command: Command = [sys.executable, _TICKER, "library", self.environment["AEGIS_STORE"], topic]
            return self._arrivals(follower, [command], per_second)

    def from_pipe(self, per_second: int) -> list[float]:
        """Milliseconds that each line took that a program wrote to `aegis publish`."""
        with self.follower() as (topic, follower):
            ticker: Command = [sys.executable, _TICKER, "stdout", "-", "-"]
            return self._arrivals(follower, [ticker, [aegis(), "publish", topic]], per_second)

    def _arrivals(self, follower: Follower, commands: list[Command], per_second: int) -> list[float]:
        count = max(10, round(per_second * _SAMPLING * self.settings.seconds))
        ticker, *rest = commands
        processes = [
            subprocess.Popen(
                [*ticker, str(per_second), str(count)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if rest else None,
                env=self.environment,
            )
        ]
        for command in rest:
            processes.append(subprocess.Popen(command, stdin=processes[-1].stdout, env=self.environment))
            output = processes[-2].stdout
            assert output is not None
            output.close()
        try:
            took = []
            for expected, (now, message) in zip(range(count + 1), follower.messages(), strict=False):
                if message["number"] != expected:
                    raise BenchmarkError(f"message {expected} did not come in its turn")
                if expected == 0:
                    # Everything has started and opened what it needs.
                    start = processes[0].stdin
                    assert start is not None
                    start.write(b"go\n")
                    start.close()
                else:
                    took.append((now - message["sent_ns"]) / 1e6)
        finally:
            for process in processes:
                process.wait(timeout=_START_SECONDS)
        return took

    def idle_percent(self) -> float:
        """What of one processor a follower takes that waits for a message."""
        with self.follower() as (_, follower):
            seconds = _SAMPLING * self.settings.seconds
            before, began = follower.cpu_ns(), time.monotonic_ns()
            time.sleep(seconds)
            return 100 * (follower.cpu_ns() - before) / (time.monotonic_ns() - began)


def measure(settings: Settings) -> Iterator[Row]:
    """Rows about followers."""
    latencies = Latencies(settings)
    ways: dict[str, Callable[[], list[float]]] = {
        "library, 100 messages a second": lambda: latencies.from_library(100),
        "a pipe into aegis publish, 100 lines a second": lambda: latencies.from_pipe(100),
        "a pipe into aegis publish, 10,000 lines a second": lambda: latencies.from_pipe(10_000),
    }
    for name, way in ways.items():
        rounds = [way() for _ in range(settings.rounds)]
        judged = name.startswith("library")
        yield Row(
            what=f"publish to follower's stdout, {name}: p50",
            figures=[statistics.median(took) for took in rounds],
            unit="ms",
            better="less",
        )
        yield Row(
            what=f"publish to follower's stdout, {name}: p99",
            figures=[_percentile_99(took) for took in rounds],
            unit="ms",
            must=10 if judged else None,
            aim=3 if judged else None,
            better="less",
        )
    idle = [latencies.idle_percent() for _ in range(settings.rounds)]
    yield Row(
        what="idle follower, of one processor", figures=idle, unit="%", must=1.0, aim=0.1, better="less"
    )
    shutil.rmtree(latencies.directory)


def _percentile_99(took: list[float]) -> float:
    return sorted(took)[min(len(took) - 1, len(took) * 99 // 100)]
