"""`aegis pipeline`: what each command says and exits with, and a run that is stopped, refused or followed."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from storage.store import Store
from storage.topic import TopicSettings
from tests.cli.processes import running, wait_for

MAPPED = "source: a\nmap: {id: id, n: n + 1}\nsink: b\n"
COUNTED = "source: a\ntime: at\nwindow: 10s\naggregate: {n: count()}\nsink: b\n"


@pytest.fixture
def topic(aegis: Any) -> None:
    """The topic a, of one partition."""
    with Store(aegis.store, create=True) as store:
        store.create_topic("a", TopicSettings())


def write(aegis: Any, text: str, name: str = "p.yaml") -> str:
    Path(aegis.home, name).write_text(text)
    return name


def publish(aegis: Any, lines: str) -> None:
    finished = aegis("publish", "a", stdin=lines.encode())
    assert (0, b"") == (finished.code, finished.stderr)


def values(aegis: Any, name: str = "b") -> list[str]:
    with Store(aegis.store) as store:
        return [message.value.decode() for message in store.read(name)]


def run_once(aegis: Any, *more: str) -> Any:
    return aegis("pipeline", "run", "p.yaml", "--once", *more)


def refused(finished: Any, code: int, message: str) -> None:
    """It ended with this code and one line on stderr, which holds the message; nothing is on stdout."""
    assert (code, b"") == (finished.code, finished.stdout), finished
    assert 1 == finished.err.count("\n")
    assert finished.err.startswith("aegis: error: ")
    assert message in finished.err


# -- files ------------------------------------------------------------------------------------------------


def test_what_init_writes_is_valid_passes_its_test_and_is_written_once(aegis: Any) -> None:
    made = aegis("pipeline", "init", "purchases.yaml")
    assert (0, b"") == (made.code, made.stdout)
    assert "wrote purchases.yaml; try 'aegis pipeline test purchases.yaml'" in made.err
    assert "pipeline 'purchase-metrics' is valid" in aegis("pipeline", "validate", "purchases.yaml").err
    tested = aegis("pipeline", "test", "purchases.yaml")
    assert (0, "aegis: 1 of 1 tests passed\n") == (tested.code, tested.err)
    assert tested.out.startswith("ok   purchases.yaml:")
    refused(aegis("pipeline", "init", "purchases.yaml"), 2, "purchases.yaml exists; name another file")


def test_a_test_that_fails_says_how_and_exits_with_1(aegis: Any) -> None:
    case = "{name: wrong, given: {a: [{id: 1, n: 1}]}, expect: {b: [{id: 1, n: 3}]}}"
    file = write(aegis, f"{MAPPED}tests: [{case}]\n")
    finished = aegis("pipeline", "test", file)
    assert 1 == finished.code
    assert ["FAIL p.yaml:4: wrong", '     b: record 1 is {"id":1,"n":2}, expected {"id":1,"n":3}'] == (
        finished.lines
    )
    found = json.loads(aegis("pipeline", "test", file, "--json").out)
    assert ("wrong", 1) == (found["test"], len(found["differences"]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "p.yaml: the file is empty"),
        ("source: a\nfilter: n +\nsink: b\n", "p.yaml:2:11: the expression ends after '+'"),
        ("source: a\nmap: {x: nope(n)}\nsink: b\n", "p.yaml:2:10: "),
        ("source: a\nfilter: [\nsink: b\n", "p.yaml:4:1: no YAML"),
        ("source: a\nsinc: b\n", "p.yaml:2:1: "),
        ("source: a\nsink: a\n", "p.yaml:2:"),
        ("source: ${x}\nsink: b\n", "p.yaml:1:"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_its_place(aegis: Any, text: str, message: str) -> None:
    write(aegis, text)
    refused(aegis("pipeline", "validate", "p.yaml"), 2, message)


@pytest.mark.parametrize("command", ["run", "validate", "explain", "test", "verify"])
def test_a_file_that_is_not_there_is_not_found(aegis: Any, command: str) -> None:
    message = "p.yaml: no such file; 'aegis pipeline init' writes an example"
    refused(aegis("pipeline", command, "p.yaml"), 3, message)


def test_a_source_file_that_is_not_there_is_not_found(aegis: Any) -> None:
    write(aegis, "source: {file: in.jsonl}\nsink: '-'\n")
    refused(run_once(aegis), 3, "source file in.jsonl: no such file")


def test_a_directory_is_no_pipeline_file(aegis: Any) -> None:
    Path(aegis.home, "p.yaml").mkdir()
    refused(aegis("pipeline", "validate", "p.yaml"), 2, "p.yaml: cannot be read: is a directory")


@pytest.mark.usefixtures("topic")
@pytest.mark.parametrize("command", ["run", "explain", "test"])
def test_every_command_refuses_a_wrong_expression(aegis: Any, command: str) -> None:
    write(aegis, "source: a\nfilter: n +\nsink: b\ntests: [{name: t, given: {a: []}, expect: {b: 0}}]\n")
    refused(aegis("pipeline", command, "p.yaml"), 2, "p.yaml:2:11: the expression ends after '+'")
    assert not _has(aegis, 0)


@pytest.mark.usefixtures("topic")
def test_variables_are_given_on_the_command_line(aegis: Any) -> None:
    write(aegis, "source: a\nfilter: n > ${least:-1}\nsink: b\n")
    publish(aegis, '{"n":1}\n{"n":2}\n{"n":3}\n')
    assert 0 == run_once(aegis, "--set", "least=2").code
    assert ['{"n":3}'] == values(aegis)
    refused(run_once(aegis, "--set", "nope=2"), 2, "nope")
    refused(run_once(aegis, "--set", "nope"), 2, "--set is 'nope'; write it as NAME=VALUE")


def test_explain_shows_the_steps_the_fields_and_the_code(aegis: Any) -> None:
    file = write(aegis, MAPPED)
    shown = aegis("pipeline", "explain", file)
    assert (0, b"") == (shown.code, shown.stderr)
    assert "reads of a: id, n" in shown.lines
    assert "topic b" in shown.out
    code = aegis("pipeline", "explain", file, "--code")
    assert 0 == code.code
    compile(code.out, "generated", "exec")
    assert "def process(rows, first, p, x):" in code.lines
    assert "a" in json.loads(aegis("pipeline", "explain", file, "--json").out)["fields"]


def test_explain_says_what_a_filter_before_the_time_means(aegis: Any) -> None:
    note = "a partition of which 'filter' lets nothing through holds the watermark back; write 'time' before"
    filtered = COUNTED.replace("time: at", "filter: n > 1\ntime: at")
    assert note in aegis("pipeline", "explain", write(aegis, filtered)).out
    for text in (COUNTED, filtered.replace("time: at", "time: {field: at, idle: 1m}")):
        assert "holds the watermark back" not in aegis("pipeline", "explain", write(aegis, text)).out


# -- runs -------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("topic")
def test_runs_go_on_where_the_last_one_left_off_and_tell_their_account(aegis: Any) -> None:
    write(aegis, MAPPED)
    for lines, account in (("", "in 0 = out 0"), ('{"id":1,"n":1}\n{"id":2,"n":2}\n', "in 2 = out 2")):
        if lines:
            publish(aegis, lines)
        finished = run_once(aegis)
        assert (0, b"") == (finished.code, finished.stdout)
        assert finished.err.startswith(f"aegis: pipeline 'p': {account} + filtered 0")
    publish(aegis, '{"id":3,"n":3}\n')
    found = json.loads(run_once(aegis, "--json").out)
    assert ("p", 3, True) == (found["pipeline"], found["account"]["records_in"], found["balances"])
    assert ['{"id":1,"n":2}', '{"id":2,"n":3}', '{"id":3,"n":4}'] == values(aegis)
    for word in ("p.yaml", "p"):
        assert "3 messages compared, 0 differ" in aegis("pipeline", "verify", word).err
    home = Path(aegis.home).resolve()
    assert f"file       {home / 'p.yaml'}" in aegis("pipeline", "status", "p").lines
    Path(aegis.home, "p.yaml").rename(Path(aegis.home, "q.yaml"))
    moved = f"pipeline 'p' ran from {home / 'p.yaml'}, which is not there any more; name its file"
    refused(aegis("pipeline", "verify", "p"), 2, moved)


@pytest.mark.usefixtures("topic")
def test_open_windows_stay_open_until_a_flush(aegis: Any) -> None:
    write(aegis, COUNTED)
    publish(aegis, '{"at":1}\n{"at":2}\n')
    assert 0 == run_once(aegis).code
    assert [] == values(aegis)
    assert {"aggregate": 1} == json.loads(aegis("pipeline", "status", "p", "--json").out)["open"]
    assert 0 == run_once(aegis, "--flush").code
    assert [2] == [json.loads(value)["n"] for value in values(aegis)]


def test_lines_of_stdin_become_lines_of_stdout(aegis: Any) -> None:
    write(aegis, "source: '-'\nmap: {n: n * 2}\nsink: '-'\n")
    finished = aegis("pipeline", "run", "p.yaml", stdin=b'{"n":1}\n\n{"n":2}')
    assert (0, b'{"n":2}\n{"n":4}\n') == (finished.code, finished.stdout)


@pytest.mark.usefixtures("topic")
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--flush"], 2, "--flush needs --once"),
        (["--once", "--chunk", "0"], 2, "--chunk is 0; use 1 or more"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    aegis: Any, arguments: list[str], code: int, message: str
) -> None:
    write(aegis, MAPPED)
    refused(aegis("pipeline", "run", "p.yaml", *arguments), code, message)


@pytest.mark.usefixtures("topic")
def test_a_topic_that_is_not_there_is_named_and_nothing_is_made(aegis: Any) -> None:
    write(aegis, "source: nope\nsink: b\n")
    refused(run_once(aegis), 3, "topic 'nope' not found")
    assert ["a"] == Store(aegis.store).catalog.names()
    assert b"" == aegis("pipeline", "list", "--json").stdout


@pytest.mark.usefixtures("topic")
def test_a_record_that_stops_it_is_named_and_a_run_with_another_on_error_goes_on(aegis: Any) -> None:
    write(aegis, MAPPED)
    publish(aegis, '{"id":1,"n":1}\n{"id":2,"n":"x"}\n{"id":3,"n":3}\n')
    for _ in range(2):
        refused(run_once(aegis), 10, "pipeline 'p' stops at a/0@1: ")
        assert ['{"id":1,"n":2}'] == values(aegis)
    write(aegis, f"{MAPPED}on_error: {{to: dead}}\n")
    assert 0 == run_once(aegis).code
    assert ['{"id":1,"n":2}', '{"id":3,"n":4}'] == values(aegis)
    with Store(aegis.store) as store:
        (dead,) = store.read("dead")
    assert b'{"id":2,"n":"x"}' == dead.value
    headers = {header["key"]: header["value"] for header in json.loads(dead.headers)}
    assert ("p", "a/0@1") == (headers["aegis-pipeline"], headers["aegis-source"])
    assert "'+' cannot be used on a text and a number" in headers["aegis-error"]
    assert 0 == aegis("pipeline", "verify", "p.yaml").code


@pytest.mark.usefixtures("topic")
def test_more_refused_records_than_the_ratio_allows_stop_it(aegis: Any) -> None:
    write(aegis, f"{MAPPED}on_error: {{to: dead, max_ratio: 0.01}}\n")
    lines = ['{"id":1,"n":1}\n'] * 150 + ['{"id":2,"n":"x"}\n'] * 2
    publish(aegis, "".join(lines))
    refused(run_once(aegis), 10, "2 of 152 records could not be processed, more than max_ratio 0.01 allows")
    assert (150, 1) == (len(values(aegis)), len(values(aegis, "dead")))


@pytest.mark.usefixtures("topic")
def test_a_changed_aggregate_is_refused_while_windows_are_open_until_a_reset(aegis: Any) -> None:
    write(aegis, COUNTED)
    publish(aegis, '{"at":1}\n')
    assert 0 == run_once(aegis).code
    write(aegis, COUNTED.replace("10s", "20s"))
    refused(
        run_once(aegis),
        4,
        "p.yaml:4:16: the state of pipeline 'p' was made with another 'window' of 'aggregate'",
    )
    refused(aegis("pipeline", "reset", "p"), 2, "cannot be asked without a terminal; pass --yes")
    assert "reset pipeline 'p'" in aegis("pipeline", "reset", "p", "--yes").err
    assert 0 == run_once(aegis, "--flush").code
    assert ["1970-01-01T00:00:20Z"] == [json.loads(value)["window_end"] for value in values(aegis)]


# -- looking ----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("topic")
@pytest.mark.parametrize("arguments", [["status", "nope"], ["reset", "nope", "--yes"]])
def test_a_pipeline_that_never_ran_is_not_found(aegis: Any, arguments: list[str]) -> None:
    refused(aegis("pipeline", *arguments), 3, "no pipeline 'nope' has run in this store")


@pytest.mark.usefixtures("topic")
def test_status_and_list_say_how_far_it_is(aegis: Any) -> None:
    write(aegis, COUNTED)
    publish(aegis, '{"at":1}\n{"at":12}\n')
    assert 0 == run_once(aegis).code
    publish(aegis, '{"at":13}\n')
    shown = aegis("pipeline", "status", "p")
    assert (0, b"") == (shown.code, shown.stderr)
    assert {"lag        1", "watermark  1970-01-01T00:00:12Z", "runs       no"} <= set(shown.lines)
    found = json.loads(aegis("pipeline", "status", "p", "--json").out)
    assert [{"topic": "a", "partition": 0, "offset": 2, "lag": 1}] == found["positions"]
    assert (12_000, 1, True) == (found["watermark_ms"], found["lag"], found["balances"])
    assert [found] == [json.loads(line) for line in aegis("pipeline", "list", "--json").lines]
    assert aegis("pipeline", "list").lines[1].startswith("p ")


@pytest.mark.usefixtures("topic")
def test_verify_finds_what_somebody_else_wrote(aegis: Any) -> None:
    write(aegis, MAPPED)
    publish(aegis, '{"id":1,"n":1}\n')
    assert 0 == run_once(aegis).code
    with Store(aegis.store) as store:
        store.publish("b", {"id": 9})
    finished = aegis("pipeline", "verify", "p.yaml")
    assert 1 == finished.code
    assert ['b/0, message 2: {"id":9}, expected nothing'] == finished.lines
    write(aegis, "name: p\nsource: a\nsink: '-'\n")
    refused(aegis("pipeline", "verify", "p.yaml"), 1, "what went to stdout is not there to be compared")
    write(aegis, COUNTED.replace("time: at", "time: {processing: true}"))
    refused(aegis("pipeline", "verify", "p.yaml"), 1, "with 'processing' its results depend on the clock")


# -- following --------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("topic")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_follower_takes_what_comes_and_ends_within_a_second(aegis: Any, number: int) -> None:
    write(aegis, MAPPED)
    with running(aegis, "pipeline", "run", "p.yaml") as process:
        for count in range(1, 4):
            publish(aegis, f'{{"id":{count},"n":0}}\n')
            wait_for(lambda: len(values(aegis)) == count if count > 1 else _has(aegis, 1))  # noqa: B023
        os.kill(process.pid, number)
        began = time.monotonic()
        assert 0 == process.wait()
        assert time.monotonic() - began < 1.0
        assert process.stderr.decode().startswith("aegis: pipeline 'p': in 3 = out 3 ")
    assert 3 == len(values(aegis))
    assert 0 == json.loads(aegis("pipeline", "status", "p", "--json").out)["lag"]


def _has(aegis: Any, count: int) -> bool:
    with Store(aegis.store) as store:
        return "b" in store.catalog.names() and store.reader("b", 0).end_offset == count


@pytest.mark.usefixtures("topic")
def test_a_second_run_is_refused_while_the_first_goes_on(aegis: Any) -> None:
    write(aegis, MAPPED)
    publish(aegis, '{"id":1,"n":0}\n')
    with running(aegis, "pipeline", "run", "p.yaml") as process:
        wait_for(lambda: _has(aegis, 1))
        refused(run_once(aegis), 4, "pipeline 'p' runs already, in ")
        refused(aegis("pipeline", "reset", "p", "--yes"), 4, "pipeline 'p' runs already, in ")
        assert json.loads(aegis("pipeline", "status", "p", "--json").out)["runs"]
        os.kill(process.pid, signal.SIGTERM)
        assert 0 == process.wait()
    assert 0 == run_once(aegis).code
