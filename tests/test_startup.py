"""Start-up is a feature: what a command imports is tested, not its time, which others can spoil."""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Each costs milliseconds, some tens of them; a command that needs one imports it in the function that does.
HEAVY = {
    "rich",
    "watchfiles",
    "sqlite3",
    "asyncio",
    "pydantic",
    "duckdb",
    "zstandard",
    "hypothesis",
    "ctypes",
    "importlib.metadata",
    "json",
    "logging",
    "pkg_resources",
}

# The three libraries that every command of the store stands on, with all that they import themselves.
LIBRARIES = "typer, msgspec, google_crc32c"

# What a command on one message imports besides these and our own modules.
BESIDES = {
    *("_bisect", "bisect", "binascii", "mmap", "typer._click.decorators"),
    *("_queue", "queue", "resource"),
    # Still to go: a dataclass takes a millisecond to define, and the parser of TOML four to import.
    *("dataclasses", "_string", "string"),
    *("tomllib", "tomllib._parser", "tomllib._re", "tomllib._types"),
}

# What is only for other commands, or for what one small message does not need.
APART = {
    *("aegis_cli.complete", "aegis_cli.formats", "aegis_cli.reference"),
    *(
        "storage.describe",
        "storage.envelope",
        "storage.envelope_reader",
        "storage.failpoints",
        "storage.libc",
    ),
    *("storage.maintenance", "storage.recovery", "storage.repair", "storage.topic_config", "storage.verify"),
}

# Our own modules take 0.2 to 1 ms each. The figures are what it is today: who adds one says why it must be.
OWN_MAX = {"publish": 52, "consume": 56}

# Runs one command line and then lists what it imported, on a line of its own at the end.
_PROBE = """
import sys
from aegis_cli.__main__ import main
code = main(sys.argv[1:])
sys.stdout.write("\\n" + " ".join(sorted(sys.modules)) + "\\n")
sys.exit(code)
"""


def modules_of(code: str, *arguments: str, directory: Path) -> set[str]:
    """The modules that a Python program prints as its last line."""
    finished = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={
            "AEGIS_STORE": str(directory / "store"),
            "HOME": str(directory),
            "PYTHONPATH": ":".join(sys.path),
        },
        check=False,
        timeout=60,
    )
    assert 0 == finished.returncode, finished.stderr
    return set(finished.stdout.splitlines()[-1].split())


def imported_by(tmp_path: Path, *arguments: str) -> set[str]:
    return modules_of(_PROBE, *arguments, directory=tmp_path)


@functools.cache
def imported_by_libraries() -> frozenset[str]:
    return frozenset(modules_of(f"import gc, sys, {LIBRARIES}; print(*sys.modules)", directory=ROOT))


def own(modules: set[str]) -> set[str]:
    return {name for name in modules if name.split(".")[0] in ("aegis_cli", "storage")}


@pytest.mark.parametrize("arguments", [["--version"], ["__complete", "topics"], ["__complete", "groups"]])
def test_what_must_feel_instant_imports_neither_typer_nor_the_store(
    tmp_path: Path, arguments: list[str]
) -> None:
    imported = imported_by(tmp_path, *arguments)
    assert set() == imported & {
        *HEAVY,
        "typer",
        "storage",
        "msgspec",
        "dataclasses",
        "typing",
        "pathlib",
        "re",
    }
    assert len(imported) <= 60


@pytest.mark.parametrize("arguments", [["config", "list"], ["config", "list", "--json"], ["--help"]])
def test_a_command_imports_nothing_heavy_that_it_does_not_use(tmp_path: Path, arguments: list[str]) -> None:
    assert set() == imported_by(tmp_path, *arguments) & HEAVY


@pytest.mark.parametrize("arguments", [["publish", "t", '{"a":1}'], ["consume", "t", "--last", "1"]])
def test_a_command_on_one_message_imports_little(tmp_path: Path, arguments: list[str]) -> None:
    imported_by(tmp_path, "topic", "create", "t")
    # The first message of a topic also reserves room on the disk.
    imported_by(tmp_path, "publish", "t", "1")
    imported = imported_by(tmp_path, *arguments)
    assert set() == imported & {*HEAVY, *APART}
    assert set() == imported - own(imported) - imported_by_libraries() - BESIDES
    assert len(own(imported)) <= OWN_MAX[arguments[0]]


def test_a_store_without_settings_of_its_own_needs_no_parser_of_toml(tmp_path: Path) -> None:
    imported_by(tmp_path, "topic", "create", "t")
    assert "tomllib" not in imported_by(tmp_path, "config", "list")


# What a pipeline from topic to topic that keeps nothing has no use for.
NOT_OF_A_PLAIN_PIPELINE = {
    *(HEAVY - {"json"}),
    *("hashlib", "_hashlib", "fractions", "psycopg", "re2", "pickle", "multiprocessing"),
    *("storage.intake", "storage.lines", "storage.failpoints"),
    *(
        f"aegis_cli.pipeline.{name}"
        for name in (
            *("aggregate", "grouping", "windows.store", "line_inputs", "workers"),
            *("conninfo", "shape", "sqlite_shape", "table_column", "verify", "explain", "admin"),
            *("sinks.file", "sinks.postgres", "sinks.sqlite", "sinks.stdout"),
        )
    ),
}


def test_a_pipeline_from_topic_to_topic_imports_nothing_of_what_others_do(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text("name: p\nsource: t\nfilter: a > 0\nmap: {a: a}\nsink: u\n")
    imported_by(tmp_path, "topic", "create", "t")
    # The first message of a topic also reserves room on the disk.
    for _ in range(2):
        imported_by(tmp_path, "publish", "t", '{"a":1}')
        imported = imported_by(tmp_path, "pipeline", "run", str(file), "--once")
    assert "aegis_cli.pipeline.sinks.topic" in imported
    assert set() == imported & NOT_OF_A_PLAIN_PIPELINE
