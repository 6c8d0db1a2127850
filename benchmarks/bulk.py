"""Publishing a file and consuming it back, against what else moves lines on this machine."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks import data
from benchmarks.processes import BenchmarkError, Command, Run, aegis, environment, run
from benchmarks.redis import redis_client, write_protocol
from benchmarks.rows import Row, Settings, in_turn, ratios

# Tools that take many seconds for a million lines get a part of them; what counts is lines a second.
_JQ_LINES = 50_000
_REDIS_LINES = 200_000
_SQLITE_LINES = 500_000
_PEERS = Path(__file__).with_name("peers.py")
_MB = 1e6


@dataclass(frozen=True, slots=True)
class _Timed:
    """A run over so many lines."""

    run: Run
    lines: int

    @property
    def lines_per_second(self) -> float:
        return self.lines / self.run.wall_seconds


class Bulk:
    """The input, whole and in part, and the store that it is published to."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.directory = settings.directory / "bulk"
        self.directory.mkdir()
        self.environment = environment(self.directory)
        self.aegis = aegis()
        self.input = self.directory / "input"
        data.write_lines(self.input, settings.lines)
        self.topics = 0

    def run(self, *commands: Command, stdin: Path | None = None, stdout: Path | None = None) -> Run:
        return run(*commands, environment=self.environment, stdin=stdin, stdout=stdout)

    def settle(self) -> None:
        """Write back what others left, so that nobody's sync pays for it, and have memory at hand.

        A virtual machine gets memory from its host when it first touches it, which makes the first file to
        be cached there several times as slow as the next: every work that is timed is a next one.
        """
        warm = self.directory / "warm"
        self.run(["cat", self.input], stdout=warm)
        warm.unlink()
        self.run(["sync"])

    def new_topic(self, *options: str) -> str:
        self.topics += 1
        name = f"topic-{self.topics}"
        self.run([self.aegis, "topic", "create", name, *options])
        return name

    def delete(self, topic: str) -> None:
        self.run([self.aegis, "topic", "delete", topic, "--yes"])

    def partition(self, topic: str, number: int) -> Path:
        """The file with a partition's messages; it must be one, for the comparison with the input."""
        files = sorted((self.directory / "store/topics" / topic / str(number)).glob("*.jsonl"))
        if len(files) == 1:
            return files[0]
        joined = self.directory / f"joined-{number}"
        self.run(["cat", *files], stdout=joined)
        return joined

    # -- the works that are timed -----------------------------------------------------------------------

    def publish(self) -> _Timed:
        topic = self.new_topic()
        self.settle()
        done = self.run([self.aegis, "publish", topic, "--file", self.input])
        self.run(["cmp", self.partition(topic, 0), self.input])
        self.delete(topic)
        return _Timed(done, self.settings.lines)

    def publish_keyed(self, *topic_options: str, options: tuple[str, ...] = ()) -> _Timed:
        topic = self.new_topic("--partitions", "4", *topic_options)
        self.settle()
        done = self.run([self.aegis, "publish", topic, "--file", self.input, *options])
        data.check_partitions(self.input, [self.partition(topic, number) for number in range(4)])
        self.delete(topic)
        return _Timed(done, self.settings.lines)

    def shell(self, script: str) -> _Timed:
        """A line of shell over `input`, which may write to `copy`."""
        self.settle()
        script = f"cd {self.directory} && {script}"
        return _Timed(self.run(["sh", "-c", script]), self.settings.lines)

    def sqlite_load(self, part: Path, lines: int) -> _Timed:
        database = self.directory / "load.db"
        for path in self.directory.glob("load.db*"):
            path.unlink()
        self.settle()
        return _Timed(self.run([sys.executable, _PEERS, "load", database], stdin=part), lines)

    def jq(self, part: Path, lines: int) -> _Timed:
        return _Timed(self.run(["jq", "-c", "."], stdin=part, stdout=self.directory / "jq"), lines)

    def redis(self, client: Command, protocol: Path, lines: int) -> _Timed:
        self.run([*client, "DEL", "t"])
        self.settle()
        done = self.run([*client, "--pipe"], stdin=protocol)
        if int(self.run([*client, "XLEN", "t"]).output) != lines:
            raise BenchmarkError("redis does not hold what it was given")
        return _Timed(done, lines)

    def consume(self, topic: str, *commands: Command, stdout: Path | None = None) -> _Timed:
        consume: Command = [self.aegis, "consume", topic, "-o", "start"]
        done = self.run(consume, *commands, stdout=stdout)
        if commands and int(done.output) != self.settings.lines:
            raise BenchmarkError(f"consume gave {int(done.output)} lines of {self.settings.lines}")
        return _Timed(done, self.settings.lines)


def measure(settings: Settings) -> Iterator[Row]:
    """Rows about publishing, then about consuming."""
    bulk = Bulk(settings)
    try:
        yield from _publish_rows(bulk)
        yield from _keyed_rows(bulk)
        yield from _consume_rows(bulk)
    finally:
        shutil.rmtree(bulk.directory)


