"""What must hold: what was promised by some moment, what a reader sees, and where the two differ.

`Facts` grows while a trace is followed, and every view of the store is held against it. Values are unique
within a workload, so a line is known by its value.
"""

# The seam speaks of plain strings and descriptors, as the store does.
# ruff: noqa: PTH118, PTH123, PTH208
from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from typing import NamedTuple

from storage import Store
from storage.errors import DamageError, StorageError
from storage.reader import Gap
from storage.shelf import all_names
from storage.topic import Topic, TopicSettings


class Line(NamedTuple):
    value: bytes
    key: bytes | None
    headers: bytes | None


# A partition: the id of its topic in hexadecimal, and its number.
Place = tuple[str, int]


@dataclass(slots=True)
class PartitionView:
    start: int = 0
    end: int = 0
    lines: dict[int, Line] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    raw: bytes = b""


@dataclass(slots=True)
class View:
    """What one reader saw of a whole store."""

    topics: dict[str, tuple[str, TopicSettings]] = field(default_factory=dict)
    partitions: dict[Place, PartitionView] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


# What is marked in a trace.


@dataclass(frozen=True, slots=True)
class Attempted:
    """An append of these lines began: from now on they may appear, all or none."""

    parts: dict[Place, list[Line]]


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """An append was acknowledged with these offsets."""

    parts: dict[Place, dict[int, Line]]


@dataclass(frozen=True, slots=True)
class Seen:
    """A reader that began at event `began` saw this; `recovering` if it was not yet all back."""

    view: View
    began: int
    recovering: bool = False


@dataclass(frozen=True, slots=True)
class Creating:
    name: str


@dataclass(frozen=True, slots=True)
class Created:
    name: str
    topic: str
    settings: TopicSettings


@dataclass(frozen=True, slots=True)
class Altering:
    topic: str
    settings: TopicSettings


@dataclass(frozen=True, slots=True)
class Altered:
    topic: str
    settings: TopicSettings


@dataclass(frozen=True, slots=True)
class Deleting:
    topic: str


@dataclass(frozen=True, slots=True)
class Deleted:
    topic: str


@dataclass(frozen=True, slots=True)
class Trimming:
    place: Place
    start: int


@dataclass(frozen=True, slots=True)
class Trimmed:
    place: Place
    start: int


@dataclass(frozen=True, slots=True)
class StoreMade:
    """The making of the store was acknowledged."""


