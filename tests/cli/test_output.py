"""What is printed, and where: data on stdout, all else on stderr, Rich only on a terminal."""

from __future__ import annotations

import io
from dataclasses import dataclass

import pytest

from aegis_cli.context import Env, uses_colour
from aegis_cli.exits import UsageError
from aegis_cli.output import confirm, note, progress, warn, write_json, write_line, write_table


class Stream(io.StringIO):
    """A stream that is a terminal or not, as the test says."""

    def __init__(self, text: str = "", *, terminal: bool = False) -> None:
        super().__init__(text)
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


def env(*, terminal: bool = False, answer: str = "", **fields: object) -> Env:
    """Surroundings that write to memory."""
    values: dict[str, object] = {
        "stdin": Stream(answer, terminal=terminal),
        "stdout": Stream(terminal=terminal),
        "stderr": Stream(terminal=terminal),
        "environ": {"TERM": "xterm"},
        "store_path": "/store",
    }
    return Env(**{**values, **fields})  # type: ignore[arg-type]


def out(env: Env) -> str:
    assert isinstance(env.stdout, Stream)
    return env.stdout.getvalue()


def err(env: Env) -> str:
    assert isinstance(env.stderr, Stream)
    return env.stderr.getvalue()


ROWS = [("orders", 12, None), ("events [new]", 3, True)]


def test_a_table_off_a_terminal_is_aligned_plain_text() -> None:
    here = env()
    write_table(here, ("topic", "count", "open"), ROWS)
    expected = "TOPIC         COUNT  OPEN\norders           12  -\nevents [new]      3  yes\n"
    assert expected == out(here)


def test_a_table_without_rows_is_its_headings() -> None:
    here = env()
    write_table(here, ("topic", "count"), [])
    assert "TOPIC  COUNT\n" == out(here)


def test_a_table_on_a_terminal_keeps_square_brackets() -> None:
    here = env(terminal=True)
    write_table(here, ("topic", "count", "open"), ROWS)
    assert "events [new]" in out(here)
    assert "\x1b[1m" in out(here)


def test_a_long_table_is_plain_also_on_a_terminal() -> None:
    here = env(terminal=True)
    write_table(here, ("number",), [(number,) for number in range(1000)])
    assert 1001 == len(out(here).splitlines())
    assert "\x1b" not in out(here)


def test_no_color_keeps_a_terminal_plain() -> None:
    here = env(terminal=True, environ={"TERM": "xterm", "NO_COLOR": "1"})
    write_table(here, ("topic", "count", "open"), ROWS)
    assert "\x1b" not in out(here)


@pytest.mark.parametrize(
    ("environ", "terminal", "expected"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, True, False),
        ({"NO_COLOR": ""}, True, True),
        ({"FORCE_COLOR": "1"}, False, True),
        ({"TERM": "dumb"}, True, False),
    ],
)
def test_colour_follows_the_environment_then_the_terminal(
    environ: dict[str, str], terminal: bool, expected: bool
) -> None:
    assert expected is uses_colour(Stream(terminal=terminal), environ)


@dataclass(frozen=True, slots=True)
class Point:
    x: int
    label: str


def test_json_is_one_line_and_takes_dataclasses() -> None:
    here = env()
    write_json(here, Point(1, "ä\n"))
    assert '{"x":1,"label":"ä\\n"}\n' == out(here)


def test_data_goes_to_stdout_and_notes_to_stderr() -> None:
    here = env()
    write_line(here, "data")
    note(here, "worth knowing")
    warn(here, "not as intended")
    assert "data\n" == out(here)
    assert "aegis: worth knowing\naegis: warning: not as intended\n" == err(here)


def test_quiet_keeps_notes_and_shows_warnings() -> None:
    here = env(quiet=True)
    note(here, "worth knowing")
    warn(here, "not as intended")
    assert "aegis: warning: not as intended\n" == err(here)


@pytest.mark.parametrize(("answer", "expected"), [("y\n", True), ("YES\n", True), ("\n", False), ("", False)])
def test_a_question_is_asked_on_a_terminal(answer: str, expected: bool) -> None:
    here = env(terminal=True, answer=answer)
    assert expected is confirm(here, "delete topic 'orders'?", yes=False)
    assert "delete topic 'orders'? [y/N] " == err(here)
    assert "" == out(here)


def test_without_a_terminal_a_question_needs_yes() -> None:
    with pytest.raises(UsageError, match="pass --yes"):
        confirm(env(answer="y\n"), "delete topic 'orders'?", yes=False)
    assert confirm(env(), "delete topic 'orders'?", yes=True)


def test_progress_is_silent_off_a_terminal_and_when_quiet() -> None:
    for here in (env(), env(terminal=True, quiet=True)):
        with progress(here, "publishing", total=10) as bar:
            bar.advance(10)
        assert ("", "") == (out(here), err(here))


@pytest.mark.parametrize("unit", ["bytes", "messages"])
def test_progress_on_a_terminal_goes_to_stderr(unit: str) -> None:
    here = env(terminal=True)
    with progress(here, "publishing", total=10, unit=unit) as bar:
        bar.advance(10)
    assert "publishing" in err(here)
    assert "" == out(here)
