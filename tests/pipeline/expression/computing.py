"""What the tests of expressions share: computing one over a record, and a look at its source."""

from __future__ import annotations

import ast
import re
from types import CodeType, SimpleNamespace
from typing import Any

from aegis_cli.pipeline.definition import Text
from aegis_cli.pipeline.expression import Constants, Expression, emit, emit_condition, parse

_NODES = (
    ast.Expression,
    ast.IfExp,
    ast.BoolOp,
    ast.boolop,
    ast.UnaryOp,
    ast.Not,
    ast.USub,
    ast.Compare,
    ast.cmpop,
    ast.Call,
    ast.NamedExpr,
    ast.Name,
    ast.Attribute,
    ast.Constant,
    ast.Tuple,
    ast.List,
    ast.Subscript,
    ast.expr_context,
)
_NAME = re.compile(r"k[0-9]+|_x[0-9]+|type|int|float|str|dict|r")
_FUNCTION = re.compile(r"k[0-9]+|type")


def read(text: str) -> Expression:
    return parse(Text(text), path="p.yaml")


def names_of(expression: Expression) -> dict[str, str]:
    """A slot of the record for each field that the expression reads."""
    return {name: f"r.f{position}" for position, name in enumerate(sorted(expression.fields))}


def check_source(source: str) -> None:
    """Hold generated source against what it may consist of."""
    for node in ast.walk(ast.parse(source, mode="eval")):
        assert isinstance(node, _NODES), f"{type(node).__name__} in {source}"
        if isinstance(node, ast.Name):
            assert _NAME.fullmatch(node.id), f"{node.id} in {source}"
        elif isinstance(node, ast.Attribute):
            slot = (
                isinstance(node.value, ast.Name)
                and node.value.id == "r"
                and re.fullmatch("f[0-9]+", node.attr)
            )
            assert slot or node.attr == "get", f".{node.attr} in {source}"
        elif isinstance(node, ast.Call):
            assert not node.keywords
            if isinstance(node.func, ast.Attribute):
                assert node.func.attr == "get"
                assert [ast.Constant] == [type(argument) for argument in node.args]
            else:
                assert isinstance(node.func, ast.Name)
                assert _FUNCTION.fullmatch(node.func.id)
        elif isinstance(node, ast.Subscript):
            assert isinstance(node.value, ast.Tuple)
            assert isinstance(node.slice, ast.Constant)
            assert 1 == node.slice.value
        elif isinstance(node, ast.NamedExpr):
            assert node.target.id.startswith("_x")


def code_of(source: str) -> CodeType:
    return compile(source, "generated", "eval")


def run(source: str, expression: Expression, constants: Constants, record: dict[str, Any]) -> Any:
    """What generated source gives for a record."""
    slots = {f"f{position}": record.get(name) for position, name in enumerate(sorted(expression.fields))}
    return eval(code_of(source), {**constants.namespace, "r": SimpleNamespace(**slots)})


def compute(text: str, /, **record: Any) -> Any:
    """The value of an expression for a record with these fields."""
    expression, constants = read(text), Constants()
    source = emit(expression, names_of(expression), constants)
    check_source(source)
    return run(source, expression, constants, record)


def holds(text: str, /, **record: Any) -> bool:
    """Whether a condition lets a record with these fields pass."""
    expression, constants = read(text), Constants()
    source = emit_condition(expression, names_of(expression), constants)
    check_source(source)
    return bool(run(source, expression, constants, record))
