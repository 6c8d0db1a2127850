"""`aegis store`: what verify, repair and journal print, and what they exit with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pexpect
import pytest

from storage.store import Store

SEGMENT = "topics/orders/0/00000000000000000000"
COMMANDS = (("verify",), ("repair", "--yes"), ("journal",))


@pytest.fixture
def filled(aegis: Any) -> Any:
    """`aegis` with a topic `orders` of three messages, each a batch of its own."""
    with Store(aegis.store, create=True) as store:
        store.create_topic("orders")
        for number in range(3):
            store.publish("orders", {"id": number}, key="k")
    return aegis


def flip(path: Path, position: int, bits: int = 1) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= bits
    path.write_bytes(data)


def documents(finished: Any) -> list[Any]:
    return [json.loads(line) for line in finished.lines]


# -- verify -----------------------------------------------------------------------------------------------


def test_a_whole_store_verifies(filled: Any) -> None:
    finished = filled("store", "verify")
    assert (0, b"", "aegis: no damage, 0 notices\n") == (finished.code, finished.stdout, finished.err)


def test_corrupt_messages_are_named_with_their_offset_and_the_remedy(filled: Any) -> None:
    path = filled.store / f"{SEGMENT}.jsonl"
    flip(path, 12)
    finished = filled("store", "verify")
    assert (5, "aegis: 1 damage and 0 notices\n") == (finished.code, finished.err)
    assert (
        f"damage: {path}: messages do not match their checksum (offset 1); "
        "run 'aegis store repair'; the journal still holds it\n" == finished.out
    )


@pytest.mark.parametrize(
    ("name", "position", "kind"),
    [
        (f"{SEGMENT}.jsonl", 12, "messages"),
        (f"{SEGMENT}.meta", 5, "meta"),
        (f"{SEGMENT}.index", 200, "index-entry"),
        (f"{SEGMENT}.index", 20, "index-header"),
        ("journal/0000.wal", 4096 + 40, "journal-records"),
        ("journal/0000.wal", 9, "journal-header"),
        ("journal/epoch", 9, "epoch"),
        ("topics/orders/topic.toml", 0, "topic-settings"),
        ("aegis.toml", 70, "store-settings"),
    ],
)
def test_every_corrupt_file_is_found_and_repaired(filled: Any, name: str, position: int, kind: str) -> None:
    flip(filled.store / name, position, 0x40)
    finished = filled("store", "verify", "--json")
    assert 5 == finished.code
    assert (kind, "damage", str(filled.store / name)) == tuple(
        documents(finished)[0][field] for field in ("kind", "severity", "path")
    )
    repaired = filled("store", "repair", "--yes", "--json")
    assert 0 == repaired.code, repaired
    assert 0 == filled("store", "verify").code
    told = documents(filled("topic", "describe", "orders", "--json"))
    assert 3 == told[0]["records"]


def test_notices_alone_are_no_damage(filled: Any) -> None:
    (filled.store / "notes.txt").write_text("hello")
    finished = filled("store", "verify")
    assert (0, "aegis: no damage, 1 notice\n") == (finished.code, finished.err)
    assert f"notice: {filled.store}/notes.txt: no file of a store; move it elsewhere\n" == finished.out


# -- repair -----------------------------------------------------------------------------------------------


def test_repair_says_what_it_did(filled: Any) -> None:
    path = filled.store / f"{SEGMENT}.jsonl"
    flip(path, 12)
    finished = filled("store", "repair", "--yes")
    assert (0, "aegis: 1 repair, 0 left\n") == (finished.code, finished.err)
    assert finished.out.startswith(f"restored: {path}: messages do not match their checksum; written again")
    again = filled("store", "repair", "--yes")
    assert (0, b"", "aegis: nothing to repair\n") == (again.code, again.stdout, again.err)


def test_a_dry_run_changes_nothing(filled: Any) -> None:
    path = filled.store / f"{SEGMENT}.jsonl"
    flip(path, 12)
    before = path.read_bytes()
    finished = filled("store", "repair", "--dry-run")
    assert (0, "aegis: would look after 1 damage\n") == (finished.code, finished.err)
    assert finished.out.startswith(f"damage: {path}: ")
    assert before == path.read_bytes()


def test_repair_without_a_terminal_and_without_yes_changes_nothing(filled: Any) -> None:
    path = filled.store / f"{SEGMENT}.jsonl"
    flip(path, 12)
    before = path.read_bytes()
    finished = filled("store", "repair")
    question = f"repair the store {filled.store}?"
    assert (2, f"aegis: error: {question} cannot be asked without a terminal; pass --yes\n") == (
        finished.code,
        finished.err,
    )
    assert before == path.read_bytes()


def test_repair_asks_on_a_terminal(filled: Any) -> None:
    command, *arguments = filled.command("store", "repair")
    environ = {**filled.environ, "TERM": "dumb"}
    child = pexpect.spawn(command, arguments, env=environ, cwd=str(filled.home), timeout=30)
    child.expect_exact("? [y/N] ")
    child.sendline("n")
    child.expect_exact("nothing was changed")
    child.expect(pexpect.EOF)
    child.close()
    assert 1 == child.exitstatus


def test_what_is_left_to_a_person_exits_as_damage(filled: Any) -> None:
    for path in (filled.store / "topics/orders/0").iterdir():
        path.unlink()
    (filled.store / "topics/orders/0").rmdir()
    finished = filled("store", "repair", "--yes")
    assert (5, "aegis: 0 repairs, 1 left\n") == (finished.code, finished.err)
    assert finished.out.startswith(f"left: {filled.store}/topics/orders/0: ")


# -- journal ----------------------------------------------------------------------------------------------


def test_the_journal_lists_its_records(filled: Any) -> None:
    finished = filled("store", "journal")
    assert 0 == finished.code
    heading = "SEQUENCE FILE POSITION BYTES SYNCED WRITTEN PROCESS PARTS"
    assert heading.split() == finished.lines[0].split()
    assert [["1", "0", "4096"], ["2", "0"], ["3", "0"]] == [
        line.split()[: 3 if number == 0 else 2] for number, line in enumerate(finished.lines[1:])
    ]
    assert finished.lines[1].endswith("orders/0 0..0")


def test_the_journal_lists_the_newest_as_json(filled: Any) -> None:
    records = documents(filled("store", "journal", "--json", "-n", "2"))
    assert [2, 3] == [record["sequence"] for record in records]
    part = records[-1]["parts"][0]
    assert ("batches", "orders", 0, 2, 2, 1) == tuple(
        part[field] for field in ("kind", "topic", "partition", "first_offset", "last_offset", "records")
    )
    assert True is records[-1]["synced"]


def test_the_journal_of_a_deleted_topic_names_none(filled: Any) -> None:
    assert 0 == filled("topic", "delete", "orders", "--yes").code
    assert filled("store", "journal").lines[1].endswith("(deleted)/0 0..0")


# -- stores that cannot be used ---------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: words[0])
def test_without_a_store_there_is_nothing_to_look_at(aegis: Any, command: tuple[str, ...]) -> None:
    finished = aegis("store", *command)
    assert (3, True) == (finished.code, f"aegis: error: no store at {aegis.store}; " in finished.err)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: words[0])
def test_a_directory_that_is_no_store_is_refused(aegis: Any, command: tuple[str, ...]) -> None:
    aegis.store.mkdir()
    (aegis.store / "mail").write_text("from: somebody")
    finished = aegis("store", *command)
    assert (9, True) == (finished.code, f"aegis: error: {aegis.store} is not a store: " in finished.err)
    assert ["mail"] == [path.name for path in aegis.store.iterdir()]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: words[0])
def test_a_store_of_a_newer_format_is_refused(filled: Any, command: tuple[str, ...]) -> None:
    path = filled.store / "aegis.toml"
    path.write_text(path.read_text().replace("= 1", "= 9"))
    finished = filled("store", *command)
    assert (9, True) == (finished.code, "needs format 9 to read and this aegis knows 1" in finished.err)
