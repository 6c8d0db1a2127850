"""What the state of a pipeline rests on, and so which changes of its file leave valid what it holds.

One rule for a restart with a changed file and for a file that is read again by a pipeline that runs: what is
kept must mean under the new definition what it meant when it was kept; all else may change, from the next
record on.
Each kind of state has parts (of an aggregate: its time, window, groups and calls), and of each part the
commit that kept something remembers what it meant: the expressions with what earlier maps made put in for
their names. So a filter may change, a field may be renamed, but not what a key is computed from.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, fields
from pathlib import Path

from aegis_cli.pipeline.definition import (
    Aggregate,
    Dedup,
    Definition,
    FlatMap,
    Map,
    StreamJoin,
    TableJoin,
    Text,
    Time,
    Window,
)
from aegis_cli.pipeline.errors import StateChangedError
from aegis_cli.pipeline.expression import parse
from aegis_cli.pipeline.state import Facts
from aegis_cli.pipeline.turn import NEVER_MS


class Basis:
    """What each state of a definition rests on: `meanings` by the name of the state, then by part.

    The texts of the definition must be known to be expressions.
    """

    def __init__(self, definition: Definition) -> None:
        self.definition = definition
        self.meanings: dict[str, dict[str, str]] = {}
        self._places: dict[tuple[str, str], Text] = {}
        # What a name means that a step made; any other is a field of the message.
        self._made: dict[str, str] = {}
        source = definition.source
        self.meanings["source"] = {source.kind: _digest(source.name if source.kind == "topic" else "")}
        dedups = 0
        for step in definition.steps:
            if isinstance(step, Map):
                self._made = {name: self._meaning(text) for name, text in step.fields.items()}
            elif isinstance(step, FlatMap):
                self._made[step.name] = _digest("item", self._meaning(step.items))
            elif isinstance(step, TableJoin):
                self._made[step.table] = _digest("row", step.table, self._meaning(step.key))
            elif isinstance(step, Time):
                self._add_time(step)
            elif isinstance(step, Dedup):
                dedups += 1
                self._add_dedup(f"dedup {dedups}", step)
            elif isinstance(step, StreamJoin):
                self._add_join(step)
            elif isinstance(step, Aggregate):
                self._add_aggregate(step)

    def add(self, state: str, part: str, rests_on: object, place: Text | None = None) -> None:
        """A part of a state; `rests_on` is anything whose `repr` says what it means."""
        self.meanings.setdefault(state, {})[part] = _digest(rests_on)
        if place is not None:
            self._places[state, part] = place

    def place(self, state: str, part: str) -> Text | None:
        """Where a part stands in the file."""
        return self._places.get((state, part))

    def _meaning(self, text: Text) -> str:
        if text.text in self._made:
            return self._made[text.text]
        names = sorted(parse(text, path=self.definition.path).fields)
        return _digest(text.text, [(name, self._made[name]) for name in names if name in self._made])

    def _meanings(self, texts: tuple[Text, ...]) -> list[str]:
        return [self._meaning(text) for text in texts]

    def _add_time(self, step: Time) -> None:
        field = "the clock" if step.field is None else self._meaning(step.field)
        self.add("time", "field", field, step.field)
        self.add("time", "watermark", step.watermark_ms, step.field)

    def _rests_on_time(self, state: str, place: Text | None) -> None:
        self.add(state, "time", self.meanings.get("time"), self.place("time", "field") or place)

    def _add_dedup(self, state: str, step: Dedup) -> None:
        self._rests_on_time(state, step.key[0])
        self.add(state, "key", self._meanings(step.key), step.key[0])
        self.add(state, "within", step.within_ms, step.key[0])

    def _add_join(self, step: StreamJoin) -> None:
        for state in ("join left", "join right"):
            self._rests_on_time(state, step.key)
            self.add(state, "topic", step.topic, step.key)
            self.add(state, "key", self._meaning(step.key), step.key)
            self.add(state, "within", step.within_ms, step.key)
            self.add(state, "type", step.kind, step.key)
            # Of the other topic nothing was made yet.
            self.add(state, "other_key", step.other_key.text, step.other_key)
            self.add(state, "other_time", step.other_time.text, step.other_time)
        # A row is kept with all of its fields.
        self.add("join left", "map", sorted(self._made.items()), step.key)
        self._made = {
            **{name: _digest("left", meaning) for name, meaning in self._made.items()},
            step.name: _digest("right", step.topic),
        }

    def _add_aggregate(self, step: Aggregate) -> None:
        calls = list(step.results.values())
        keys = tuple(step.group_by.values())
        place = calls[0].place
        self._rests_on_time("aggregate", place)
        self.add("aggregate", "window", _told(step.window), place)
        groups = {name: self._meaning(text) for name, text in step.group_by.items()}
        self.add("aggregate", "group_by", list(groups.values()), keys[0] if keys else place)
        # A group's own name means its key from here on.
        self._made = {**self._made, **groups}
        results = [(call.name, self._meanings(call.arguments)) for call in calls]
        self.add("aggregate", "aggregate", results, place)


def check_change(facts: Facts, basis: Basis) -> None:
    """Raise `StateChangedError` where what a pipeline holds, by its last commit, is not valid any more."""
    definition = basis.definition
    _check_files(facts, definition)
    for state in _held(facts):
        was, now = facts.basis.get(state, {}), basis.meanings.get(state, {})
        for part in dict.fromkeys([*was, *now]):
            if was.get(part) != now.get(part):
                reason = f"the state of pipeline '{definition.name}' was made with another '{part}'"
                # What is gone has no place any more.
                place = basis.place(state, part) if now else None
                where = "" if state == part else f" of '{state}'"
                raise StateChangedError(definition, reason + where, place=place)
    for state, held in facts.open.items():
        if held > definition.groups_max:
            reason = f"the state of pipeline '{definition.name}' has {held} in '{state}', more than its limit"
            raise StateChangedError(definition, reason, hint="raise 'limits'")


def has_same_time(facts: Facts, basis: Basis) -> bool:
    """Whether up to where windows were given out is told in the times that a definition gives."""
    return facts.basis.get("time") == basis.meanings.get("time")


def _held(facts: Facts) -> Iterator[str]:
    """The states in which something is."""
    if facts.positions:
        yield "source"
    if "time" in facts.basis and any(high_ms > NEVER_MS for high_ms in facts.high_ms.values()):
        yield "time"
    yield from (state for state, held in facts.open.items() if held)


def _check_files(facts: Facts, definition: Definition) -> None:
    """What a killed run wrote too much into a file, only that sink can set right."""
    kept = file_paths(definition)
    for path, committed in facts.files.items():
        if path not in kept and Path(path).exists():
            extra = Path(path).stat().st_size - committed
            if extra > 0:
                reason = f"file {path} has {extra} bytes more than pipeline '{definition.name}' committed"
                hint = "run it to its end once with the sinks it had, or cut them off"
                raise StateChangedError(definition, reason, hint=hint)


def file_paths(definition: Definition) -> list[str]:
    """The files that are sinks, as commits name them."""
    names = [branch.sink.name for branch in definition.branches if branch.sink.kind == "file"]
    return [str(Path(name).resolve()) for name in names]


def _told(window: Window | None) -> object:
    """What a file says about a window: a field that is added to all windows later changes none of them."""
    if window is None:
        return None
    found = {field.name: (getattr(window, field.name), field.default) for field in fields(window)}
    return [(name, value) for name, (value, usual) in found.items() if usual is MISSING or value != usual]


def _digest(*values: object) -> str:
    try:
        # What `hashlib` would give, which takes milliseconds to load OpenSSL for others.
        from _blake2 import blake2b
    except ImportError:
        from hashlib import blake2b
    # Expressions are built upon one another, so what they mean can be far longer than the file.
    return blake2b(repr(values).encode(), digest_size=8).hexdigest()
