"""Running a command, or a pipeline of commands, as a shell would, and what the kernel says it cost.

Promises: times are of whole processes, start-up included; processor time and memory are the kernel's own
account of each process (`wait4`); a command that fails ends the benchmark with its error text.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

Command = Sequence[str | Path]


class BenchmarkError(Exception):
    """A command failed or gave a wrong result: its figures would mean nothing."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What one process used. `memory_bytes` is the most that it ever held resident."""

    cpu_seconds: float
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Run:
    """A finished pipeline: from its start to the end of its last process, and what each process used."""

    wall_seconds: float
    usages: tuple[Usage, ...]
    output: bytes

    @property
    def cpu_seconds(self) -> float:
        return sum(usage.cpu_seconds for usage in self.usages)

    @property
    def memory_bytes(self) -> int:
        """The most that any single process held."""
        return max(usage.memory_bytes for usage in self.usages)


def environment(directory: Path) -> dict[str, str]:
    """This process's environment, with a store below `directory` and without anyone's own settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AEGIS_")}
    return kept | {"AEGIS_STORE": str(directory / "store"), "XDG_CONFIG_HOME": str(directory / "no-config")}


def aegis() -> Path:
    """The installed command, beside the interpreter that runs this."""
    path = Path(sys.executable).with_name("aegis")
    if not path.exists():
        raise BenchmarkError(f"there is no {path}; run this with 'make bench'")
    return path


def run(
    *commands: Command,
    environment: Mapping[str, str],
    stdin: Path | None = None,
    stdout: Path | None = None,
) -> Run:
    """Run `commands` as one pipeline, from the file `stdin`, to the file `stdout` or into `Run.output`."""
    with ExitStack() as stack:
        errors = stack.enter_context(tempfile.TemporaryFile())
        source = stack.enter_context(Path(os.devnull if stdin is None else stdin).open("rb"))
        captured = stack.enter_context(tempfile.TemporaryFile())
        target = captured if stdout is None else stack.enter_context(stdout.open("wb"))
        began = time.perf_counter()
        processes = _start(commands, environment, source, target, errors)
        usages = tuple(_finish(process) for process in processes)
        wall_seconds = time.perf_counter() - began
        for command, process in zip(commands, processes, strict=True):
            if process.returncode != 0:
                errors.seek(0)
                text = errors.read().decode(errors="replace").strip()
                raise BenchmarkError(f"{' '.join(map(str, command))}: exit {process.returncode}: {text}")
        captured.seek(0)
        return Run(wall_seconds, usages, captured.read())


def _start(
    commands: Sequence[Command],
    environment: Mapping[str, str],
    source: IO[bytes],
    target: IO[bytes],
    errors: IO[bytes],
) -> list[subprocess.Popen[bytes]]:
    processes: list[subprocess.Popen[bytes]] = []
    given: IO[bytes] = source
    for number, command in enumerate(commands, start=1):
        last = number == len(commands)
        process = subprocess.Popen(
            command, stdin=given, stdout=target if last else subprocess.PIPE, stderr=errors, env=environment
        )
        if given is not source:
            # Only the process that reads a pipe may hold it: its writer must learn when nobody reads.
            given.close()
        processes.append(process)
        if process.stdout is not None:
            given = process.stdout
    return processes


def _finish(process: subprocess.Popen[bytes]) -> Usage:
    # A process begins its account of memory with what its parent held: this one must stay small.
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return Usage(used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)
