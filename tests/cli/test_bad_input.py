"""Bad input to `aegis publish` and `aegis consume`: one line on stderr that names the place and the remedy.

Nothing is left in doubt. Each bad line is published in a stream, in a file, and as a VALUE between good ones.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from storage.batch import RecordBatch
from storage.store import Append, Store
from storage.topic import TopicSettings
from tests.cli.processes import running
from tests.storage.damaged import forget_the_journal

CORRECT = "correct it, or leave such lines out with --on-error skip, or pass --text for lines of text"
ONE_A_LINE = "put each value on one line, for example with jq -c ."
NOT_UTF_8 = "convert the input, for example with iconv -t UTF-8, or publish it with --binary"
KEY = "a key is a string or a number at the top level of the record"
RAISE = "make it smaller, or raise the limit with 'aegis config set streaming.max_message_size'"
DEEP = b"[" * 200 + b"]" * 200
LONG = b'"' + b"x" * 1_000_000 + b'"'

BAD_LINES: list[Any] = [
    ("invalid JSON", [], b'{"a":1,}', f"invalid JSON at column 8: {{}}; {CORRECT}"),
    ("single quotes", [], b"{'a':1}", "invalid JSON at column 2: single quotes; JSON takes double quotes"),
    ("NaN", [], b'{"a":NaN}', f"invalid JSON at column 6: NaN is not a JSON value; {CORRECT}"),
    ("two values", [], b'{"a":1} {"b":2}', f"two values on one line, the second at column 9; {ONE_A_LINE}"),
    ("two scalars", [], b"1 2", f"two values on one line, the second at column 3; {ONE_A_LINE}"),
    ("one over two lines", [], b'{"a":\n1}', f"the value does not end on this line; {ONE_A_LINE}"),
    ("invalid UTF-8", [], b'"ab\xff"', f"invalid UTF-8 at byte 4 (0xff); {NOT_UTF_8}"),
    ("a surrogate", [], b'"\xed\xa0\x80"', f"invalid UTF-8 at byte 2 (0xed); {NOT_UTF_8}"),
    ("a control character", [], b'"a\x01"', f"invalid JSON at column 3: {{}}; {CORRECT}"),
    ("too deep", [], DEEP, "nested deeper than {} levels; flatten the value"),
    ("too long", [], LONG, f"the record has 1000002 bytes, and max_message_size is 1000000; {RAISE}"),
    ("plain text", [], b"hello", "'hello' is not JSON; pass --text to publish text as JSON strings"),
    ("text that is no text", ["--text"], b"ab\xff", f"invalid UTF-8 at byte 3 (0xff); {NOT_UTF_8}"),
    (
        "no key field",
        ["--key-field", "id"],
        b'{"x":1}',
        f"no key in field 'id': the record has no such field; {KEY}",
    ),
    (
        "an object as key",
        ["--key-field", "id"],
        b'{"id":{"a":1}}',
        f"no key in field 'id': it is an object; {KEY}",
    ),
    ("null as key", ["--key-field", "id"], b'{"id":null}', f"no key in field 'id': it is null; {KEY}"),
    (
        "a record without fields",
        ["--key-field", "id"],
        b"[1]",
        f"no key in field 'id': the record is not an object; {KEY}",
    ),
    (
        "no delimiter",
        ["-K", "|"],
        b'{"id":7}',
        "no key delimiter '|'; write each line as key, delimiter, value",
    ),
]


def good_lines(options: list[str]) -> tuple[bytes, bytes]:
    """A line before the bad one and one behind it, as the options want them."""
    if "--key-field" in options:
        return b'{"id":1}', b'{"id":2}'
    return (b"k|1", b"k|2") if "-K" in options else (b"1", b"2")


def count(aegis: Any, topic: str = "t") -> int:
    finished = aegis("consume", topic)
    assert (0, b"") == (finished.code, finished.stderr)
    return int(finished.stdout.count(b"\n"))


def matches(pattern: str, text: str) -> bool:
    """Whether `text` is `pattern`, where `{}` stands for anything."""
    head, found, tail = pattern.partition("{}")
    return text == pattern if not found else text.startswith(head) and text.endswith(tail)


@pytest.mark.parametrize(
    ("options", "bad", "message"),
    [row[1:] for row in BAD_LINES],
    ids=[row[0].replace(" ", "-") for row in BAD_LINES],
)
def test_a_bad_line_is_named_and_what_was_before_it_is_stored(
    aegis: Any, topic: str, options: list[str], bad: bytes, message: str
) -> None:
    before, behind = good_lines(options)
    lines = before + b"\n\n" + before + b"\n" + bad + b"\n" + behind + b"\n"
    finished = aegis("publish", topic, *options, stdin=lines)
    assert (10, b"") == (finished.code, finished.stdout)
    # The blank line is a record only where lines are text.
    stored = 3 if "--text" in options else 2
    expected = f"aegis: error: line 4: {message} ({stored} records before it published)\n"
    assert matches(expected, finished.err), finished.err
    assert stored == count(aegis)
    (aegis.home / "in").write_bytes(bad + b"\n" + behind + b"\n")
    finished = aegis("publish", topic, *options, "--file", "in")
    assert (7, b"") == (finished.code, finished.stdout)
    expected = f"aegis: error: line 1: {message} (0 records before it published)\n"
    assert matches(expected, finished.err), finished.err
    assert stored == count(aegis)


@pytest.mark.parametrize(
    ("options", "bad", "message"),
    [row[1:] for row in BAD_LINES],
    ids=[row[0].replace(" ", "-") for row in BAD_LINES],
)
def test_a_bad_value_leaves_nothing(
    aegis: Any, topic: str, options: list[str], bad: bytes, message: str
) -> None:
    if len(bad) > 100_000:
        message = f"the record has 100002 bytes, and max_message_size is 100000; {RAISE}"
        bad = b'"' + b"x" * 100_000 + b'"'
        assert 0 == aegis("config", "set", "streaming.max_message_size", "100000").code
    if b"\n" in bad:
        message = "the value spans several lines; put it on one line, for example with jq -c ."
    before, behind = good_lines(options)
    finished = aegis("publish", topic, *options, before, os.fsdecode(bad), behind)
    assert (7, b"") == (finished.code, finished.stdout)
    expected = f"aegis: error: line 2: {message} (0 records before it published)\n"
    assert matches(expected, finished.err), finished.err
    assert 0 == count(aegis)


def test_a_bad_line_far_down_the_input_is_named(aegis: Any, topic: str) -> None:
    good = b"".join(b'{"n":%d}\n' % number for number in range(500_000))
    finished = aegis("publish", topic, stdin=good + b"oops\n" + good)
    assert 10 == finished.code
    assert (
        "aegis: error: line 500001: 'oops' is not JSON; pass --text to publish text as JSON strings "
        "(500000 records before it published)\n" == finished.err
    )
    assert good == aegis("consume", topic).stdout


@pytest.mark.parametrize("through", ["stdin", "file"])
def test_a_line_that_never_ends_is_refused_before_it_fills_the_memory(
    aegis: Any, topic: str, through: str
) -> None:
    lines = b"1\n" + b"[" * 20_000_000
    (aegis.home / "in").write_bytes(lines)
    with running(aegis, "publish", topic, *(["--file", "in"] if through == "file" else [])) as process:
        if through == "stdin":
            with pytest.raises(BrokenPipeError):
                process.feed(lines)
                process.feed(lines)
        assert 10 == process.wait()
    said = process.stderr.decode()
    assert said.startswith("aegis: error: line 2: the record has ")
    assert said.endswith(f" bytes, and max_message_size is 1000000; {RAISE} (1 record before it published)\n")
    assert 1 == count(aegis)


def test_a_last_line_without_its_end_is_published_with_a_warning(aegis: Any, topic: str) -> None:
    warning = "aegis: warning: the last line has no line end and may be cut; it was published as it is\n"
    finished = aegis("publish", topic, stdin=b"1\n2")
    assert (0, b"", warning) == (finished.code, finished.stdout, finished.err)
    (aegis.home / "in").write_bytes(b"3\n4")
    assert warning == aegis("publish", topic, "--file", "in").err
    assert warning == aegis("publish", topic, "--envelope", stdin=b'{"value":5}').err
    assert b"1\n2\n3\n4\n5\n" == aegis("consume", topic).stdout
    for nothing_cut in (b"6\n", b"6\n  "):
        assert b"" == aegis("publish", topic, stdin=nothing_cut).stderr


def test_a_last_line_that_was_cut_within_its_value_is_refused_and_not_called_published(
    aegis: Any, topic: str
) -> None:
    finished = aegis("publish", topic, stdin=b'{"a":1}\n{"a":')
    assert 10 == finished.code
    expected = f"aegis: error: line 2: the value does not end on this line; {ONE_A_LINE} (1 record before it "
    assert f"{expected}published)\n" == finished.err
    assert 1 == count(aegis)


# -- names and places -------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["publish", "consume"])
def test_an_unknown_topic_is_refused_with_the_nearest_one(aegis: Any, command: str) -> None:
    with Store(aegis.store, create=True) as store:
        store.create_topic("orders")
    finished = aegis(command, "ordrs", stdin=b"1\n")
    assert (3, b"") == (finished.code, finished.stdout)
    assert "aegis: error: topic 'ordrs' not found; did you mean 'orders'?\n" == finished.err
    finished = aegis(command, "xyz", stdin=b"1\n")
    assert (3, b"") == (finished.code, finished.stdout)
    assert "aegis: error: topic 'xyz' not found; 'aegis topic create xyz' makes it\n" == finished.err


@pytest.mark.parametrize("command", [["publish"], ["publish", "--create"], ["consume"]])
@pytest.mark.parametrize("name", ["../x", "..", ".", "", "a/b", "x" * 250, "a\nb", "ä"])
def test_a_bad_name_is_refused(aegis: Any, topic: str, command: list[str], name: str) -> None:
    finished = aegis(*command, name, stdin=b"1\n")
    assert (2, b"") == (finished.code, finished.stdout)
    assert finished.err.startswith(f"aegis: error: {name!r} cannot be a name: ")
    assert finished.err.endswith("; use 1 to 249 of the characters A-Z a-z 0-9 . _ -\n")
    assert 1 == finished.err.count("\n")
    assert {"t"} == {path.name for path in (aegis.store / "topics").iterdir() if path.is_dir()}


@pytest.mark.parametrize("command", ["publish", "consume"])
def test_no_store_is_said(aegis: Any, command: str) -> None:
    finished = aegis(command, "t", stdin=b"1\n")
    assert 3 == finished.code
    expected = f"aegis: error: no store at {aegis.store}; 'aegis topic create NAME' makes one, "
    assert expected + "or name another with --store\n" == finished.err
    assert not aegis.store.exists()


@pytest.mark.parametrize("command", [["publish"], ["publish", "--create"], ["consume"]])
def test_a_directory_that_is_no_store_is_refused_and_left_alone(aegis: Any, command: list[str]) -> None:
    aegis.store.mkdir()
    (aegis.store / "mail").write_text("from: somebody")
    finished = aegis(*command, "t", stdin=b"1\n")
    assert 9 == finished.code
    assert finished.err.startswith(f"aegis: error: {aegis.store} is not a store: it ")
    assert finished.err.endswith("; name an empty directory or a store\n")
    assert [aegis.store / "mail"] == list(aegis.store.iterdir())


def test_a_newer_format_is_refused(aegis: Any, topic: str) -> None:
    assert 0 == aegis("publish", topic, "1").code
    path = aegis.store / "aegis.toml"
    text = path.read_text()
    path.write_text(text.replace("format_write = 1", "format_write = 9"))
    finished = aegis("publish", topic, "2")
    assert 9 == finished.code
    assert (
        f"aegis: error: store {aegis.store} needs format 9 to write and this aegis knows 1; upgrade aegis\n"
        == finished.err
    )
    assert (0, b"1\n") == ((read := aegis("consume", topic)).code, read.stdout)
    path.write_text(text.replace("format_read = 1", "format_read = 9"))
    finished = aegis("consume", topic)
    assert (9, b"") == (finished.code, finished.stdout)
    assert "needs format 9 to read and this aegis knows 1; upgrade aegis\n" in finished.err


@pytest.mark.parametrize(
    ("name", "message"), [("nowhere", "nowhere: No such file or directory"), (".", ".: Is a directory")]
)
def test_a_file_that_cannot_be_read_is_named(aegis: Any, topic: str, name: str, message: str) -> None:
    for options in ([], ["--binary"]):
        finished = aegis("publish", topic, "--file", name, *options)
        assert finished.code in (1, 3)
        assert f"aegis: error: {message}\n" == finished.err


def test_a_closed_stdin_is_named(aegis: Any, topic: str) -> None:
    command = shlex.join(aegis.command("publish", topic))
    done = subprocess.run(
        ["bash", "-c", f"{command} <&-"], env=aegis.environ, capture_output=True, check=False
    )
    assert (1, b"aegis: error: standard input: Bad file descriptor\n") == (done.returncode, done.stderr)


# -- disks ------------------------------------------------------------------------------------------------


def in_own_namespace(aegis: Any, script: str) -> subprocess.CompletedProcess[str]:
    """Run a script that may mount, with `aegis` on its path, and see nothing of it outside."""
    return subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "bash", "-ec", script],
        capture_output=True,
        text=True,
        env=aegis.environ,
        cwd=aegis.home,
        timeout=60,
        check=False,
    )


def test_a_full_disk_refuses_and_keeps_what_is_there(aegis: Any, topic: str) -> None:
    full = {"AEGIS_FAILPOINTS": "allocate:*.jsonl=enospc"}
    finished = aegis("publish", topic, stdin=b"1\n", environ=full)
    assert (8, b"") == (finished.code, finished.stdout)
    place = aegis.store / "topics/t/0"
    assert (
        f"aegis: error: no space left for {place}; nothing of this append was stored; free some space\n"
        == finished.err
    )
    assert 0 == count(aegis)
    assert 0 == aegis("publish", topic, "2").code
    # Room that is reserved already takes more, however full the disk is.
    assert 0 == aegis("publish", topic, "3", environ=full).code
    assert b"2\n3\n" == aegis("consume", topic).stdout


def test_a_disk_that_fills_up_midway_keeps_and_counts_what_was_published(aegis: Any) -> None:
    with Store(aegis.store, create=True) as store:
        store.create_topic("t", TopicSettings(segment_bytes=1_000_000))
    lines = b"".join(b'{"n":%d,"pad":"%s"}\n' % (number, b"x" * 100) for number in range(250_000))
    (aegis.home / "in").write_bytes(lines)
    finished = aegis(
        *("publish", "t", "--file", "in"),
        environ={"AEGIS_FAILPOINTS": "allocate:*.jsonl=enospc@3"},
    )
    assert 8 == finished.code
    told, error = finished.err.splitlines()
    kept = aegis("consume", "t").stdout
    assert 0 < len(kept) < len(lines)
    assert lines.startswith(kept)
    assert f"aegis: warning: {kept.count(10)} records were published before this error" == told
    assert error.startswith("aegis: error: no space left for ")


def test_a_real_full_disk_takes_what_fits(aegis: Any) -> None:
    aegis.store.mkdir()
    if in_own_namespace(aegis, "true").returncode != 0:
        # Nobody may mount here: the two tests above fill the disk by other means.
        return
    store = shlex.quote(str(aegis.store))
    script = (
        f"mount -t tmpfs -o size=40m tmpfs {store}; aegis topic create t; "
        "set +e; seq 10000000 | aegis publish t; echo $?; seq 3 | aegis publish t; echo $?; "
        "aegis consume t > out; echo $?; wc -l < out; tail -n 1 out; "
        f"mount -o remount,size=80m {store}; echo 99 | aegis publish t; echo $?; aegis consume t --last 1"
    )
    done = in_own_namespace(aegis, script)
    code, second, consumed, lines, last, third, newest = done.stdout.split()
    told = done.stderr.splitlines()
    assert ("8", "0", "0", "99") == (code, consumed, third, newest)
    assert second in ("0", "8")
    published = int(told[1].removeprefix("aegis: warning: ").split()[0])
    assert published + 3 * (second == "0") == int(lines)
    assert str(published if second == "8" else 3) == last
    assert told[2].startswith("aegis: error: no space left for ")


def test_a_read_only_store_is_read_and_not_written(aegis: Any, topic: str) -> None:
    assert 0 == aegis("publish", topic, "1").code
    store = shlex.quote(str(aegis.store))
    if in_own_namespace(aegis, "true").returncode == 0:
        prepare = f"mount --bind {store} {store}; mount -o remount,bind,ro {store}; set +e; "
        done = in_own_namespace(aegis, prepare + "aegis publish t 2; echo $?; aegis consume t; echo $?")
    else:
        prepare = f"chmod -R a-w {store}; "
        script = prepare + f"aegis publish t 2; echo $?; aegis consume t; echo $?; chmod -R u+w {store}"
        done = subprocess.run(
            ["bash", "-c", script], env=aegis.environ, capture_output=True, text=True, check=False
        )
    assert ["9", "1", "0"] == done.stdout.split()
    message = f"store {aegis.store} is read-only; check its permissions and how it is mounted"
    assert f"aegis: error: {message}\n" == done.stderr


# -- damage -----------------------------------------------------------------------------------------------


def flip(path: Path, position: int) -> None:
    """Change one byte of a file."""
    raw = bytearray(path.read_bytes())
    raw[position] ^= 0x01
    path.write_bytes(raw)


@pytest.fixture
def batches(aegis: Any) -> Path:
    """Five batches of two records each in topic t; returns where its files lie."""
    with Store(aegis.store, create=True) as store:
        store.create_topic("t")
    for number in range(5):
        lines = b'{"n":%d}\n{"n":%d}\n' % (2 * number, 2 * number + 1)
        assert 0 == aegis("publish", "t", "-k", "key", stdin=lines).code
    return Path(aegis.store / "topics/t/0")


DAMAGE = [
    ("jsonl", 16 * 2 + 5, 4, 5, "messages do not match their checksum"),
    ("index", 128 * 3 + 70, 4, 5, "index entries do not match their checksum"),
    ("meta", -1, 8, 9, "the metadata does not match its checksum"),
]


@pytest.mark.parametrize(("suffix", "position", "first", "last", "reason"), DAMAGE)
@pytest.mark.parametrize("options", [["--json"], ["-F", '{"offset":%o,"value":%v}\\n'], ["--grep", "n"], []])
def test_damage_is_reported_and_all_else_is_read(
    aegis: Any,
    batches: Path,
    options: list[str],
    suffix: str,
    position: int,
    first: int,
    last: int,
    reason: str,
) -> None:
    path = batches / f"{0:020}.{suffix}"
    flip(path, position if position >= 0 else path.stat().st_size - 20)
    finished = aegis("consume", "t", *options)
    if suffix == "meta" and options == []:
        # Nothing of the damaged file was asked for.
        assert (0, 10) == (finished.code, len(finished.lines))
        return
    assert 5 == finished.code
    expected = (
        f"topic 't' partition 0: offsets {first} to {last} cannot be read: {reason}; run 'aegis store verify'"
    )
    assert f"aegis: warning: {expected}\n" == finished.err
    left = [number for number in range(10) if number not in (first, last)]
    records = [json.loads(line) for line in finished.lines]
    if "--json" in options or "-F" in options:
        assert left == [record["offset"] for record in records]
        records = [record["value"] for record in records]
    assert left == [record["n"] for record in records]


def test_damage_at_the_end_is_reported(aegis: Any, batches: Path) -> None:
    forget_the_journal(aegis.store)
    flip(batches / f"{0:020}.index", 128 * 5 + 70)
    finished = aegis("consume", "t")
    assert (5, 8) == (finished.code, len(finished.lines))
    assert finished.err.startswith("aegis: warning: topic 't' partition 0: offsets 8 to ")


def test_damage_at_the_end_is_undone_while_the_journal_still_has_it(aegis: Any, batches: Path) -> None:
    index = batches / f"{0:020}.index"
    before = index.read_bytes()
    flip(index, 128 * 5 + 70)
    finished = aegis("consume", "t")
    assert (0, 10, "") == (finished.code, len(finished.lines), finished.err)
    assert before == index.read_bytes()


def test_a_data_file_that_was_cut_is_reported(aegis: Any, batches: Path) -> None:
    os.truncate(batches / f"{0:020}.jsonl", 60)
    finished = aegis("consume", "t")
    assert 5 == finished.code
    assert 6 == len(finished.lines)
    assert "offsets 6 to 7 cannot be read" in finished.err
    assert "offsets 8 to 9 cannot be read" in finished.err


@pytest.fixture
def segments(aegis: Any) -> Path:
    """Three segments of one record each in topic t, which the journal has forgotten; where its files lie."""
    with Store(aegis.store, create=True) as store:
        store.create_topic("t", TopicSettings(segment_bytes=4096))
        for number in range(3):
            store.publish("t", {"n": number, "pad": "x" * 4000}, key="k")
    forget_the_journal(aegis.store)
    return Path(aegis.store / "topics/t/0")


MISSING = [
    ("jsonl", "the file of their messages"),
    ("index", "the index of their segment"),
]


@pytest.mark.parametrize(("suffix", "what"), MISSING)
@pytest.mark.parametrize("lost", [0, 1, 2])
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_missing_file_of_a_segment_is_named_and_all_else_is_read(
    aegis: Any, segments: Path, suffix: str, what: str, lost: int, options: list[str]
) -> None:
    if (suffix, lost) == ("index", 0):
        # Where a partition begins only its first index knows; the test below is about that one.
        lost = 1
    name = f"{lost:020}.{suffix}"
    (segments / name).unlink()
    finished = aegis("consume", "t", *options)
    reason = f"{name}, {what}, is missing"
    assert (
        f"aegis: warning: topic 't' partition 0: offsets {lost} to {lost} cannot be read: {reason}; "
        "run 'aegis store verify'\n" == finished.err
    )
    records = [json.loads(line) for line in finished.lines]
    read = [(record["value"] if options else record)["n"] for record in records]
    assert (5, [number for number in range(3) if number != lost]) == (finished.code, read)


@pytest.mark.parametrize("suffix", ["jsonl", "index"])
def test_a_partition_whose_newest_segment_lacks_a_file_is_refused_until_it_is_repaired(
    aegis: Any, segments: Path, suffix: str
) -> None:
    path = segments / f"{2:020}.{suffix}"
    path.unlink()
    finished = aegis("publish", "t", "3")
    expected = f"aegis: error: {path} is damaged: it is missing; run 'aegis store verify'\n"
    assert (5, b"", expected) == (finished.code, finished.stdout, finished.err)
    verified = aegis("store", "verify")
    named = {
        "jsonl": f"damage: {path}: the file of the messages is missing",
        "index": f"damage: {segments}: ",
    }
    assert (5, True) == (verified.code, named[suffix] in verified.out)
    assert "run 'aegis store repair'" in verified.out
    assert 0 == aegis("store", "repair", "--yes").code
    assert 0 == aegis("store", "verify").code
    assert 0 == aegis("publish", "t", '{"n":3}').code
    # No offset of those that are lost is given again, and raw readers find nothing but messages.
    finished = aegis("consume", "t", "-F", "%o\\n")
    assert ["0", "1", "3"] == finished.lines
    assert all(json.loads(line) for raw in segments.glob("*.jsonl") for line in raw.read_text().splitlines())


@pytest.mark.parametrize("suffix", ["jsonl", "index"])
@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_missing_file_of_a_segment_stops_no_other_topic_after_a_reboot(
    aegis: Any, segments: Path, suffix: str, lost: int
) -> None:
    with Store(aegis.store) as store:
        store.create_topic("u")
    (segments / f"{lost:020}.{suffix}").unlink()
    # A copy has another identity, so it is recovered first.
    forget_the_journal(aegis.store)
    assert 0 == aegis("publish", "u", "1").code
    assert 5 == aegis("store", "verify").code
    # Messages whose index is lost are not written over.
    assert (5 if (suffix, lost) == ("jsonl", 2) else 0) == aegis("publish", "t", '{"n":3}').code
    assert 0 == aegis("store", "repair", "--yes").code
    assert 0 == aegis("store", "verify").code
    assert 0 == aegis("publish", "t", '{"n":4}').code
    offsets = [int(line) for line in aegis("consume", "t", "-F", "%o\\n").lines]
    assert [number for number in range(3) if number != lost] == offsets[:2]
    assert min(offsets[2:]) >= 3
    kept = b"".join(path.read_bytes() for path in aegis.store.glob("quarantine/*.jsonl"))
    assert (suffix == "index") == (b'{"n":%d,' % lost in kept)


def test_a_first_segment_without_messages_is_what_retention_left(aegis: Any, segments: Path) -> None:
    assert 0 == aegis("topic", "alter", "t", "--retention", "1d").code
    (segments / f"{0:020}.jsonl").unlink()
    finished = aegis("consume", "t", "-F", "%o\\n")
    assert (0, ["1", "2"]) == (finished.code, finished.lines)
    assert "offsets 0 to 0 were removed by retention" in finished.err
    assert 0 == aegis("store", "verify").code
    assert 0 == aegis("topic", "clean").code
    assert not (segments / f"{0:020}.index").exists()


def test_a_topic_without_its_first_index_begins_later(aegis: Any, segments: Path) -> None:
    (segments / f"{0:020}.index").unlink()
    assert ["1", "2"] == aegis("consume", "t", "-F", "%o\\n").lines
    verified = aegis("store", "verify")
    assert (5, True) == (verified.code, "messages without an index" in verified.out)


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_many_small_batches_that_are_lost_are_each_reported(aegis: Any, options: list[str]) -> None:
    with Store(aegis.store, create=True) as store:
        store.create_topic("t")
        batches = [RecordBatch(lines=b"%d\n" % number, count=1) for number in range(3000)]
        store.append([Append(topic="t", partition=0, batches=batches)])
    path = aegis.store / "topics/t/0" / f"{0:020}.jsonl"
    kept = b"".join(b"%d\n" % number for number in range(1000))
    path.write_bytes(kept)
    finished = aegis("consume", "t", *options)
    assert (5, 1000, 2000) == (finished.code, len(finished.lines), len(finished.err.splitlines()))


def test_a_corrupt_topic_file_is_named(aegis: Any, topic: str) -> None:
    assert 0 == aegis("publish", topic, "1").code
    path = aegis.store / "topics/t/topic.toml"
    path.write_text("partitions = ?")
    for command in ("publish", "consume"):
        finished = aegis(command, topic, stdin=b"2\n")
        assert (5, b"") == (finished.code, finished.stdout)
        assert finished.err.startswith(f"aegis: error: {path} is damaged: it is not a topic's settings (")
        assert finished.err.endswith("; run 'aegis store verify'\n")


def test_a_corrupt_head_is_found_again(aegis: Any, batches: Path) -> None:
    head = batches / "head"
    head.write_bytes(b"\xff" * head.stat().st_size)
    assert 0 == aegis("publish", "t", '{"n":10}').code
    assert list(range(11)) == [json.loads(line)["n"] for line in aegis("consume", "t").lines]
