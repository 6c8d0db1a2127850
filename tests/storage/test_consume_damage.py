"""Plain consuming moves whole runs of bytes: each of them is checked first, whatever its size."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from storage import Append, Gap, RecordBatch, Store
from storage.consume import Assignment, ConsumeOptions, consume_assigned
from storage.output import Output

SMALL, LARGE = 100, 3_000_000


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_a_damaged_batch_is_a_gap_and_what_lies_around_it_is_handed_out(tmp_path: Path, size: int) -> None:
    values = [b'"%s"\n' % (letter * size) for letter in (b"a", b"b", b"c")]
    with Store(tmp_path / "s", create=True) as store:
        store.create_topic("t")
        for value in values:
            store.append([Append(topic="t", partition=0, batches=[RecordBatch(lines=value, count=1)])])
        data = tmp_path / "s/topics/t/0" / f"{0:020d}.jsonl"
        with data.open("r+b") as file:
            file.seek(len(values[0]) + size // 2)
            file.write(b"x")
        gaps: list[Gap] = []
        target = tmp_path / "out"
        fd = os.open(target, os.O_CREAT | os.O_WRONLY)
        try:
            done = consume_assigned(
                store,
                [Assignment(topic="t", partition=0, start_offset=0, end_offset=None)],
                Output(fd),
                ConsumeOptions(on_gap=gaps.append),
            )
        finally:
            os.close(fd)
    assert values[0] + values[2] == target.read_bytes()
    assert [(1, 2)] == [(gap.first_offset, gap.end_offset) for gap in gaps]
    assert (2, 1) == (done.records, done.gaps)
