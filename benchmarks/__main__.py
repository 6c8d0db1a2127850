"""Measure Aegis against other tools, in turn, in one run on one machine, and print one table.

    python -m benchmarks [--lines 1000000] [--rounds 3] [--only bulk ...] [--directory DIR]

Bounds are those of the design: `must` and `aim`. Figures are of whole processes, start-up included, and every
result is checked before its figure counts. The environment gives defaults, for `make bench`: BENCH_LINES,
BENCH_ROUNDS, BENCH_ONLY, BENCH_DIRECTORY. Exit status 0, also where a bound is missed; 1 if something failed.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks import bulk, durable, groups, growth, latency, pipeline, startup
from benchmarks.processes import BenchmarkError
from benchmarks.rows import Row, Settings, table

GROUPS: dict[str, Callable[[Settings], Iterator[Row]]] = {
    "startup": startup.measure,
    "bulk": bulk.measure,
    "durable": durable.measure,
    "latency": latency.measure,
    "growth": growth.measure,
    "groups": groups.measure,
    "pipeline": pipeline.measure,
}


def main(arguments: Sequence[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    unknown = sorted(set(given.only) - set(GROUPS))
    if unknown:
        print(f"there is no group '{unknown[0]}'; use {', '.join(GROUPS)}", file=sys.stderr)
        return 1
    directory = Path(tempfile.mkdtemp(prefix="aegis-bench-", dir=given.directory))
    settings = Settings(
        directory=directory,
        lines=given.lines,
        rounds=given.rounds,
        seconds=given.seconds,
        writers=given.writers,
        stored_messages=given.stored_messages,
    )
    try:
        rows = list(_measure(settings, given.only or list(GROUPS)))
    except BenchmarkError as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    print(_machine(given.directory))
    print(f"{given.lines:,} lines of about 200 bytes, {given.rounds} rounds, contestants in turn\n")
    print(table(rows))
    return 0


def _measure(settings: Settings, groups: Sequence[str]) -> Iterator[Row]:
    for name in groups:
        for row in GROUPS[name](settings):
            print(f"{name}: {row.what}", file=sys.stderr)
            yield row


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure Aegis; prints ratios.")

    def add(name: str, default: object, text: str) -> None:
        value = os.environ.get(f"BENCH_{name.upper().replace('-', '_')}", default)
        parser.add_argument(f"--{name}", type=type(default), default=value, help=f"{text} ({default})")

    add("lines", 1_000_000, "lines of bulk work")
    add("rounds", 3, "rounds of each comparison")
    add("seconds", 2.0, "how long a round of single messages takes")
    add("writers", 32, "processes that write together")
    add("stored-messages", 10_000_000, "messages in a large topic")
    add("directory", tempfile.gettempdir(), "where to measure; it should be a disk")
    only = os.environ.get("BENCH_ONLY", "").split()
    parser.add_argument("--only", nargs="+", default=only, metavar="GROUP", help=" ".join(GROUPS))
    return parser


def _machine(directory: str) -> str:
    load = os.getloadavg()[0]
    return (
        f"Python {platform.python_version()}, {platform.system()} {platform.release()}, "
        f"{os.cpu_count()} processors, load {load:.1f}, {_file_system(directory)} at {directory}"
    )


def _file_system(directory: str) -> str:
    """The kind of the file system that holds `directory`: on one in memory a sync costs nothing."""
    place = Path(directory).resolve()
    kinds = {}
    try:
        for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines():
            _, mount, kind, *_ = line.split()
            kinds[Path(mount)] = kind
    except OSError:
        return "a file system"
    return next((kinds[path] for path in (place, *place.parents) if path in kinds), "a file system")


if __name__ == "__main__":
    sys.exit(main())
