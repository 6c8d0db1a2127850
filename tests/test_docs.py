"""Documentation cannot drift: every command has help and an example, and the pages name what exists."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from aegis_cli.exits import ExitCode
from aegis_cli.reference.tree import CommandEntry, read_tree
from storage.config import KEYS

ROOT = Path(__file__).resolve().parents[1]
TREE = read_tree()
COMMANDS = TREE.walk()


def words_of(command: CommandEntry) -> str:
    return command.words


@pytest.mark.parametrize("command", COMMANDS, ids=words_of)
def test_a_command_has_a_summary_that_is_one_sentence(command: CommandEntry) -> None:
    assert command.summary.endswith(".")
    assert command.summary[0].isupper()


@pytest.mark.parametrize("command", COMMANDS, ids=words_of)
def test_a_command_has_an_example_that_uses_it(command: CommandEntry) -> None:
    assert any(command.words in line for line in command.example)


@pytest.mark.parametrize("command", COMMANDS, ids=words_of)
def test_every_option_and_argument_has_help(command: CommandEntry) -> None:
    entries = [*command.all_options, *command.arguments]
    assert [] == [entry for entry in entries if not entry.help]


def piped(line: str) -> list[list[str]]:
    """The words of each command of a pipe."""
    commands: list[list[str]] = [[]]
    for word in shlex.split(line, comments=True):
        if word == "|":
            commands.append([])
        else:
            commands[-1].append(word)
    return commands


@pytest.mark.parametrize("command", COMMANDS, ids=words_of)
def test_an_example_uses_only_options_that_exist(command: CommandEntry) -> None:
    known = {entry.words: entry for entry in COMMANDS}
    for line in command.example:
        for words in piped(line):
            if words[:1] != ["aegis"]:
                continue
            entry = max(
                (entry for name, entry in known.items() if f"{' '.join(words)} ".startswith(f"{name} ")),
                key=lambda entry: len(entry.path),
            )
            names = {name for option in entry.all_options for name in option.names}
            used = {word.split("=")[0] for word in words if word.startswith("--") and word != "--"}
            assert set() == used - names


def test_the_manual_lists_every_exit_code() -> None:
    text = (ROOT / "man" / "aegis.1").read_text()
    assert [] == [code for code in ExitCode if f"\n.It {int(code)}\n" not in text]


def test_every_setting_has_help() -> None:
    assert [] == [key.name for key in KEYS if not key.help.endswith(".")]


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_to_files_lead_somewhere(name: str) -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", (ROOT / name).read_text())
    assert [] == [target for target in targets if not (ROOT / target).exists()]
