"""The command tree as plain values: what the writers of completions and pages read.

What a value is, for completion, follows from how it is declared: a choice has its words, and the metavar says
the rest (`TOPIC`, `GROUP`, `SUBSCRIPTION`, `FILE`, `DIR`, `KEY`, `one|other`).
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

from typer.core import TyperCommand, TyperGroup

from aegis_cli.app import build
from aegis_cli.options import global_options
from storage.config import KEYS

# How the value of an option or argument is completed, by metavar; all others are free text.
_KINDS = {
    "TOPIC": "topic",
    "GROUP": "group",
    "SUBSCRIPTION": "subscription",
    "FILE": "file",
    "DIR": "directory",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Operand:
    """What a value is: its name in the help, and how TAB completes it."""

    metavar: str
    # topic, group, subscription, file, directory, word (one of `words`) or text.
    kind: str
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionEntry:
    """One option. `value` is `None` for a flag."""

    names: tuple[str, ...]
    help: str
    value: Operand | None
    repeatable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ArgumentEntry:
    """One positional argument."""

    value: Operand
    help: str
    required: bool
    repeatable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandEntry:
    """One command. `path` holds its words after `aegis`; `options` are its own, without the global ones."""

    path: tuple[str, ...]
    summary: str
    paragraphs: tuple[str, ...]
    example: tuple[str, ...]
    options: tuple[OptionEntry, ...]
    global_options: tuple[OptionEntry, ...]
    arguments: tuple[ArgumentEntry, ...]
    children: tuple[CommandEntry, ...]

    @property
    def words(self) -> str:
        """What is typed: `aegis topic create`."""
        return " ".join(("aegis", *self.path))

    @property
    def all_options(self) -> tuple[OptionEntry, ...]:
        return self.options + self.global_options

    def walk(self) -> list[CommandEntry]:
        """This command and all below it, depth first."""
        return [self, *(entry for child in self.children for entry in child.walk())]


def read_tree() -> CommandEntry:
    """The tree of the application as it is now."""
    return _command(build(), ())


def _command(command: TyperGroup | TyperCommand, path: tuple[str, ...]) -> CommandEntry:
    shared_names = {name for option in global_options() for name in option.opts} | {"--help"}
    text, _, example = inspect.cleandoc(command.help or "").replace("\b\n", "").partition("\n\nExample")
    paragraphs = tuple(" ".join(part.split()) for part in text.split("\n\n"))
    options = tuple(
        _option(parameter) for parameter in command.params if parameter.param_type_name == "option"
    )
    children = command.commands if isinstance(command, TyperGroup) else {}
    return CommandEntry(
        path=path,
        summary=paragraphs[0],
        paragraphs=paragraphs[1:],
        example=tuple(line[2:] for line in example.splitlines()[1:]),
        options=tuple(option for option in options if not shared_names.intersection(option.names)),
        global_options=(
            *(option for option in options if shared_names.intersection(option.names)),
            OptionEntry(names=("-h", "--help"), help="Show help and exit.", value=None, repeatable=False),
        ),
        arguments=tuple(
            _argument(parameter) for parameter in command.params if parameter.param_type_name == "argument"
        ),
        children=tuple(
            _command(child, (*path, name))
            for name, child in children.items()
            if isinstance(child, TyperGroup | TyperCommand) and not child.hidden
        ),
    )


def _option(parameter: Any) -> OptionEntry:
    names = (*parameter.opts, *parameter.secondary_opts)
    return OptionEntry(
        names=tuple(sorted(names, key=lambda name: name.startswith("--"))),
        help=_sentence(parameter.help),
        value=None if parameter.is_flag else _operand(parameter),
        repeatable=parameter.multiple,
    )


def _argument(parameter: Any) -> ArgumentEntry:
    return ArgumentEntry(
        value=_operand(parameter),
        help=_sentence(parameter.help),
        required=parameter.required,
        repeatable=parameter.nargs == -1,
    )


def _operand(parameter: Any) -> Operand:
    choices = tuple(
        str(getattr(choice, "value", choice)) for choice in getattr(parameter.type, "choices", ())
    )
    metavar = str(parameter.metavar or "|".join(choices) or parameter.name.upper())
    if "|" in metavar:
        choices = tuple(metavar.split("|"))
    if metavar == "KEY" and parameter.param_type_name == "argument":
        choices = tuple(key.name for key in KEYS)
    name = metavar.rstrip(".…").strip("[]")
    return Operand(metavar=name, kind="word" if choices else _KINDS.get(name, "text"), words=choices)


def _sentence(text: str | None) -> str:
    return " ".join((text or "").split())
