"""Sinks outside of the store: what they hold after runs that ended early, and rows of odd shapes."""

from __future__ import annotations

import errno
import json
import os
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from aegis_cli.pipeline.errors import (
    PipelineFileError,
    RecordRefusedError,
    SinkError,
    TooManyRefusedError,
)
from aegis_cli.pipeline.reading import loads
from aegis_cli.pipeline.run import RunOptions, run_pipeline
from aegis_cli.pipeline.sinks.file import FileSink
from aegis_cli.pipeline.state import PipelineLog
from storage.errors import DiskFullError
from storage.topic import TopicSettings
from tests.pipeline.runs import Runs

PASSED = "source: a\nsink: b\n"


class DiedError(BaseException):
    """Stands for the end of the process."""


def table(path: Path, name: str = "t") -> list[tuple[object, ...]]:
    import sqlite3

    database = sqlite3.connect(path)
    try:
        return database.execute(f"SELECT * FROM {name}").fetchall()
    finally:
        database.close()


def test_what_a_file_got_before_the_first_commit_is_cut_off(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text('"before"\n')
    runs.publish("a", [{"n": 1}, {"n": 2}])
    text = f"source: a\nsink: {{file: {path}}}\n"
    real = FileSink.prepare

    def die(*arguments: object) -> int:
        count = real(*arguments)  # type: ignore[arg-type]
        if count:
            raise DiedError
        return count

    with monkeypatch.context() as patched:
        patched.setattr(FileSink, "prepare", die)
        with pytest.raises(DiedError):
            runs.run(text)
    assert path.read_text().count("\n") == 3
    runs.run(text)
    assert '"before"\n{"n":1}\n{"n":2}\n' == path.read_text()


def test_a_file_that_was_made_shorter_is_refused(runs: Runs, tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    runs.publish("a", [{"n": 1}])
    text = f"source: a\nsink: {{file: {path}}}\n"
    runs.run(text)
    path.write_text("")
    with pytest.raises(SinkError, match="it has 0 bytes, and 8 were committed; put back what is missing"):
        runs.run(text)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("/dev/null", "file /dev/null: it is no regular file; write to '-'"),
        ("{path}/pipe", "pipe: it is no regular file; write to '-'"),
        ("{path}/no/x", "no/x: no such file or directory"),
        ("{path}", ": is a directory"),
    ],
)
def test_what_cannot_be_cut_back_is_no_file_to_write_to(
    runs: Runs, tmp_path: Path, name: str, reason: str
) -> None:
    os.mkfifo(tmp_path / "pipe")
    runs.publish("a", [{"n": 1}])
    with pytest.raises(SinkError, match=reason):
        runs.run(f"source: a\nsink: {{file: {name.format(path=tmp_path)}}}\n")


