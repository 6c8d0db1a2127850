"""Who takes part in the soak: ten publishers, five followers, one that cleans; who ends is started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.soak.record import line, name

ROOT = Path(__file__).resolve().parents[2]
BULK_RECORDS = 500
BULK_PADDING = 1000

# Topic and what it is created with. `ring` is kept small by retention, `quick` does not wait for the disk.
TOPICS: dict[str, dict[str, object]] = {
    "small": {"partitions": 4},
    "bulk": {"segment_bytes": 8 << 20},
    "keyed": {"partitions": 4, "key": "k", "segment_bytes": 4 << 20},
    "left": {"partitions": 2},
    "right": {},
    "ring": {"segment_bytes": 256 << 10, "retention_bytes": 1 << 20},
    "quick": {"durability": "os"},
}
# Which topics get each record of an atomic append in each of these places.
ATOMIC = (("left", 0), ("left", 1), ("right", 0))


@dataclass
class Role:
    """One part and the process that plays it now. Its output is kept, a file for each incarnation."""

    name: str
    spawn: Callable[[Role], subprocess.Popen[bytes]]
    directory: Path
    incarnation: int = -1
    process: subprocess.Popen[bytes] | None = None
    was_killed: bool = False
    ended_by_itself: bool = False
    failures: list[str] = field(default_factory=list)

    @property
    def output(self) -> Path:
        return self.directory / f"{self.name}.{self.incarnation}.out"

    @property
    def errors(self) -> Path:
        return self.directory / f"{self.name}.{self.incarnation}.err"

    def outputs(self) -> list[tuple[int, Path]]:
        """What each incarnation has written."""
        numbered = [
            (number, self.directory / f"{self.name}.{number}.out") for number in range(self.incarnation + 1)
        ]
        return [(number, path) for number, path in numbered if path.exists()]

    def start(self) -> None:
        self.incarnation += 1
        self.was_killed = False
        self.process = self.spawn(self)

    def look(self) -> None:
        """Start it again if it has ended, and note an end that nobody caused."""
        if self.process is None or self.process.poll() is None:
            return
        self._note_end()
        self.start()

    def _note_end(self) -> None:
        assert self.process is not None
        code = self.process.returncode
        errors = self.errors.read_text(errors="replace").strip()
        if not self._may_end_with(code):
            self.failures.append(f"{self.name}.{self.incarnation} ended with {code}: {errors[-500:]}")

    def _may_end_with(self, code: int) -> bool:
        return (self.was_killed and code == -signal.SIGKILL) or (self.ended_by_itself and code == 0)

    def kill(self) -> None:
        assert self.process is not None
        self.was_killed = True
        self.process.kill()

    def stop(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        """Kill it for good."""
        if self.process is not None and self.process.poll() is None:
            self.kill()
            self.process.wait(30)
        if self.process is not None:
            self._note_end()
            self.process = None


def _start(role: Role, arguments: list[str], *, stdin: Path | None = None) -> subprocess.Popen[bytes]:
    environ = {key: value for key, value in os.environ.items() if not key.startswith("AEGIS_")}
    environ["PYTHONPATH"] = str(ROOT)
    with (
        role.output.open("wb") as output,
        role.errors.open("wb") as errors,
        (stdin or Path(os.devnull)).open("rb") as given,
    ):
        return subprocess.Popen(
            [sys.executable, *arguments], stdin=given, stdout=output, stderr=errors, env=environ, cwd=ROOT
        )


def cast(store: Path, directory: Path) -> tuple[list[Role], list[Role], list[Role]]:
    """The publishers, the followers, the cleaner. A publisher's place in the list is its producer number."""
    publishers: list[Role] = []

    def add_library(title: str, *places: str) -> None:
        producer = len(publishers)

        def spawn(role: Role) -> subprocess.Popen[bytes]:
            words = ["-m", "tests.soak.publisher", str(store), str(producer), str(role.incarnation)]
            return _start(role, [*words, *places])

        publishers.append(Role(title, spawn, directory))

    def add_bulk(title: str, topic: str) -> None:
        producer = len(publishers)

        def spawn(role: Role) -> subprocess.Popen[bytes]:
            given = directory / f"{title}.in"
            lines = [
                line(name(producer, role.incarnation, number), padding=BULK_PADDING)
                for number in range(BULK_RECORDS)
            ]
            given.write_bytes(b"".join(lines))
            words = ["-m", "aegis_cli", "publish", topic, "--receipts", "--store", str(store)]
            return _start(role, words, stdin=given)

        publishers.append(Role(title, spawn, directory, ended_by_itself=True))

    add_library("small-1", "small:*")
    add_library("small-2", "small:*")
    add_library("ring-1", "ring:0")
    add_library("quick-1", "quick:0")
    atomic = [f"{topic}:{partition}" for topic, partition in ATOMIC]
    add_library("atomic-1", *atomic)
    add_library("atomic-2", *reversed(atomic))
    add_bulk("bulk-1", "bulk")
    add_bulk("bulk-2", "bulk")
    add_bulk("keyed-1", "keyed")
    add_bulk("keyed-2", "keyed")
    assert len(publishers) == 10

    def follower(title: str, *topics: str) -> Role:
        def spawn(role: Role) -> subprocess.Popen[bytes]:
            # One that comes back reads on from a little before the end; the first one reads everything.
            start = "start" if role.incarnation == 0 else "-100"
            words = [
                "-m",
                "aegis_cli",
                "consume",
                *topics,
                "-f",
                "--json",
                "-o",
                start,
                "--store",
                str(store),
            ]
            return _start(role, words)

        return Role(title, spawn, directory)

    followers = [
        follower("follow-small", "small", "quick"),
        follower("follow-bulk", "bulk"),
        follower("follow-keyed", "keyed"),
        follower("follow-atomic", "left", "right"),
        follower("follow-ring", "ring"),
    ]

    def clean(role: Role) -> subprocess.Popen[bytes]:
        return _start(role, ["-m", "aegis_cli", "topic", "clean", "--store", str(store)])

    return publishers, followers, [Role("clean", clean, directory, ended_by_itself=True)]