@dataclass(slots=True)
class Facts:
    """What is known to be promised, and what is known to be possible."""

    made: bool = False
    creating: set[str] = field(default_factory=set)
    created: dict[str, str] = field(default_factory=dict)
    settings: dict[str, list[TopicSettings]] = field(default_factory=dict)
    # Topics that did not always wait: recovery may skip offsets of theirs.
    skipping: set[str] = field(default_factory=set)
    deleting: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    trimming: dict[Place, int] = field(default_factory=dict)
    trimmed: dict[Place, int] = field(default_factory=dict)
    attempts: list[Attempted] = field(default_factory=list)
    possible: dict[Place, dict[bytes, Line]] = field(default_factory=dict)
    known: dict[Place, dict[int, tuple[int, Line]]] = field(default_factory=dict)
    # Of topics that do not wait: what lies below a record that was synced since.
    settled: dict[Place, set[int]] = field(default_factory=dict)
    attempted_at: int = 0

    def copy(self) -> Facts:
        """A copy that grows on its own; its lines count as known from the start of another trace."""
        return Facts(
            self.made,
            set(self.creating),
            dict(self.created),
            {topic: list(all_of) for topic, all_of in self.settings.items()},
            set(self.skipping),
            set(self.deleting),
            set(self.deleted),
            dict(self.trimming),
            dict(self.trimmed),
            list(self.attempts),
            {place: dict(lines) for place, lines in self.possible.items()},
            {
                place: {offset: (-1, line) for offset, (_, line) in lines.items()}
                for place, lines in self.known.items()
            },
            {place: set(offsets) for place, offsets in self.settled.items()},
        )

    def learn(self, fact: object, at: int) -> list[str]:
        """Take in what was marked at event `at`; returns how a reader's view contradicts what was known."""
        match fact:
            case StoreMade():
                self.made = True
            case Attempted(parts):
                # Who attempts a line again knows that the first attempt came to nothing.
                self.attempts = [one for one in self.attempts if not _share_lines(one, fact)]
                self.attempts.append(fact)
                self.attempted_at = at
                for place, lines in parts.items():
                    self.possible.setdefault(place, {}).update((line.value, line) for line in lines)
            case Acknowledged(parts):
                for place, numbered in parts.items():
                    known = self.known.setdefault(place, {})
                    for offset, line in numbered.items():
                        known.setdefault(offset, (at, line))
                if any(self.waits(topic) for topic, _ in parts):
                    self._settle()
            case Seen(view, began, recovering):
                return self._see(view, began, at, recovering=recovering)
            case Creating(name):
                self.creating.add(name)
            case Created(name, topic, settings):
                self.created[topic] = name
                self.settings[topic] = [settings]
            case Altering(topic, settings):
                if not self.waits(topic):
                    self.skipping.add(topic)
                self.settings[topic].append(settings)
            case Altered(topic, settings):
                self.settings[topic] = [settings]
            case Deleting(topic):
                self.deleting.add(topic)
            case Deleted(topic):
                self.deleted.add(topic)
            case Trimming(place, start):
                self.trimming[place] = max(start, self.trimming.get(place, 0))
            case Trimmed(place, start):
                self.trimmed[place] = max(start, self.trimmed.get(place, 0))
            case _:
                raise AssertionError(f"unknown fact {fact}")
        return []

    def _settle(self) -> None:
        # One sync is for all that the journal held before it.
        for place, lines in self.known.items():
            if not self.waits(place[0]):
                older = {offset for offset, (at, _) in lines.items() if at < self.attempted_at}
                self.settled.setdefault(place, set()).update(older)

    def _see(self, view: View, began: int, at: int, *, recovering: bool) -> list[str]:
        found = [] if recovering else self.problems(view, before=began)
        for place, partition in view.partitions.items():
            known = self.known.setdefault(place, {})
            for offset, line in partition.lines.items():
                known.setdefault(offset, (at, line))
            if recovering:
                continue
            # What retention removed was removed for good before a reader could miss it.
            self.trimmed[place] = max(partition.start, self.trimmed.get(place, 0))
            self.trimming[place] = max(partition.start, self.trimming.get(place, 0))
        return [f"a reader of the live store: {problem}" for problem in found]

    # -- differences ----------------------------------------------------------------------------------

    def problems(self, view: View, *, before: int | None = None) -> list[str]:
        """What breaks a promise in `view`. With `before`, of a live store: known is only what was marked
        before that event, and an atomic append may be half visible."""
        found = list(view.problems)
        for topic, name in self.created.items():
            if topic not in self.deleting and topic not in view.topics:
                found.append(f"topic '{name}' is gone")
        for topic, (name, settings) in view.topics.items():
            if topic in self.deleted:
                found.append(f"topic '{name}' is back")
            elif topic in self.settings and settings not in self.settings[topic]:
                found.append(f"topic '{name}' has settings that nobody gave it: {settings}")
            elif topic not in self.created and name not in self.creating:
                found.append(f"topic '{name}' appeared")
        for place, partition in view.partitions.items():
            found += [f"{place[1]}: {problem}" for problem in self._place_problems(place, partition, before)]
        if before is None:
            found += self._halves(view)
        return found

    def _place_problems(self, place: Place, view: PartitionView, before: int | None) -> list[str]:
        found = list(view.problems)
        known = self.known.get(place, {})
        waits = self.waits(place[0])
        # An append that begins a segment cleans as well; the newest segment stays.
        cleans = any(one.retention_bytes is not None for one in self.settings.get(place[0], []))
        highest = view.end if cleans else self.trimming.get(place, 0)
        if not self.trimmed.get(place, 0) <= view.start <= highest:
            found.append(f"the start is {view.start}")
        skips = not waits or place[0] in self.skipping
        if not skips and list(view.lines) != list(range(view.start, view.end)):
            found.append(f"offsets {list(view.lines)} where {view.start} to {view.end} belong")
        if known and not waits and before is None and view.end <= max(known):
            found.append(f"offset {view.end} is given a second time")
        possible = self.possible.get(place, {})
        values = [line.value for line in view.lines.values()]
        if len(set(values)) != len(values):
            found.append("a message is there twice")
        for offset, line in view.lines.items():
            if possible.get(line.value) != line:
                found.append(f"offset {offset} holds what nobody published: {_short(line)}")
        for offset, (at, line) in known.items():
            if before is not None and at >= before:
                continue
            if not waits and (before is None or offset not in view.lines):
                if view.lines.get(offset, line) != line:
                    found.append(f"offset {offset} names a second message")
                if offset not in self.settled.get(place, ()):
                    continue
            if offset >= max(view.start, 0) and view.lines.get(offset) != line:
                found.append(f"offset {offset} is {_short(view.lines.get(offset))}, was {_short(line)}")
        return found

    def _halves(self, view: View) -> list[str]:
        found = []
        for attempt in self.attempts:
            there: list[Place] = []
            missing: list[Place] = []
            for place, lines in attempt.parts.items():
                if place[0] in self.deleting or self.trimming.get(place):
                    continue
                if any(one.retention_bytes for one in self.settings.get(place[0], [])):
                    continue
                partition = view.partitions.get(place, PartitionView())
                values = [line.value for line in partition.lines.values()]
                wanted = [line.value for line in lines]
                (there if any(value in values for value in wanted) else missing).append(place)
                if wanted[0] in values:
                    first = values.index(wanted[0])
                    if values[first : first + len(wanted)] != wanted:
                        missing.append(place)
            if there and missing:
                found.append(f"half of an append: {there} without {missing}")
        return found

    def waits(self, topic: str) -> bool:
        """Whether an append to this topic is acknowledged when it is on disk."""
        return all(one.durability == "fsync" for one in self.settings.get(topic, []))

    def quarantine_problems(self, quarantined: bytes) -> list[str]:
        """What lies in the quarantine although it was acknowledged or seen."""
        return [
            f"{_short(line)} of offset {offset} was put aside"
            for place, lines in self.known.items()
            for offset, (_, line) in lines.items()
            if self.waits(place[0]) and line.value in quarantined
        ]


