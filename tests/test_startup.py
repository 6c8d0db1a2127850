"""Start-up is a feature: what a command imports is tested, not its time, which others can spoil."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Each costs tens of milliseconds; a command that needs one imports it in the function that does.
HEAVY = {
    "rich",
    "watchfiles",
    "sqlite3",
    "asyncio",
    "pydantic",
    "duckdb",
    "zstandard",
    "hypothesis",
}

# Runs one command line and then lists what it imported, on a line of its own at the end.
_PROBE = """
import sys
from aegis_cli.__main__ import main
code = main(sys.argv[1:])
sys.stdout.write("\\n" + " ".join(sorted(sys.modules)) + "\\n")
sys.exit(code)
"""


def imported_by(tmp_path: Path, *arguments: str) -> set[str]:
    finished = subprocess.run(
        [sys.executable, "-c", _PROBE, *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"AEGIS_STORE": str(tmp_path / "store"), "HOME": str(tmp_path), "PYTHONPATH": ":".join(sys.path)},
        check=False,
        timeout=60,
    )
    assert 0 == finished.returncode, finished.stderr
    return set(finished.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("arguments", [["--version"], ["__complete", "topics"]])
def test_what_must_feel_instant_imports_neither_typer_nor_the_store(
    tmp_path: Path, arguments: list[str]
) -> None:
    imported = imported_by(tmp_path, *arguments)
    assert set() == imported & {*HEAVY, "typer", "storage", "msgspec", "dataclasses", "typing", "pathlib"}


@pytest.mark.parametrize("arguments", [["config", "list"], ["config", "list", "--json"], ["--help"]])
def test_a_command_imports_nothing_heavy_that_it_does_not_use(tmp_path: Path, arguments: list[str]) -> None:
    assert set() == imported_by(tmp_path, *arguments) & HEAVY
