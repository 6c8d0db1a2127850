"""What of a pipeline's file may change while it holds something: by a restart, or read again while it runs.

Both go through one table: what is accepted and what is refused must be the same, with the same reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from aegis_cli.pipeline.definition import Definition
from aegis_cli.pipeline.errors import SinkError, StateChangedError
from aegis_cli.pipeline.reading import loads
from aegis_cli.pipeline.run import RunOptions, run_pipeline
from tests.pipeline.runs import Runs

WINDOWED = """\
source: a
filter: v > 0
map: {at: at, who: k, amount: v}
time: {field: at, watermark: 5s}
dedup: {key: [at, who, amount], within: 1m}
late: {to: late}
group_by: who
window: 10s
aggregate: {n: count(), s: sum(amount)}
sink: b
"""
JOINED = """\
source: a
steps:
  - map: {at: at, k: k, v: v}
  - time: at
  - join: {topic: o, as: other, key: k, other_key: k, other_time: at, within: 10s, type: left}
  - map: {v: v, w: other.v}
sink: b
"""
PASSED = "source: a\nmap: {v: v}\nsink: b\n"
TABLED_JOIN = """\
source: a
tables: {t: {topic: rows, key: id}}
time: at
join: {table: t, key: k, wait: 1m}
map: {v: v, w: t.x}
sink: b
"""


@dataclass
class Change:
    """A change of a file, and what the message says that refuses it; nothing where it is accepted."""

    before: str
    old: str
    new: str
    refusal: str = ""

    @property
    def after(self) -> str:
        assert self.old in self.before
        return self.before.replace(self.old, self.new)


TABLE = {
    "another filter": Change(WINDOWED, "filter: v > 0", "filter: v > 1"),
    "no filter": Change(WINDOWED, "filter: v > 0\n", ""),
    "a map that renames": Change(WINDOWED, "amount", "euros"),
    "a map with one more": Change(WINDOWED, "amount: v}", "amount: v, more: 1}"),
    "a name of a result": Change(WINDOWED, "n: count()", "records: count()"),
    "steps behind the aggregate": Change(
        WINDOWED, "sink: b", "branches: [{filter: n > 1, map: {n: n}, sink: b}]"
    ),
    "another topic of late ones": Change(WINDOWED, "late: {to: late}", "late: {to: later}"),
    "no topic of late ones": Change(WINDOWED, "late: {to: late}\n", ""),
    "another sink": Change(WINDOWED, "sink: b", "sink: {topic: c, key: who}"),
    "one more sink": Change(WINDOWED, "sink: b", "sink: [b, c]"),
    "on_error": Change(WINDOWED, "sink: b", "sink: b\non_error: {to: dead}"),
    "commit_interval": Change(WINDOWED, "sink: b", "sink: b\ncommit_interval: 1s"),
    "a limit that holds": Change(WINDOWED, "sink: b", "sink: b\nlimits: {groups: 4}"),
    "a schema": Change(WINDOWED, "source: a", "source: {topic: a, schema: {v: double}}"),
    "what idle is": Change(WINDOWED, "watermark: 5s", "watermark: 5s, idle: 1m"),
    "a description": Change(WINDOWED, "source: a", "description: it counts\nsource: a"),
    "a limit that does not hold": Change(
        WINDOWED, "sink: b", "sink: b\nlimits: {groups: 1}", "has 3 in 'aggregate', more than its limit"
    ),
    "another source": Change(WINDOWED, "source: a", "source: o", "another 'topic' of 'source'"),
    "a source that is no topic": Change(
        PASSED, "source: a", "source: {file: a}", "another 'topic' of 'source'"
    ),
    "another time": Change(
        WINDOWED, "{at: at, who", "{at: at + 1, who", "p.yaml:4:15: the state of pipeline 'p'"
    ),
    "another watermark": Change(WINDOWED, "watermark: 5s", "watermark: 6s", "another 'watermark' of 'time'"),
    "what a key is computed from": Change(WINDOWED, "who: k", "who: v", "another 'group_by' of 'aggregate'"),
    "another key": Change(WINDOWED, "group_by: who", "group_by: amount", "another 'group_by' of 'aggregate'"),
    "no key": Change(WINDOWED, "group_by: who\n", "", "another 'group_by' of 'aggregate'"),
    "another window": Change(WINDOWED, "window: 10s", "window: 20s", "another 'window' of 'aggregate'"),
    "another kind of window": Change(
        WINDOWED,
        "late: {to: late}\ngroup_by: who\nwindow: 10s",
        "group_by: who\nwindow: {count: 5}",
        "another 'window' of 'aggregate'",
    ),
    "late results": Change(WINDOWED, "window: 10s", "window: 10s\nallow_late: 1s", "another 'window'"),
    "another aggregate": Change(WINDOWED, "sum(amount)", "max(amount)", "another 'aggregate'"),
    "what is added up": Change(WINDOWED, "sum(amount)", "sum(amount + 1)", "p.yaml:9:16: "),
    "one aggregate more": Change(WINDOWED, "n: count()", "n: count(), m: count()", "another 'aggregate'"),
    "no aggregate": Change(WINDOWED, WINDOWED[WINDOWED.index("late") :], "sink: b\n", "of 'aggregate'"),
    "no dedup": Change(WINDOWED, "dedup: {key: [at, who, amount], within: 1m}\n", "", "of 'dedup 1'"),
    "another time of a dedup": Change(WINDOWED, "within: 1m", "within: 2m", "another 'within' of 'dedup 1'"),
    "another join": Change(JOINED, "within: 10s", "within: 9s", "another 'within' of 'join left'"),
    "another kind of join": Change(JOINED, "type: left", "type: inner", "another 'type' of 'join left'"),
    "a field of rows that are kept": Change(
        JOINED, "k: k, v: v}", "k: k, v: v + 1}", "another 'map' of 'join left'"
    ),
    "a step behind a join": Change(JOINED, "w: other.v", "x: other.v, w: other.v"),
    "a step behind a join that waits": Change(TABLED_JOIN, "w: t.x", "w: t.x, u: t.y"),
    "a join that waits": Change(TABLED_JOIN, "wait: 1m", "wait: 2m", "another 'join' of 'wait for t'"),
    "no join that waits": Change(TABLED_JOIN, ", wait: 1m", "", "another 'join' of 'wait for t'"),
    "a table": Change(TABLED_JOIN, "key: id", "key: v", "another 'table' of 'table t'"),
    "a step that begins": Change(PASSED, "map: {v: v}", "time: at\ndedup: {key: v, within: 1m}\nmap: {v: v}"),
    "any map of a pipeline that keeps nothing": Change(PASSED, "v: v", "x: v * 2, y: k"),
}


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    found = Runs(tmp_path / "store")
    with found.store:
        for name in ("a", "o", "b", "c"):
            found.topic(name)
        found.publish("a", [{"at": at, "k": at, "v": 1} for at in (1, 2, 3)])
        found.publish("rows", [{"id": 7, "v": 7}])
        yield found


def read(text: str) -> Definition:
    return loads(text, path="p.yaml")


@dataclass
class Asked:
    """Who wants files to be read, one after the other, each when all before it is committed; then the end."""

    texts: list[str]
    between: Callable[[], None] = lambda: None
    told: list[Any] = field(default_factory=list)
    came: bool = True

    def load(self) -> Definition:
        self.between()
        text = self.texts.pop(0)
        self.came = bool(self.texts)
        return read(text)

    def accepted(self, changed: Sequence[str]) -> None:
        self.told.append(list(changed))

    def refused(self, reason: str) -> None:
        self.told.append(reason)


def reloaded(runs: Runs, before: str, *texts: str, between: Callable[[], None] = lambda: None) -> list[Any]:
    """What is said when a run reads these texts one after the other."""
    asked = Asked(list(texts), between)
    run_pipeline(runs.store, read(before), RunOptions(once=True), reload=asked)
    return asked.told


def restarted(runs: Runs, text: str) -> str:
    """What a start says that is refused."""
    try:
        run_pipeline(runs.store, read(text), RunOptions(once=True))
    except StateChangedError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", TABLE)
def test_a_restart_accepts_and_refuses_what_is_in_the_table(runs: Runs, name: str) -> None:
    change = TABLE[name]
    run_pipeline(runs.store, read(change.before), RunOptions(once=True))
    said = restarted(runs, change.after)
    assert change.refusal in said
    assert bool(change.refusal) == bool(said)
    # What was refused has changed nothing.
    assert "" == restarted(runs, change.before if said else change.after)


@pytest.mark.parametrize("name", TABLE)
def test_a_file_that_is_read_again_is_accepted_and_refused_as_by_a_restart(runs: Runs, name: str) -> None:
    change = TABLE[name]
    run_pipeline(runs.store, read(change.before), RunOptions(once=True))
    (said,) = reloaded(runs, change.before, change.after)
    assert isinstance(said, str) == bool(change.refusal)
    assert change.refusal in said if change.refusal else name == "a description" or said
    assert "" == restarted(runs, change.before if change.refusal else change.after)


# -- what only a run can tell -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("source: a\nfilter: v +\nsink: b\n", "p.yaml:2:11: the expression ends after '+'"),
        ("source: a\nfilter: [\nsink: b\n", "p.yaml:4:1: no YAML"),
        ("source: a\nmap: {v: w.x}\nfilter: y\nsink: b\n", "p.yaml:3:9: "),
        ("name: q\nsource: a\nsink: b\n", "p.yaml: it is pipeline 'q' now, and 'p' runs; run it by itself"),
        (
            "source: a\ntables: {t: {topic: gone, key: id}}\njoin: {table: t, key: v}\nsink: b\n",
            "topic 'gone'",
        ),
        ("source: a\nsink: {sqlite: x.db, table: t, create: false}\n", "there is no table 't'"),
        ("source: a\nsink: [{file: out.jsonl}, {file: no/x}]\n", "no/x: no such file or directory"),
        ("source: a\nsink: [{file: out.jsonl}, {file: .}]\n", "is a directory"),
        ("source: a\nsink: [{file: out.jsonl}, {sqlite: no/x.db, table: t}]\n", "cannot write to SQLite"),
    ],
)
def test_a_file_that_cannot_run_is_refused_and_the_pipeline_goes_on_as_it_was(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    before = "source: a\nmap: {v: v}\nsink: [b, {file: out.jsonl}]\n"
    (said,) = reloaded(runs, before, text)
    assert reason in said
    assert [(1,)] * 3 == runs.columns("b", "v")
    assert b'{"v":1}\n' * 3 == Path("out.jsonl").read_bytes()


def test_a_file_says_which_of_its_keys_changed(runs: Runs) -> None:
    said = reloaded(
        runs,
        WINDOWED,
        WINDOWED,
        WINDOWED.replace("v > 0", "v  > 0").replace("late: {to: late}\n", ""),
        WINDOWED,
    )
    assert [[], ["filter", "late"], ["filter", "late"]] == said
    assert [["steps"]] == reloaded(
        runs,
        "name: q\nsource: a\nsteps: [{filter: v > 0}, {map: {v: v}}]\nsink: c\n",
        "name: q\nsource: a\nsteps: [{map: {v: v}}, {filter: v > 0}]\nsink: c\n",
    )


def test_records_go_through_the_definition_that_holds_when_they_are_read(runs: Runs) -> None:
    counted = "source: a\ntime: at\nwindow: 10s\naggregate: {n: count()}\nsink: b\n"
    filtered = counted.replace("time: at\n", "filter: v > 1\ntime: at\n")
    run_pipeline(runs.store, read(counted), RunOptions(once=True))
    runs.publish("a", [{"at": 4, "v": 1}, {"at": 5, "v": 2}])
    assert [["filter"]] == reloaded(runs, counted, filtered)
    runs.publish("a", [{"at": 6, "v": 1}, {"at": 7, "v": 2}, {"at": 10, "v": 2}])
    run_pipeline(runs.store, read(filtered), RunOptions(once=True))
    assert [(5,)] == runs.columns("b", "n")


def test_state_of_a_window_that_was_changed_is_not_read_into_another(runs: Runs) -> None:
    texts = [
        f"source: a\ngroup_by: k\n{window}aggregate: {{n: count(), {more}}}\nsink: b\n"
        for window, more in (
            ("window: {count: 2}\n", "s: sum(v)"),
            ("time: at\nwindow: 2s\n", "c: collect(k), d: max(v)"),
        )
    ]
    for number, text in enumerate(texts):
        for second in range(2):
            # Each record in a run of its own, so that each is a change of the log; then nothing is open.
            runs.publish("a", [{"k": 9, "v": number, "at": 100 * number + 10 * second}])
            runs.run(text, flush=second == 1)
    # The records that were there first are groups of their own.
    assert [2, 1, 1, 1, 1, 1] == [row["n"] for row in runs.rows("b")]


# -- sinks ------------------------------------------------------------------------------------------------

TABLED = "source: a\nmap: {v: v}\nsink: {sqlite: x.db, table: t}\n"


def table(name: str) -> list[Any]:
    import sqlite3

    database = sqlite3.connect("x.db")
    try:
        return database.execute(f"SELECT * FROM {name}").fetchall()
    finally:
        database.close()


@pytest.mark.parametrize("again", [restarted, reloaded], ids=["restart", "reload"])
def test_another_table_gets_what_is_read_from_then_on(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: Callable[..., Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    other = TABLED.replace("table: t", "table: u")
    run_pipeline(runs.store, read(TABLED), RunOptions(once=True))
    runs.publish("a", [{"v": 2}])
    again(runs, *([TABLED] if again is reloaded else []), other)
    assert ([(1,)] * 3, [(2,)]) == (table("t"), table("u"))


def test_rows_that_a_killed_run_left_behind_go_to_no_other_table(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("aegis_cli.pipeline.sinks.sqlite.SqliteSink.finish", _killed)
        with pytest.raises(SinkError):
            run_pipeline(runs.store, read(TABLED), RunOptions(once=True))
    other = TABLED.replace("table: t", "table: u")
    with pytest.raises(SinkError, match="rows for table 't' are committed and not there yet"):
        restarted(runs, other)
    assert "" == restarted(runs, TABLED)
    assert "" == restarted(runs, other)
    assert [(1,)] * 3 == table("t")


def _killed(sink: Any, facts: Any) -> None:
    if facts.pending:
        raise SinkError("p", "table t", "the process died")


def test_a_file_that_is_no_sink_any_more_belongs_to_others(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = "source: a\nmap: {v: v}\nsink: [b, {file: out.jsonl}]\n"
    file = Path("out.jsonl")
    run_pipeline(runs.store, read(text), RunOptions(once=True))
    before = file.read_bytes()
    file.write_bytes(before + b"half of a row")
    assert f"file {file.resolve()} has 13 bytes more than pipeline 'p' committed" in restarted(runs, PASSED)
    assert "" == restarted(runs, text)
    assert before == file.read_bytes()
    assert "" == restarted(runs, PASSED)
    file.write_bytes(b"mine\n")
    runs.publish("a", [{"v": 2}])
    assert "" == restarted(runs, text)
    assert b'mine\n{"v":2}\n' == file.read_bytes()
