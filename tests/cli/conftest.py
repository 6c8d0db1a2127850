"""What the tests of the command line share: `aegis` as a process with surroundings of its own."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from storage.store import Store
from tests.cli.warm import WarmProcess

ROOT = Path(__file__).resolve().parents[2]

# No command of a test takes longer; one that does hangs.
PROCESS_SECONDS_MAX = 60


@dataclass(frozen=True, slots=True)
class Finished:
    """A process that has ended: its exit code and what it wrote."""

    code: int
    stdout: bytes
    stderr: bytes

    @property
    def out(self) -> str:
        return self.stdout.decode()

    @property
    def err(self) -> str:
        return self.stderr.decode()

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


@functools.cache
def warm_process() -> WarmProcess:
    """The process that becomes each command; one for all tests."""
    return WarmProcess()


@dataclass(frozen=True, slots=True)
class Aegis:
    """Runs `aegis` against the store `store`, with `home` for everything that belongs to a user."""

    home: Path
    store: Path

    @property
    def environ(self) -> dict[str, str]:
        """The surroundings of a process: those of the tests without any setting of Aegis or of colours."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AEGIS_", "XDG_"))}
        kept.pop("NO_COLOR", None)
        kept.pop("FORCE_COLOR", None)
        return {
            **kept,
            "HOME": str(self.home),
            "AEGIS_STORE": str(self.store),
            "PATH": f"{self.home / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
        }

    def command(self, *arguments: str) -> list[str]:
        """The words to start it with, for tests that keep the process in their own hands."""
        return [sys.executable, "-m", "aegis_cli", *arguments]

    def __call__(
        self, *arguments: str, stdin: bytes = b"", environ: Mapping[str, str] | None = None
    ) -> Finished:
        if not environ:
            return Finished(
                *warm_process().run(
                    arguments,
                    stdin=stdin,
                    environ=self.environ,
                    directory=self.home,
                    timeout_seconds=PROCESS_SECONDS_MAX,
                )
            )
        process = subprocess.run(
            self.command(*arguments),
            input=stdin,
            capture_output=True,
            env={**self.environ, **environ},
            cwd=self.home,
            timeout=PROCESS_SECONDS_MAX,
            check=False,
        )
        return Finished(process.returncode, process.stdout, process.stderr)


@pytest.fixture
def aegis(tmp_path: Path) -> Aegis:
    """`aegis` with a home and a store of its own; `aegis` is on the PATH of its shells too."""
    home = tmp_path / "home"
    script = home / "bin" / "aegis"
    script.parent.mkdir(parents=True)
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m aegis_cli "$@"\n')
    script.chmod(0o755)
    return Aegis(home=home, store=tmp_path / "store")


@pytest.fixture
def topic(aegis: Aegis) -> str:
    """A topic with one partition."""
    with Store(aegis.store, create=True) as store:
        store.create_topic("t")
    return "t"


@pytest.fixture
def store(aegis: Aegis) -> Iterator[Store]:
    """The store of `aegis`, open in this process too, with nothing in it."""
    with Store(aegis.store, create=True) as opened:
        yield opened
