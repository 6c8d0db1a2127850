"""What the input side of a publish costs, in CPU nanoseconds a line, on generated lines of 200 bytes.

    python benchmarks/input_side.py [--lines 1000000] [--rounds 5]

Each figure is the minimum over the rounds; one line of output a function. 1000 ns a line are 1 s for a
million lines. The buffers are 4 MiB, as a publish reads them.
"""

from __future__ import annotations

import argparse
import io
import random
import time
from collections.abc import Callable

import msgspec

from storage.batch import RecordBatch
from storage.keys import KeyDelimiter, KeyField, partitions_for, route
from storage.lines import LineChecker
from storage.meta import decode_columns, encode_columns

_BUFFER_LINES = 21_000
_LINE_BYTES = 200


def make_lines(count: int, *, note: str = "x") -> bytes:
    """`count` events of 200 bytes a line (more if `note` is no ASCII), the same at each call."""
    source = random.Random(1)
    encode = msgspec.json.encode
    lines = []
    for number in range(count):
        event = {
            "id": number,
            "type": source.choice(("purchase", "view", "click", "refund")),
            "customer_id": f"customer-{source.randrange(50_000):06d}",
            "total": round(source.random() * 1000, 2),
            "created_at": f"2024-05-{source.randrange(1, 29):02d}T12:{source.randrange(60):02d}:00Z",
            "tags": ["a", "b"],
            "note": "",
        }
        event["note"] = note * (_LINE_BYTES - 1 - len(encode(event)))
        lines.append(encode(event))
    return b"\n".join(lines) + b"\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="CPU cost of the input side, in ns a line")
    parser.add_argument("--lines", type=int, default=210_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    buffers = _buffers(make_lines(arguments.lines))

    def report(name: str, work: Callable[[], object]) -> None:
        best = min(_cpu_seconds(work) for _ in range(arguments.rounds))
        print(f"{name:44} {best / arguments.lines * 1e9:7.0f} ns/line")

    _report_checks(report, buffers, arguments.lines)
    _report_keys(report, buffers)


def _report_checks(
    report: Callable[[str, Callable[[], object]], None], buffers: list[bytes], count: int
) -> None:
    decode_lines = msgspec.json.Decoder(msgspec.Raw).decode_lines
    chunks = [chunk for buffer in buffers for chunk in _buffers(buffer, lines=330)]
    report("msgspec alone, decode_lines of 64 KiB", lambda: [len(decode_lines(chunk)) for chunk in chunks])
    report("check", lambda: _check(buffers))
    wide = _buffers(make_lines(count, note="é"))
    report("check, not ASCII (about 260 bytes)", lambda: _check(wide))
    long = [buffer.replace(b'"tags":["a"', b'"tags":["' + b"a" * 101 + b'"') for buffer in buffers]
    report("check, 300 bytes", lambda: _check(long))
    dos = [buffer.replace(b"\n", b"\r\n") for buffer in buffers]
    report("check, DOS line ends", lambda: _check(dos))
    sparse = [buffer.replace(b'\n{"id":1', b'\n\n{"id":1') for buffer in buffers]
    report("check, many blank lines", lambda: _check(sparse))
    broken = [buffer.replace(b'"id":12', b'"id":x') for buffer in buffers]
    report("check, many lines refused (skip)", lambda: _check(broken, on_error="skip"))
    report("check, key field", lambda: _check(buffers, keys=KeyField("customer_id")))
    delimited = [b"".join(b"k%d:" % len(x) + x for x in io.BytesIO(buffer)) for buffer in buffers]
    report("check, key delimiter", lambda: _check(delimited, keys=KeyDelimiter(b":")))
    report("check, text", lambda: _check(buffers, text=True))


def _report_keys(report: Callable[[str, Callable[[], object]], None], buffers: list[bytes]) -> None:
    checker = LineChecker(max_record_bytes=1_000_000, keys=KeyField("customer_id"))
    checked = [checker.check(buffer).lines for buffer in buffers]
    batches = [RecordBatch(lines=lines.data, count=lines.count, keys=lines.keys) for lines in checked]
    keys = [batch.keys or [] for batch in batches]
    report("partitions_for, 4 partitions", lambda: [partitions_for(some, 4) for some in keys])
    numbers = [[b"%d" % index for index in range(len(some))] for some in keys]
    report("partitions_for, numbers", lambda: [partitions_for(some, 4) for some in numbers])
    for partitions in (4, 64):
        places = [partitions_for(some, partitions) for some in keys]
        report(
            f"route, {partitions} partitions, keys and lines",
            lambda places=places: [route(b, p) for b, p in zip(batches, places, strict=True)],  # type: ignore[misc]
        )
    columns = [
        encode_columns(
            base_offset=0, count=len(some), keys=some, timestamps_ms=[1_700_000_000_000] * len(some)
        )
        for some in keys
    ]
    report(
        "encode_columns, keys",
        lambda: [encode_columns(base_offset=0, count=len(some), keys=some) for some in keys],
    )
    report("decode_columns, keys and times", lambda: [decode_columns(line) for line in columns])


def _check(buffers: list[bytes], **options: object) -> None:
    checker = LineChecker(max_record_bytes=1_000_000, **options)  # type: ignore[arg-type]
    for buffer in buffers:
        error = checker.check(buffer).error
        assert error is None, error


def _buffers(data: bytes, *, lines: int = _BUFFER_LINES) -> list[bytes]:
    given = data.splitlines(keepends=True)
    return [b"".join(given[start : start + lines]) for start in range(0, len(given), lines)]


def _cpu_seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


if __name__ == "__main__":
    main()
