"""The keys of a mapping that may stand there, taken one by one."""

from __future__ import annotations

from collections.abc import Sequence

from aegis_cli.pipeline.document import ListNode, MappingNode, Node, ScalarNode
from aegis_cli.pipeline.errors import PipelineFileError
from aegis_cli.pipeline.place import Place, shown, suggestion


class Keys:
    """A mapping whose keys are among `known`; anything else is refused when it is made.

    `what` names the mapping in messages, and `example` shows how one is written.
    """

    def __init__(self, node: Node, *, what: str, known: Sequence[str], example: str) -> None:
        self.what = what
        self.example = example
        self.place = node.place
        found = entries(node, what=what, example=example)
        self._values = {key.text: value for key, value in found}
        self._places = {key.text: key.place for key, _ in found}
        for name, place in self._places.items():
            if name not in known:
                raise place.error(f"{what} has no key {shown(name)}", suggestion(name, known))

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def get(self, name: str) -> Node | None:
        """The value of a key, `None` if it is not given."""
        return self._values.get(name)

    def need(self, name: str) -> Node:
        """The value of a key that must be given; raises PipelineFileError."""
        if name not in self._values:
            raise self.place.error(f"{self.what} has no {name!r}", f"write {self.example}")
        return self._values[name]

    def only(self, names: Sequence[str]) -> str:
        """That one of the `names` which is given; raises PipelineFileError unless it is exactly one."""
        given = [name for name in self._values if name in names]
        if not given:
            listed = ", ".join(repr(name) for name in names)
            raise self.place.error(f"{self.what} needs one of {listed}", f"write {self.example}")
        if len(given) > 1:
            raise self._places[given[1]].error(
                f"{self.what} has both {given[0]!r} and {given[1]!r}", "keep one"
            )
        return given[0]

    def refuse(self, names: Sequence[str], reason: str) -> None:
        """Raises PipelineFileError, with `reason`, if any of the `names` is given."""
        for name in names:
            if name in self._values:
                raise self._places[name].error(f"{name!r} {reason}", "remove it")

    def place_of(self, name: str) -> Place:
        """Where the key stands; the place of the mapping if it does not."""
        return self._places.get(name, self.place)


def entries(node: Node, *, what: str, example: str) -> tuple[tuple[ScalarNode, Node], ...]:
    """The entries of a mapping that must not be empty; raises PipelineFileError."""
    if not isinstance(node, MappingNode):
        raise wrong_kind(node, f"{what} must be a mapping", example)
    if not node.entries:
        raise node.place.error(f"{what} is empty", f"write {example}")
    return node.entries


def items(node: Node, *, what: str, example: str) -> tuple[Node, ...]:
    """The items of a list that must not be empty; raises PipelineFileError."""
    if not isinstance(node, ListNode):
        raise wrong_kind(node, f"{what} must be a list", example)
    if not node.items:
        raise node.place.error(f"{what} is empty", f"write {example}")
    return node.items


def wrong_kind(node: Node, reason: str, example: str) -> PipelineFileError:
    """The error of a value that is a text, a list or a mapping and should be something else."""
    found: str = node.kind
    if isinstance(node, ScalarNode):
        found = f"the text {shown(node.text)}" if node.text else "nothing"
    return node.place.error(f"{reason}, and this is {found}", f"write {example}")
