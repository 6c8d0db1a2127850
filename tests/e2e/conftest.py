"""The terminal tests run the same `aegis` as the tests of single commands."""

from __future__ import annotations

from tests.cli.conftest import aegis

__all__ = ["aegis"]
