"""`python -m tests.pipeline.fuzz_files`: hostile pipeline files by the million.

Files are mutations of good ones, and texts put together from what YAML, expressions and the keys are made of.
A Definition or a PipelineFileError of one line may come out, and soon; the first file of which anything else
does is shown, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from dataclasses import dataclass

from aegis_cli.pipeline.errors import PipelineFileError
from aegis_cli.pipeline.reading import loads
from aegis_cli.pipeline.reading.file import KEYS
from tests.pipeline.definition_files import SEED, reference_files

# CPU time of one small file. It takes a millisecond; the rest is for the noise of a busy machine.
SECONDS_MAX = 2.0

_GOOD = [SEED, *(text for _, text in reference_files())]
_PIECES = [
    *(f"{key}:" for key in KEYS),
    *("topic:", "file:", "key:", "within:", "as:", "items:", "to:", "given:", "expect:", "field:", "every:"),
    *(
        "{",
        "}",
        "[",
        "]",
        ",",
        ": ",
        "- ",
        "\n",
        "\n  ",
        "\n    - ",
        "#",
        " #",
        "|",
        ">",
        "|-\n  ",
        "?",
        "'",
        '"',
    ),
    *(
        "&a ",
        "*a",
        "!!python/object:os.system ",
        "!x ",
        "<<: ",
        "%TAG",
        "---",
        "...",
        "\t",
        "\r",
        "\0",
        "\ufeff",
    ),
    *("\x85", "\u2028", "é", "\U0001f600", "\\", "\\x00", '"\\ud800"', "${", "${a}", "${a:-b}", "$$", "}"),
    *("5m", "5 min", "-1h", "forever", "0", "1e999", "9" * 25, ".inf", "0x1f", "0o17", "null", "true", "~"),
    *(
        "sum(a)",
        "sum(a, b)",
        "count",
        "count()",
        "count(*)",
        "f(",
        ")",
        "a && b",
        "a or b",
        "lambda: 0",
        "(((((",
    ),
    *("not ", "a.b[0]", "orders", "-", "../x", "x" * 300, "a b", "2026-01-01", "on", "yes"),
]


@dataclass(slots=True)
class Outcome:
    """What came of a run: how many files were accepted, and what is wrong with the first that went wrong."""

    examples: int = 0
    accepted: int = 0
    slowest_seconds: float = 0.0
    problem: str = ""


def fuzz(*, examples: int, seed: int) -> Outcome:
    """Reads so many files, ending at the first that goes wrong."""
    chance = random.Random(seed)
    outcome = Outcome()
    while outcome.examples < examples and not outcome.problem:
        outcome.examples += 1
        check(hostile(chance), outcome)
    return outcome


def check(text: str, outcome: Outcome) -> None:
    """Reads one file, and adds what came of it."""
    began = time.process_time()
    try:
        found = loads(text, path="fuzz.yaml", settings={"a": "b"} if "${a" in text else {})
        outcome.accepted += 1
        if found.path != "fuzz.yaml" or not found.branches:
            outcome.problem = f"{found!r} came of {text!r}"
    except PipelineFileError as error:
        if "\n" in str(error) or not str(error).startswith("fuzz.yaml:") or len(str(error)) > 1000:
            outcome.problem = f"the message {str(error)!r} came of {text!r}"
    except Exception as error:
        outcome.problem = f"{error!r} came of {text!r}"
    seconds = time.process_time() - began
    outcome.slowest_seconds = max(outcome.slowest_seconds, seconds)
    if seconds > SECONDS_MAX:
        outcome.problem = f"{seconds:.1f} s went into {text!r}"


def hostile(chance: random.Random) -> str:
    """One file: a good one with a few changes, or one of random pieces."""
    if chance.random() < 0.2:
        return "".join(chance.choices(_PIECES, k=chance.randint(1, 40)))
    text = chance.choice(_GOOD)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        text = _changed(text, chance)
    return text


def _changed(text: str, chance: random.Random) -> str:
    start = chance.randint(0, len(text))
    end = min(len(text), start + chance.choice((0, 0, 1, 1, 2, 5, 20)))
    kind = chance.randrange(5)
    if kind == 0:
        return text[:start] + text[end:]
    if kind == 1:
        return text[:start] + chance.choice(_PIECES) + text[end:]
    if kind == 2:
        return text[:start] + text[start:end] * chance.choice((2, 3, 50)) + text[end:]
    lines = text.split("\n")
    line = chance.randrange(len(lines))
    if kind == 3:
        lines[line] = chance.choice(chance.choice(_GOOD).split("\n"))
    else:
        lines[line] = _with_another_value(lines[line], chance)
    return "\n".join(lines)


def _with_another_value(line: str, chance: random.Random) -> str:
    key, colon, _ = line.partition(": ")
    return f"{key}{colon}{chance.choice(_PIECES)}" if colon else line


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.pipeline.fuzz_files", description=__doc__)
    parser.add_argument("--examples", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    outcome = fuzz(examples=options.examples, seed=options.seed)
    slowest_ms = outcome.slowest_seconds * 1000
    sys.stdout.write(f"{outcome.examples} files, {outcome.accepted} accepted, slowest {slowest_ms:.0f} ms\n")
    if outcome.problem:
        sys.stdout.write(f"{outcome.problem}\n")
    return 1 if outcome.problem else 0


if __name__ == "__main__":
    sys.exit(main())
