"""The writers of completions and pages, on a small tree that has every kind of option and argument."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pexpect
import pytest

from aegis_cli.reference.bash import write_bash
from aegis_cli.reference.fish import write_fish
from aegis_cli.reference.man import write_man
from aegis_cli.reference.readme import BEGIN, END, write_readme
from aegis_cli.reference.tree import ArgumentEntry, CommandEntry, Operand, OptionEntry
from aegis_cli.reference.zsh import write_zsh

TOPIC = Operand(metavar="TOPIC", kind="topic")
GROUP = Operand(metavar="GROUP", kind="group")
SUBSCRIPTION = Operand(metavar="SUBSCRIPTION", kind="subscription")
TO_GROUP = OptionEntry(names=("--to-group",), help="Group.", value=GROUP, repeatable=False)
FLAG = OptionEntry(names=("--json",), help="Print JSON: it's [quick].", value=None, repeatable=False)
SHORT = OptionEntry(
    names=("-k", "--key"), help="Key.", value=Operand(metavar="KEY", kind="text"), repeatable=True
)
CHOICE = OptionEntry(
    names=("--on-error",),
    help="What to do.",
    value=Operand(metavar="ACTION", kind="word", words=("stop", "skip")),
    repeatable=False,
)
FILE = OptionEntry(
    names=("--file",), help="Read it.", value=Operand(metavar="FILE", kind="file"), repeatable=False
)
STORE = OptionEntry(
    names=("--store",), help="Store.", value=Operand(metavar="DIR", kind="directory"), repeatable=False
)


def command(
    *path: str,
    options: tuple[OptionEntry, ...] = (),
    arguments: tuple[ArgumentEntry, ...] = (),
    children: tuple[CommandEntry, ...] = (),
) -> CommandEntry:
    return CommandEntry(
        path=path,
        summary="Do something: it's 'quoted'.",
        paragraphs=(".Dot first. And a \\ backslash.",),
        example=("aegis --json",),
        options=options,
        global_options=(FLAG, STORE),
        arguments=arguments,
        children=children,
    )


TOPIC_ARGUMENT = ArgumentEntry(value=TOPIC, help="Topic.", required=True, repeatable=False)
GROUP_ARGUMENT = ArgumentEntry(value=GROUP, help="Group.", required=True, repeatable=False)
VALUES = ArgumentEntry(
    value=Operand(metavar="VALUE", kind="text"), help="Values.", required=False, repeatable=True
)
TOPICS = ArgumentEntry(value=TOPIC, help="Topics.", required=True, repeatable=True)
TREE = command(
    children=(
        command("publish", options=(SHORT, CHOICE, FILE), arguments=(TOPIC_ARGUMENT, VALUES)),
        command("consume", arguments=(TOPICS,)),
        command("reset", options=(TO_GROUP,), arguments=(GROUP_ARGUMENT,)),
        command(
            "parked",
            arguments=(ArgumentEntry(value=SUBSCRIPTION, help="S.", required=True, repeatable=False),),
        ),
        command("topic", children=(command("topic", "delete", arguments=(TOPIC_ARGUMENT,)),)),
    )
)

OFFERS = [
    ("aegis pub", ["publish"]),
    ("aegis topic ", ["delete"]),
    ("aegis topic delete or", ["orders"]),
    ("aegis topic delete orders ", []),
    ("aegis publish e", ["events"]),
    ("aegis publish events o", []),
    ("aegis consume events o", ["orders"]),
    ("aegis consume events orders e", ["events"]),
    ("aegis publish --on-error s", ["stop", "skip"]),
    ("aegis publish -k consume o", ["orders"]),
    ("aegis publish --file purch", ["purchases.jsonl"]),
    ("aegis publish --k", ["--key"]),
    ("aegis reset pr", ["processors"]),
    ("aegis parked ma", ["mailer"]),
    ("aegis reset processors --to-group ", ["auditors", "processors"]),
    ("aegis --store other consume e", []),
]


@pytest.fixture
def topics(aegis: Any) -> None:
    for name in ("orders", "events"):
        (aegis.store / "topics" / name).mkdir(parents=True)
    for name in ("processors", "auditors"):
        (aegis.store / "groups" / name).mkdir(parents=True)
    (aegis.store / "subscriptions" / "mailer").mkdir(parents=True)
    (aegis.home / "purchases.jsonl").touch()


def output(aegis: Any, *arguments: str | Path) -> str:
    finished = subprocess.run(
        arguments, capture_output=True, text=True, env=aegis.environ, cwd=aegis.home, check=True, timeout=60
    )
    assert "" == finished.stderr
    return finished.stdout


@pytest.mark.usefixtures("topics")
@pytest.mark.parametrize(("line", "expected"), OFFERS)
def test_bash_offers_by_place_and_kind(aegis: Any, line: str, expected: list[str]) -> None:
    script = aegis.home / "aegis.bash"
    script.write_text(write_bash(TREE))
    call = (
        'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
        '_aegis; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    text = output(aegis, "bash", "--norc", "--noprofile", "-c", call, "bash", script, *line.split(" "))
    assert sorted(expected) == sorted(text.split())


@pytest.mark.usefixtures("topics")
@pytest.mark.parametrize(("line", "expected"), OFFERS)
def test_fish_offers_by_place_and_kind(aegis: Any, line: str, expected: list[str]) -> None:
    script = aegis.home / "aegis.fish"
    script.write_text(write_fish(TREE))
    text = output(aegis, "fish", "--no-config", "-c", "source $argv[1]; complete -C $argv[2]", script, line)
    assert sorted(expected) == sorted(offer.split("\t")[0] for offer in text.splitlines())


# A line as typed, and as TAB leaves it.
COMPLETED = [
    ("aegis pub", "publish"),
    ("aegis topic delete or", "topic delete orders"),
    ("aegis publish e", "publish events"),
    ("aegis publish events o", "publish events o"),
    ("aegis consume events o", "consume events orders"),
    ("aegis publish --on-error st", "publish --on-error stop"),
    ("aegis publish -k consume o", "publish -k consume orders"),
    ("aegis publish --file purch", "publish --file purchases.jsonl"),
    ("aegis publish --ke", "publish --key"),
    ("aegis reset pr", "reset processors"),
    ("aegis reset processors --to-group au", "reset processors --to-group auditors"),
    ("aegis --json publish or", "--json publish orders"),
    ("aegis --store other consume e", "--store other consume e"),
]


@pytest.mark.usefixtures("topics")
def test_zsh_completes_by_place_and_kind(aegis: Any) -> None:
    (aegis.home / "functions").mkdir()
    (aegis.home / "functions" / "_aegis").write_text(write_zsh(TREE))
    child = pexpect.spawn(
        "zsh",
        ["-f", "-i"],
        env={**aegis.environ, "TERM": "xterm", "LC_ALL": "C"},
        cwd=str(aegis.home),
        encoding="utf-8",
        timeout=20,
        dimensions=(40, 200),
    )
    child.delaybeforesend = 0
    try:
        child.sendline("unset zle_bracketed_paste; fpath=($HOME/functions $fpath)")
        child.sendline("autoload -Uz compinit && compinit -u -D")
        # What was completed is what the command is given; only the question for names reaches the real one.
        child.sendline('aegis() { [[ $1 == __complete ]] && command aegis "$@" || print -r -- "got:$*:" }')
        for line, expected in COMPLETED:
            child.send(f"{line}\t\n")
            child.expect("got:([^\r\n]*):\r")
            assert expected == child.match.group(1).strip()
    finally:
        child.close(force=True)


def test_every_page_has_no_warnings(tmp_path: Path) -> None:
    for name, text in write_man(TREE).items():
        (tmp_path / name).write_text(text)
        finished = subprocess.run(
            ["mandoc", "-T", "lint", "-W", "warning", tmp_path / name],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert (0, "") == (finished.returncode, finished.stdout)


def test_a_page_shows_text_as_it_was_written(tmp_path: Path) -> None:
    page = tmp_path / "aegis-publish.1"
    page.write_text(write_man(TREE)["aegis-publish.1"])
    finished = subprocess.run(
        ["mandoc", "-T", "ascii", page], capture_output=True, text=True, check=True, timeout=60
    )
    # Overstruck letters are how a terminal's pager is told of bold ones.
    text = "".join(
        letter for at, letter in enumerate(finished.stdout) if "\b" not in finished.stdout[at : at + 2]
    )
    assert ".Dot first.  And a \\ backslash." in text
    assert "aegis publish [--key KEY] [--on-error ACTION] [--file FILE] TOPIC" in text


def test_the_readme_lists_commands_that_can_be_run() -> None:
    text = write_readme(TREE, f"before\n{BEGIN}\nold\n{END}\nafter\n")
    assert text.startswith(f"before\n{BEGIN}\n| command")
    assert text.endswith(f"{END}\nafter\n")
    assert "| `aegis topic delete` |" in text
    assert "| `aegis topic` |" not in text
    assert "old" not in text
