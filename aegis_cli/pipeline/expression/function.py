"""What a function of expressions is: its signature, what it does, and an example that shows it.

A function is declared by its signature in words, `substr(text: text, start: int, length: int?) -> text`: what
has `?` may be left out, what has `...` may be repeated. Unless it says otherwise, a function of null is null,
and an argument of another kind is a RecordError; both are decided by `Family.refuse`, which a function calls
when its arguments are not what it works on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from msgspec import Struct

from aegis_cli.pipeline.errors import RecordError
from aegis_cli.pipeline.expression.values import FLOAT_NAME, kind_name

_Body = TypeVar("_Body", bound=Callable[..., Any])

_TYPES: dict[str, tuple[frozenset[type], str]] = {
    "any": (frozenset({bool, int, float, str, list, dict}), "a value"),
    "text": (frozenset({str}), "a text"),
    "number": (frozenset({int, float}), "a number"),
    "int": (frozenset({int}), "a whole number"),
    "list": (frozenset({list}), "a list"),
    "object": (frozenset({dict}), "an object"),
    "sized": (frozenset({str, list, dict}), "a text, a list or an object"),
    "ordered": (frozenset({int, float, str}), "numbers, or texts"),
    "time": (frozenset({int, float, str}), "a time"),
}
_SIGNATURE = re.compile(r"(\w+)\((.*)\) -> (\w+)")
_PARAMETER = re.compile(r"(\w+): (\w+)(\?|\.\.\.|)")

Prepare = Callable[[object], object]
Check = Callable[[tuple[object, ...]], None]


class Parameter(Struct, frozen=True):
    """One parameter. Where `prepare` is given, the argument must be a literal and is worked on once.

    `prepare` raises ValueError with a reason for what cannot be used.
    """

    name: str
    kind: str
    prepare: Prepare | None = None

    @property
    def wanted(self) -> str:
        """What it takes, in words."""
        return _TYPES[self.kind][1]

    def takes(self, value: object) -> bool:
        """Whether a value is of its kind; null always is."""
        return value is None or type(value) in _TYPES[self.kind][0]

    def refusal(self, function: str, value: object) -> str:
        """What is wrong with a value that it does not take."""
        # A float is a number too, and its value may be whole: 2.0 is no 2 here.
        shown = FLOAT_NAME if self.kind == "int" and type(value) is float else kind_name(value)
        return f"{function} needs {self.wanted}, not {shown}"


class Function(Struct, frozen=True):
    """A function. `result` is the kind of what it returns; `examples` are expressions with results in JSON.

    `check` sees the arguments that are known before the first record, `None` for the others, and raises
    ValueError for those that do not go together.
    """

    name: str
    parameters: tuple[Parameter, ...]
    required: int
    variadic: bool
    result: str
    body: Callable[..., Any]
    summary: str
    examples: tuple[tuple[str, str], ...]
    check: Check | None = None

    @property
    def signature(self) -> str:
        """How it is called, as documentation shows it: `substr(text, start, length?)`."""
        names = [
            parameter.name + ("?" if position >= self.required and not self.variadic else "")
            for position, parameter in enumerate(self.parameters)
        ]
        return f"{self.name}({', '.join(names)}{', ...' if self.variadic else ''})"

    def parameter(self, position: int) -> Parameter:
        """The parameter of an argument; the last one takes all that follow."""
        return self.parameters[min(position, len(self.parameters) - 1)]


class Family:
    """Functions that belong together, by name."""

    def __init__(self) -> None:
        self.functions: dict[str, Function] = {}

    def function(
        self,
        signature: str,
        *examples: tuple[str, str],
        prepare: Mapping[str, Prepare] | None = None,
        check: Check | None = None,
    ) -> Callable[[_Body], _Body]:
        """Declare a function; its docstring is its description."""
        match = _SIGNATURE.fullmatch(signature)
        assert match is not None
        found = _PARAMETER.findall(match[2])
        parameters = tuple(Parameter(name, kind, (prepare or {}).get(name)) for name, kind, _ in found)
        marks = [mark for _, _, mark in found]

        def declare(body: _Body) -> _Body:
            self.functions[match[1]] = Function(
                name=match[1],
                parameters=parameters,
                required=len([mark for mark in marks if mark != "?"]),
                variadic="..." in marks,
                result=match[3],
                body=body,
                summary=" ".join((body.__doc__ or "").split()),
                examples=examples,
                check=check,
            )
            return body

        return declare

    def refuse(self, name: str, *arguments: object) -> Any:
        """Return null where an argument is null; else raise RecordError for the one of a wrong kind."""
        if None in arguments:
            return None
        function = self.functions[name]
        for position, value in enumerate(arguments):
            parameter = function.parameter(position)
            if parameter.prepare is None and not parameter.takes(value):
                raise RecordError(parameter.refusal(name, value))
        raise RecordError(f"{name} cannot be used on {' and '.join(map(kind_name, arguments))}")
