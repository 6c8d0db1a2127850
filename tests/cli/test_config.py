"""`aegis config`: what is shown, what is written, what is refused."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any


def make_store(path: Path) -> None:
    """As much of a store as settings need."""
    path.mkdir()
    (path / "aegis.toml").write_text('[store]\nformat_read = 1\nformat_write = 1\nid = "abc"\n')


def test_list_shows_every_setting_with_its_origin(aegis: Any) -> None:
    finished = aegis("config", "list", environ={"AEGIS_STREAMING_DURABILITY": "os"})
    assert 0 == finished.code
    assert ["KEY", "VALUE", "ORIGIN"] == finished.lines[0].split()
    assert ["streaming.durability", "os", "AEGIS_STREAMING_DURABILITY"] in map(str.split, finished.lines)
    assert ["streaming.consumer.auto_commit", "true", "default"] in map(str.split, finished.lines)


def test_list_prints_one_json_document_a_line(aegis: Any) -> None:
    finished = aegis("config", "list", "--json")
    documents = [json.loads(line) for line in finished.lines]
    assert 8 == len(documents)
    assert {"key", "value", "origin", "default", "help"} == set(documents[0])


def test_a_global_option_works_before_and_after_the_command(aegis: Any) -> None:
    before = aegis("--json", "config", "get", "streaming.durability")
    after = aegis("config", "get", "streaming.durability", "--json")
    assert before.stdout == after.stdout
    assert "fsync" == json.loads(before.out)["value"]


def test_set_writes_the_stores_file_and_keeps_its_identity(aegis: Any) -> None:
    make_store(aegis.store)
    finished = aegis("config", "set", "streaming.consumer.max_poll_records", "50")
    assert 0 == finished.code
    assert b"" == finished.stdout
    document = tomllib.loads((aegis.store / "aegis.toml").read_text())
    assert {"format_read": 1, "format_write": 1, "id": "abc"} == document["store"]
    assert 50 == document["streaming"]["consumer"]["max_poll_records"]
    assert "50\n" == aegis("config", "get", "streaming.consumer.max_poll_records").out


def test_set_user_writes_a_file_that_every_store_reads(aegis: Any) -> None:
    assert 0 == aegis("config", "set", "--user", "streaming.durability", "os").code
    assert (aegis.home / ".config/aegis/config.toml").is_file()
    assert "os\n" == aegis("--store", "elsewhere", "config", "get", "streaming.durability").out


def test_set_says_when_another_origin_goes_before_what_it_wrote(aegis: Any) -> None:
    make_store(aegis.store)
    finished = aegis(
        "config", "set", "streaming.durability", "os", environ={"AEGIS_STREAMING_DURABILITY": "fsync"}
    )
    assert "AEGIS_STREAMING_DURABILITY says fsync, which goes before it" in finished.err


def test_quiet_keeps_the_notes_of_set(aegis: Any) -> None:
    make_store(aegis.store)
    finished = aegis("-q", "config", "set", "streaming.durability", "os")
    assert (0, b"", b"") == (finished.code, finished.stdout, finished.stderr)


def test_set_without_a_store_says_how_to_make_one(aegis: Any) -> None:
    finished = aegis("config", "set", "streaming.durability", "os")
    assert 3 == finished.code
    assert f"aegis: error: no store at {aegis.store}; " in finished.err


def test_set_refuses_a_value_that_cannot_be_used_and_writes_nothing(aegis: Any) -> None:
    make_store(aegis.store)
    before = (aegis.store / "aegis.toml").read_bytes()
    finished = aegis("config", "set", "streaming.durability", "maybe")
    assert 2 == finished.code
    assert "cannot be 'maybe'; give fsync or os" in finished.err
    assert before == (aegis.store / "aegis.toml").read_bytes()


def test_an_unknown_setting_is_refused_with_the_nearest_one(aegis: Any) -> None:
    finished = aegis("config", "get", "streaming.durabilty")
    assert 2 == finished.code
    assert "did you mean 'streaming.durability'?" in finished.err


def test_path_shows_both_files_and_which_exist(aegis: Any) -> None:
    make_store(aegis.store)
    documents = [json.loads(line) for line in aegis("config", "path", "--json").lines]
    expected = [
        {"scope": "store", "path": str(aegis.store / "aegis.toml"), "exists": True},
        {"scope": "user", "path": str(aegis.home / ".config/aegis/config.toml"), "exists": False},
    ]
    assert expected == documents
