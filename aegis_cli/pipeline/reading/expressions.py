"""Expressions of a pipeline file: texts that are kept as they are, with their place."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from aegis_cli.pipeline.definition import AggregateCall, Text
from aegis_cli.pipeline.document import MappingNode, Node, ScalarNode
from aegis_cli.pipeline.place import Place, shown
from aegis_cli.pipeline.reading.keys import entries, wrong_kind
from aegis_cli.pipeline.reading.scalars import field_name

if TYPE_CHECKING:
    import ast

CHARACTERS_MAX = 10_000
ARGUMENTS_MAX = 16

# A literal that is never closed reaches to the end, so that nothing is looked at twice.
_LITERAL = re.compile(r"""'(?:[^'\\]|\\.)*('|\\?\Z)|"(?:[^"\\]|\\.)*("|\\?\Z)""", re.DOTALL)
# Python would take some of them for the ends of lines.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_OPERATOR = re.compile(r"&&|\|\|")
_WORD_OF = {"&&": "and", "||": "or"}


def expression(node: Node, *, what: str, example: str) -> Text:
    """The expression that a text is; raises PipelineFileError."""
    if not isinstance(node, ScalarNode) or not node.text.strip():
        if isinstance(node, MappingNode):
            example += ", and quote an expression that begins with '{' or holds ': '"
        raise wrong_kind(node, f"{what} must be an expression", example)
    stripped = node.text.strip()
    if len(stripped) > CHARACTERS_MAX:
        raise node.place.error(f"{what} has more than {CHARACTERS_MAX} characters")
    if _CONTROL.search(stripped):
        raise node.place.error(f"{what} holds a control character", "write it as an escape in a literal")
    blanks = node.text[: len(node.text) - len(node.text.lstrip())]
    column = node.place.column + (0 if "\n" in blanks else len(blanks))
    lines = tuple((at - len(blanks), line, column) for at, line, column in node.lines)
    found = Text(stripped, node.place.line, column, lines)
    _refuse_operators(found, node)
    return found


def expressions(node: Node, *, what: str, example: str) -> dict[str, Text]:
    """The expressions of a mapping of names, in its order; raises PipelineFileError."""
    found: dict[str, Text] = {}
    for key, value in entries(node, what=what, example=example):
        name = field_name(key, what=f"a name in {what}")
        found[name] = expression(value, what=f"{shown(name)} in {what}", example=example)
    return found


def _refuse_operators(text: Text, node: ScalarNode) -> None:
    bare = _LITERAL.sub(_blank, text.text)
    if match := _OPERATOR.search(bare):
        place = Place(node.place.path, *text.place(match.start()))
        raise place.error(f"{match.group()!r} is no operator here", f"write {_WORD_OF[match.group()]!r}")
    if not node.plain or _is_closed(bare):
        return
    # YAML ends a plain text where ' #' begins a comment; what was lost can only be seen by what is left open.
    raise node.place.error(
        f"{shown(text.text)} leaves a quote or a bracket open",
        "close it; a text that holds ' #' or ': ' must be quoted as a whole",
    )


def _blank(literal: re.Match[str]) -> str:
    """As many blanks as the literal has characters; one that is never closed keeps its quote."""
    closed = literal[1] or literal[2]
    return " " * len(literal.group()) if closed in ("'", '"') else literal.group()[0]


def _is_closed(bare: str) -> bool:
    pairs = all(bare.count(left) <= bare.count(right) for left, right in ("()", "[]", "{}"))
    return pairs and "'" not in bare and '"' not in bare


def aggregate_calls(node: Node, *, example: str) -> dict[str, AggregateCall]:
    """The aggregates of a mapping of names, in its order; raises PipelineFileError."""
    found: dict[str, AggregateCall] = {}
    for key, value in entries(node, what="'aggregate'", example=example):
        name = field_name(key, what="a name in 'aggregate'")
        what = f"{shown(name)} in 'aggregate'"
        place = value.place
        text = expression(value, what=what, example=example)
        found[name] = _call(text, place, what=what)
    return found


def _call(text: Text, place: Place, *, what: str) -> AggregateCall:
    import ast

    tree = _parsed(text, place, what=what)
    if isinstance(tree, ast.Name):
        return AggregateCall(name=tree.id, arguments=(), place=text)
    if not isinstance(tree, ast.Call) or not isinstance(tree.func, ast.Name):
        raise place.error(
            f"{what} must be one call like sum(amount), and this is {shown(text.text)}",
            "compute further with it in a 'map' after the 'aggregate'",
        )
    if tree.keywords:
        raise place.error(f"{what} names an argument", f"give it by its place, like {tree.func.id}(amount)")
    if len(tree.args) > ARGUMENTS_MAX:
        raise place.error(f"{what} has more than {ARGUMENTS_MAX} arguments")
    starts = [0, *(match.end() for match in re.finditer("\n", text.text))]
    arguments = tuple(
        text.part(
            _offset(text, starts, argument.lineno, argument.col_offset),
            _offset(text, starts, argument.end_lineno or 1, argument.end_col_offset or 0),
        )
        for argument in tree.args
    )
    return AggregateCall(name=tree.func.id, arguments=arguments, place=text)


def _offset(text: Text, starts: list[int], line: int, column: int) -> int:
    """The offset of what Python calls so: it counts columns in bytes, and from 0."""
    start = starts[line - 1]
    return start + len(text.text[start:].encode()[:column].decode())


def _parsed(text: Text, place: Place, *, what: str) -> ast.expr:
    import ast
    import warnings

    try:
        with warnings.catch_warnings():
            # A doubtful escape in a literal is no matter for whoever runs the pipeline.
            warnings.simplefilter("ignore")
            return ast.parse(text.text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        hint = "write a call like sum(amount)"
        if "(*)" in text.text:
            hint = "to count records write count()"
        raise place.error(f"{what} cannot be understood: {_reason(error)}", hint) from None


def _reason(error: Exception) -> str:
    reason = error.msg if isinstance(error, SyntaxError) else ""
    return reason.splitlines()[0] if reason else "it is nested too deep"
