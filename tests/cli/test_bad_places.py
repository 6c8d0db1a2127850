"""Topics, stores and files that `aegis publish` and `aegis consume` cannot use, named with the remedy."""

from __future__ import annotations

import shlex
import subprocess
from typing import Any

import pytest

from storage.store import Store


@pytest.mark.parametrize("command", ["publish", "consume"])
def test_an_unknown_topic_is_refused_with_the_nearest_one(aegis: Any, command: str) -> None:
    with Store(aegis.store, create=True) as store:
        store.create_topic("orders")
    finished = aegis(command, "ordrs", stdin=b"1\n")
    assert (3, b"") == (finished.code, finished.stdout)
    assert "aegis: error: topic 'ordrs' not found; did you mean 'orders'?\n" == finished.err
    finished = aegis(command, "xyz", stdin=b"1\n")
    assert (3, b"") == (finished.code, finished.stdout)
    assert "aegis: error: topic 'xyz' not found; 'aegis topic create xyz' makes it\n" == finished.err


@pytest.mark.parametrize("command", [["publish"], ["publish", "--create"], ["consume"]])
@pytest.mark.parametrize("name", ["../x", "..", ".", "", "a/b", "x" * 250, "a\nb", "ä"])
def test_a_bad_name_is_refused(aegis: Any, topic: str, command: list[str], name: str) -> None:
    finished = aegis(*command, name, stdin=b"1\n")
    assert (2, b"") == (finished.code, finished.stdout)
    assert finished.err.startswith(f"aegis: error: {name!r} cannot be a name: ")
    assert finished.err.endswith("; use 1 to 249 of the characters A-Z a-z 0-9 . _ -\n")
    assert 1 == finished.err.count("\n")
    assert {"t"} == {path.name for path in (aegis.store / "topics").iterdir() if path.is_dir()}


@pytest.mark.parametrize("command", ["publish", "consume"])
def test_no_store_is_said(aegis: Any, command: str) -> None:
    finished = aegis(command, "t", stdin=b"1\n")
    assert 3 == finished.code
    expected = f"aegis: error: no store at {aegis.store}; 'aegis topic create NAME' makes one, "
    assert expected + "or name another with --store\n" == finished.err
    assert not aegis.store.exists()


@pytest.mark.parametrize("command", [["publish"], ["publish", "--create"], ["consume"]])
def test_a_directory_that_is_no_store_is_refused_and_left_alone(aegis: Any, command: list[str]) -> None:
    aegis.store.mkdir()
    (aegis.store / "mail").write_text("from: somebody")
    finished = aegis(*command, "t", stdin=b"1\n")
    assert 9 == finished.code
    assert finished.err.startswith(f"aegis: error: {aegis.store} is not a store: it ")
    assert finished.err.endswith("; name an empty directory or a store\n")
    assert [aegis.store / "mail"] == list(aegis.store.iterdir())


def test_a_newer_format_is_refused(aegis: Any, topic: str) -> None:
    assert 0 == aegis("publish", topic, "1").code
    path = aegis.store / "aegis.toml"
    text = path.read_text()
    path.write_text(text.replace("format_write = 1", "format_write = 9"))
    finished = aegis("publish", topic, "2")
    assert 9 == finished.code
    assert (
        f"aegis: error: store {aegis.store} needs format 9 to write and this aegis knows 1; upgrade aegis\n"
        == finished.err
    )
    assert (0, b"1\n") == ((read := aegis("consume", topic)).code, read.stdout)
    path.write_text(text.replace("format_read = 1", "format_read = 9"))
    finished = aegis("consume", topic)
    assert (9, b"") == (finished.code, finished.stdout)
    assert "needs format 9 to read and this aegis knows 1; upgrade aegis\n" in finished.err


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [("nowhere", 3, "nowhere: No such file or directory"), (".", 1, ".: Is a directory")],
)
@pytest.mark.parametrize("options", [[], ["--binary"]])
def test_a_file_that_cannot_be_read_is_named(
    aegis: Any, topic: str, name: str, code: int, message: str, options: list[str]
) -> None:
    finished = aegis("publish", topic, "--file", name, *options)
    assert (code, f"aegis: error: {message}\n") == (finished.code, finished.err)


def test_a_closed_stdin_is_named(aegis: Any, topic: str) -> None:
    command = shlex.join(aegis.command("publish", topic))
    done = subprocess.run(
        ["bash", "-c", f"{command} <&-"], env=aegis.environ, capture_output=True, check=False
    )
    assert (1, b"aegis: error: standard input: Bad file descriptor\n") == (done.returncode, done.stderr)
