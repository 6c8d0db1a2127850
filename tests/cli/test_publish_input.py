"""Where `aegis publish` takes values from: standard input, files, arguments, terminals; JSON, text, bytes."""

from __future__ import annotations

import os
import pty
from pathlib import Path
from typing import Any

import pytest

from tests.cli.processes import running
from tests.cli.published import make, stored, values


def test_stdin_is_published_as_it_is(aegis: Any, topic: str) -> None:
    lines = b'{"id": 1}\n[ 1,2 ]\n\n"x"\r\n   \n1e400\n'
    finished = aegis("publish", topic, stdin=lines)
    assert (0, b"", b"") == (finished.code, finished.stdout, finished.stderr)
    assert b'{"id": 1}\n[ 1,2 ]\n"x"\n1e400\n' == aegis("consume", topic).stdout


def test_empty_input_publishes_nothing(aegis: Any, topic: str) -> None:
    for stdin in (b"", b"\n\n", b"\xef\xbb\xbf"):
        finished = aegis("publish", topic, stdin=stdin)
        assert (0, b"", b"") == (finished.code, finished.stdout, finished.stderr)
    assert [] == stored(aegis)


def test_values_are_published_and_stdin_is_not_read(aegis: Any, topic: str) -> None:
    with running(aegis, "publish", topic, '{"id":1}', " 2 ") as process:
        assert 0 == process.wait()
    assert [{"id": 1}, 2] == values(aegis)


def test_a_value_that_is_not_valid_leaves_none_of_them(aegis: Any, topic: str) -> None:
    finished = aegis("publish", topic, "1", "2", "{", "4")
    assert 7 == finished.code
    assert finished.err.startswith("aegis: error: line 3: ")
    assert [] == stored(aegis)


def test_a_file_is_published(aegis: Any, topic: str) -> None:
    (aegis.home / "in.jsonl").write_bytes(b"1\n2\n")
    finished = aegis("publish", topic, "--file", "in.jsonl", stdin=b"3\n")
    assert (0, b"", b"") == (finished.code, finished.stdout, finished.stderr)
    assert 0 == aegis("publish", topic, "--file", "-", stdin=b"3\n").code
    assert [1, 2, 3] == values(aegis)


@pytest.mark.parametrize("through_file", [True, False], ids=["file", "pipe"])
def test_a_long_input_lies_on_disk_byte_for_byte(aegis: Any, topic: str, through_file: bool) -> None:
    lines = b"".join(b'{"number":%d,"pad":"%s"}\n' % (n, b"x" * (n % 400)) for n in range(80_000))
    assert len(lines) > 2 * 8 * 1024 * 1024
    path = aegis.home / "in.jsonl"
    path.write_bytes(lines)
    finished = (
        aegis("publish", topic, "--file", "in.jsonl")
        if through_file
        else aegis("publish", topic, stdin=lines)
    )
    assert (0, b"") == (finished.code, finished.stderr)
    paths = aegis("topic", "files", topic).lines
    assert lines == b"".join(Path(name).read_bytes() for name in paths)
    assert lines == aegis("consume", topic).stdout


def test_a_huge_line_passes_below_the_limit(aegis: Any) -> None:
    make(aegis, "t", max_message_bytes=8_000_000)
    line = b'"' + b"y" * 7_999_998 + b'"\n'
    assert 0 == aegis("publish", "t", stdin=b"1\n" + line + b"2\n").code
    assert b"1\n" + line + b"2\n" == aegis("consume", "t").stdout
    (aegis.home / "in.jsonl").write_bytes(line)
    assert 0 == aegis("publish", "t", "--file", "in.jsonl").code
    assert line == aegis("consume", "t", "--last", "1").stdout


def test_a_stdin_that_does_not_block_is_waited_for(aegis: Any, topic: str) -> None:
    ours, theirs = os.pipe()
    os.set_blocking(ours, False)
    with running(aegis, "publish", topic, "--receipts", stdin=ours) as process:
        os.write(theirs, b"1\n")
        process.read_until(lambda here: b"\n" in here.stdout)
        os.write(theirs, b"2\n")
        os.close(theirs)
        assert 0 == process.wait()
    os.close(ours)
    assert [1, 2] == values(aegis)


def test_text_becomes_json_strings(aegis: Any, topic: str) -> None:
    assert 0 == aegis("publish", topic, "--text", stdin='a "b"\n\n{"x":1}\tä\\\n'.encode()).code
    assert 0 == aegis("publish", topic, "--text", "two\nlines", "").code
    assert ['a "b"', "", '{"x":1}\tä\\', "two\nlines", ""] == values(aegis)


def test_binary_takes_the_whole_input_as_one_value(aegis: Any, topic: str) -> None:
    assert 0 == aegis("publish", topic, "--binary", "-k", "a", stdin=b"\x00\xff\n\n").code
    (aegis.home / "f").write_bytes(b"\x01")
    assert 0 == aegis("publish", topic, "--binary", "--file", "f").code
    assert 0 == aegis("publish", topic, "--binary", "x", "y").code
    expected = ["AP8KCg==", "AQ==", "eA==", "eQ=="]
    assert expected == [value["$base64"] for value in values(aegis)]


def test_a_terminal_as_stdin_gets_a_hint(aegis: Any, topic: str) -> None:
    ours, theirs = pty.openpty()
    try:
        with running(aegis, "publish", topic, stdin=theirs) as process:
            process.says("aegis: reading from the terminal, one record a line; end with Ctrl-D\n")
            os.write(ours, b"1\n\x04")
            assert 0 == process.wait()
    finally:
        os.close(ours)
        os.close(theirs)
    assert [1] == values(aegis)


def test_off_a_terminal_a_file_is_published_in_silence(aegis: Any, topic: str) -> None:
    (aegis.home / "in.jsonl").write_bytes(b"1\n" * 100_000)
    finished = aegis("publish", topic, "--file", "in.jsonl")
    assert (0, b"", b"") == (finished.code, finished.stdout, finished.stderr)
