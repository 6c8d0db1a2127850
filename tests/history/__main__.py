"""`python -m tests.history`: make a history, print its problems and one line, exit 1 if there are any."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from typing import get_args

from tests.history.cast import GROUPS
from tests.history.history import run
from tests.history.nemesis import Targets


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.history", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--groups", nargs="+", choices=list(GROUPS), default=list(GROUPS))
    parser.add_argument("--breakage", help="what to break, see tests/history/broken.py")
    parser.add_argument("--pause", type=float, default=0.3, help="mean seconds between two blows")
    parser.add_argument("--targets", choices=get_args(Targets), default="everyone", help="who is struck")
    parser.add_argument("--directory", type=Path, help="where to run; kept, also when all is well")
    options = parser.parse_args()
    sys.stdout.write(f"history: seed {options.seed}\n")
    sys.stdout.flush()
    directory = options.directory or Path(tempfile.mkdtemp(prefix="aegis-history-"))
    directory.mkdir(exist_ok=True)
    summary = run(
        directory,
        seconds=options.minutes * 60,
        seed=options.seed,
        groups=options.groups,
        breakage=options.breakage,
        pause_seconds=options.pause,
        targets=options.targets,
    )
    for problem in summary.findings.problems:
        sys.stdout.write(f"  {problem}\n")
    sys.stdout.write(f"{summary}\n")
    if summary.findings.kinds:
        sys.stdout.write(f"everything is kept in {directory}\n")
        return 1
    if options.directory is None:
        shutil.rmtree(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
