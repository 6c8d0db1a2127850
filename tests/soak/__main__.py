"""`python -m tests.soak`: run the soak, print one line, exit 1 if anything is wrong."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from tests.soak.soak import run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--directory", type=Path, help="where to run; kept, also when all is well")
    options = parser.parse_args()
    directory = options.directory or Path(tempfile.mkdtemp(prefix="aegis-soak-"))
    directory.mkdir(exist_ok=True)
    summary = run(directory, seconds=options.minutes * 60, seed=options.seed)
    for problem in summary.verdict.problems:
        sys.stdout.write(f"  {problem}\n")
    sys.stdout.write(f"{summary}\n")
    if summary.verdict.problems:
        sys.stdout.write(f"everything is kept in {directory}\n")
        return 1
    if options.directory is None:
        shutil.rmtree(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
