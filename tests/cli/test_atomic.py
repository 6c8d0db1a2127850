"""`aegis publish --atomic`: all of an input or nothing, to one topic or to those that its lines name."""

from __future__ import annotations

import signal
from typing import Any

import pytest

LINES = b"".join(b'{"to":"t%d","n":%d}\n' % (number % 3, number) for number in range(30_000))


@pytest.fixture
def topics(aegis: Any) -> Any:
    for number, partitions in enumerate((1, 2, 3)):
        assert 0 == aegis("topic", "create", f"t{number}", "--partitions", str(partitions)).code
    return aegis


def counts(aegis: Any) -> list[int]:
    return [len(aegis("consume", f"t{number}").lines) for number in range(3)]


def test_all_of_stdin_is_published_or_nothing(topics: Any) -> None:
    bad = topics("publish", "t0", "--atomic", stdin=LINES + b"{bad\n")
    assert 7 == bad.code
    assert bad.err.startswith("aegis: error: line 30001: invalid JSON")
    assert bad.err.endswith(" (nothing was published)\n")
    assert [0, 0, 0] == counts(topics)
    good = topics("publish", "t0", "--atomic", "--receipts", "--json", stdin=LINES)
    assert 0 == good.code
    assert '{"topic":"t0","partition":0,"base_offset":0,"last_offset":29999,' in good.lines[0]
    assert '{"topic":"t0","records":30000,"blank_lines":0,"refused_lines":0}' == good.lines[1]
    assert LINES == topics("consume", "t0").stdout


def test_lines_go_to_the_topics_that_they_name(topics: Any) -> None:
    (topics.home / "lines").write_bytes(LINES)
    done = topics("publish", "--atomic", "--topic-field", "to", "--file", "lines", "--json")
    assert 0 == done.code
    assert ['{"topic":null,"records":30000,"blank_lines":0,"refused_lines":0}'] == done.lines
    assert [10_000, 10_000, 10_000] == counts(topics)


def test_an_unknown_topic_keeps_all_of_it_out(topics: Any) -> None:
    bad = topics("publish", "--atomic", "--topic-field", "to", stdin=LINES + b'{"to":"tt1"}\n')
    assert 7 == bad.code
    assert (
        "aegis: error: line 30001: topic 'tt1' not found; did you mean 't1'? (nothing was published)\n"
        == bad.err
    )
    assert [0, 0, 0] == counts(topics)


@pytest.mark.parametrize(
    ("step", "stays"),
    [
        ("bulk.written", False),
        ("bulk.synced", False),
        ("journal.append", False),
        ("journal.moved", True),
        ("append.durable", True),
        ("apply.index@2", True),
    ],
)
def test_killed_at_any_step_it_has_published_all_or_nothing(topics: Any, step: str, stays: bool) -> None:
    name, _, nth = step.partition("@")
    point = f"{name}=kill@{nth or 1}"
    arguments = ["publish", "--atomic", "--topic-field", "to"]
    killed = topics(*arguments, stdin=LINES, environ={"AEGIS_FAILPOINTS": point})
    assert -signal.SIGKILL == killed.code
    # Who publishes next makes visible what was committed.
    for number in range(3):
        for partition in range(number + 1):
            topics("publish", f"t{number}", "-p", str(partition), "{}")
    expected = 10_000 if stays else 0
    assert [expected + 1, expected + 2, expected + 3] == counts(topics)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no topic; name it, or let each line name its own with --atomic --topic-field FIELD"),
        (["t0", "--atomic", "--topic-field", "to"], "TOPIC and --topic-field exclude each other"),
        (["--topic-field", "to"], "--topic-field is for what is published at once; add --atomic"),
        (["--atomic", "--topic-field", ""], "--topic-field is empty; give one or more characters"),
        (["--atomic", "--topic-field", 'a"'], "--topic-field: a key field's name has no quote"),
        (["--atomic", "--topic-field", "to", "--text"], "--topic-field and --text exclude each other"),
        (["--atomic", "--topic-field", "to", "--create"], "--topic-field and --create exclude each other"),
        (
            ["--atomic", "--topic-field", "to", "--on-error", "skip"],
            "--topic-field and --on-error skip exclude each other",
        ),
    ],
)
def test_what_cannot_be_carried_out_is_refused(topics: Any, arguments: list[str], message: str) -> None:
    refused = topics("publish", *arguments, stdin=LINES)
    assert 2 == refused.code
    assert refused.err.startswith(f"aegis: error: {message}")
    assert [0, 0, 0] == counts(topics)


def test_values_are_published_all_at_once(topics: Any) -> None:
    assert 0 == topics("publish", "t0", "--atomic", "1", "2").code
    assert 7 == topics("publish", "t0", "--atomic", "3", "{bad").code
    assert ["1", "2"] == topics("consume", "t0").lines
