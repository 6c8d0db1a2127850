"""Bad lines and values: one line on stderr that names the place and the remedy.

Nothing is left in doubt. Each bad line is published in a stream, in a file, and as a VALUE between good ones.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.cli.processes import running
from tests.cli.published import count

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
