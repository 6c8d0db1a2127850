"""What an expression says, as a tree of values.

The tree is the only form in which an expression lives on: it is checked when it is made, and everything that
is generated from it (Python today, SQL later) is generated from it alone. `place` of a node is where it
begins, in characters from the beginning of the expression's text.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from aegis_cli.pipeline.definition import Text
from aegis_cli.pipeline.errors import ExpressionError

Scalar = None | bool | int | float | str


class Literal(Struct, frozen=True):
    """A value that is written out."""

    value: Scalar
    place: int = 0


class Name(Struct, frozen=True):
    """A field of the record, by its top-level name."""

    name: str
    place: int = 0


class Item(Struct, frozen=True):
    """A field of an object, an item of a list or a character of a text. `index` is often a `Literal`."""

    of: Node
    index: Node
    place: int = 0


class ListOf(Struct, frozen=True):
    """A list that is written out."""

    items: tuple[Node, ...]
    place: int = 0


class Compare(Struct, frozen=True):
    """`operator` is one of == != < <= > >=."""

    operator: str
    left: Node
    right: Node
    place: int = 0


class In(Struct, frozen=True):
    """Whether `item` is in a list, a key of an object or a part of a text."""

    item: Node
    container: Node
    negated: bool
    place: int = 0


class IsNull(Struct, frozen=True):
    """Whether `of` is null; the one comparison with null that is true or false."""

    of: Node
    negated: bool
    place: int = 0


class Logic(Struct, frozen=True):
    """`operator` is 'and' or 'or', of two or more."""

    operator: str
    items: tuple[Node, ...]
    place: int = 0


class Not(Struct, frozen=True):
    """True where `of` is false; null where it is null."""

    of: Node
    place: int = 0


class If(Struct, frozen=True):
    """`then` where `test` is true, else `otherwise`; also where it is null."""

    test: Node
    then: Node
    otherwise: Node
    place: int = 0


class Arithmetic(Struct, frozen=True):
    """`operator` is one of + - * / // %."""

    operator: str
    left: Node
    right: Node
    place: int = 0


class Negative(Struct, frozen=True):
    """The number below zero that `of` is above it."""

    of: Node
    place: int = 0


class Call(Struct, frozen=True):
    """A call of a known function."""

    function: str
    arguments: tuple[Node, ...]
    place: int = 0


class Prepared(Struct, frozen=True):
    """An argument that had to be a literal, and what was made of it: a compiled pattern, a unit of time."""

    value: object
    literal: Scalar
    place: int = 0


class Let(Struct, frozen=True):
    """`body`, in which the `Shared` of this number stands for `value`: for the middle of `a < b < c`."""

    number: int
    value: Node
    body: Node
    place: int = 0


class Shared(Struct, frozen=True):
    """The value of the `Let` of this number."""

    number: int
    place: int = 0


Node = (
    Literal
    | Name
    | Item
    | ListOf
    | Compare
    | In
    | IsNull
    | Logic
    | Not
    | If
    | Arithmetic
    | Negative
    | Call
    | Prepared
    | Let
    | Shared
)


class Expression(Struct, frozen=True):
    """A checked expression. `fields` are the top-level names that it reads, `path` the file that holds it."""

    node: Node
    text: Text
    path: str
    fields: frozenset[str]

    def error(self, reason: str, place: int, *, hint: str = "") -> ExpressionError:
        """An error that points at a place of this expression."""
        return error_at(self.text, self.path, place, reason, hint=hint)


def error_at(text: Text, path: str, place: int, reason: str, *, hint: str = "") -> ExpressionError:
    """An error at a place in the file."""
    line, column = text.place(place)
    return ExpressionError(path, reason, line=line, column=column, hint=hint)


def children(node: Node) -> tuple[Node, ...]:
    """The nodes right below one, in the order in which they are written."""
    match node:
        case Item():
            return (node.of, node.index)
        case ListOf() | Logic():
            return node.items
        case Compare() | Arithmetic():
            return (node.left, node.right)
        case In():
            return (node.item, node.container)
        case IsNull() | Not() | Negative():
            return (node.of,)
        case If():
            return (node.then, node.test, node.otherwise)
        case Call():
            return node.arguments
        case Let():
            return (node.value, node.body)
        case _:
            return ()


def walk(node: Node) -> Iterator[Node]:
    """A node and all below it."""
    waiting: list[Node] = [node]
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(reversed(children(node)))