def test_a_file_that_cannot_grow_is_named(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.jsonl"
    path.touch()
    text = f"source: a\nsink: {{file: {path}}}\n"
    runs.publish("a", [{"n": 1}])
    for number, kind in ((errno.ENOSPC, DiskFullError), (errno.EFBIG, SinkError)):
        with monkeypatch.context() as patched:
            patched.setattr(os, "pwrite", _refusing(number, path))
            with pytest.raises(kind, match=f"{path}"):
                runs.run(text)
    runs.run(text)
    assert '{"n":1}\n' == path.read_text()


def _refusing(number: int, path: Path) -> Callable[[int, bytes, int], int]:
    real = os.pwrite

    def pwrite(fd: int, data: bytes, position: int) -> int:
        if os.path.samestat(os.fstat(fd), path.stat()):
            raise OSError(number, os.strerror(number))
        return real(fd, data, position)

    return pwrite


def test_rows_that_a_table_did_not_get_before_the_end_of_a_run_come_with_the_next_one(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.db"
    runs.publish("a", [{"n": 1, "x": [1, {"y": 2.5}], "b": True}])
    text = f"source: a\nsink: {{sqlite: {path}, table: t}}\n"
    real = PipelineLog.commit

    def die(*arguments: object) -> None:
        real(*arguments)  # type: ignore[arg-type]
        raise DiedError

    with monkeypatch.context() as patched:
        patched.setattr(PipelineLog, "commit", die)
        with pytest.raises(DiedError):
            runs.run(text)
    for _ in range(2):
        runs.run(text)
        assert [(1, '[1,{"y":2.5}]', 1)] == table(path)


def run_and_die_after_the_commit(runs: Runs, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows for tables are committed, and no table has them yet."""
    real = PipelineLog.commit

    def die(*arguments: object) -> None:
        real(*arguments)  # type: ignore[arg-type]
        raise DiedError

    with monkeypatch.context() as patched:
        patched.setattr(PipelineLog, "commit", die)
        with pytest.raises(DiedError):
            runs.run(text)


def test_branches_in_another_order_bring_rows_to_their_own_tables(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.db"
    monkeypatch.chdir(tmp_path)
    runs.publish("a", [{"n": 1}])
    first = f"  - {{map: {{x: n}}, sink: {{sqlite: {path}, table: x}}}}\n"
    second = "  - {map: {y: n}, sink: {sqlite: ./out.db, table: y}}\n"
    for branches in (first + second, second + first, first + second):
        run_and_die_after_the_commit(runs, f"source: a\nbranches:\n{branches}", monkeypatch)
        runs.publish("a", [{"n": 2}])
    runs.run(f"source: a\nbranches:\n{second}{first}")
    assert [(1,), (2,), (2,), (2,)] == table(path, "x") == table(path, "y")


def test_a_table_that_has_rows_to_come_cannot_be_left_out(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.db"
    runs.publish("a", [{"n": 1}])
    text = f"source: a\nsink: {{sqlite: {path}, table: t}}\n"
    run_and_die_after_the_commit(runs, text, monkeypatch)
    with pytest.raises(SinkError, match="rows for table 't' are committed and not there yet"):
        runs.run(PASSED)
    runs.run(text)
    assert [(1,)] == table(path)
    runs.publish("a", [{"n": 2}])
    runs.run(PASSED)
    assert [{"n": 2}] == runs.rows("b")


def test_rows_without_fields_and_fields_that_come_later_go_into_a_table(runs: Runs, tmp_path: Path) -> None:
    path = tmp_path / "out.db"
    runs.publish("a", [{"n": 1}, {}, {"m": 2}])
    runs.run(f"source: a\nsink: {{sqlite: {path}, table: t}}\n")
    assert [(1, None), (None, None), (None, 2)] == table(path)


def test_a_table_whose_first_row_has_no_field(runs: Runs, tmp_path: Path) -> None:
    path = tmp_path / "out.db"
    runs.publish("a", [{}, {"m": 2}])
    runs.run(f"source: a\nsink: {{sqlite: {path}, table: t}}\n")
    assert 2 == len(table(path))


def test_a_message_that_is_no_object_stops_before_a_table(runs: Runs, tmp_path: Path) -> None:
    path = tmp_path / "out.db"
    runs.publish("a", [{"n": 1}, 7])
    with pytest.raises(RecordRefusedError):
        runs.run(f"source: a\nsink: {{sqlite: {path}, table: t}}\n")
    assert [(1,)] == table(path)


def test_a_table_that_must_be_there_is_not_made(runs: Runs, tmp_path: Path) -> None:
    import sqlite3

    path = tmp_path / "out.db"
    runs.publish("a", [{"n": 1}])
    text = f"source: a\nsink: {{sqlite: {path}, table: t, create: false}}\n"
    with pytest.raises(SinkError, match="no table 't'"):
        runs.run(text)
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE t (n INTEGER)")
    database.close()
    runs.run(text)
    assert [(1,)] == table(path)


def test_a_table_with_a_key_has_the_newest_row_of_each(runs: Runs, tmp_path: Path) -> None:
    path = tmp_path / "out.db"
    for first in range(3):
        runs.publish("a", [{"k": number % 2, "n": first + number} for number in range(3)])
        runs.run(f"source: a\nsink: {{sqlite: {path}, table: t, key: k}}\n")
    assert [(0, 4), (1, 3)] == sorted(table(path))


@pytest.mark.parametrize("chunk_records", [1, 1000])
def test_a_file_with_blank_lines_and_several_objects_in_a_line(
    runs: Runs, tmp_path: Path, chunk_records: int
) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text('{"n":1}\n\n{"n":2}\n{"n":3}{"n":4}\n{"n":\n5}\n  \n{"n":6}\n')
    text = f"name: p\nsource: {{file: {path}}}\non_error: {{to: dead}}\nsink: b\n"
    definition = loads(text, path="p.yaml")
    account = run_pipeline(runs.store, definition, RunOptions(once=True, chunk_records=chunk_records))
    assert [(1,), (2,), (6,)] == runs.columns("b", "n")
    assert (6, 3) == (account.records_in, account.dead)
    assert ['{"n":3}{"n":4}', '{"n":', "5}"] == runs.rows("dead")


# -- rows that a sink does not take -----------------------------------------------------------------------

LARGE = "x" * 600_000


@pytest.mark.parametrize("sink", ["b", "{topic: b, key: n}"])
def test_a_row_that_is_too_large_for_its_topic_refuses_its_record(runs: Runs, sink: str) -> None:
    runs.publish("a", [{"n": 1, "t": "x"}, {"n": 2, "t": LARGE}, {"n": 3, "t": "y"}])
    text = f"source: a\nmap: {{n: n, t: t, u: t}}\nsink: {sink}\n"
    with pytest.raises(
        RecordRefusedError, match="what it becomes has 1200021 bytes, and topic 'b' takes 1048576"
    ):
        runs.run(text)
    assert [(1,)] == runs.columns("b", "n")
    account = runs.run(f"{text}on_error: {{to: dead}}\n")
    assert [(1,), (3,)] == runs.columns("b", "n")
    assert (3, 2, 1, 2) == (account.records_in, account.out, account.dead, account.emitted)
    assert [(2,)] == runs.columns("dead", "n")


def test_a_message_that_is_too_large_for_another_topic_is_refused(runs: Runs) -> None:
    runs.store.create_topic("b", TopicSettings(max_message_bytes=100))
    runs.publish("a", [{"n": 1}, {"n": "x" * 100}])
    account = runs.run("source: a\non_error: drop\nsink: b\n")
    assert ([(1,)], 1) == (runs.columns("b", "n"), account.dead)


def test_a_row_that_is_nested_too_deeply_for_a_topic_is_refused(runs: Runs) -> None:
    runs.publish("a", [{"t": "[" * 128 + "]" * 128}, {"t": "[" * 127 + "]" * 127}])
    account = runs.run("source: a\nmap: {v: json_parse(t), w: '\"x\"'}\non_error: drop\nsink: b\n")
    assert (1, 1, 1) == (account.out, account.dead, len(runs.rows("b")))


@pytest.mark.parametrize("mapped", ["", "map: {k: k, n: n}\n"])
@pytest.mark.parametrize("key", ["k", "[n, k]"])
@pytest.mark.parametrize(
    ("value", "reason"), [(None, "is null"), (True, "is a bool"), ([1], "is a list"), ({}, "is an object")]
)
def test_a_record_without_a_usable_key_is_refused(
    runs: Runs, mapped: str, key: str, value: object, reason: str
) -> None:
    runs.publish("a", [{"k": "x", "n": 1}, {"k": value, "n": 2}, {"k": 7, "n": 3}])
    text = f"source: a\n{mapped}sink: {{topic: b, key: {key}}}\n"
    with pytest.raises(RecordRefusedError, match=f"the key 'k' of a message {reason}"):
        runs.run(text)
    account = runs.run(f"{text}on_error: {{to: dead}}\n")
    assert [(1,), (3,)] == runs.columns("b", "n")
    assert [(2,)] == runs.columns("dead", "n")
    assert (3, 2, 1) == (account.records_in, account.out, account.dead)


def test_a_field_that_a_step_made_is_no_key_of_a_message(runs: Runs) -> None:
    runs.publish("a", [{"k": "x", "items": [1]}, {"items": ["y"]}])
    text = "source: a\nflat_map: {items: items, as: k}\non_error: drop\nsink: {topic: b, key: k}\n"
    assert 1 == runs.run(text).dead
    assert [{"k": "x", "items": [1]}] == runs.rows("b")


def test_the_key_that_a_topic_declares_is_needed_too(runs: Runs) -> None:
    runs.store.create_topic("b", TopicSettings(key="k"))
    runs.publish("a", [{"k": "x"}, {"n": 1}])
    assert 1 == runs.run("source: a\non_error: drop\nsink: b\n").dead
    assert [{"k": "x"}] == runs.rows("b")
    with pytest.raises(PipelineFileError, match="'k' is the key of 'b', and no field of what goes there"):
        runs.run("name: q\nsource: a\nmap: {n: n}\nsink: b\n")


def test_a_null_key_of_a_table_refuses_its_record(runs: Runs, tmp_path: Path) -> None:
    path = tmp_path / "out.db"
    runs.publish("a", [{"k": 1, "n": 1}, {"k": None, "n": 2}, {"n": 3}, {"k": 1, "n": 4}])
    account = runs.run(f"source: a\non_error: {{to: dead}}\nsink: {{sqlite: {path}, table: t, key: [k]}}\n")
    assert [(1, 4)] == table(path)
    assert (4, 2, 2) == (account.records_in, account.out, account.dead)
    assert [2, 3] == [row["n"] for row in runs.rows("dead")]


def test_a_row_that_one_of_several_sinks_does_not_take_goes_to_none(runs: Runs) -> None:
    runs.publish("a", [{"n": 1}, {"n": None}])
    branches = "branches:\n  - {sink: b}\n  - {map: {n: n}, sink: {topic: c, key: n}}\n"
    account = runs.run(f"source: a\non_error: drop\n{branches}")
    assert ([{"n": 1}], [{"n": 1}]) == (runs.rows("b"), runs.rows("c"))
    assert (2, 1, 1, 2) == (account.records_in, account.out, account.dead, account.emitted)


def test_branches_of_messages_and_of_rows_can_share_a_topic(runs: Runs) -> None:
    runs.publish("a", [{"n": 1}])
    runs.run("source: a\nbranches:\n  - {sink: b}\n  - {map: {m: n}, sink: b}\n")
    assert [{"n": 1}, {"m": 1}] == runs.rows("b")


BY_KEY = "source: a\ntime: at\ngroup_by: k\nwindow: 10s\naggregate: {n: count()}\nsink: {topic: b, key: k}\n"


def test_a_result_that_its_sink_does_not_take_counts_among_the_results(runs: Runs) -> None:
    runs.publish("a", [{"at": 1, "k": "x"}, {"at": 2}, {"at": 3, "k": "y"}, {"at": 11, "k": "x"}])
    with pytest.raises(RecordRefusedError, match=r"stops at the result of group \[null\]: the key 'k'"):
        runs.run(BY_KEY)
    account = runs.run(f"{BY_KEY}on_error: {{to: dead}}\nfilter: coalesce(k, 0) != 'y'\n")
    assert [("x", 1), ("x", 1)] == runs.columns("b", "k", "n")
    assert (4, 4, 0) == (account.records_in, account.out, account.dead)
    found = (account.results, account.results_out, account.results_filtered, account.results_dead)
    assert (4, 2, 1, 1) == found
    assert "; results 4 = out 2 + filtered 1 + dead 1; emitted 2" in str(account)
    assert [{"key": [None], "start_ms": 0, "end_ms": 10_000}] == runs.rows("dead")
    (dead,) = runs.store.read("dead")
    assert b"the key 'k' of a message is null" in (dead.headers or b"")


def test_too_many_results_that_cannot_be_given_out_stop_the_pipeline(runs: Runs) -> None:
    runs.publish("a", [{"at": 1, "k": number if number % 5 else number % 10 > 4} for number in range(200)])
    with pytest.raises(TooManyRefusedError, match="results could not be processed"):
        runs.run(f"{BY_KEY}on_error: {{to: dead, max_ratio: 0.01}}\n")


# -- keys of several fields -------------------------------------------------------------------------------


@pytest.mark.parametrize("mapped", ["", "map: {n: n, c: c, p: p}\n"])
def test_a_key_of_several_fields_is_the_json_list_of_their_values(runs: Runs, mapped: str) -> None:
    runs.topic("b", partitions=7)
    given = [{"n": n, "c": f'"{n % 3}é', "p": n % 2} for n in range(40)]
    runs.publish("a", given)
    runs.run(f"source: a\n{mapped}sink: {{topic: b, key: [c, p]}}\n")
    found = [(json.loads(message.key), message.partition) for message in runs.store.read("b")]
    assert 40 == len(found)
    for key, partition in found:
        assert zlib.crc32(key.encode()) % 7 == partition
    expected = {json.dumps([row["c"], row["p"]], ensure_ascii=False, separators=(",", ":")) for row in given}
    assert expected == {key for key, _ in found}


def test_results_of_groups_with_one_part_of_their_key_the_same_are_told_apart(runs: Runs) -> None:
    text = "source: a\ntime: at\ngroup_by: [c, p]\nwindow: 10s\naggregate: {n: count()}\n"
    runs.publish("a", [{"at": 1, "c": "DE", "p": p} for p in ("x", "y", "x")])
    runs.run(f"{text}sink: {{topic: b, key: [c, p]}}\n")
    assert ['["DE","x"]', '["DE","y"]'] == [json.loads(message.key) for message in runs.store.read("b")]
