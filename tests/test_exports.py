"""What the packages export: sorted, documented, and typed for those who import them."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import aegis_cli
import storage

ROOT = Path(__file__).resolve().parents[1]


def test_the_exports_of_storage_are_sorted_and_exist() -> None:
    assert sorted(storage.__all__) == list(storage.__all__)
    assert [] == [name for name in storage.__all__ if not hasattr(storage, name)]


def test_everything_that_storage_exports_is_documented() -> None:
    exported = [getattr(storage, name) for name in storage.__all__]
    undocumented = [value for value in exported if callable(value) and not inspect.getdoc(value)]
    assert [] == undocumented


def test_both_packages_are_typed() -> None:
    assert (ROOT / "storage" / "py.typed").is_file()
    assert (ROOT / "aegis_cli" / "py.typed").is_file()


def test_the_version_is_one_that_a_package_may_have() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", aegis_cli.__version__)
