"""The command tree: one Typer application, its commands in the order of the help, and how one is run.

Typer's own error boxes, completion installer and Rich help are off: errors are one line (`__main__.py`),
completions are generated files (`reference/`), and plain help does not cost the import of Rich.
"""

from __future__ import annotations

from importlib import import_module

import typer
from typer._click.exceptions import NoArgsIsHelpError, NoSuchOption
from typer._click.exceptions import UsageError as TyperUsageError
from typer.core import TyperCommand, TyperGroup, TyperOption

from aegis_cli import __version__
from aegis_cli.context import Env, current_env
from aegis_cli.exits import ExitCode, UsageError
from aegis_cli.options import global_options

# The modules of `commands` in the order of the help. A module holds a Typer application `app` for a group, or
# a function of its own name for a single command.
ORDER = ("topic", "publish", "consume", "group", "subscription", "pipe", "pipeline", "config", "store")

HELP = """Streaming for the shell, with no server.

A topic is a directory of plain JSON Lines files; publish appends to it, consume reads and follows it.

Example:
  aegis topic create orders
  echo '{"id": 1}' | aegis publish orders
  aegis consume orders --follow
"""


def run(arguments: list[str]) -> int:
    """Parse `arguments`, run the command and return its exit code; errors are raised for `main` to report."""
    env = current_env()
    root = build(only=_named(arguments))
    try:
        with root.make_context("aegis", list(arguments), obj=env) as context:
            result = root.invoke(context)
    except typer.Exit as stop:
        return stop.exit_code
    except NoArgsIsHelpError as error:
        env.stderr.write(f"{error.format_message()}\n")
        return ExitCode.USAGE
    except TyperUsageError as error:
        raise UsageError(_one_line(error)) from error
    return result if isinstance(result, int) else ExitCode.OK


def _named(arguments: list[str]) -> str | None:
    """The command that is meant, if that is plain to see: the others then need not be loaded."""
    rest = iter(arguments)
    for word in rest:
        if word == "--store":
            next(rest, None)
        elif not word.startswith("-"):
            return word if word in ORDER else None
    return None


def build(*, only: str | None = None) -> TyperGroup:
    """The command tree, with the global options on every command: all of it, or one command of the root."""
    app = typer.Typer(
        name="aegis",
        help=HELP,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    for name in ORDER if only is None else (only,):
        module = import_module(f"aegis_cli.commands.{name}")
        if hasattr(module, "app"):
            app.add_typer(module.app, name=name)
        else:
            app.command(name)(getattr(module, name))
    root = typer.main.get_group(app)
    root.commands = {name: root.commands[name] for name in ORDER if name in root.commands}
    root.params.append(_version_option())
    _complete_command(root)
    return root


def _complete_command(command: TyperGroup | TyperCommand) -> None:
    """Give a command, and those below it, the global options, and keep its examples as they are written."""
    taken = {name for parameter in command.params for name in parameter.opts}
    command.params.extend(option for option in global_options() if not taken.intersection(option.opts))
    if command.help:
        command.help = command.help.replace("\n\nExample", "\n\n\b\nExample")
    if isinstance(command, TyperGroup):
        command.no_args_is_help = True
        for child in command.commands.values():
            assert isinstance(child, TyperGroup | TyperCommand), "Typer builds nothing else"
            _complete_command(child)


def _version_option() -> TyperOption:
    def callback(context: typer.Context, _parameter: object, value: object) -> None:
        if value:
            env = context.obj
            assert isinstance(env, Env), "the command tree is run with an Env as its object"
            env.stdout.write(f"aegis {__version__}\n")
            raise typer.Exit

    return TyperOption(
        param_decls=["--version"],
        is_flag=True,
        default=False,
        is_eager=True,
        expose_value=False,
        help="Show the version.",
        callback=callback,
    )


def _one_line(error: TyperUsageError) -> str:
    """Typer's message in our form, with the help to look at where the message offers nothing better."""
    if isinstance(error, NoSuchOption) and error.possibilities:
        return f"no such option: {error.option_name}; did you mean '{min(error.possibilities)}'?"
    sentences = " ".join(error.format_message().split()).rstrip(".").split(". ")
    text = "; ".join(sentence[:1].lower() + sentence[1:] for sentence in sentences)
    if error.ctx is None or text.endswith("?"):
        return text
    return f"{text}; see '{error.ctx.command_path} --help'"
