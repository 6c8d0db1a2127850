"""`python -m tests.pipeline.fuzz_expressions`: random expressions, right and wrong ones, until one tells.

Half of the inputs are trees: their text, parsed and computed by the generated code, must give what
`reference` gives for the tree. The other half is text: such texts damaged, or drawn from an alphabet of what
is nasty. They must be refused with an ExpressionError, or compute something that JSON can hold, in bounded
time. All generated source must consist of what `check_source` allows.
"""

from __future__ import annotations

import argparse
import sys
import time
from random import Random
from typing import Any

import msgspec

from aegis_cli.pipeline.errors import ExpressionError, RecordError
from aegis_cli.pipeline.expression import FUNCTIONS, Constants, Expression, emit, emit_condition
from tests.pipeline.expression import reference
from tests.pipeline.expression.computing import check_source, names_of, read, run
from tests.pipeline.expression.reference import Tree
from tests.pipeline.expression.trees import Trees, random_record, written

SECONDS_MAX = 5.0
REFUSED = "refused"
_PIECES = (
    *"()[]{}.,:;=<>!+-*/%&|^~@?#$`\\\"'_ \n\t\r\x00\x0b\x0c\x85\u2028",
    *("and", "or", "not", "in", "is", "if", "else", "None", "True", "null", "true", "lambda", "for", "await"),
    *(
        "==",
        "!=",
        "<=",
        ">=",
        "//",
        "**",
        ":=",
        "->",
        "<>",
        "&&",
        "||",
        "...",
        "f'",
        "r'",
        "b'",
        '"""',
        "\\N{",
    ),
    *(
        "0",
        "1",
        "1e",
        "1e999",
        "0x",
        "1j",
        "1_",
        "9" * 30,
        "0" * 400,
        ".5",
        "1.",
        "a",
        "b",
        "é",
        "\u212a",
        "\ufb01",
    ),
    *(
        "__class__",
        "__import__",
        "k0",
        "_x0",
        "r",
        "type",
        "get(a, 'b[0]')",
        "field('x')",
        "matches(a, '(a*)*')",
    ),
    *("((((((((", "----------", "not not not ", "a[0]", "a.b", "[[[[[[", "'x' * ", "a if b else ", "\ud800"),
    *(f"{name}(" for name in FUNCTIONS),
)


def outcome(source: str, expression: Expression, constants: Constants, record: dict[str, Any]) -> str:
    """What generated source gives, as text that tells 1 from 1.0 and True."""
    check_source(source)
    try:
        result = run(source, expression, constants, record)
    except RecordError as error:
        assert "\n" not in str(error)
        return REFUSED
    msgspec.json.encode(result)
    return repr(result)


def wanted(tree: Tree, record: dict[str, Any]) -> str:
    try:
        return repr(reference.value(tree, record))
    except reference.Refused:
        return REFUSED


def check_tree(tree: Tree, text: str, record: dict[str, Any]) -> None:
    """Compare what the generated code gives for a tree with what the reference gives."""
    expression, constants = read(text), Constants()
    expected = wanted(tree, record)
    source = emit(expression, names_of(expression), constants)
    actual = outcome(source, expression, constants, record)
    assert expected == actual, f"{text!r} of {record}: {actual}, not {expected}\n{source}"
    try:
        source = emit_condition(expression, names_of(expression), constants)
    except ExpressionError:
        # Whatever is refused here could not have let a record pass.
        assert expected not in ("True", "False"), text
        return
    try:
        passes = str(reference.is_(True, tree, record))
    except reference.Refused:
        passes = REFUSED
    found = outcome(source, expression, constants, record)
    actual = found if found == REFUSED else str(found not in ("False", "None"))
    assert passes == actual, f"condition {text!r} of {record}: {actual}, not {passes}\n{source}"


def check_text(text: str, record: dict[str, Any]) -> bool:
    """Whether a text was taken; it is either refused properly, or gives something."""
    try:
        expression = read(text)
        constants = Constants()
        source = emit(expression, names_of(expression), constants)
    except ExpressionError as error:
        assert "\n" not in str(error), repr(str(error))
        assert error.line >= 1
        assert error.column >= 1
        return False
    outcome(source, expression, constants, record)
    return True


def damaged(text: str, random: Random) -> str:
    """The text with a few pieces taken out, put in or moved."""
    for _ in range(random.randrange(1, 4)):
        begin = random.randrange(len(text) + 1)
        end = begin + random.randrange(6)
        piece = random.choice(_PIECES) if random.random() < 0.7 else text[begin : begin + 9]
        text = text[:begin] + piece + text[end if random.random() < 0.5 else begin :]
    return text


def nasty(random: Random) -> str:
    """A text of pieces that are nasty; sometimes one piece many times."""
    if random.random() < 0.1:
        return random.choice(_PIECES) * random.randrange(1, 300) + random.choice(_PIECES)
    return "".join(random.choice(_PIECES) for _ in range(random.randrange(1, 30)))


def fuzz(examples: int, seed: int) -> dict[str, int]:
    """Try so many inputs; returns how many there were of each kind. Raises AssertionError for a bad one."""
    random = Random(seed)
    trees = Trees(random)
    counts = {"trees": 0, "taken": 0, "refused": 0}
    for number in range(examples):
        record = random_record(random)
        tree = trees.whole()
        text = written(tree, random)
        begin = time.thread_time()
        if number % 2 == 0:
            check_tree(tree, text, record)
            counts["trees"] += 1
        else:
            text = damaged(text, random) if random.random() < 0.6 else nasty(random)
            counts["taken" if check_text(text, record) else "refused"] += 1
        assert time.thread_time() - begin < SECONDS_MAX, f"too slow: {text!r}"
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.pipeline.fuzz_expressions", description=__doc__)
    parser.add_argument("--examples", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    begin = time.monotonic()
    counts = fuzz(options.examples, options.seed)
    seconds = time.monotonic() - begin
    sys.stdout.write(f"{counts} in {seconds:.0f} s, seed {options.seed}: nothing found\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