def _publish_rows(bulk: Bulk) -> Iterator[Row]:
    with ExitStack() as stack:
        works: dict[str, Callable[[], _Timed]] = {
            "aegis": bulk.publish,
            "cat f > g && sync g": lambda: bulk.shell("cat input > copy && sync copy"),
            "tee g < f": lambda: bulk.shell("tee copy < input > /dev/null"),
        }
        part = bulk.directory / "part"
        sqlite_lines = data.slice_of(bulk.input, _SQLITE_LINES, part)
        works["SQLite, 10,000 rows a transaction"] = lambda: bulk.sqlite_load(part, sqlite_lines)
        if shutil.which("jq"):
            jq_part = bulk.directory / "jq-part"
            jq_lines = data.slice_of(bulk.input, _JQ_LINES, jq_part)
            works["jq -c . < f > g"] = lambda: bulk.jq(jq_part, jq_lines)
        client = stack.enter_context(redis_client(bulk.directory / "redis"))
        if client is not None:
            redis_part, protocol = bulk.directory / "redis-part", bulk.directory / "protocol"
            redis_lines = data.slice_of(bulk.input, _REDIS_LINES, redis_part)
            write_protocol(redis_part, protocol, stream="t")
            works["redis-cli --pipe"] = lambda: bulk.redis(client, protocol, redis_lines)
        results = in_turn(bulk.settings.rounds, works)
    own = results.pop("aegis")
    million_per_cpu = [timed.lines / timed.run.cpu_seconds / 1e6 for timed in own]
    yield Row(
        what="publish --file, checked and synced: lines per CPU second",
        figures=million_per_cpu,
        unit="M/s",
        must=1.2,
        aim=2.0,
    )
    rates = [timed.lines_per_second for timed in own]
    yield Row(what="the same: lines per second", figures=[rate / 1e6 for rate in rates], unit="M/s")
    for name, timed in results.items():
        must = 4.0 if name == "redis-cli --pipe" else None
        speedups = ratios(rates, [one.lines_per_second for one in timed])
        yield Row(what=f"the same, against {name}", figures=speedups, unit="x", must=must)
    yield _memory_row("publish", own)


def _keyed_rows(bulk: Bulk) -> Iterator[Row]:
    results = in_turn(
        bulk.settings.rounds,
        {
            "the key a declared field": lambda: bulk.publish_keyed("--key", data.KEY_FIELD),
            "--key-field": lambda: bulk.publish_keyed(options=("--key-field", data.KEY_FIELD)),
        },
    )
    for name, timed in results.items():
        rates = [one.lines_per_second / 1e6 for one in timed]
        yield Row(what=f"publish to 4 partitions, {name}", figures=rates, unit="M/s", must=0.5, aim=1.0)
        yield _memory_row(f"publish to 4 partitions, {name}", timed)


def _consume_rows(bulk: Bulk) -> Iterator[Row]:
    topic = bulk.new_topic()
    bulk.run([bulk.aegis, "publish", topic, "--file", bulk.input])
    database, part = bulk.directory / "dump.db", bulk.directory / "part"
    sqlite_lines = data.slice_of(bulk.input, _SQLITE_LINES, part)
    bulk.run([sys.executable, _PEERS, "load", database], stdin=part)
    bulk.run([bulk.aegis, "consume", topic], ["cmp", "-", bulk.input])
    bulk.settle()
    count = ["wc", "-l"]
    null = Path("/dev/null")
    rounds = 2 * bulk.settings.rounds + 1
    piped = in_turn(
        rounds,
        {
            "aegis": lambda: bulk.consume(topic, count),
            "cat": lambda: _Timed(bulk.run(["cat", bulk.input], count), bulk.settings.lines),
        },
    )
    rates = [timed.lines_per_second for timed in piped["aegis"]]
    yield Row(
        what="consume from the start | wc -l, against cat f | wc -l",
        figures=ratios(rates, [timed.lines_per_second for timed in piped["cat"]]),
        unit="x",
        must=2.0,
        aim=4.0,
    )
    yield Row(what="the same: lines per second", figures=[rate / 1e6 for rate in rates], unit="M/s")
    yield _memory_row("consume", piped["aegis"])
    jq_part = bulk.directory / "jq-part"
    jq_lines = data.slice_of(bulk.input, _JQ_LINES, jq_part)
    works = {
        "aegis": lambda: bulk.consume(topic, stdout=null),
        "cat f": lambda: _Timed(bulk.run(["cat", bulk.input], stdout=null), bulk.settings.lines),
        "SQLite": lambda: _Timed(
            bulk.run([sys.executable, _PEERS, "dump", database], stdout=null), sqlite_lines
        ),
    }
    if shutil.which("jq"):
        works["jq -c . < f"] = lambda: bulk.jq(jq_part, jq_lines)
    results = in_turn(rounds, works)
    rates = [timed.lines_per_second for timed in results.pop("aegis")]
    for name, timed in results.items():
        speedups = ratios(rates, [one.lines_per_second for one in timed])
        yield Row(what=f"consume > /dev/null, against {name}", figures=speedups, unit="x")
    bulk.delete(topic)


def _memory_row(name: str, timed: list[_Timed]) -> Row:
    # In a pipeline the first process is the one that is meant.
    held = [one.run.usages[0].memory_bytes / _MB for one in timed]
    return Row(what=f"memory of {name}", figures=held, unit="MB", must=100, aim=60, better="less")
