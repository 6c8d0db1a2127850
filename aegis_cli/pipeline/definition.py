"""What a pipeline file says, as values: the steps in the order in which they run, and where results go.

Expressions are kept as text with their place in the file, since what their names mean depends on the steps
before them; `aegis_cli.pipeline.expression` gives them their meaning. Times are in milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

GROUPS_MAX = 1_000_000
# The bound of disorder where a pipeline names a time and no bound.
WATERMARK_MS = 0


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of text of the file, and where it begins; line and column count from 1.

    `lines` are the lines of the file that it was put together from: the offset in the text at which each
    begins, its line and its column.
    """

    text: str
    line: int = 1
    column: int = 1
    lines: tuple[tuple[int, int, int], ...] = field(default=(), compare=False)

    def place(self, offset: int) -> tuple[int, int]:
        """Line and column of a character.

        Where the lines are not known, each is taken to begin at the column at which the first does.
        """
        for start, line, column in reversed(self.lines):
            if start <= offset:
                return line, column + offset - start
        before = self.text[:offset].split("\n")
        return self.line + len(before) - 1, self.column + len(before[-1])

    def part(self, start: int, end: int) -> Text:
        """The characters from `start` to before `end`."""
        lines = [(at - start, line, column) for at, line, column in self.lines if start < at < end]
        line, column = self.place(start)
        return Text(self.text[start:end], line, column, ((0, line, column), *lines))


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What is read. `kind` is 'topic', 'stdin' or 'file'; `name` is the topic or the path.

    `schema` names the types that fields must have ('string', 'long', 'double', 'boolean', 'any').
    `start` is where a pipeline begins that has no position: 'earliest' or 'latest'.
    """

    kind: str
    name: str
    schema: dict[str, str] = field(default_factory=dict)
    start: str = "earliest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Go on with records of which `condition` is true."""

    condition: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class Map:
    """Go on with a record of these fields, in this order."""

    fields: dict[str, Text]


@dataclass(frozen=True, slots=True, kw_only=True)
class FlatMap:
    """Go on with one record for each item of a list; the item is the field `name` beside the record's own."""

    items: Text
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Time:
    """From here on a record has an event time. `watermark_ms` is how far records may be out of order.

    `processing` takes the clock instead; a partition that gave nothing for `idle_ms` holds nothing back.
    """

    field: Text | None
    watermark_ms: int = WATERMARK_MS
    processing: bool = False
    idle_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dedup:
    """Go on with the first record of a key within a time; the others go to `dropped_to`, if that is given."""

    key: tuple[Text, ...]
    within_ms: int
    dropped_to: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TableJoin:
    """Add the row that a table has for the key, under the table's name. `kind` is 'inner' or 'left'.

    A record whose row is not there yet waits for it until the watermark is more than `wait_ms` past it.
    """

    table: str
    key: Text
    kind: str = "inner"
    wait_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamJoin:
    """Join with records of another topic whose time is at most `within_ms` away, under the name `name`.

    `key` is of this stream's records, `other_key` and `other_time` of the other's.
    """

    name: str
    topic: str
    key: Text
    other_key: Text
    other_time: Text
    within_ms: int
    kind: str = "inner"


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """How time is cut. `kind` is 'tumbling', 'hopping', 'session' or 'count'.

    `size_ms` is the length (of a session: the gap), `advance_ms` the distance of hopping windows,
    `offset_ms` moves all of them, `max_ms` ends a session, `count` is the records of a count window.
    `allow_late_ms` is how long a closed window is kept, to be given out once more when late records come.
    """

    kind: str
    size_ms: int = 0
    advance_ms: int = 0
    offset_ms: int = 0
    max_ms: int | None = None
    count: int = 0
    allow_late_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AggregateCall:
    """One aggregate: `name` of the function, its arguments as they are written, its place in the file."""

    name: str
    arguments: tuple[Text, ...]
    place: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregate:
    """Go on with one record a window and group: its fields, then the results, by name in this order.

    `window` is `None` for groups that are never closed: each record gives out its group anew.
    """

    window: Window | None
    group_by: dict[str, Text]
    results: dict[str, AggregateCall]
    late_to: str | None = None


Step = Filter | Map | FlatMap | Time | Dedup | TableJoin | StreamJoin | Aggregate


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table that a topic tells: of each key the newest row. A null removes the row of its message's key.

    `as_of` is a row's own time, where a record is to find the row of its time and not the newest.
    """

    name: str
    topic: str
    key: Text
    ttl_ms: int | None = None
    as_of: Text | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sink:
    """Where results go. `kind` is 'topic', 'stdout', 'file', 'sqlite' or 'postgres'.

    `name` is the topic, the path or the connection; `table` the table; `key` names the fields that are a
    message's key, or a table's primary key, so that a later row replaces the earlier one.
    """

    kind: str
    name: str
    table: str = ""
    key: tuple[str, ...] = ()
    create: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """One way out: steps of its own (filter and map), and a sink."""

    steps: tuple[Filter | Map, ...]
    sink: Sink


@dataclass(frozen=True, slots=True, kw_only=True)
class OnError:
    """What becomes of a record that cannot be processed. `action` is 'stop', 'drop' or 'to'."""

    action: str = "stop"
    topic: str | None = None
    max_ratio: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A test in the file: what is given to which topic, and what is expected where.

    What is expected is a list of records, or how many there are. `crash_after` ends the run without a commit
    after so many records, and begins it anew.
    """

    name: str
    given: dict[str, list[Any]]
    expect: dict[str, list[Any] | int]
    crash_after: int | None = None
    flush: bool = True
    line: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """A pipeline. `path` is the file it comes from."""

    path: str
    name: str
    source: Source
    steps: tuple[Step, ...]
    branches: tuple[Branch, ...]
    tables: dict[str, Table] = field(default_factory=dict)
    on_error: OnError = field(default_factory=OnError)
    cases: tuple[Case, ...] = ()
    groups_max: int = GROUPS_MAX
    commit_interval_ms: int | None = None
    description: str = ""

    @property
    def file(self) -> str:
        """The file, from wherever one looks."""
        return str(Path(self.path).absolute())

    @property
    def written_topics(self) -> list[str]:
        """All topics that the pipeline writes to, each once."""
        names = [branch.sink.name for branch in self.branches if branch.sink.kind == "topic"]
        for step in self.steps:
            if isinstance(step, Dedup):
                names.append(step.dropped_to or "")
            elif isinstance(step, Aggregate):
                names.append(step.late_to or "")
        names.append(self.on_error.topic or "")
        return [name for name in dict.fromkeys(names) if name]
