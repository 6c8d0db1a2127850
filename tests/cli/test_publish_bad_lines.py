"""Lines that `aegis publish` cannot take: it ends there or leaves them out, and names each."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.processes import running
from tests.cli.published import make, stored, values


def test_skip_leaves_out_bad_lines_and_names_them(aegis: Any, topic: str) -> None:
    long = b'"' + b"x" * 3_000_000 + b'"'
    lines = b"1\n{\n\n2\n\xff\n[1] [2]\n" + long + b'\n3\n{"cut":'
    for name in ("stdin", "file"):
        (aegis.home / "in").write_bytes(lines)
        finished = (
            aegis("publish", topic, "--on-error", "skip", "--json", stdin=lines)
            if name == "stdin"
            else aegis("publish", topic, "--on-error", "skip", "--json", "--file", "in")
        )
        assert 0 == finished.code
        told = finished.err.splitlines()
        assert 5 == len(told), told
        for number, text in zip((2, 5, 6, 7, 9), told, strict=True):
            assert text.startswith(f"aegis: warning: skipped line {number}: ")
        summary = {"topic": "t", "records": 3, "blank_lines": 1, "refused_lines": 5}
        assert summary == json.loads(finished.out)
    assert [1, 2, 3, 1, 2, 3] == values(aegis)


def test_skip_works_for_envelopes_too(aegis: Any) -> None:
    make(aegis, "t", max_message_bytes=100)
    long = b'{"value":"' + b"x" * 200 + b'"}'
    huge = b'{"value":"' + b"x" * 3_000_000 + b'"}'
    deep = b'{"value":' + b"[" * 40 + b"]" * 40 + b"}"
    lines = b"\n".join(
        [
            b'\xef\xbb\xbf{"value":1,"key":"a"}',
            b"",
            b"nonsense",
            long,
            b'{"value":\r2}',
            huge,
            b'{"key":"no value"}',
            b'{"value":3,"key":{"not":"scalar"}}',
            deep,
            b'{"value":4,"timestamp":5}',
            b"",
        ]
    )
    finished = aegis("publish", "t", "--envelope", "--on-error", "skip", "--json", stdin=lines)
    assert 0 == finished.code
    numbers = [int(text.split("skipped line ")[1].split(":")[0]) for text in finished.err.splitlines()]
    assert [3, 4, 6, 7, 8] == numbers
    summary = {"topic": "t", "records": 4, "blank_lines": 1, "refused_lines": 5}
    assert summary == json.loads(finished.out)
    assert [("a", 1), (None, 2)] == [(r["key"], r["value"]) for r in stored(aegis)][:2]
    assert (5, 4) == [(r["timestamp"], r["value"]) for r in stored(aegis)][-1]


@pytest.mark.parametrize(
    ("bad", "line"),
    [
        (b"nonsense", 4),
        (b'{"value":"' + b"x" * 200 + b'"}', 4),
        (b'{"value":"' + b"x" * 3_000_000 + b'"}', 4),
        (b'{"value":1} {"value":2}', 4),
    ],
    ids=["nonsense", "long", "huge", "two"],
)
def test_a_bad_envelope_ends_it_with_its_line(aegis: Any, bad: bytes, line: int) -> None:
    make(aegis, "t", max_message_bytes=100)
    lines = b'{"value":1}\n\n{"value":2}\n' + bad + b'\n{"value":3}\n'
    finished = aegis("publish", "t", "--envelope", stdin=lines)
    assert 10 == finished.code
    assert finished.err.startswith(f"aegis: error: line {line}: ")
    assert finished.err.endswith(" (2 records before it published)\n")
    assert [1, 2] == values(aegis)


def test_an_error_midway_says_how_much_was_published(aegis: Any, topic: str) -> None:
    with running(aegis, "publish", topic, "--receipts") as process:
        process.feed(b"1\n2\n")
        process.read_until(lambda here: b"\n" in here.stdout)
        process.feed(b"3\nnonsense\n4\n")
        process.end_input()
        assert 10 == process.wait()
    assert "aegis: error: line 4: 'nonsense' is not JSON; " in process.stderr.decode()
    assert process.stderr.decode().endswith("(3 records before it published)\n")
    assert [1, 2, 3] == values(aegis)
