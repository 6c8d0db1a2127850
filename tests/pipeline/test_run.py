"""Running a pipeline: what a record that stops it leaves behind, what a flush gives out, the order of rows.

Results must not depend on where commits fall; each test here is about one way in which they could.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from aegis_cli.pipeline.admin import pipeline_names, status_of
from aegis_cli.pipeline.errors import RecordRefusedError, TooManyRefusedError
from aegis_cli.pipeline.reading import loads
from aegis_cli.pipeline.run import RunOptions, run_pipeline
from aegis_cli.pipeline.state import look
from aegis_cli.pipeline.verify import UnverifiableError, verify_pipeline
from storage.alter import alter_topic
from storage.batch import RecordBatch
from storage.errors import TopicNotFoundError
from storage.lock import FileLock
from storage.reader import LogReader
from storage.shelf import RUN_LOCK
from storage.store import Append
from tests.pipeline.runs import Runs

COUNTED = "source: a\ntime: at\nwindow: 10s\naggregate: {n: count()}\nsink: b\n"
PASSED = "source: a\nsink: b\n"


def run(runs: Runs, text: str, **options: Any) -> Any:
    definition = loads(text, path="p.yaml")
    return run_pipeline(runs.store, definition, RunOptions(once=True, **options))


def verified(runs: Runs, text: str) -> tuple[int, list[str]]:
    definition = loads(text, path="p.yaml")
    found = verify_pipeline(runs.store, definition, message_bytes_max=1 << 20)
    return found.compared, found.differences


# -- flush ------------------------------------------------------------------------------------------------


def test_a_flush_in_a_run_of_its_own_gives_out_what_is_open(runs: Runs) -> None:
    runs.publish("a", [{"at": 1}, {"at": 2}])
    runs.run(COUNTED, flush=False)
    assert [] == runs.rows("b")
    runs.run(COUNTED, flush=True)
    assert [(2,)] == runs.columns("b", "n")
    assert (1, []) == verified(runs, COUNTED)


def test_a_flush_right_after_a_commit_gives_out_what_is_open(runs: Runs) -> None:
    runs.publish("a", [{"at": 1}, {"at": 2}])
    assert 1 == run(runs, COUNTED, flush=True, chunk_records=1, commit_interval_ms=1).emitted
    assert [(2,)] == runs.columns("b", "n")


def test_a_second_flush_with_nothing_new_changes_nothing(runs: Runs) -> None:
    runs.publish("a", [{"at": 1}, {"at": 2}])
    for _ in range(3):
        runs.run(COUNTED, flush=True)
    assert [(2,)] == runs.columns("b", "n")
    assert (1, []) == verified(runs, COUNTED)


LATE = """
source: a
time: at
window: WINDOW
allow_late: LATE
late: {to: late}
aggregate: {n: count()}
map: {n: n, revision: REVISION}
sink: b
"""


@pytest.mark.parametrize("window", ["10s", "{hopping: 10s, every: 10s}", "{session: 10s}"])
@pytest.mark.parametrize("late", ["0s", "1h"])
def test_what_comes_after_a_flush_makes_no_second_window_of_the_same_time(
    runs: Runs, window: str, late: str
) -> None:
    text = LATE.replace("WINDOW", window).replace("LATE", late)
    text = text.replace("REVISION", "revision" if late == "1h" else "0")
    runs.topic("late")
    runs.publish("a", [{"at": 0}])
    runs.run(text)
    runs.publish("a", [{"at": 0}])
    runs.run(text)
    runs.publish("a", [{"at": 9000}, {"at": 0}])
    runs.run(text)
    first = [(1, 0), *([(2, 1)] if late == "1h" else [])]
    assert [*first, (1, 0)] == runs.columns("b", "n", "revision")
    assert ([{"at": 0}] * (2 if late == "0s" else 1)) == runs.rows("late")


@pytest.mark.parametrize(
    ("time", "word"), [("{processing: true}", "processing"), ("{field: at, idle: 1m}", "idle")]
)
@pytest.mark.parametrize(
    "steps",
    ["window: 10s\naggregate: {n: count()}\n", "dedup: {key: at, within: 1h}\n"],
    ids=["window", "dedup"],
)
def test_what_the_clock_decides_cannot_be_verified(runs: Runs, time: str, word: str, steps: str) -> None:
    runs.publish("a", [{"at": 1}, {"at": 2}])
    text = f"source: a\ntime: {time}\n{steps}sink: b\n"
    runs.run(text, flush=False)
    with pytest.raises(UnverifiableError, match=f"with '{word}' its results depend on the clock"):
        verified(runs, text)


@pytest.mark.parametrize(
    "time", ["{processing: true}", "{field: at, idle: forever}", "{field: at, idle: 1m}"]
)
def test_where_nothing_waits_for_the_clock_it_can_be_verified(runs: Runs, time: str) -> None:
    runs.publish("a", [{"at": 1}, {"at": 2}])
    text = f"source: a\ntime: {time}\nwindow: {{count: 2}}\naggregate: {{n: count()}}\nsink: b\n"
    runs.run(text)
    assert (1, []) == verified(runs, text)


def test_a_record_that_would_stop_the_pipeline_now_is_named_by_verify(runs: Runs) -> None:
    runs.publish("a", [{"at": 1}, {"at": 0}])
    text = "source: a\nmap: {x: 1 / at}\nsink: b\n"
    runs.run(f"{text}on_error: drop\n")
    assert (1, []) == verified(runs, f"{text}on_error: drop\n")
    with pytest.raises(
        UnverifiableError, match="cannot be verified: pipeline 'p' stops at a/0@1: division by"
    ):
        verified(runs, text)


# -- one run at a time ------------------------------------------------------------------------------------


def test_who_looks_whether_a_pipeline_runs_keeps_no_run_from_beginning(runs: Runs) -> None:
    runs.publish("a", [{"at": 1}])
    runs.run(PASSED)
    looks = FileLock(f"{look(runs.store, 'p')[0].topic.directory}/{RUN_LOCK}", what="a pipeline")
    assert looks.try_acquire()
    timer = threading.Timer(0.05, looks.close)
    timer.start()
    runs.run(PASSED)
    timer.join()
    assert looks.fd < 0


# -- the order of rows ------------------------------------------------------------------------------------


@pytest.mark.parametrize("sink", ["b", "{topic: b, key: n}"])
@pytest.mark.parametrize("options", [{}, {"chunk_records": 1, "commit_interval_ms": 1}], ids=["one", "many"])
def test_rows_of_several_partitions_come_in_the_order_of_their_records(
    runs: Runs, options: dict[str, int], sink: str
) -> None:
    runs.topic("a", partitions=3)
    for number in range(9):
        runs.publish("a", [{"n": number}], partition=(0, 2, 1)[number % 3])
    run(runs, f"source: a\nsink: {sink}\n", **options)
    assert [(number,) for number in range(9)] == runs.columns("b", "n")
    assert (9, []) == verified(runs, f"source: a\nsink: {sink}\n")


@pytest.mark.parametrize("options", [{}, {"chunk_records": 1, "commit_interval_ms": 1}], ids=["one", "many"])
def test_branches_that_go_to_one_topic_share_one_order(runs: Runs, options: dict[str, int]) -> None:
    runs.publish("a", [{"n": 0}, {"n": 1}])
    text = "source: a\nbranches:\n  - {map: {x: n}, sink: b}\n  - {map: {y: n}, sink: b}\n"
    assert 4 == run(runs, text, **options).emitted
    assert [{"x": 0}, {"y": 0}, {"x": 1}, {"y": 1}] == runs.rows("b")


class Publisher:
    """Publishes to both partitions, in one append, right after the end of the first one was looked at.

    `left` says how often. To open a reader is the first look at its end.
    """

    def __init__(self, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
        self.runs = runs
        self.left = 0
        self.looks = 0
        self.appended = 0
        self.real = LogReader.end_offset.fget
        monkeypatch.setattr(LogReader, "end_offset", property(self.end_offset))

    def end_offset(self, reader: LogReader) -> int:
        assert self.real is not None
        end: int = self.real(reader)
        if self.left and reader.topic.name == "a" and reader.partition == 0:
            self.looks += 1
            if self.looks > 1:
                self.left -= 1
                self.append()
        return end

    def run(self, text: str, *, times: int) -> None:
        """Run a pipeline, and publish so often meanwhile."""
        self.left, self.looks = times, 0
        self.runs.run(text)

    def append(self) -> None:
        self.appended += 1
        self.runs.now_ms += 1
        batches = [
            Append(
                topic="a",
                partition=number,
                batches=[RecordBatch(lines=b'{"n":%d}\n' % (self.appended * 10 + number), count=1)],
            )
            for number in range(2)
        ]
        self.runs.store.append(batches)


@pytest.mark.parametrize("start", ["earliest", "latest"])
def test_a_run_ends_and_begins_at_one_moment_for_all_partitions(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, start: str
) -> None:
    text = f"source: {{topic: a, start: {start}}}\nsink: b\n"
    runs.topic("a", partitions=2)
    publisher = Publisher(runs, monkeypatch)
    for times in (1, 1, 0):
        publisher.run(text, times=times)
    every = [(10,), (11,), (20,), (21,)]
    assert (every if start == "earliest" else every[2:]) == runs.columns("b", "n")


def test_a_run_ends_while_somebody_publishes_all_the_time(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs.topic("a", partitions=2)
    publisher = Publisher(runs, monkeypatch)
    publisher.run(PASSED, times=1000)
    assert 10 < publisher.appended < 100
    publisher.run(PASSED, times=0)
    assert 2 * publisher.appended == len(runs.rows("b"))


DEDUPED = "source: a\ntime: at\ndedup: {key: k, within: 10s}\nsink: b\n"
JOINED = (
    "source: a\ntime: at\njoin: {topic: o, as: o, key: k, other_key: k, other_time: at, within: 10s}\n"
    "map: {k: k, at: at, other: o.at}\nsink: b\n"
)


@pytest.mark.parametrize(
    ("text", "expected"), [(DEDUPED, [5, 100, 109, 6, 7]), (JOINED, [5, 100])], ids=["dedup", "join"]
)
def test_what_a_new_partition_finds_of_times_long_past_does_not_depend_on_commits(
    tmp_path: Path, text: str, expected: list[int]
) -> None:
    found = []
    for number, options in enumerate(({}, {"chunk_records": 1, "commit_interval_ms": 1}, {"restart": 1})):
        runs = Runs(tmp_path / str(number))
        with runs.store:
            for topic in ("a", "o"):
                runs.topic(topic, partitions=2)
            runs.publish("o", [{"at": 5, "k": "x"}, {"at": 100, "k": "y"}])
            runs.publish("a", [{"at": 5, "k": "x"}, {"at": 100, "k": "y"}, {"at": 109, "k": "z"}])
            if "restart" in options:
                run(runs, text)
            runs.publish("a", [{"at": 6, "k": "x"}], partition=1)
            # The watermark is back at 6; what was forgotten before stays so.
            if "restart" in options:
                run(runs, text)
            runs.publish("a", [{"at": 7, "k": "x"}], partition=1)
            run(runs, text, **{name: value for name, value in options.items() if name != "restart"})
            found.append([row["at"] for row in runs.rows("b")])
            assert [] == verified(runs, text)[1]
    assert expected == found[0] == found[1] == found[2]


# -- records that stop the pipeline -----------------------------------------------------------------------


def test_a_record_that_stops_it_leaves_nothing_and_what_is_before_it_is_committed(runs: Runs) -> None:
    runs.publish("a", [{"n": 1}, {"n": "x"}, {"n": 3}])
    with pytest.raises(RecordRefusedError) as caught:
        run(runs, "source: a\nmap: {n: n + 1}\nsink: b\n")
    assert "a/0@1" == caught.value.place
    assert [(2,)] == runs.columns("b", "n")
    account = status_of(runs.store, "p").account
    assert (1, True) == (account.records_in, account.balances)
    assert 1 == runs.run("source: a\nmap: {n: n + 1}\non_error: drop\nsink: b\n").dead
    assert [(2,), (4,)] == runs.columns("b", "n")


def test_items_of_a_record_before_the_one_that_stops_it_come_once(runs: Runs) -> None:
    runs.publish("a", [{"items": [1]}, {"items": [2, "x", 3]}, {"items": [4]}])
    text = "source: a\nflat_map: {items: items, as: item}\nmap: {n: item + 0}\nsink: b\n"
    with pytest.raises(RecordRefusedError):
        run(runs, text)
    assert [(1,)] == runs.columns("b", "n")
    assert status_of(runs.store, "p").balances
    assert 1 == runs.run(f"{text}on_error: drop\n").dead
    assert [(1,), (2,), (3,), (4,)] == runs.columns("b", "n")


def test_a_key_of_a_record_that_stops_it_does_not_count_as_seen(runs: Runs) -> None:
    runs.publish("a", [{"at": 1, "id": 1, "n": "x"}, {"at": 2, "id": 2, "n": 2}])
    text = "source: a\ntime: at\ndedup: {key: id, within: 1h}\nmap: {id: id, n: MAPPED}\nsink: b\n"
    with pytest.raises(RecordRefusedError):
        run(runs, text.replace("MAPPED", "n + 1"))
    assert 0 == runs.run(text.replace("MAPPED", "n")).deduped
    assert [(1, "x"), (2, 2)] == runs.columns("b", "id", "n")


def test_too_many_refused_records_stop_it_at_the_same_record_for_all_sizes_of_chunks(tmp_path: Path) -> None:
    text = "source: a\nmap: {n: n + 1}\non_error: {to: dead, max_ratio: 0.1}\nsink: b\n"
    found = []
    for chunk_records in (1, 7, 1000):
        runs = Runs(tmp_path / f"{chunk_records}")
        with runs.store:
            runs.publish(
                "a", [{"n": "x" if number > 150 and number % 3 else number} for number in range(300)]
            )
            for _ in range(2):
                with pytest.raises(TooManyRefusedError):
                    run(runs, text, chunk_records=chunk_records)
            found.append((len(runs.rows("b")), len(runs.rows("dead")), status_of(runs.store, "p").account))
    assert found[0] == found[1] == found[2]
    assert found[0][2].balances


def test_a_topic_that_is_not_there_leaves_no_trace_of_the_pipeline(runs: Runs) -> None:
    with pytest.raises(TopicNotFoundError):
        run(runs, PASSED)
    assert ([], []) == (runs.store.catalog.names(), pipeline_names(runs.store))


# -- where it begins --------------------------------------------------------------------------------------


def test_a_pipeline_that_begins_at_the_newest_message_reads_what_comes_after_its_first_run(
    runs: Runs,
) -> None:
    text = "source: {topic: a, start: latest}\nsink: b\n"
    runs.publish("a", [{"n": 1}])
    for number in range(2, 5):
        assert number - 2 == runs.run(text).records_in
        runs.publish("a", [{"n": number}])
    assert [(2,), (3,)] == runs.columns("b", "n")
    with pytest.raises(UnverifiableError, match="it began at the newest message"):
        verified(runs, text)


def test_a_partition_that_was_added_is_read_from_its_beginning(runs: Runs) -> None:
    text = "source: {topic: a, start: latest}\nsink: b\n"
    runs.publish("a", [{"n": 1}])
    runs.run(text)
    alter_topic(runs.store, "a", lambda settings: msgspec.structs.replace(settings, partitions=2))
    runs.publish("a", [{"n": 2}], partition=1)
    runs.run(text)
    assert [(2,)] == runs.columns("b", "n")


@pytest.mark.parametrize("window", ["", "window: {count: 1}\n", "time: at\nwindow: 1s\n"])
def test_a_group_may_have_the_name_of_the_field_that_it_is_computed_from(runs: Runs, window: str) -> None:
    runs.publish("a", [{"at": 1, "v": 8, "w": 1}])
    runs.run(
        f"source: a\n{window}group_by: {{v: floor(v / 2), w: v + w}}\naggregate: {{n: count()}}\nsink: b\n"
    )
    assert [(4, 9, 1)] == runs.columns("b", "v", "w", "n")