def _short(line: Line | None) -> str:
    if line is None:
        return "missing"
    return line.value[:24].decode(errors="replace")


def _share_lines(first: Attempted, second: Attempted) -> bool:
    return any(not set(lines).isdisjoint(second.parts.get(place, ())) for place, lines in first.parts.items())


# -- looking at a store -------------------------------------------------------------------------------


def look(store: Store, *, raw: bool = False) -> View:
    """All that a reader sees, in topics and other logs. With `raw`, the bytes of segment files as well."""
    view = View()
    for name in all_names(store.path):
        try:
            topic = store.log_topic(name)
        except StorageError as error:
            view.problems.append(f"topic '{name}' cannot be opened: {error}")
            continue
        view.topics[topic.topic_id.hex()] = name, topic.settings
        for number in range(topic.partitions):
            place = topic.topic_id.hex(), number
            view.partitions[place] = _look_at_partition(store, topic, number, raw=raw)
    return view


def _look_at_partition(store: Store, topic: Topic, number: int, *, raw: bool) -> PartitionView:
    view = PartitionView()
    try:
        reader = store.reader(topic.name, number)
        view.start, view.end = reader.start_offset, reader.end_offset
        for batch in store.batches(topic.name, number):
            if isinstance(batch, Gap) and not batch.damage:
                view.start = max(view.start, batch.end_offset) if not view.lines else view.start
                continue
            if isinstance(batch, Gap):
                view.problems.append(f"offsets {batch.first_offset} to {batch.end_offset}: {batch.reason}")
                continue
            for message in batch.messages():
                if message.offset in view.lines:
                    view.problems.append(f"offset {message.offset} was handed out twice")
                view.lines[message.offset] = Line(message.value, message.key, message.headers)
                # Another thread may have shown more since.
                view.end = max(view.end, message.offset + 1)
    except (StorageError, OSError) as error:
        view.problems.append(f"{type(error).__name__}: {error}")
    if raw:
        view.raw = raw_bytes(topic.partition_directory(number))
        if not view.problems and view.raw != b"".join(line.value + b"\n" for line in view.lines.values()):
            view.problems.append("the segment files hold other bytes than the messages")
    return view


def raw_bytes(directory: str) -> bytes:
    """What `cat *.jsonl` prints."""
    pieces = []
    with contextlib.suppress(FileNotFoundError):
        for name in sorted(os.listdir(directory)):
            if name.endswith(".jsonl"):
                with open(os.path.join(directory, name), "rb") as file:
                    pieces.append(file.read())
    return b"".join(pieces)


__all__ = ["DamageError", "Facts", "Line", "PartitionView", "Place", "View", "look", "raw_bytes"]
