"""What the names of an expression mean at one place of a pipeline: fields of a row, or Python variables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol


class Fields(Protocol):
    """The fields of a message."""

    def source(self, name: str) -> str:
        """The Python source of a field's value."""


class WholeFields:
    """The fields of a message that was decoded as a whole, into a dict."""

    def __init__(self, row: str = "r") -> None:
        self._row = row

    def source(self, name: str) -> str:
        return f"{self._row}.get({name!r})"


class SourceFields:
    """The fields of a message that are read, in the order in which they were first asked for."""

    def __init__(self, row: str = "r") -> None:
        self._row = row
        self._numbers: dict[str, int] = {}

    @property
    def fields(self) -> list[str]:
        return list(self._numbers)

    def source(self, name: str) -> str:
        """The Python source of a field: an attribute of the row."""
        return f"{self._row}.f{self._numbers.setdefault(name, len(self._numbers))}"


class Scope(Mapping[str, str]):
    """Names and the Python source that holds their values.

    With `source`, any other name is a field of the message, which may have it or not.
    """

    def __init__(self, own: Mapping[str, str], source: Fields | None = None) -> None:
        self._own = dict(own)
        self._source = source

    @property
    def is_open(self) -> bool:
        """Whether every name means something: the message itself is at hand."""
        return self._source is not None

    def __getitem__(self, name: str) -> str:
        if name in self._own:
            return self._own[name]
        if self._source is None:
            raise KeyError(name)
        return self._source.source(name)

    def of_message(self, name: str) -> str:
        """The Python source of a field of the message, also where a step gave its name to something else."""
        assert self._source is not None
        return self._source.source(name)

    def __contains__(self, name: object) -> bool:
        return name in self._own or (self._source is not None and isinstance(name, str))

    def __iter__(self) -> Iterator[str]:
        return iter(self._own)

    def __len__(self) -> int:
        return len(self._own)

    def with_names(self, names: Mapping[str, str]) -> Scope:
        """The same names and these, which come first."""
        return Scope({**self._own, **names}, self._source)
