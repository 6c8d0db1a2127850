"""Random trees of expressions, their text, and random records for them.

Trees are tuples: ("literal", value), ("name", name), ("item", of, index), ("list", items),
("compare", operators, operands), ("in", negated, item, container), ("is null", negated, of), ("and", items),
("or", items), ("not", of), ("if", then, test, otherwise), ("arithmetic", operator, left, right),
("negative", of), ("call", function, arguments).
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from tests.pipeline.expression.reference import Tree

NAMES = ("a", "b", "c", "type", "größe", "odd name", "class", "__class__", "null_")
TEXTS = (
    "",
    "a",
    "b",
    "abc",
    "A",
    "1",
    "true",
    "é",
    "purchase",
    '"',
    "'",
    "\\",
    "{x}",
    "\n",
    "k0",
    "a" * 30,
    "\U0001f600",
)
NUMBERS = (
    0,
    1,
    -1,
    2,
    5,
    10,
    0.0,
    -0.0,
    1.0,
    0.5,
    -2.5,
    1e16,
    1e308,
    -1e308,
    5e-324,
    2**53 + 1,
    2**63 - 1,
    -(2**63),
)
KEYS = ("a", "b", "x y", "get")
USUAL_NUMBERS = (0, 1, 1.0, 2, 2.5, 3, 2**53, 2**53 + 1, float(2**53))
ORDERS = ("<", "<=", ">", ">=")
FUNCTIONS: dict[str, tuple[str, ...]] = {
    "coalesce": ("any", "any", "any"),
    "if_null": ("any", "any"),
    "null_if": ("any", "any"),
    "type_of": ("any",),
    "lower": ("text",),
    "length": ("text",),
    "starts_with": ("text", "text"),
    "contains": ("text", "text"),
    "concat": ("text", "text"),
    "has": ("object", "text"),
    "keys": ("object",),
    "abs": ("number",),
    "sign": ("number",),
    "floor": ("number",),
    "max": ("number", "number"),
}


def random_value(random: Random, depth: int = 2) -> Any:
    """A value that JSON can hold."""
    choice = random.randrange(12 if depth else 10)
    if choice < 2:
        return None
    if choice < 4:
        return random.random() < 0.5
    if choice < 7:
        return random.choice(NUMBERS)
    if choice < 10:
        return random.choice(TEXTS)
    size = random.randrange(4)
    if choice == 10:
        return [random_value(random, depth - 1) for _ in range(size)]
    return {random.choice(KEYS): random_value(random, depth - 1) for _ in range(size)}


def random_record(random: Random) -> dict[str, Any]:
    """A record in which some of the names are missing; in some records nearly all values are alike."""
    usual = random.choice((None, USUAL_NUMBERS, USUAL_NUMBERS, (True, False, None), TEXTS[:5]))
    record: dict[str, Any] = {}
    for name in NAMES:
        choice = random.random()
        if usual is not None and choice < 0.85:
            record[name] = random.choice(usual)
        elif choice < 0.95:
            record[name] = random_value(random)
    return record


def is_written(tree: Tree) -> bool:
    """Whether a tree is a literal, or a minus before one."""
    return tree[0] == "literal" or (tree[0] == "negative" and tree[1][0] == "literal")


class Trees:
    """Makes random trees."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.names: tuple[str, ...] = NAMES
        self.makers: list[Callable[[int], Tree]] = [
            self.comparison,
            self.comparison,
            self.logic,
            self.logic,
            self.membership,
            self.arithmetic,
            self.choice,
            self.call,
            self.item,
            lambda depth: ("is null", self.random.random() < 0.5, self.tree(depth - 1)),
            lambda depth: ("not", self.condition(depth - 1)),
            lambda depth: ("negative", self.tree(depth - 1)),
            lambda depth: ("list", [self.tree(depth - 1) for _ in range(self.random.randrange(4))]),
        ]

    def whole(self) -> Tree:
        """A tree in which few names come up again and again, so that its parts have to do with each other."""
        self.names = tuple(self.random.sample(NAMES, self.random.choice((1, 2, 3, len(NAMES)))))
        depth = self.random.randrange(1, 5)
        return self.condition(depth) if self.random.random() < 0.5 else self.tree(depth)

    def tree(self, depth: int) -> Tree:
        """Any tree of at most this depth."""
        if depth <= 0 or self.random.random() < 0.15:
            return self.leaf()
        return self.random.choice(self.makers)(depth)

    def condition(self, depth: int) -> Tree:
        """A tree that is often a condition."""
        if depth > 0 and self.random.random() < 0.8:
            return self.random.choice([self.comparison, self.logic, self.membership])(depth)
        return self.tree(depth)

    def leaf(self, *, null: bool = True) -> Tree:
        if self.random.random() < 0.6:
            return ("name", self.random.choice(self.names))
        value = (
            random_value(self.random, 0) if self.random.random() < 0.6 else self.random.choice(USUAL_NUMBERS)
        )
        return ("literal", 1 if value is None and not null else value)

    def operand(self, depth: int) -> Tree:
        """A side of a comparison, which must not be a null that is written out."""
        tree = self.tree(depth) if self.random.random() < 0.4 else self.leaf(null=False)
        return ("name", "a") if tree == ("literal", None) else tree

    def comparison(self, depth: int) -> Tree:
        length = 1 if self.random.random() < 0.8 else self.random.randrange(2, 4)
        operators = [self.random.choice((*ORDERS, "==", "==", "==", "!=", "!=")) for _ in range(length)]
        return ("compare", operators, [self.operand(depth - 1) for _ in range(length + 1)])

    def membership(self, depth: int) -> Tree:
        if self.random.random() < 0.7:
            many = self.random.choice((0, 1, 2, 3, 12))
            values = [
                self.random.choice(TEXTS if self.random.random() < 0.6 else NUMBERS) for _ in range(many)
            ]
            container: Tree = ("list", [("literal", value) for value in values])
            if many and self.random.random() < 0.3:
                container[1][0] = self.operand(depth - 1)
        else:
            container = self.operand(depth - 1)
            if is_written(container) or container[0] == "list":
                container = ("name", "b")
        return ("in", self.random.random() < 0.5, self.operand(depth - 1), container)

    def logic(self, depth: int) -> Tree:
        items = [self.condition(depth - 1) for _ in range(self.random.randrange(2, 4))]
        return (self.random.choice(("and", "or")), items)

    def arithmetic(self, depth: int) -> Tree:
        operator = self.random.choice(("+", "-", "*", "/", "//", "%"))
        return ("arithmetic", operator, self.tree(depth - 1), self.tree(depth - 1))

    def choice(self, depth: int) -> Tree:
        return ("if", self.tree(depth - 1), self.condition(depth - 1), self.tree(depth - 1))

    def item(self, depth: int) -> Tree:
        index = self.tree(depth - 1)
        if is_written(index) or self.random.random() < 0.7:
            index = ("literal", self.random.choice((0, 1, -1, 7, *KEYS)))
        return ("item", self.tree(depth - 1), index)

    def call(self, depth: int) -> Tree:
        name = self.random.choice(list(FUNCTIONS))
        return ("call", name, [self.argument(wanted, depth - 1) for wanted in FUNCTIONS[name]])

    def argument(self, wanted: str, depth: int) -> Tree:
        tree = self.tree(depth)
        if is_written(tree) and wanted != "any":
            pool: dict[str, tuple[Any, ...]] = {"text": TEXTS, "number": NUMBERS, "object": (None,)}
            return ("literal", self.random.choice(pool[wanted]))
        return tree


