"""What a command costs that has almost nothing to do, against a Python that has nothing to do at all."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator

from benchmarks.processes import BenchmarkError, Run, aegis, environment, run
from benchmarks.rows import Row, Settings, in_turn, ratios

_ROUNDS_MIN = 5
_VALUE = '{"id": 1, "type": "purchase"}'


def measure(settings: Settings) -> Iterator[Row]:
    """Rows about processes that are over as soon as they began."""
    directory = settings.directory / "startup"
    directory.mkdir()
    own = environment(directory)
    command = aegis()
    run([command, "topic", "create", "t"], environment=own)
    # These are short and are disturbed by everything: many rounds, of which the median counts.
    rounds = max(_ROUNDS_MIN, 5 * settings.rounds)
    results = in_turn(
        rounds,
        {
            "python": lambda: run([sys.executable, "-c", "pass"], environment=own),
            "aegis --version": lambda: run([command, "--version"], environment=own),
            "aegis --help": lambda: run([command, "--help"], environment=own),
            "aegis publish t VALUE": lambda: run([command, "publish", "t", _VALUE], environment=own),
            "aegis consume t --last 1": lambda: run(
                [command, "consume", "t", "--last", "1"], environment=own
            ),
        },
    )
    stored = run([command, "consume", "t"], environment=own).output
    if stored != f"{_VALUE}\n".encode() * rounds:
        raise BenchmarkError("one-message publishes did not store one message each")
    bare = _milliseconds(results.pop("python"))
    yield Row(what="python -c pass: CPU", figures=bare, unit="ms", better="less")
    for name, runs in results.items():
        spent = _milliseconds(runs)
        if name == "aegis publish t VALUE":
            yield Row(what=f"{name}: CPU", figures=spent, unit="ms", must=160, aim=90, better="less")
        else:
            yield Row(what=f"{name}: CPU", figures=spent, unit="ms", better="less")
        yield Row(
            what=f"{name}: CPU, against python -c pass", figures=ratios(spent, bare), unit="x", better="less"
        )
    shutil.rmtree(directory)


def _milliseconds(runs: list[Run]) -> list[float]:
    return [one.cpu_seconds * 1000 for one in runs]
