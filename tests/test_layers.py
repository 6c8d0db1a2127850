"""The layers: commands, engines, storage; arrows point down only, and every module stays small."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted(path for name in ("aegis_cli", "storage") for path in (ROOT / name).rglob("*.py"))
ENGINES = ("cdc", "delivery", "events", "pipeline")
LINES_MAX = 400

# What storage may use besides the standard library.
STORAGE_LIBRARIES = {"msgspec", "google_crc32c", "zstandard", "watchfiles", "tomli_w"}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, at its top or inside a function."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None, f"{name_of(path)} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def layer(module: str) -> str:
    """`storage`, `engine:NAME`, `commands`, `cli` (the rest of aegis_cli), or `outside`."""
    words = module.split(".")
    if words[0] == "storage":
        return "storage"
    if words[0] != "aegis_cli":
        return "outside"
    if len(words) > 1 and words[1] in ENGINES:
        return f"engine:{words[1]}"
    return "commands" if len(words) > 1 and words[1] == "commands" else "cli"


def own_layer(path: Path) -> str:
    return layer(".".join(path.relative_to(ROOT).with_suffix("").parts))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_down_only(path: Path) -> None:
    here = own_layer(path)
    reached = {layer(module) for module in imports(path)} - {"outside", here}
    if here == "storage":
        assert set() == reached
    elif here.startswith("engine:"):
        assert reached <= {"storage"}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_only_the_command_line_imports_typer_and_rich(path: Path) -> None:
    libraries = {module.split(".")[0] for module in imports(path)}
    if own_layer(path) not in ("commands", "cli"):
        assert set() == libraries & {"typer", "rich"}
    elif path.name != "output.py":
        assert "rich" not in libraries


@pytest.mark.parametrize("path", [path for path in MODULES if own_layer(path) == "storage"], ids=name_of)
def test_storage_uses_few_libraries(path: Path) -> None:
    import sys

    libraries = {module.split(".")[0] for module in imports(path)} - set(sys.stdlib_module_names)
    assert libraries <= STORAGE_LIBRARIES | {"storage"}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_is_printed_outside_of_the_command_line(path: Path) -> None:
    calls = {
        node.func.id
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    # `print` ignores who reads; the command line writes to the streams of its Env.
    assert "print" not in calls


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_is_short_enough_to_read(path: Path) -> None:
    assert len(path.read_text().splitlines()) < LINES_MAX


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_says_first_what_it_is(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text())), f"{name_of(path)} has no docstring"
