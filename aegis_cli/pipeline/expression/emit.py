"""From tree to Python source: what the generated function of a pipeline computes for each record.

The source is one expression without side effects, but for temporary names `_x0`, `_x1`, ... that it assigns
and that belong to expressions alone. Nothing of it is the text of a user: names become what `names` says,
written values are given by `repr`, and everything else is one of the few forms below or a constant `k0`,
`k1`, ...

A condition is emitted in one of three ways. `value` is true, false or null. `true` is truthy exactly when it
is true, so that null needs no place, and 'and' and 'or' are Python's own. `false` is truthy exactly when it
is false, which is what 'not' asks of its operand. All stop at the first operand that decides; for `true` of
'and' that may be a null, and what stands behind it is not computed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from aegis_cli.pipeline.errors import ExpressionError
from aegis_cli.pipeline.event_time import event_time_ms
from aegis_cli.pipeline.expression import values
from aegis_cli.pipeline.expression.constants import Constants
from aegis_cli.pipeline.expression.emit_compare import NEGATED, certain, comparison, membership
from aegis_cli.pipeline.expression.emitted import Emitted, Forms
from aegis_cli.pipeline.expression.functions import FUNCTIONS
from aegis_cli.pipeline.expression.time_functions import known_time, milliseconds
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
    Shared,
)

_SIMPLE = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
_SIMPLE_NODES = (Literal, Name, Shared)
_ARITHMETIC: dict[str, Callable[..., Any]] = {
    "+": values.add,
    "-": values.subtract,
    "*": values.multiply,
    "/": values.divide,
    "//": values.floor_divide,
    "%": values.modulo,
}
_KINDS_OF_LITERALS = {bool: "bool", int: "number", float: "number", str: "text", type(None): "any"}


def emit(expression: Expression, names: Mapping[str, str], constants: Constants) -> str:
    """Source of the value of an expression. Raises ExpressionError for a name that `names` does not have."""
    return _Emitter(expression, names, constants).value(expression.node).source


def emit_condition(expression: Expression, names: Mapping[str, str], constants: Constants) -> str:
    """Source that is truthy exactly when the expression is true.

    Raises ExpressionError for an unknown name, and for an expression that can be neither true nor false.
    """
    kind = _Emitter(expression, names, Constants()).value(expression.node).kind
    if kind not in ("any", "bool"):
        article = "an" if kind == "object" else "a"
        reason = f"a condition must be true or false, not {article} {kind}"
        raise expression.error(reason, 0, hint="compare it with something")
    return _Emitter(expression, names, constants).true(expression.node)


def emit_time(expression: Expression, names: Mapping[str, str], constants: Constants) -> str:
    """Source of the time that an expression gives, in milliseconds; null is an error of the record.

    It is `event_time_ms` of the value, unless that is known to be milliseconds: then nothing takes it for
    seconds.
    """
    value = _Emitter(expression, names, constants).value(expression.node)
    reader = known_time if value.kind == "time" else event_time_ms
    return f"{constants.name_of(reader)}({value.source})"


class _Emitter:
    def __init__(self, expression: Expression, names: Mapping[str, str], constants: Constants) -> None:
        self.expression = expression
        self.names = names
        self.forms = Forms(constants)
        self.shared: dict[int, Emitted] = {}
        # What conditions that hold here say about simple sources.
        self.known: dict[str, Emitted] = {}
        self.emitters: dict[type, Callable[[Any], Emitted]] = {
            Literal: self.literal,
            Name: self.name,
            Item: self.item,
            ListOf: self.list_of,
            Compare: self.compare,
            In: self.contained,
            IsNull: self.is_null,
            Logic: self.logic,
            Not: self.negation,
            If: self.choice,
            Arithmetic: self.arithmetic,
            Negative: self.negative,
            Call: self.call,
            Prepared: self.prepared,
            Let: self.let,
            Shared: self.shared_value,
        }

    # Values

    def value(self, node: Node) -> Emitted:
        return self.emitters[type(node)](node)

    def literal(self, node: Literal) -> Emitted:
        # A minus binds stronger than anything that is written around it here, so that it needs no brackets.
        kind = _KINDS_OF_LITERALS[type(node.value)]
        return Emitted(repr(node.value), kind, nullable=node.value is None, simple=True, literal=node)

    def name(self, node: Name) -> Emitted:
        source = self.names.get(node.name)
        if source is None:
            raise self.unknown(node)
        return self.known.get(source) or Emitted(source, simple=_SIMPLE.fullmatch(source) is not None)

    def shared_value(self, node: Shared) -> Emitted:
        value = self.shared[node.number]
        return self.known.get(value.source, value)

    def unknown(self, node: Name) -> ExpressionError:
        if node.name.lower() in ("null", "true", "false", "none"):
            return self.expression.error(
                f"unknown field '{node.name}'", node.place, hint="write null, true, false"
            )
        import difflib

        near = difflib.get_close_matches(node.name, self.names, 1, 0.6)
        if near:
            hint = f"did you mean '{near[0]}'?"
        elif node.name in FUNCTIONS:
            hint = f"the function is written {FUNCTIONS[node.name].signature}"
        else:
            shown = ", ".join(sorted(self.names)[:8])
            hint = f"here are: {shown}" if shown else "there are no fields here"
        return self.expression.error(f"unknown field '{node.name}'", node.place, hint=hint)

    def item(self, node: Item) -> Emitted:
        of = self.value(node.of)
        if isinstance(node.index, Literal) and isinstance(node.index.value, str) and of.literal is None:
            once = self.forms.once(of)
            get = f"{once.again}.get({node.index.value!r})"
            return Emitted(f"({get} if type({once.bare}) is dict else None)")
        return Emitted(self.forms.call(values.item, of.source, self.value(node.index).source))

    def list_of(self, node: ListOf) -> Emitted:
        items = ", ".join([self.value(item).source for item in node.items])
        return Emitted(f"[{items}]", "list", nullable=False)

    def compare(self, node: Compare) -> Emitted:
        return Emitted(self.compared(node.operator, node, wants_true=False), "bool")

    def compared(self, operator: str, node: Compare, *, wants_true: bool) -> str:
        left, right = self.value(node.left), self.value(node.right)
        return comparison(operator, left, right, self.forms, wants_true=wants_true)

    def contained(self, node: In) -> Emitted:
        return Emitted(self.member(node.negated, node, wants_true=False), "bool")

    def member(self, negated: bool, node: In, *, wants_true: bool) -> str:
        item, container = self.value(node.item), self.value(node.container)
        return membership(item, container, node.container, self.forms, negated=negated, wants_true=wants_true)

    def is_null(self, node: IsNull) -> Emitted:
        return Emitted(self.null_test(node.of, negated=node.negated), "bool", nullable=False)

    def null_test(self, node: Node, *, negated: bool) -> str:
        of = self.value(node)
        if of.literal is not None:
            return repr((of.literal.value is None) is not negated)
        return f"({of.source} {'is not' if negated else 'is'} None)"

    def truth(self, node: Node) -> Emitted:
        """A value that is true, false or null, or an error of the record."""
        value = self.value(node)
        if value.kind == "bool" or (value.literal is not None and value.literal.value is None):
            return value
        return Emitted(self.forms.call(values.truth, value.source), "bool")

    def logic(self, node: Logic) -> Emitted:
        items = [self.truth(item) for item in node.items]
        if not any(item.nullable for item in items):
            return Emitted(
                f"({f' {node.operator} '.join(item.source for item in items)})", "bool", nullable=False
            )
        once = [self.forms.once(item) for item in items]
        decides, otherwise = ("False", "True") if node.operator == "and" else ("True", "False")
        decided = " or ".join([f"{item.first} is {decides}" for item in once])
        null = " or ".join([f"{item.again} is None" for item in once])
        return Emitted(f"({decides} if {decided} else None if {null} else {otherwise})", "bool")

    def negation(self, node: Not) -> Emitted:
        of = node.of
        if isinstance(of, Compare):
            return Emitted(self.compared(NEGATED[of.operator], of, wants_true=False), "bool")
        if isinstance(of, In):
            return Emitted(self.member(not of.negated, of, wants_true=False), "bool")
        value = self.truth(of)
        if not value.nullable:
            return Emitted(f"(not {value.source})", "bool", nullable=False)
        once = self.forms.once(value)
        return Emitted(f"(not {once.again} if {once.first} is not None else None)", "bool")

    def choice(self, node: If) -> Emitted:
        before = self.known
        test = self.true(node.test)
        self.known = self.learned(node.test)
        then = self.value(node.then)
        self.known = before
        otherwise = self.value(node.otherwise)
        return Emitted(
            f"({then.source} if {test} else {otherwise.source})",
            _joined([then, otherwise]),
            nullable=then.nullable or otherwise.nullable,
        )

    def arithmetic(self, node: Arithmetic) -> Emitted:
        left, right = self.value(node.left), self.value(node.right)
        source = self.forms.call(_ARITHMETIC[node.operator], left.source, right.source)
        if node.operator != "+" or left.is_number or right.is_number:
            return Emitted(source, "number")
        return Emitted(source, "text" if "text" in (left.kind, right.kind) else "any")

    def negative(self, node: Negative) -> Emitted:
        return Emitted(self.forms.call(values.negative, self.value(node.of).source), "number")

    def prepared(self, node: Prepared) -> Emitted:
        return Emitted(self.forms.constants.name_of(node.value), simple=True)

    def call(self, node: Call) -> Emitted:
        if node.function in ("coalesce", "if_null"):
            return self.first_of(node)
        function = FUNCTIONS[node.function]
        sources: list[str] = []
        for position, argument in enumerate(node.arguments):
            value = self.value(argument)
            if function.parameter(position).kind == "time" and value.kind != "time":
                sources.append(self.forms.call(milliseconds, value.source))
            else:
                sources.append(value.source)
        source = sources[0] if node.function == "parse_time" else self.forms.call(function.body, *sources)
        return Emitted(source, function.result, nullable=node.function != "type_of")

    def first_of(self, node: Call) -> Emitted:
        items = [self.value(argument) for argument in node.arguments]
        certain = next((position for position, item in enumerate(items) if not item.nullable), len(items) - 1)
        items = items[: certain + 1]
        if len(items) == 1:
            return items[0]
        pieces: list[str] = []
        for item in items[:-1]:
            once = self.forms.once(item)
            pieces.append(f"{once.again} if {once.first} is not None else ")
        return Emitted(f"({''.join(pieces)}{items[-1].source})", _joined(items), nullable=items[-1].nullable)

    def let(self, node: Let) -> Emitted:
        value = self.bound(node)
        body = self.value(node.body)
        return Emitted(f"(({value}), {body.source})[1]", body.kind, nullable=body.nullable)

    def bound(self, node: Let) -> str:
        value = self.value(node.value)
        name = self.forms.temporary()
        self.shared[node.number] = Emitted(name, value.kind, nullable=value.nullable, simple=True)
        return f"{name} := {value.source}"

    # Conditions

    def true(self, node: Node) -> str:
        match node:
            case Logic():
                return self.all_true(node.items) if node.operator == "and" else self.some_true(node.items)
            case Not():
                return self.false(node.of)
            case Compare():
                return self.compared(node.operator, node, wants_true=True)
            case In():
                return self.member(node.negated, node, wants_true=True)
            case If():
                return f"({self.true(node.then)} if {self.true(node.test)} else {self.true(node.otherwise)})"
            case Let():
                return f"(({self.bound(node)}), {self.true(node.body)})[1]"
            case _:
                value = self.value(node)
                return value.source if value.kind == "bool" else self.checked(value, "True", "False")

    def some_true(self, items: tuple[Node, ...]) -> str:
        return f"({' or '.join([self.true(item) for item in items])})"

    def all_true(self, items: tuple[Node, ...]) -> str:
        before = self.known
        sources: list[str] = []
        for item in items:
            sources.append(self.true(item))
            self.known = self.learned(item)
        self.known = before
        return f"({' and '.join(sources)})"

    def learned(self, node: Node) -> dict[str, Emitted]:
        """What is known where a condition turned out to be true: that a field is a number, or not null."""
        if isinstance(node, Logic) and node.operator == "and":
            before = self.known
            for item in node.items:
                self.known = self.learned(item)
            known, self.known = self.known, before
            return known
        if isinstance(node, IsNull) and node.negated and isinstance(node.of, Name | Shared):
            of = self.value(node.of)
            return {**self.known, of.source: Emitted(of.source, of.kind, nullable=False, simple=True)}
        if (
            isinstance(node, Compare)
            and isinstance(node.left, _SIMPLE_NODES)
            and isinstance(node.right, _SIMPLE_NODES)
        ):
            found = certain(node.operator, self.value(node.left), self.value(node.right))
            return {**self.known, found[0]: found[1]} if found is not None else self.known
        return self.known

    def false(self, node: Node) -> str:
        match node:
            case Logic():
                operator = "or" if node.operator == "and" else "and"
                return f"({f' {operator} '.join([self.false(item) for item in node.items])})"
            case Not():
                return self.true(node.of)
            case Compare():
                return self.compared(NEGATED[node.operator], node, wants_true=True)
            case In():
                return self.member(not node.negated, node, wants_true=True)
            case IsNull():
                return self.null_test(node.of, negated=not node.negated)
            case If():
                return (
                    f"({self.false(node.then)} if {self.true(node.test)} else {self.false(node.otherwise)})"
                )
            case Let():
                return f"(({self.bound(node)}), {self.false(node.body)})[1]"
            case _:
                value = self.value(node)
                return (
                    f"({value.source} is False)"
                    if value.kind == "bool"
                    else self.checked(value, "False", "True")
                )

    def checked(self, value: Emitted, wanted: str, other: str) -> str:
        """Whether a value of any kind is `wanted`; an error if it is neither that, `other` nor null."""
        if value.literal is not None:
            return self.forms.call(values.truth, value.source)
        once = self.forms.once(value)
        refusal = self.forms.call(values.refuse_truth, once.again)
        tests = f"{once.again} is not None and {once.again} is not {other} and {refusal}"
        return f"({once.first} is {wanted} or {tests})"


def _joined(items: list[Emitted]) -> str:
    kinds = {item.kind for item in items if item.literal is None or item.literal.value is not None}
    return kinds.pop() if len(kinds) == 1 else "any"
