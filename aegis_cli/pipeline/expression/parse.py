"""From text to tree: Python's parser reads the expression, and only what is on the list becomes a node.

`parse` never runs anything of the text. It raises ExpressionError, with line and column in the file, for
everything that is not an expression of pipelines; the time it takes is bounded by the limits of `scan`.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable

from aegis_cli.pipeline.definition import Text
from aegis_cli.pipeline.errors import ExpressionError
from aegis_cli.pipeline.expression.function import Function
from aegis_cli.pipeline.expression.functions import AGGREGATES, FUNCTIONS
from aegis_cli.pipeline.expression.path import read_path
from aegis_cli.pipeline.expression.scan import DEPTH_MAX, scan
from aegis_cli.pipeline.expression.tree import (
    Arithmetic,
    Call,
    Compare,
    Expression,
    If,
    In,
    IsNull,
    Item,
    Let,
    ListOf,
    Literal,
    Logic,
    Name,
    Negative,
    Node,
    Not,
    Prepared,
    Scalar,
    Shared,
    children,
    error_at,
    walk,
)
from aegis_cli.pipeline.expression.values import INT_MAX, INT_MIN

NODES_MAX = 1000

_WORDS_OF_VALUES: dict[str, bool | None] = {"true": True, "false": False, "null": None}
_COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
}
_ARITHMETIC: dict[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.Mod: "%",
}
_REFUSED: dict[type[ast.AST], tuple[str, str]] = {
    ast.Tuple: ("values in a row", "write a list in square brackets: [a, b]"),
    ast.Starred: ("'*' before a value", "write each argument"),
    ast.Slice: ("a part by ':'", "write substr(text, start, length)"),
}
# What Python and SQL call a function that has another name here, and is like none.
_ELSEWHERE = {
    "str": "text",
    "string": "text",
    "size": "length",
    "nvl": "coalesce",
    "date_format": "format_time",
}


def parse(text: Text, *, path: str) -> Expression:
    """Read an expression. Raises ExpressionError for what is none."""
    scan(text, path)
    # In brackets and on one line, any text means the same, and a place in it is one number.
    line = "(" + text.text.replace("\n", " ").replace("\r", " ") + ")"
    try:
        body = ast.parse(line, mode="eval").body
    except SyntaxError as error:
        raise _syntax_error(text, path, error.offset or 0) from None
    except (ValueError, MemoryError, RecursionError, OverflowError):
        raise error_at(text, path, 0, "this cannot be read as an expression") from None
    node = _Reader(text, path, line).read(body)
    tall = _too_tall(node)
    if tall is not None:
        raise error_at(
            text, path, tall.place, f"nested deeper than {DEPTH_MAX}", hint="divide it over two maps"
        )
    fields = frozenset(below.name for below in walk(node) if type(below) is Name)
    return Expression(node, text, path, fields)


def _syntax_error(text: Text, path: str, offset: int) -> ExpressionError:
    # Offsets of the parser count from 1, and the first character is our bracket.
    place = min(max(offset - 2, 0), len(text.text))
    rest = text.text[place:].split(maxsplit=1)
    if not rest:
        return error_at(text, path, place, "the expression is incomplete")
    shown = rest[0] if len(rest[0]) <= 20 else f"{rest[0][:19]}…"
    return error_at(text, path, place, f"'{shown}' cannot stand here")


class _Reader:
    """Turns nodes of Python's tree into ours."""

    def __init__(self, text: Text, path: str, line: str) -> None:
        self.text = text
        self.path = path
        self.bytes = None if line.isascii() else line.encode()
        self.nodes = 0
        self.depth = 0
        self.lets = 0
        self.readers: dict[type[ast.AST], Callable[..., Node]] = {
            ast.Constant: self.constant,
            ast.Name: self.name,
            ast.Attribute: self.attribute,
            ast.Subscript: self.subscript,
            ast.List: self.list_of,
            ast.Compare: self.compare,
            ast.BoolOp: self.logic,
            ast.UnaryOp: self.unary,
            ast.BinOp: self.binary,
            ast.IfExp: self.choose,
            ast.Call: self.call,
        }

    def place(self, node: ast.expr) -> int:
        # Values in a row, without brackets of their own, begin at ours.
        if self.bytes is None:
            return max(node.col_offset - 1, 0)
        return max(len(self.bytes[: node.col_offset].decode(errors="replace")) - 1, 0)

    def error(self, place: int, reason: str, hint: str = "") -> ExpressionError:
        return error_at(self.text, self.path, place, reason, hint=hint)

    def read(self, node: ast.expr) -> Node:
        self.nodes += 1
        self.depth += 1
        if self.nodes > NODES_MAX:
            raise self.error(self.place(node), f"an expression of more than {NODES_MAX} parts", "divide it")
        if self.depth > DEPTH_MAX:
            raise self.error(self.place(node), f"nested deeper than {DEPTH_MAX}", "divide it over two maps")
        reader = self.readers.get(type(node))
        if reader is None:
            what, hint = _REFUSED.get(type(node), ("this", ""))
            raise self.error(self.place(node), f"{what} cannot be used in an expression", hint)
        made = reader(node)
        self.depth -= 1
        return made

    def constant(self, node: ast.Constant) -> Node:
        return Literal(self.checked(node.value, self.place(node)), self.place(node))

    def checked(self, value: object, place: int) -> Scalar:
        """A written value, unless records could not hold it."""
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int):
            if not INT_MIN <= value <= INT_MAX:
                raise self.error(place, "this number has more than 64 bits", "write it with a point")
            return value
        if isinstance(value, float):
            if not math.isfinite(value):
                raise self.error(place, "this number is too large")
            return value
        if isinstance(value, str):
            if any("\ud800" <= character <= "\udfff" for character in value):
                raise self.error(place, "half of a surrogate pair is no character")
            return value
        raise self.error(place, "this kind of value cannot be used in an expression")

    def name(self, node: ast.Name) -> Node:
        if node.id in _WORDS_OF_VALUES:
            return Literal(_WORDS_OF_VALUES[node.id], self.place(node))
        return Name(node.id, self.place(node))

    def attribute(self, node: ast.Attribute) -> Node:
        return Item(self.read(node.value), Literal(node.attr, self.place(node)), self.place(node))

    def subscript(self, node: ast.Subscript) -> Node:
        of = self.read(node.value)
        index = self.read(node.slice)
        if isinstance(index, Literal) and type(index.value) not in (int, str):
            raise self.error(index.place, "an index is a whole number or a text")
        return Item(of, index, self.place(node))

    def list_of(self, node: ast.List | ast.Tuple) -> Node:
        return ListOf(tuple(self.read(item) for item in node.elts), self.place(node))

    def logic(self, node: ast.BoolOp) -> Node:
        operator = "and" if isinstance(node.op, ast.And) else "or"
        return Logic(operator, tuple(self.read(item) for item in node.values), self.place(node))

    def unary(self, node: ast.UnaryOp) -> Node:
        place = self.place(node)
        if isinstance(node.op, ast.Not):
            return Not(self.read(node.operand), place)
        if not isinstance(node.op, ast.USub):
            raise self.error(place, "a plus before a value cannot be used in an expression", "leave it out")
        number = node.operand.value if isinstance(node.operand, ast.Constant) else None
        if isinstance(number, int | float) and not isinstance(number, bool):
            self.nodes += 1
            return Literal(self.checked(-number, place), place)
        return Negative(self.read(node.operand), place)

    def binary(self, node: ast.BinOp) -> Node:
        operator = _ARITHMETIC.get(type(node.op))
        if operator is None:
            raise self.error(self.place(node), "this operator cannot be used in an expression")
        return Arithmetic(operator, self.read(node.left), self.read(node.right), self.place(node))

    def choose(self, node: ast.IfExp) -> Node:
        then, test = self.read(node.body), self.read(node.test)
        return If(test, then, self.read(node.orelse), self.place(node))

    def compare(self, node: ast.Compare) -> Node:
        """One comparison, or the chain `a < b < c`: each value once, and the comparisons joined by `and`."""
        place = self.place(node)
        left = self.read(node.left)
        done: list[Node] = []
        lets: list[tuple[int, Node, int]] = []
        last = len(node.ops) - 1
        for position, (operator, operand) in enumerate(zip(node.ops, node.comparators, strict=True)):
            inside = isinstance(operator, ast.In | ast.NotIn)
            right = self.container(operand) if inside else self.read(operand)
            if position < last and not isinstance(right, Literal | Name):
                self.lets += 1
                lets.append((self.lets, right, len(done)))
                right = Shared(self.lets, right.place)
            done.append(self.one_comparison(operator, left, right, place))
            left = right
        return _chain(done, lets, place)

    def container(self, node: ast.expr) -> Node:
        if isinstance(node, ast.Tuple):
            self.nodes += 1
            return self.list_of(node)
        container = self.read(node)
        if isinstance(container, Literal):
            hint = "write [...] around the values, or contains(text, part)"
            raise self.error(container.place, "nothing is in a single value", hint)
        return container

    def one_comparison(self, operator: ast.cmpop, left: Node, right: Node, place: int) -> Node:
        if isinstance(operator, ast.Is | ast.IsNot):
            if not (isinstance(right, Literal) and right.value is None):
                raise self.error(right.place, "'is' is for None only", "write '=='")
            return IsNull(left, isinstance(operator, ast.IsNot), place)
        inside = isinstance(operator, ast.In | ast.NotIn)
        sides = (left, *right.items) if inside and isinstance(right, ListOf) else (left, right)
        for side in sides:
            if isinstance(side, Literal) and side.value is None:
                raise self.error(
                    side.place, "a comparison with null is never true", "write 'is None' or 'is not None'"
                )
        if inside:
            return In(left, right, isinstance(operator, ast.NotIn), place)
        return Compare(_COMPARISONS[type(operator)], left, right, place)

    def call(self, node: ast.Call) -> Node:
        place = self.place(node)
        if not isinstance(node.func, ast.Name):
            raise self.error(place, "only functions can be called", self.method_hint(node.func))
        if node.keywords:
            raise self.error(place, "arguments have no names", "write them in their order")
        name = node.func.id
        arguments = tuple(self.read(argument) for argument in node.args)
        if name == "field":
            return Name(self.literal_text("field", arguments, place), place)
        function = FUNCTIONS.get(name)
        if function is None:
            raise self.error(place, f"there is no function '{name}'", _function_hint(name))
        self.check_count(function, len(arguments), place)
        if name == "get":
            return self.path_of(arguments, place)
        return Call(name, self.prepared(function, arguments), place)

    def method_hint(self, node: ast.expr) -> str:
        if isinstance(node, ast.Attribute) and node.attr in FUNCTIONS:
            return f"write {node.attr}(value, ...)"
        return ""

    def check_count(self, function: Function, count: int, place: int) -> None:
        if count < function.required or (count > len(function.parameters) and not function.variadic):
            raise self.error(place, f"{function.name} has {count} arguments", f"it is {function.signature}")

    def prepared(self, function: Function, arguments: tuple[Node, ...]) -> tuple[Node, ...]:
        made: list[Node] = []
        for position, argument in enumerate(arguments):
            parameter = function.parameter(position)
            if parameter.prepare is not None:
                if not isinstance(argument, Literal) or argument.value is None:
                    reason = f"{parameter.name} of {function.name} must be written out"
                    raise self.error(argument.place, reason, "it is checked before the first record")
                try:
                    value = parameter.prepare(argument.value)
                except ValueError as error:
                    raise self.error(argument.place, f"{function.name}: {error}") from None
                argument = Prepared(value, argument.value, argument.place)
            elif isinstance(argument, Literal) and not parameter.takes(argument.value):
                reason = parameter.refusal(function.name, argument.value)
                raise self.error(argument.place, reason, f"it is {function.signature}")
            made.append(argument)
        if function.check is not None:
            known = [
                argument.value if isinstance(argument, Literal | Prepared) else None for argument in made
            ]
            try:
                function.check(tuple(known))
            except ValueError as error:
                raise self.error(made[-1].place, f"{function.name}: {error}") from None
        return tuple(made)

    def literal_text(self, function: str, arguments: tuple[Node, ...], place: int) -> str:
        if len(arguments) == 1 and isinstance(arguments[0], Literal) and isinstance(arguments[0].value, str):
            return arguments[0].value
        raise self.error(place, f"{function} needs one name in quotes", 'as in field("my-name")')

    def path_of(self, arguments: tuple[Node, ...], place: int) -> Node:
        node, path = arguments
        if not isinstance(path, Literal) or not isinstance(path.value, str):
            raise self.error(
                path.place, "the path of get must be written out", 'as in get(order, "lines[0].sku")'
            )
        try:
            steps = read_path(path.value)
        except ValueError as error:
            raise self.error(path.place, f"get: {error}") from None
        for step in steps:
            node = Item(node, Literal(step, path.place), place)
        return node


def _too_tall(node: Node) -> Node | None:
    """A node that lies too deep, if there is one; paths and chains make more levels than were written."""
    level: list[Node] = [node]
    for _ in range(DEPTH_MAX):
        level = [child for above in level for child in children(above)]
    return level[0] if level else None


def _chain(done: list[Node], lets: list[tuple[int, Node, int]], place: int) -> Node:
    if len(done) == 1:
        return done[0]
    for number, value, position in reversed(lets):
        body = Logic("and", tuple(done[position:]), place)
        done[position:] = [Let(number, value, body, place)]
    return done[0] if len(done) == 1 else Logic("and", tuple(done), place)


def _function_hint(name: str) -> str:
    if name in AGGREGATES:
        return "aggregates stand under 'aggregate'"
    if name in ("now", "random", "uuid", "current_timestamp"):
        return "expressions give the same result whenever they run"
    if name.lower() in _ELSEWHERE:
        return f"write {FUNCTIONS[_ELSEWHERE[name.lower()]].signature}"
    import difflib

    near = difflib.get_close_matches(name.lower(), FUNCTIONS, 1, 0.6)
    return f"did you mean '{near[0]}'?" if near else "docs/pipeline-expressions.md lists them"
