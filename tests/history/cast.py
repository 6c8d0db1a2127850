"""Who takes part in a history: publishers, a process of transactions, and the members of four groups.

Every record's value is unique and says who published it. `pipes` delivers at least once into pipes, `once` at
most once, `files` exactly once into files, `copy` exactly once into another topic.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from tests.history.part import Feeder, Part
from tests.soak.cast import ROOT, Role
from tests.soak.record import line, name

SESSION_TIMEOUT_SECONDS = 1.0
SOURCE = "work"
TARGET = "copied"
PARTS = ("left", "middle", "right")
# Topic and its number of partitions.
TOPICS = {SOURCE: 6, "left": 2, "middle": 1, "right": 3, TARGET: 3}
# A group, how many members it has, and the topics that they read.
GROUPS: dict[str, tuple[int, tuple[str, ...]]] = {
    "pipes": (4, (SOURCE, *PARTS)),
    "files": (3, (SOURCE,)),
    "copy": (2, (SOURCE,)),
    "once": (2, (SOURCE,)),
}
UNIT = "unit"
RESUMED = "resumed"
UNIT_RECORDS = 40
INPUT_RECORDS = 200
_LINES_MAX = 20
_FEED_SECONDS = 0.1
# Small, so that a catch-up takes many transactions.
_BATCH = ("--batch", "50")
_UNIT_SECONDS = 0.5


class Cast:
    """All parts over the store in `directory`; only these groups. A publisher's number is its place.

    With `breakage` they all run with a part of the code broken, see `tests.history.broken`.
    """

    def __init__(
        self, directory: Path, *, groups: Sequence[str] = tuple(GROUPS), breakage: str | None = None
    ) -> None:
        self.directory = directory
        self.store = directory / "store"
        self.output = directory / "output"
        self._breakage = breakage
        self.publishers: list[Part] = []
        # The inputs that a process has published to their end.
        self.inputs_published = 0
        self._add_publisher("plain", self._plain)
        self._add_publisher(UNIT, self._unit, ended_by_itself=True)
        self._add_publisher(RESUMED, self._resumed, ended_by_itself=True)
        self.transactor = Part("transactor", self._transactor, self.output)
        self.members: dict[str, list[Part]] = {
            group: [self._member(group, number) for number in range(GROUPS[group][0])] for group in groups
        }

    @property
    def everyone(self) -> list[Part]:
        return [*self.publishers, self.transactor, *(part for each in self.members.values() for part in each)]

    def file_of(self, part: Part) -> Path:
        """Where a member of `files` writes, in all its incarnations."""
        return self.directory / f"{part.name}.jsonl"

    def aegis(self, *words: str) -> list[str]:
        """A command line of Aegis on the store."""
        return self._python("aegis_cli", *words, "--store", str(self.store))

    def environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("AEGIS_")}
        timeout = f"{SESSION_TIMEOUT_SECONDS:g}s"
        return kept | {"PYTHONPATH": str(ROOT), "AEGIS_STREAMING_CONSUMER_SESSION_TIMEOUT": timeout}

    def _python(self, module: str, *words: str) -> list[str]:
        broken = [] if self._breakage is None else ["tests.history.broken", self._breakage]
        return [sys.executable, "-m", *broken, module, *words]

    def _start(self, role: Role, words: list[str], *, stdin: int, piped: bool) -> subprocess.Popen[bytes]:
        with role.output.open("wb") as output, role.errors.open("wb") as errors:
            return subprocess.Popen(
                words,
                stdin=stdin,
                stdout=subprocess.PIPE if piped else output,
                stderr=errors,
                env=self.environment(),
                cwd=ROOT,
            )

    # -- publishers -----------------------------------------------------------------------------------

    def _add_publisher(
        self,
        title: str,
        spawn: Callable[[Role, int], subprocess.Popen[bytes]],
        *,
        ended_by_itself: bool = False,
    ) -> None:
        number = len(self.publishers)
        part = Part(title, lambda role: spawn(role, number), self.output, ended_by_itself=ended_by_itself)
        self.publishers.append(part)

    def _plain(self, role: Role, producer: int) -> subprocess.Popen[bytes]:
        """A publish that is fed line by line and goes on until it is killed."""
        lines = itertools.count(name(producer, role.incarnation, 0))
        return self._publish(role, _pieces(lines), pause_seconds=_FEED_SECONDS)

    def _unit(self, role: Role, producer: int) -> subprocess.Popen[bytes]:
        """A publish of a few lines that come in two halves, all or nothing, again and again."""
        first = name(producer, role.incarnation, 0)
        whole = list(_pieces(range(first, first + UNIT_RECORDS), count=UNIT_RECORDS // 2))
        return self._publish(role, whole, "--atomic", pause_seconds=_UNIT_SECONDS)

    def _resumed(self, role: Role, producer: int) -> subprocess.Popen[bytes]:
        """A publish that begins its input anew until it has come to its end, and then goes on to the next."""
        if role.process is not None and role.process.returncode == 0:
            self.inputs_published += 1
        first = name(producer, self.inputs_published, 0)
        pieces = _pieces(range(first, first + INPUT_RECORDS))
        words = ("--producer", f"input-{self.inputs_published}")
        return self._publish(role, pieces, *words, pause_seconds=_FEED_SECONDS)

    def _publish(
        self, role: Role, pieces: Iterable[bytes], *words: str, pause_seconds: float
    ) -> subprocess.Popen[bytes]:
        command = self.aegis("publish", SOURCE, "--key-field", "k", "--receipts", *words)
        process = self._start(role, command, stdin=subprocess.PIPE, piped=False)
        assert process.stdin is not None
        Feeder(process.stdin, pieces, pause_seconds=pause_seconds)
        return process

    def _transactor(self, role: Role) -> subprocess.Popen[bytes]:
        producer = len(self.publishers)
        words = self._python(
            "tests.history.transactor", str(self.store), str(producer), str(role.incarnation), *PARTS
        )
        return self._start(role, words, stdin=subprocess.DEVNULL, piped=False)

    # -- members --------------------------------------------------------------------------------------

    def _member(self, group: str, number: int) -> Part:
        title = f"{group}-{number}"

        def spawn(role: Role) -> subprocess.Popen[bytes]:
            if group == "copy":
                words = self.aegis("pipe", "--from", SOURCE, "--to", TARGET, "-g", group, "-f", *_BATCH)
                return self._start(role, [*words, "--", "cat"], stdin=subprocess.DEVNULL, piped=False)
            words = self.aegis("consume", *GROUPS[group][1], "-g", group, "-f", "--json", "-o", "start")
            if group == "files":
                words += ["--delivery", "exactly-once", "--output-file", str(self.file_of(part))]
            elif group == "once":
                words += ["--delivery", "at-most-once"]
            return self._start(role, words, stdin=subprocess.DEVNULL, piped=group != "files")

        part = Part(title, spawn, self.output, group=group)
        return part


def _pieces(records: Iterable[int], *, count: int | None = None) -> Iterator[bytes]:
    """Input in pieces of so many lines, or of 1 to 20."""
    left = iter(records)
    for piece in itertools.count():
        wanted = piece * 7 % _LINES_MAX + 1 if count is None else count
        lines = [line(record, padding=20) for record in itertools.islice(left, wanted)]
        if not lines:
            return
        yield b"".join(lines)
