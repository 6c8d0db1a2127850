"""TAB in bash, zsh and fish: the generated files in the real shells, and what `__complete` answers them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pexpect
import pytest

from aegis_cli.complete import NAMES_MAX, complete

COMPLETIONS = Path(__file__).resolve().parents[2] / "completions"
PROMPT = "ready> "


def make_topics(store: Path, *names: str, kind: str = "topics") -> None:
    for name in names:
        (store / kind / name).mkdir(parents=True)


def test_topics_are_listed_in_order(tmp_path: Path) -> None:
    make_topics(tmp_path, "orders", "events", ".trash")
    (tmp_path / "topics" / "a-file").touch()
    assert ["events", "orders"] == complete(["topics"], {"AEGIS_STORE": str(tmp_path)})
    assert ["events", "orders"] == complete(["topics", "--store", str(tmp_path)], {})


def test_groups_are_listed_in_order(tmp_path: Path) -> None:
    make_topics(tmp_path, "orders")
    make_topics(tmp_path, "processors", "auditors", kind="groups")
    assert ["auditors", "processors"] == complete(["groups"], {"AEGIS_STORE": str(tmp_path)})
    assert ["auditors", "processors"] == complete(["groups", "--store", str(tmp_path)], {})


def test_subscriptions_are_listed_in_order(tmp_path: Path) -> None:
    make_topics(tmp_path, "mailer", "audit", kind="subscriptions")
    assert ["audit", "mailer"] == complete(["subscriptions"], {"AEGIS_STORE": str(tmp_path)})


def test_no_more_names_than_help_anybody(tmp_path: Path) -> None:
    make_topics(tmp_path, *(f"t{number:05}" for number in range(NAMES_MAX + 1)))
    assert NAMES_MAX == len(complete(["topics"], {"AEGIS_STORE": str(tmp_path)}))


@pytest.mark.parametrize("arguments", [[], ["nothing"], ["topics"], ["topics", "--store"], ["groups"]])
def test_what_cannot_be_answered_has_no_names(aegis: Any, arguments: list[str]) -> None:
    finished = aegis("__complete", *arguments)
    assert (0, b"", b"") == (finished.code, finished.stdout, finished.stderr)


def bash_offers(aegis: Any, line: str) -> list[str]:
    """What bash would offer at the end of `line`, as its completion function is called."""
    words = line.split(" ")
    script = (
        'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
        '_aegis; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    finished = subprocess.run(
        ["bash", "--norc", "--noprofile", "-c", script, "bash", COMPLETIONS / "aegis.bash", *words],
        capture_output=True,
        text=True,
        env=aegis.environ,
        cwd=aegis.home,
        check=True,
        timeout=60,
    )
    assert "" == finished.stderr
    return finished.stdout.split()


def fish_offers(aegis: Any, line: str) -> list[str]:
    """What fish offers at the end of `line`."""
    finished = subprocess.run(
        [
            "fish",
            "--no-config",
            "-c",
            "source $argv[1]; complete -C $argv[2]",
            COMPLETIONS / "aegis.fish",
            line,
        ],
        capture_output=True,
        text=True,
        env=aegis.environ,
        cwd=aegis.home,
        check=True,
        timeout=60,
    )
    assert "" == finished.stderr
    return [offer.split("\t")[0] for offer in finished.stdout.splitlines()]


OFFERS = [
    ("aegis conf", ["config"]),
    ("aegis config ge", ["get"]),
    ("aegis config get streaming.dur", ["streaming.durability"]),
    ("aegis config set streaming.durability ", []),
    ("aegis config set --us", ["--user"]),
    ("aegis --json config ge", ["get"]),
    ("aegis --store somewhere config ge", ["get"]),
    ("aegis config get --deb", ["--debug"]),
    ("aegis --vers", ["--version"]),
]


@pytest.mark.parametrize(("line", "expected"), OFFERS)
def test_bash_offers_what_may_follow(aegis: Any, line: str, expected: list[str]) -> None:
    assert expected == bash_offers(aegis, line)


@pytest.mark.parametrize(("line", "expected"), OFFERS)
def test_fish_offers_what_may_follow(aegis: Any, line: str, expected: list[str]) -> None:
    assert expected == fish_offers(aegis, line)


def test_bash_and_fish_offer_directories_for_the_store(aegis: Any) -> None:
    (aegis.home / "stores").mkdir()
    assert ["stores"] == bash_offers(aegis, "aegis --store sto")
    assert ["stores/"] == fish_offers(aegis, "aegis --store sto")


@contextmanager
def shell(aegis: Any, command: str, arguments: list[str], setup: list[str]) -> Iterator[Any]:
    """An interactive shell on a terminal of its own, with `setup` run and its prompt shown."""
    environ = {**aegis.environ, "TERM": "xterm", "LC_ALL": "C", "HISTFILE": "/dev/null", "PS1": PROMPT}
    child = pexpect.spawn(
        command,
        arguments,
        env=environ,
        cwd=str(aegis.home),
        encoding="utf-8",
        timeout=20,
        dimensions=(40, 200),
    )
    child.delaybeforesend = 0
    try:
        for line in setup:
            child.sendline(line)
        child.sendline("echo set-up-${$:+done}")
        child.expect("set-up-done")
        child.expect(PROMPT)
        yield child
    finally:
        child.close(force=True)


@contextmanager
def bash(aegis: Any) -> Iterator[Any]:
    setup = ["bind 'set enable-bracketed-paste off'", f"PS1='{PROMPT}'", f"source {COMPLETIONS}/aegis.bash"]
    with shell(aegis, "bash", ["--norc", "--noprofile", "-i"], setup) as child:
        yield child


@contextmanager
def zsh(aegis: Any) -> Iterator[Any]:
    setup = [
        "unset zle_bracketed_paste",
        "unsetopt PROMPT_SP",
        f"PS1='{PROMPT}'",
        f"fpath=({COMPLETIONS} $fpath)",
        "autoload -Uz compinit && compinit -u -D",
    ]
    with shell(aegis, "zsh", ["-f", "-i"], setup) as child:
        yield child


@pytest.mark.parametrize("start", [bash, zsh], ids=["bash", "zsh"])
def test_the_first_tab_completes_a_command(aegis: Any, start: Any) -> None:
    with start(aegis) as child:
        child.send("aegis conf\t")
        child.expect("aegis config")
        child.send("pa\t")
        child.expect("path")


@pytest.mark.parametrize("start", [bash, zsh], ids=["bash", "zsh"])
def test_tab_completes_a_setting(aegis: Any, start: Any) -> None:
    with start(aegis) as child:
        child.send("aegis config get streaming.dur\t")
        child.expect("streaming.durability")
