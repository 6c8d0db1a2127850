"""What a pipeline reads while it changes: topics that grow, files that are rotated."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from aegis_cli.pipeline.account import Account
from aegis_cli.pipeline.around import Progress
from aegis_cli.pipeline.line_inputs import SourceFileError
from aegis_cli.pipeline.pace import Pace
from aegis_cli.pipeline.reading import loads
from aegis_cli.pipeline.run import RunOptions, run_pipeline
from storage.topic import TopicSettings
from tests.pipeline.runs import Runs

FROM_FILE = "source: {file: in.jsonl}\nsink: b\n"


class Stop:
    """Who wants the run to end, once something is so."""

    def __init__(self) -> None:
        self.came: int | None = None
        self.fd, _ = os.pipe()


def follow(runs: Runs, text: str, told: Callable[[Progress, Stop], None]) -> Account:
    """Run on, one record at a time; `told` hears of it after each commit, and while nothing comes."""
    stop = Stop()

    def progress(each: Progress) -> None:
        told(each, stop)

    options = RunOptions(chunk_records=1, commit_interval_ms=1)
    return run_pipeline(runs.store, loads(text, path="p.yaml"), options, stop=stop, on_progress=progress)


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("aegis_cli.pipeline.run._LOOK_SECONDS", 0)
    monkeypatch.setattr(Pace, "is_due", lambda *_: True)


def test_a_partition_that_is_added_while_much_is_read_is_read_in_its_turn(runs: Runs) -> None:
    for number in range(20):
        runs.publish("a", [{"n": number}])

    def told(progress: Progress, stop: Stop) -> None:
        if progress.account.records_in == 1 and runs.store.topic("a").partitions == 1:
            runs.store.alter_topic("a", TopicSettings(partitions=2, durability="os"))
            runs.publish("a", [{"n": "new"}], partition=1)
            for number in range(20, 40):
                runs.publish("a", [{"n": number}])
        if progress.account.records_in == 41:
            stop.came = 15

    follow(runs, "source: a\nsink: b\n", told)
    assert [*range(20), "new", *range(20, 40)] == [row["n"] for row in runs.rows("b")]


# -- files ------------------------------------------------------------------------------------------------


def put(count: int, first: int = 0, *, mode: str = "a") -> None:
    with Path("in.jsonl").open(mode) as file:
        file.writelines(f'{{"n":{number}}}\n' for number in range(first, first + count))


def test_a_file_that_took_the_place_of_the_one_that_was_read_is_refused(runs: Runs) -> None:
    put(5)
    runs.run(FROM_FILE)
    Path("in.jsonl").rename("in.1")
    put(50, 10)
    with pytest.raises(
        SourceFileError, match="it is not the one that was read before, as when it was rotated"
    ):
        runs.run(FROM_FILE)
    Path("in.1").rename("in.jsonl")
    put(5, 5)
    runs.run(FROM_FILE)
    assert list(range(10)) == [row["n"] for row in runs.rows("b")]


def test_a_copy_of_a_file_with_more_in_it_is_gone_on_with(runs: Runs) -> None:
    put(1000)
    runs.run(FROM_FILE)
    Path("copy").write_bytes(Path("in.jsonl").read_bytes() + b'{"n":1000}\n')
    Path("copy").rename("in.jsonl")
    runs.run(FROM_FILE)
    assert list(range(1001)) == [row["n"] for row in runs.rows("b")]


def test_another_file_begins_at_its_beginning_and_the_first_one_where_it_was_left(runs: Runs) -> None:
    put(2)
    runs.run(FROM_FILE)
    Path("other").write_text('{"n":7}\n')
    runs.run(FROM_FILE.replace("in.jsonl", "other"))
    put(1, 2)
    runs.run(FROM_FILE)
    assert [0, 1, 7, 2] == [row["n"] for row in runs.rows("b")]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda: Path("in.jsonl").rename("in.1"), "it was removed or replaced"),
        (lambda: (Path("in.jsonl").rename("in.1"), put(9)), "it was removed or replaced"),
        (lambda: put(1, mode="w"), "it has 8 bytes, and 24 were read"),
    ],
    ids=["removed", "replaced", "cut"],
)
def test_a_file_that_is_rotated_while_it_is_read_ends_the_run_when_all_of_it_is_processed(
    runs: Runs, change: Callable[[], object], reason: str
) -> None:
    put(3)

    def told(progress: Progress, stop: Stop) -> None:
        if progress.account.records_in == 3 and not done:
            done.append(change())

    done: list[object] = []
    with pytest.raises(SourceFileError, match=reason):
        follow(runs, FROM_FILE, told)
    assert [0, 1, 2] == [row["n"] for row in runs.rows("b")]


def test_a_pipe_or_a_directory_is_no_file_to_read(runs: Runs) -> None:
    os.mkfifo("in.jsonl")
    for name in ("in.jsonl", ".", "/dev/null"):
        with pytest.raises(SourceFileError, match="it is no regular file; read '-', and lead it to stdin"):
            runs.run(FROM_FILE.replace("in.jsonl", name))
