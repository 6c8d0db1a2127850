"""Options that several commands share.

The global options are added to every command of the tree, so that they work before and after the command's
name: `aegis --json topic list` and `aegis topic list --json`. Each of them replaces the `Env` in the context.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import msgspec
import typer
from typer.core import TyperOption

from aegis_cli.context import Env
from aegis_cli.exits import UsageError

_Parsed = TypeVar("_Parsed")

TopicArgument = Annotated[str, typer.Argument(metavar="TOPIC", help="Name of the topic.", show_default=False)]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.", show_default=False)]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Show what would be done, and do nothing.", show_default=False)
]
LockWaitOption = Annotated[
    str | None,
    typer.Option(
        "--lock-wait",
        metavar="TIME",
        help="Wait at most this long for a lock that somebody else holds, such as 500ms or 10s.",
        show_default=False,
    ),
]


def env_of(context: typer.Context) -> Env:
    """The surroundings of this invocation, with the global options applied."""
    env = context.obj
    assert isinstance(env, Env), "the command tree is run with an Env as its object"
    return env


def parsed(parse: Callable[[str], _Parsed], text: str, *, option: str) -> _Parsed:
    """What `parse` reads in an option's text; its `ValueError` becomes a `UsageError` with the name."""
    try:
        return parse(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from error


def global_options() -> list[TyperOption]:
    """Fresh parameters for one command: `--store`, `--json`, `--quiet`, `--debug`."""
    return [
        TyperOption(
            param_decls=["--store"],
            type=str,
            metavar="DIR",
            help="Directory of the store (environment: AEGIS_STORE).",
            expose_value=False,
            callback=_replaces("store_path"),
        ),
        _flag(["--json"], "json", "Print JSON, one document a line."),
        _flag(["-q", "--quiet"], "quiet", "Print nothing but data and errors."),
        _flag(["--debug"], "debug", "Show where an error comes from."),
    ]


def _flag(names: list[str], field: str, help_text: str) -> TyperOption:
    return TyperOption(
        param_decls=names,
        is_flag=True,
        default=False,
        help=help_text,
        expose_value=False,
        callback=_replaces(field),
    )


def _replaces(field: str) -> Callable[[typer.Context, Any, Any], Any]:
    """A callback that puts the value of an option that was given into the context's `Env`."""

    def callback(context: typer.Context, _parameter: Any, value: Any) -> Any:
        if value:
            context.obj = msgspec.structs.replace(env_of(context), **{field: value})
        return value

    return callback
