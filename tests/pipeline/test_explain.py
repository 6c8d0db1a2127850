"""What `pipeline explain` tells of a plan, in words that a person would use."""

from __future__ import annotations

import pytest

from aegis_cli.pipeline.explain import explanation
from aegis_cli.pipeline.program import Program
from aegis_cli.pipeline.reading import loads

WINDOWS = [
    ("{tumbling: 90m}", "tumbling windows of 1h30m"),
    ("{tumbling: 1d, offset: 6h}", "tumbling windows of 1d, moved by 6h"),
    ("{hopping: 10m, every: 30s}", "hopping windows of 10m every 30s"),
    ("{session: 30m, max: 4h}", "sessions with gaps of 30m, 4h long at most"),
    ("{count: 100}", "windows of 100 records"),
]


def steps(text: str) -> dict[str, str]:
    return dict(explanation(Program(loads(text, path="p.yaml"))).steps)


@pytest.mark.parametrize(("window", "told"), WINDOWS, ids=[window for window, _ in WINDOWS])
def test_a_window_is_told_with_its_durations_as_they_are_written(window: str, told: str) -> None:
    timed = "source: a\ntime: {field: at, watermark: 5s}\n"
    found = steps(f"{timed}window: {window}\naggregate: {{n: count()}}\nsink: b\n")
    assert f"n = count(); by all records together; {told}" == found["aggregate"]
    assert "at, watermark 5s behind" == found["time"]


def test_how_long_records_are_remembered_is_told() -> None:
    found = steps("source: a\ntime: {field: at, watermark: 0}\ndedup: {key: id, within: 36h}\nsink: b\n")
    assert "id within 1d12h" == found["dedup"]
