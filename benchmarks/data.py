"""The messages that are published: events of about 200 bytes a line, the same at each call."""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

from benchmarks.processes import BenchmarkError

_LINE_BYTES = 200
# So many different events; only their ids go on growing, which makes a file of millions of lines in seconds.
_EVENTS = 20_011
_CHUNK_LINES = 10_000
KEY_FIELD = "customer_id"


def write_lines(path: Path, count: int) -> None:
    """Write `count` events to the file `path`."""
    with path.open("wb") as file:
        for chunk in _chunks(count):
            file.write(chunk)


def _chunks(count: int) -> Iterator[bytes]:
    rests = _rests()
    for first in range(0, count, _CHUNK_LINES):
        numbers = range(first, min(first + _CHUNK_LINES, count))
        yield b"".join([b'{"id": %d, %b' % (number, rests[number % _EVENTS]) for number in numbers])


def _rests() -> list[bytes]:
    """What follows the id in each event, with the line's end."""
    source = random.Random(7)
    rests = []
    for _ in range(_EVENTS):
        event = {
            KEY_FIELD: f"customer-{source.randrange(50_000):05d}",
            "type": source.choice(("purchase", "view", "click", "refund")),
            "total": round(source.random() * 1000, 2),
            "created_at": f"2026-03-{source.randrange(1, 29):02d}T12:{source.randrange(60):02d}:00Z",
            "items": [source.randrange(1000) for _ in range(3)],
            "note": "",
        }
        event["note"] = "x" * (_LINE_BYTES - len('{"id": 1000000, ') - len(json.dumps(event)))
        rests.append(json.dumps(event)[1:].encode() + b"\n")
    return rests


def slice_of(path: Path, count: int, target: Path) -> int:
    """Copy the first `count` lines to `target`, for tools too slow for all; returns how many there were."""
    with path.open("rb") as source, target.open("wb") as file:
        copied = 0
        for line in islice(source, count):
            file.write(line)
            copied += 1
    return copied


def check_partitions(path: Path, partitions: list[Path]) -> None:
    """Raise unless the partitions hold the lines of `path`, placed by key as librdkafka does, order kept."""
    field = b'"%b": "' % KEY_FIELD.encode()
    with ExitStack() as stack:
        files = [stack.enter_context(partition.open("rb")) for partition in partitions]
        for number, line in enumerate(stack.enter_context(path.open("rb")), start=1):
            start = line.index(field) + len(field)
            key = line[start : line.index(b'"', start)]
            if next(files[zlib.crc32(key) % len(files)], b"") != line:
                raise BenchmarkError(f"line {number} is not where its key and its order want it")
        if any(file.read(1) for file in files):
            raise BenchmarkError("a partition holds more than was published")