def written_text(text: str, random: Random) -> str:
    """A text as an expression writes it."""
    quote = random.choice("'\"")
    escaped = text.replace("\\", "\\\\").replace(quote, "\\" + quote).replace("\n", "\\n")
    return f"{quote}{escaped}{quote}"


def written(tree: Tree, random: Random) -> str:
    """The text of a tree."""

    def sub(below: Tree) -> str:
        text = written(below, random)
        return text if below[0] in ("name", "list", "call") else f"({text})"

    match tree[0]:
        case "literal":
            return written_literal(tree[1], random)
        case "name":
            plain = tree[1].isidentifier() and tree[1] != "class"
            return tree[1] if plain and random.random() < 0.9 else f"field({written_text(tree[1], random)})"
        case "item" if tree[2][0] == "literal" and str(tree[2][1]).isidentifier() and random.random() < 0.5:
            return f"{sub(tree[1])}.{tree[2][1]}"
        case "item":
            return f"{sub(tree[1])}[{written(tree[2], random)}]"
        case "list":
            return f"[{', '.join(written(item, random) for item in tree[1])}]"
        case "compare":
            pieces = [sub(tree[2][0])]
            for operator, operand in zip(tree[1], tree[2][1:], strict=True):
                pieces += (operator, sub(operand))
            return random.choice((" ", " ", "\n  ")).join(pieces)
        case "in":
            return f"{sub(tree[2])} {'not in' if tree[1] else 'in'} {sub(tree[3])}"
        case "is null":
            return f"{sub(tree[2])} is {'not ' if tree[1] else ''}{random.choice(('None', 'null'))}"
        case "and" | "or":
            return f" {tree[0]} ".join(sub(item) for item in tree[1])
        case "not":
            return f"not {sub(tree[1])}"
        case "if":
            return f"{sub(tree[1])} if {sub(tree[2])} else {sub(tree[3])}"
        case "arithmetic":
            return f"{sub(tree[2])} {tree[1]} {sub(tree[3])}"
        case "negative":
            return f"-{sub(tree[1])}"
        case _:
            return f"{tree[1]}({', '.join(written(argument, random) for argument in tree[2])})"


def written_literal(value: Any, random: Random) -> str:
    if isinstance(value, str):
        return written_text(value, random)
    if value is None or isinstance(value, bool):
        word = str(value)
        return word if random.random() < 0.5 else {"None": "null"}.get(word, word.lower())
    return repr(value)
