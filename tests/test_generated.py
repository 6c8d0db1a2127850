"""Generated files are fresh, correct for the programs that read them, and inside the wheel."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from aegis_cli.reference import __main__ as reference
from aegis_cli.reference.readme import write_readme
from aegis_cli.reference.tree import read_tree

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "man").glob("*.[15]"))


def test_every_generated_file_is_fresh() -> None:
    assert [] == reference.stale_files()


def test_the_same_tree_gives_the_same_files() -> None:
    assert reference.generated() == reference.generated()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_man_page_has_no_warnings(path: Path) -> None:
    finished = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", path],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (0, "") == (finished.returncode, finished.stdout)


def test_there_is_a_page_for_every_command() -> None:
    expected = {"aegis.1", *(f"aegis-{command.path[0]}.1" for command in read_tree().children)}
    assert expected <= {path.name for path in PAGES}


@pytest.mark.parametrize(
    ("shell", "name"), [("bash", "aegis.bash"), ("zsh", "_aegis"), ("fish", "aegis.fish")]
)
def test_a_completion_file_is_valid_for_its_shell(shell: str, name: str) -> None:
    finished = subprocess.run(
        [shell, "-n", ROOT / "completions" / name], capture_output=True, text=True, check=False, timeout=60
    )
    assert (0, "") == (finished.returncode, finished.stderr)


def test_a_readme_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match=r"README\.md needs the lines"):
        write_readme(read_tree(), "# Aegis\n")


def test_the_wheel_holds_packages_pages_and_completions(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=120,
    )
    (wheel,) = tmp_path.glob("aegis_streaming-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    data = f"{'-'.join(wheel.name.split('-')[:2])}.data/data/share"
    expected = {
        "aegis_cli/__main__.py",
        "aegis_cli/py.typed",
        "storage/__init__.py",
        "storage/py.typed",
        f"{data}/man/man1/aegis.1",
        f"{data}/bash-completion/completions/aegis",
        f"{data}/zsh/site-functions/_aegis",
        f"{data}/fish/vendor_completions.d/aegis.fish",
    }
    assert set() == expected - names
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/"))]
