"""Everything that a command prints: data to stdout, all else to stderr.

The only module that imports Rich, and only on a terminal. Off a terminal a table is aligned plain text that
is never cut, and notes carry no colour. Bulk data does not pass here: it is written to the descriptor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from aegis_cli.context import Env, uses_colour
from aegis_cli.exits import UsageError

# Rich takes a millisecond a row; a table that no screen holds is as good without it.
_RICH_ROWS_MAX = 100


class Progress(Protocol):
    """How far a long piece of work has come."""

    def advance(self, amount: int) -> None:
        """`amount` more of the total is done."""


def write_line(env: Env, text: str) -> None:
    """One line of data on stdout."""
    env.stdout.write(f"{text}\n")


def write_json(env: Env, value: object) -> None:
    """One JSON document on one line of stdout; dataclasses are objects of their fields."""
    import msgspec

    env.stdout.write(msgspec.json.encode(value).decode() + "\n")


def note(env: Env, text: str) -> None:
    """Something worth knowing, on stderr; `--quiet` keeps it."""
    if not env.quiet:
        env.stdout.flush()
        env.stderr.write(f"aegis: {text}\n")
        env.stderr.flush()


def warn(env: Env, text: str) -> None:
    """Something that is probably not as intended, on stderr; `--quiet` does not keep it."""
    env.stdout.flush()
    env.stderr.write(f"aegis: warning: {text}\n")
    env.stderr.flush()


def write_table(env: Env, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Rows under headings; numbers are aligned to the right, `None` is a dash."""
    cells = list(rows)
    numeric = [bool(cells) and all(_is_number(row[at]) for row in cells) for at in range(len(columns))]
    texts = [[_text(value) for value in row] for row in cells]
    if len(texts) <= _RICH_ROWS_MAX and uses_colour(env.stdout, env.environ):
        _write_rich_table(env, columns, texts, numeric)
    else:
        _write_plain_table(env, columns, texts, numeric)


def confirm(env: Env, question: str, *, yes: bool) -> bool:
    """Ask before something that cannot be taken back; `yes` answers.

    Raises `UsageError` where nobody can be asked, since silence is no consent.
    """
    if yes:
        return True
    if not (env.stdin_is_terminal and env.stderr_is_terminal):
        raise UsageError(f"{question} cannot be asked without a terminal; pass --yes")
    env.stderr.write(f"{question} [y/N] ")
    env.stderr.flush()
    return env.stdin.readline().strip().lower() in ("y", "yes")


@contextmanager
def progress(env: Env, label: str, *, total: int | None, unit: str = "bytes") -> Iterator[Progress]:
    """A progress bar on stderr where that is a terminal, else nothing. `total` and amounts are in `unit`."""
    if env.quiet or not env.stderr_is_terminal:
        yield _Silence()
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    counted = DownloadColumn() if unit == "bytes" else MofNCompleteColumn()
    console = Console(file=env.stderr, no_color=not uses_colour(env.stderr, env.environ))
    columns = (TextColumn("{task.description}"), BarColumn(), counted, TimeRemainingColumn())
    with RichProgress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(label, total=total)
        yield _Bar(lambda amount: bar.advance(task, amount))


class _Silence:
    def advance(self, amount: int) -> None:
        """Nobody is looking."""


class _Bar:
    def __init__(self, advance: Callable[[int], None]) -> None:
        self._advance = advance

    def advance(self, amount: int) -> None:
        self._advance(amount)


def _write_plain_table(
    env: Env, columns: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[bool]
) -> None:
    lines = [[name.upper() for name in columns], *rows]
    widths = [max(len(line[at]) for line in lines) for at in range(len(columns))]
    for line in lines:
        padded = [
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(line, widths, numeric, strict=True)
        ]
        env.stdout.write("  ".join(padded).rstrip() + "\n")


def _write_rich_table(
    env: Env, columns: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[bool]
) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, right in zip(columns, numeric, strict=True):
        table.add_column(name.upper(), justify="right" if right else "left", overflow="fold")
    for row in rows:
        # Text, not markup: a name may hold square brackets.
        table.add_row(*(Text(text) for text in row))
    Console(file=env.stdout).print(table)


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
