"""The YAML of a pipeline file as nodes with their places: texts, lists and mappings, and nothing else.

A file is untrusted. It is one document without anchors, aliases, tags, merge keys and directives; every
scalar is text, so `on`, `yes` and a date are what they look like. The nodes are built from the parser's
events without recursion, and what is too large or too deep ends the reading where it is met.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aegis_cli.pipeline.errors import PipelineFileError
from aegis_cli.pipeline.place import Place, shown
from aegis_cli.pipeline.variables import Variables

if TYPE_CHECKING:
    from yaml.events import Event

DEPTH_MAX = 20
NODES_MAX = 10_000

_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalarNode:
    """A text, which begins at `place`. `plain` says that it stands without quotes, and is no block.

    `lines` are those of the file that a text of several was put together from, as in `Text`.
    """

    text: str
    place: Place
    plain: bool = True
    lines: tuple[tuple[int, int, int], ...] = ()

    kind = "a text"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListNode:
    """A list."""

    items: tuple[Node, ...]
    place: Place

    kind = "a list"


@dataclass(frozen=True, slots=True, kw_only=True)
class MappingNode:
    """A mapping: its keys, each of them once, in the order of the file."""

    entries: tuple[tuple[ScalarNode, Node], ...]
    place: Place

    kind = "a mapping"


Node = ScalarNode | ListNode | MappingNode


@dataclass(slots=True)
class _Open:
    """A list or a mapping whose end has not come yet; `key` is that of the value which comes next."""

    is_mapping: bool
    is_flow: bool
    place: Place
    nodes: list[Node]
    entries: list[tuple[ScalarNode, Node]]
    keys: set[str]
    key: ScalarNode | None = None
    key_end: int = 0


class Document:
    """Builds the nodes of one text."""

    def __init__(self, text: str, variables: Variables, *, path: str) -> None:
        self._text = text
        self._variables = variables
        self._path = path
        self._open: list[_Open] = []
        self._nodes = 0
        self._documents = 0
        self._root: Node | None = None

    def read(self) -> Node | None:
        """The node of the document, `None` if the text holds none; raises PipelineFileError."""
        for event in events(self._text, path=self._path):
            self._take(event, type(event).__name__)
        return self._root

    def _take(self, event: Event, kind: str) -> None:
        if kind == "ScalarEvent":
            self._refuse_properties(event)
            self._count(event)
            self._scalar(event)
        elif kind in ("MappingStartEvent", "SequenceStartEvent"):
            self._refuse_properties(event)
            self._count(event)
            self._begin(event, is_mapping=kind == "MappingStartEvent")
        elif kind in ("MappingEndEvent", "SequenceEndEvent"):
            self._end()
        elif kind == "AliasEvent":
            raise self._place(event).error(
                "an alias (*name) cannot be used",
                "write the value again, or quote a text that begins with '*'",
            )
        elif kind == "DocumentStartEvent":
            self._documents += 1
            if self._documents > 1:
                raise self._place(event).error(
                    "a second document begins", "write each pipeline into a file of its own"
                )

    def _refuse_properties(self, event: Any) -> None:
        if event.anchor is not None:
            raise self._place(event).error(
                "an anchor (&name) cannot be used", "quote a text that begins with '&'; for both write 'and'"
            )
        if event.tag is not None:
            raise self._place(event).error(
                "a tag (!name) cannot be used",
                "quote a text that begins with '!'; for the opposite write 'not'",
            )

    def _count(self, event: Event) -> None:
        self._nodes += 1
        if self._nodes > NODES_MAX:
            raise self._place(event).error(f"the file has more than {NODES_MAX} values")

    def _scalar(self, event: Any) -> None:
        open_ = self._open[-1] if self._open else None
        is_key = open_ is not None and open_.is_mapping and open_.key is None
        place, plain = self._scalar_place(event), not event.style
        if _SURROGATE.search(event.value):
            raise place.error("half of a surrogate pair is no character", "write one escape with a capital U")
        if is_key:
            assert open_ is not None
            self._key(open_, ScalarNode(text=event.value, place=place, plain=plain), event)
            return
        if open_ is not None and open_.key is not None and plain and not event.value:
            self._check_colon(open_, event.start_mark.index)
        text = self._variables.expand(event.value, place)
        lines = self._lines(event) if text == event.value else ()
        self._add(ScalarNode(text=text, place=place, plain=plain, lines=lines))

    def _key(self, open_: _Open, key: ScalarNode, event: Any) -> None:
        if key.text == "<<" and key.plain:
            raise key.place.error("a merge key (<<) cannot be used", "write the keys again")
        if key.text in open_.keys:
            raise key.place.error(f"the key {shown(key.text)} stands here twice", "remove one of them")
        open_.keys.add(key.text)
        open_.key = key
        open_.key_end = event.end_mark.index

    def _check_colon(self, open_: _Open, index: int) -> None:
        """Raises if a key has no colon: in `{a: f(x, y)}` the comma made a key of `y)`."""
        assert open_.key is not None
        if ":" in self._text[open_.key_end : index]:
            return
        before = open_.entries[-1][1] if open_.entries else None
        if isinstance(before, ScalarNode) and before.plain and open_.is_flow:
            _refuse_cut(before, open_.key)
            if before.text.count("(") > before.text.count(")"):
                raise _cut(before, 'put the whole expression into "double quotes"')
        raise open_.key.place.error(
            f"the key {shown(open_.key.text)} has no value", f"write '{_word(open_.key.text)}: VALUE'"
        )

    def _begin(self, event: Any, *, is_mapping: bool) -> None:
        place = self._place(event)
        if self._open and self._open[-1].is_mapping and self._open[-1].key is None:
            raise place.error(
                f"a key must be a text, not {'a mapping' if is_mapping else 'a list'}",
                "quote a text that begins with '{' or '['",
            )
        if len(self._open) >= DEPTH_MAX:
            raise place.error(f"this is nested more than {DEPTH_MAX} deep")
        self._open.append(_Open(is_mapping, bool(event.flow_style), place, [], [], set()))

    def _end(self) -> None:
        done = self._open.pop()
        if done.is_mapping:
            self._add(MappingNode(entries=tuple(done.entries), place=done.place))
            return
        if done.is_flow:
            for node, after in zip(done.nodes, done.nodes[1:], strict=False):
                if isinstance(node, ScalarNode) and isinstance(after, ScalarNode) and node.plain:
                    _refuse_cut(node, after)
        self._add(ListNode(items=tuple(done.nodes), place=done.place))

    def _add(self, node: Node) -> None:
        if not self._open:
            self._root = node
            return
        open_ = self._open[-1]
        if open_.is_mapping:
            assert open_.key is not None
            open_.entries.append((open_.key, node))
            open_.key = None
        else:
            open_.nodes.append(node)

    def _place(self, event: Any) -> Place:
        return Place(self._path, event.start_mark.line + 1, event.start_mark.column + 1)

    def _scalar_place(self, event: Any) -> Place:
        """The first character of the text itself, behind a quote or below the head of a block."""
        place = self._place(event)
        if event.style in ("'", '"'):
            return Place(self._path, place.line, place.column + 1)
        if event.style not in ("|", ">"):
            return place
        start = self._text.find("\n", event.start_mark.index) + 1
        content = self._text[start : event.end_mark.index] if start else ""
        blank = content[: len(content) - len(content.lstrip())]
        if not content.strip():
            return place
        line = place.line + 1 + blank.count("\n")
        return Place(self._path, line, len(blank) - (blank.rfind("\n") + 1) + 1)

    def _lines(self, event: Any) -> tuple[tuple[int, int, int], ...]:
        """The lines that a text of several has, up to the first that is written otherwise than it reads."""
        first, last = event.start_mark, event.end_mark
        if first.line == last.line:
            return ()
        found: list[tuple[int, int, int]] = []
        end = 0
        quoted = event.style in ("'", '"')
        written = self._text[first.index + quoted : last.index - quoted]
        for number, line in enumerate(written.split("\n")):
            content = line.strip()
            if not content or (number == 0 and event.style in ("|", ">")):
                continue
            column = line.index(content) + (0 if number else first.column + quoted)
            if quoted:
                # The escape that is usual; what has others is not found.
                content = content.replace("''" if event.style == "'" else '\\"', event.style)
            at = event.value.find(content, end)
            if at < 0 or event.value[end:at].strip():
                break
            found.append((at, first.line + number + 1, column + 1))
            end = at + len(content)
        return tuple(found)


def events(text: str, *, path: str) -> Iterator[Event]:
    """The events of `text`; raises PipelineFileError with a hint where it is no YAML."""
    import yaml

    from aegis_cli.pipeline.syntax import syntax_error

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        yield from yaml.parse(text, Loader=loader)
    except yaml.YAMLError as error:
        raise syntax_error(error, text, path=path) from None


def _refuse_cut(before: ScalarNode, after: ScalarNode) -> None:
    """Raises if a comma stands between them that was meant to be part of one text."""
    if before.text.count("(") > before.text.count(")") and after.text.count(")") > after.text.count("("):
        raise _cut(before, f"quote it: '{_word(before.text)}, {_word(after.text)}'")


def _cut(before: ScalarNode, hint: str) -> PipelineFileError:
    reason = f"{shown(before.text)} is cut off at the comma, which separates values inside {{}} and []"
    return before.place.error(reason, hint)


def _word(text: str) -> str:
    return shown(text)[1:-1]
