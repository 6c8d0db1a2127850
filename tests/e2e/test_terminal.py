"""`aegis` on a terminal, as a person sits before it: progress, questions, Ctrl-C, Ctrl-D, TAB."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pexpect
import pytest

COMPLETIONS = Path(__file__).resolve().parents[2] / "completions"
PROMPT = "@ready@ "
SECONDS_MAX = 30
CTRL_C, CTRL_D = "\x03", "\x04"


@contextmanager
def terminal(aegis: Any, *words: str, **environ: str) -> Iterator[Any]:
    """A command on a wide terminal of its own."""
    child = pexpect.spawn(
        words[0],
        list(words[1:]),
        env={**aegis.environ, "TERM": "xterm", "LC_ALL": "C.UTF-8", **environ},
        cwd=str(aegis.home),
        encoding="utf-8",
        timeout=SECONDS_MAX,
        dimensions=(40, 160),
    )
    child.delaybeforesend = 0
    try:
        yield child
    finally:
        child.close(force=True)


def run(aegis: Any, *arguments: str, **environ: str) -> Any:
    return terminal(aegis, *aegis.command(*arguments), **environ)


def ended(child: Any) -> tuple[int | None, str]:
    """Wait for its end: exit code, and what it showed since the last match."""
    child.expect(pexpect.EOF)
    text = child.before
    child.close()
    return child.exitstatus, text


def records(aegis: Any, topic: str = "t") -> list[Any]:
    return [json.loads(line) for line in aegis("consume", topic).lines]


@pytest.fixture
def topic(aegis: Any) -> str:
    assert 0 == aegis("topic", "create", "t").code
    return "t"


# -- publish ----------------------------------------------------------------------------------------------


def test_publishing_a_file_shows_its_progress_and_the_sum(aegis: Any, topic: str) -> None:
    path = aegis.home / "in.jsonl"
    path.write_bytes(b"".join(b'{"n":%d,"pad":"%s"}\n' % (n, b"x" * 100) for n in range(200_000)))
    with run(aegis, "publish", topic, "--file", "in.jsonl") as child:
        child.expect("publishing in.jsonl")
        child.expect(r"\d+\.\d/\d\d\.\d MB")
        code, text = ended(child)
    assert 0 == code
    assert text.endswith("aegis: published 200000 records to t\r\n")
    assert 200_000 == len(records(aegis))


def test_quiet_keeps_the_progress_away(aegis: Any, topic: str) -> None:
    (aegis.home / "in.jsonl").write_bytes(b"1\n" * 1000)
    with run(aegis, "publish", topic, "--file", "in.jsonl", "--quiet") as child:
        assert (0, "") == ended(child)


def test_a_dumb_terminal_without_colour_gets_plain_words(aegis: Any, topic: str) -> None:
    (aegis.home / "in.jsonl").write_bytes(b"1\n" * 1000)
    with run(aegis, "publish", topic, "--file", "in.jsonl", TERM="dumb", NO_COLOR="1") as child:
        code, text = ended(child)
    assert 0 == code
    assert text.endswith("aegis: published 1000 records to t\r\n")
    assert "\x1b[3" not in text


def test_an_error_in_a_file_leaves_the_terminal_in_order(aegis: Any, topic: str) -> None:
    (aegis.home / "in.jsonl").write_bytes(b"1\n2\noops\n")
    with run(aegis, "publish", topic, "--file", "in.jsonl") as child:
        code, text = ended(child)
    assert 10 == code
    # The bar hides the cursor while it stands, and must give it back.
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h")
    assert "aegis: error: line 3: 'oops' is not JSON; pass --text to publish text as JSON strings" in text


def test_lines_are_typed_until_ctrl_d(aegis: Any, topic: str) -> None:
    with run(aegis, "publish", topic) as child:
        child.expect_exact("aegis: reading from the terminal, one record a line; end with Ctrl-D")
        child.sendline('{"typed": 1}')
        child.sendline("2")
        child.send(CTRL_D)
        code, text = ended(child)
    assert 0 == code
    assert "aegis: published 2 records to t" in text
    assert [{"typed": 1}, 2] == records(aegis)


def test_ctrl_c_while_typing_keeps_the_lines_before(aegis: Any, topic: str) -> None:
    with run(aegis, "publish", topic, "--receipts") as child:
        child.expect_exact("end with Ctrl-D")
        child.sendline("1")
        child.expect('"last_offset":0')
        child.send(CTRL_C)
        code, text = ended(child)
    assert 130 == code
    assert "aegis: warning: interrupted after 1 record was published" in text
    assert "Traceback" not in text
    assert [1] == records(aegis)


# -- consume ----------------------------------------------------------------------------------------------


def test_ctrl_c_ends_a_follower_quietly(aegis: Any, topic: str) -> None:
    assert 0 == aegis("publish", topic, '{"n":1}').code
    with run(aegis, "consume", topic, "-f", "-o", "start") as child:
        child.expect_exact('{"n":1}\r\n')
        assert 0 == aegis("publish", topic, '{"n":2}').code
        child.expect_exact('{"n":2}\r\n')
        child.send(CTRL_C)
        code, text = ended(child)
    assert (130, True) == (code, text.strip() in ("", "^C"))


def test_ctrl_c_ends_a_pipe_of_two(aegis: Any, topic: str) -> None:
    assert 0 == aegis("topic", "create", "u").code
    with shell(aegis) as child:
        child.sendline("aegis consume t -f -o start --json | aegis publish u --envelope --receipts")
        child.expect("--receipts")
        assert 0 == aegis("publish", topic, '{"n":1}').code
        child.expect('"last_offset":0')
        child.send(CTRL_C)
        child.expect(PROMPT)
        child.sendline("echo code=$?")
        child.expect(r"code=(\d+)")
        assert "130" == child.match.group(1)
    assert [{"n": 1}] == records(aegis, "u")


# -- topic ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "code", "there"), [("y\n", 0, 3), ("no\n", 1, 0), (CTRL_D, 1, 0), (CTRL_C, 130, 0)]
)
def test_deleting_asks_first(aegis: Any, topic: str, answer: str, code: int, there: int) -> None:
    with run(aegis, "topic", "delete", topic) as child:
        child.expect_exact("delete topic 't' with all messages? [y/N] ")
        child.send(answer)
        found, text = ended(child)
    assert (code, False) == (found, "Traceback" in text)
    assert there == aegis("topic", "describe", topic).code


def test_a_table_fits_the_terminal(aegis: Any, topic: str) -> None:
    with run(aegis, "topic", "list") as child:
        code, text = ended(child)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert (0, ["TOPIC", "PARTITIONS"]) == (code, plain.split()[:2])


# -- TAB in bash ------------------------------------------------------------------------------------------


@contextmanager
def shell(aegis: Any) -> Iterator[Any]:
    """An interactive bash with the completions of Aegis, nothing of the user, and its prompt shown."""
    environ = {"TERM": "dumb", "LC_COLLATE": "C", "HISTFILE": "/dev/null", "INPUTRC": "/dev/null"}
    with terminal(aegis, "bash", "--norc", "--noprofile", "-i", **environ) as child:
        child.sendline(
            f"bind 'set enable-bracketed-paste off'; source {COMPLETIONS}/aegis.bash; PS1='{PROMPT}'"
        )
        # The echo of the line shows the prompt's text as well: what counts stands at the beginning of a line.
        child.expect(f"\r\n{PROMPT}")
        yield child


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("aegis pub", "aegis publish "),
        ("aegis publish --rec", "aegis publish --receipts "),
        ("aegis consume or", "aegis consume orders "),
        ("aegis consume orders ev", "aegis consume orders events "),
        ("aegis consume --foll", "aegis consume --follow "),
        ("aegis publish ev", "aegis publish events "),
        ("aegis topic delete or", "aegis topic delete orders "),
    ],
)
def test_tab_completes_commands_options_and_topics(aegis: Any, typed: str, completed: str) -> None:
    for name in ("orders", "events"):
        assert 0 == aegis("topic", "create", name).code
    with shell(aegis) as child:
        child.send(f"{typed}\t")
        child.expect_exact(completed)
        child.send(CTRL_C)
        child.expect(PROMPT)


def test_tab_completes_a_file(aegis: Any, topic: str) -> None:
    (aegis.home / "input.jsonl").touch()
    with shell(aegis) as child:
        child.send("aegis publish t --file inp\t")
        child.expect_exact("aegis publish t --file input.jsonl")
