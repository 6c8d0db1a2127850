"""Single messages, each on disk before the next: one writer, and many together."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.processes import BenchmarkError, Command, aegis, environment, run
from benchmarks.rows import Row, Settings, in_turn, ratios

_WRITER = Path(__file__).with_name("writer.py")
_ROOT = Path(__file__).resolve().parents[1]
_WAIT_SECONDS = 60


class Writers:
    """Starts writers in one directory and counts what Aegis must hold afterwards."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.directory = settings.directory / "durable"
        self.directory.mkdir()
        # A script finds the packages that lie beside it, or those that were installed.
        path = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(_ROOT))))
        self.environment = environment(self.directory) | {"PYTHONPATH": path}
        self.stored = 0
        self.started = 0

    def rate(self, kind: str, *, processes: int = 1, threads: int = 1) -> float:
        """Messages a second, of all writers together."""
        seconds = str(self.settings.seconds)
        running = []
        for _ in range(processes):
            self.started += 1
            name = f"{self.started}" if kind == "aegis" else "one"
            command: Command = [sys.executable, _WRITER, kind, self.directory, name, seconds, str(threads)]
            running.append(
                subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=self.environment, text=True
                )
            )
        results = self._together(running)
        written = sum(int(count) for count, _ in results)
        if kind == "aegis":
            self.stored += written
        return written / max(float(took) for _, took in results)

    def _together(self, running: list[subprocess.Popen[str]]) -> list[list[str]]:
        try:
            for process in running:
                assert process.stdout is not None
                if process.stdout.readline() != "ready\n":
                    raise BenchmarkError("a writer does not start")
            for process in running:
                assert process.stdin is not None
                process.stdin.write("go\n")
                process.stdin.flush()
            outputs = [
                process.communicate(timeout=_WAIT_SECONDS + self.settings.seconds)[0] for process in running
            ]
        finally:
            for process in running:
                process.kill()
                process.wait()
        if any(process.returncode != 0 for process in running):
            raise BenchmarkError("a writer failed")
        return [output.split() for output in outputs]

    def check(self) -> None:
        """Raise unless every acknowledged message is there, once, in the order of its writer."""
        output = run([aegis(), "consume", "t"], environment=self.environment).output
        following: dict[str, int] = {}
        for line in output.splitlines():
            message = json.loads(line)
            if message["number"] != following.get(message["writer"], 0):
                raise BenchmarkError(
                    f"a message of writer {message['writer']} is lost, twice or out of order"
                )
            following[message["writer"]] = message["number"] + 1
        if sum(following.values()) != self.stored:
            raise BenchmarkError(f"{sum(following.values())} messages are stored, {self.stored} acknowledged")


def measure(settings: Settings) -> Iterator[Row]:
    """Rows about messages that are synced one by one."""
    writers = Writers(settings)
    run([aegis(), "topic", "create", "t"], environment=writers.environment)
    many = settings.writers
    rates = in_turn(
        settings.rounds,
        {
            "aegis": lambda: writers.rate("aegis"),
            "sqlite": lambda: writers.rate("sqlite"),
            "bare": lambda: writers.rate("bare"),
            "processes": lambda: writers.rate("aegis", processes=many),
            "threads": lambda: writers.rate("aegis", threads=many),
            "sqlite processes": lambda: writers.rate("sqlite", processes=many),
        },
    )
    writers.check()
    one = rates["aegis"]
    yield Row(what="durable single messages, one process: messages per second", figures=one, unit="/s")
    against_sqlite = ratios(one, rates["sqlite"])
    yield Row(
        what="the same, against SQLite synchronous=FULL", figures=against_sqlite, unit="x", must=0.8, aim=1.0
    )
    against_bare = ratios(one, rates["bare"])
    yield Row(what="the same, against a bare write and fdatasync", figures=against_bare, unit="x")
    yield Row(
        what=f"{many} writing processes together, against one writer",
        figures=ratios(rates["processes"], one),
        unit="x",
        must=4.0,
        aim=7.0,
    )
    yield Row(
        what=f"{many} writing threads together, against one writer",
        figures=ratios(rates["threads"], one),
        unit="x",
    )
    yield Row(
        what=f"{many} writing processes, against {many} of SQLite",
        figures=ratios(rates["processes"], rates["sqlite processes"]),
        unit="x",
    )
    shutil.rmtree(writers.directory)
