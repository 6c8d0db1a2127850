"""`python -m aegis_cli.reference --write` makes the reference anew; `--check` fails where it is not fresh."""

from __future__ import annotations

import sys
from pathlib import Path

from aegis_cli.reference.bash import write_bash
from aegis_cli.reference.fish import write_fish
from aegis_cli.reference.man import write_man
from aegis_cli.reference.readme import write_readme
from aegis_cli.reference.tree import read_tree
from aegis_cli.reference.zsh import write_zsh

ROOT = Path(__file__).resolve().parents[2]


def generated() -> dict[Path, str]:
    """Every generated file, as it should be, by its path relative to the checkout."""
    tree = read_tree()
    texts = {
        Path("completions/aegis.bash"): write_bash(tree),
        Path("completions/_aegis"): write_zsh(tree),
        Path("completions/aegis.fish"): write_fish(tree),
        Path("README.md"): write_readme(tree, (ROOT / "README.md").read_text()),
    }
    texts.update({Path("man") / name: text for name, text in write_man(tree).items()})
    return texts


def stale_files() -> list[str]:
    """The generated files that are missing, differ, or should not be there."""
    texts = generated()
    stale = {path for path, text in texts.items() if not _is_fresh(ROOT / path, text)}
    return sorted(map(str, stale | _left_over(texts)))


def main(arguments: list[str]) -> int:
    if arguments == ["--check"]:
        stale = stale_files()
        for name in stale:
            sys.stderr.write(f"{name} is not fresh; run 'make generate'\n")
        return 1 if stale else 0
    if arguments == ["--write"]:
        texts = generated()
        for path in _left_over(texts):
            (ROOT / path).unlink()
        for path, text in texts.items():
            (ROOT / path).parent.mkdir(exist_ok=True)
            (ROOT / path).write_text(text)
        return 0
    sys.stderr.write("usage: python -m aegis_cli.reference --check | --write\n")
    return 2


def _left_over(texts: dict[Path, str]) -> set[Path]:
    """Files of commands that no longer exist. Section 5 of the manual is written by hand."""
    present = {*(ROOT / "completions").glob("*aegis*"), *(ROOT / "man").glob("*.1")}
    return {path.relative_to(ROOT) for path in present} - texts.keys()


def _is_fresh(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text() == text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
