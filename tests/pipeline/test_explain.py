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


# -- a partition that a step leaves without any time ----------------------------------------------------

COUNTED = "window: 5m\naggregate: {n: count()}\nsink: out\n"


def notes(text: str) -> list[str]:
    """The lines that belong to no step."""
    steps = explanation(Program(loads(text + COUNTED, path="p.yaml"))).steps
    return [line for kind, line in steps if not kind]


@pytest.mark.parametrize("step", ["filter: a > 1", "flat_map: {items: a, as: b}"])
def test_a_step_that_drops_records_before_their_time_is_warned_of(step: str) -> None:
    name = step.partition(":")[0]
    assert [
        f"a partition of which '{name}' lets nothing through holds the watermark back; "
        f"write 'time' before '{name}', or give it 'idle'"
    ] == notes(f"source: in\n{step}\ntime: t\n")


@pytest.mark.parametrize(
    "head",
    [
        "source: in\ntime: t\nfilter: a > 1\n",
        "source: in\nmap: {t: t}\ntime: t\n",
        "source: in\nfilter: a > 1\ntime: {field: t, idle: 1m}\n",
        "source: in\nfilter: a > 1\ntime: {processing: true}\n",
        "source: '-'\nfilter: a > 1\ntime: t\n",
        "source: {file: a.jsonl}\nfilter: a > 1\ntime: t\n",
    ],
)
def test_where_no_partition_can_hold_anything_back_there_is_no_warning(head: str) -> None:
    assert [] == notes(head)
