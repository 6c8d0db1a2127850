"""A pipeline's file that is read again while the pipeline runs.

Promise: what a restart with the file as it is now would refuse is refused here, and what it would accept is
accepted, for it is the same check and the same start; what is refused changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Protocol

from aegis_cli.pipeline.basis import check_change
from aegis_cli.pipeline.definition import (
    Aggregate,
    Dedup,
    Definition,
    Filter,
    FlatMap,
    Map,
    Step,
    Text,
    Time,
)
from aegis_cli.pipeline.errors import PipelineFileError
from aegis_cli.pipeline.program import Program
from aegis_cli.pipeline.sinks.opening import with_declared_keys
from aegis_cli.pipeline.state import Facts
from storage.errors import StorageError
from storage.store import Store

_KEYS: dict[type, str] = {Filter: "filter", Map: "map", FlatMap: "flat_map", Time: "time", Dedup: "dedup"}


class Reload(Protocol):
    """Who wants the file to be read again: `came` is true from then on until `load`."""

    came: bool

    def load(self) -> Definition:
        """The file as it is now. Raises `PipelineFileError`."""

    def accepted(self, changed: Sequence[str]) -> None:
        """The pipeline goes on with the file as it is now; these keys of it changed."""

    def refused(self, reason: str) -> None:
        """The pipeline goes on as it was."""


def successor(reload: Reload, program: Program, facts: Facts, store: Store) -> Program | None:
    """What goes on from `facts` in place of a program; `None` where that one goes on itself."""
    definition = program.definition
    try:
        found = with_declared_keys(store, reload.load())
        if found.name != definition.name:
            reason = f"it is pipeline '{found.name}' now, and '{definition.name}' runs"
            raise PipelineFileError(found.path, reason, hint="run it by itself")
        if not changed_keys(definition, found):
            reload.accepted(())
            return None
        other = Program(found, split=program.is_split)
        check_change(facts, other.basis)
    except StorageError as error:
        reload.refused(str(error))
        return None
    return other


def changed_keys(before: Definition, after: Definition) -> list[str]:
    """The keys of the file that say something else, but for those that no run goes by; each once."""
    was, now = list(_said(before)), list(_said(after))
    keys = dict.fromkeys(key for key, _ in [*was, *now])
    changed = [key for key in keys if _of(was, key) != _of(now, key)]
    return changed or ([] if was == now else ["steps"])


def _of(said: Sequence[tuple[str, object]], key: str) -> list[object]:
    return [value for each, value in said if each == key]


def _said(definition: Definition) -> Iterator[tuple[str, object]]:
    """What a definition says by the keys of its file, in its order."""
    yield "source", _plain(definition.source)
    yield from (("tables", _plain(table)) for table in definition.tables.values())
    for step in definition.steps:
        yield from _said_by(step)
    for branch in definition.branches:
        yield "branches" if branch.steps else "sink", _plain(branch)
    yield "on_error", _plain(definition.on_error)
    yield "limits", definition.groups_max
    yield "commit_interval", definition.commit_interval_ms


def _said_by(step: Step) -> Iterator[tuple[str, object]]:
    if isinstance(step, Aggregate):
        yield "group_by", _plain(step.group_by)
        yield "window", _plain(step.window)
        yield "late", step.late_to
        yield "aggregate", _plain(step.results)
    else:
        yield _KEYS.get(type(step), "join"), _plain(step)


def _plain(value: object) -> object:
    """A value without the places in the file."""
    if isinstance(value, Text):
        return value.text
    if is_dataclass(value) and not isinstance(value, type):
        return [
            (each.name, _plain(getattr(value, each.name))) for each in fields(value) if each.name != "place"
        ]
    if isinstance(value, dict):
        return [(key, _plain(each)) for key, each in value.items()]
    return [_plain(each) for each in value] if isinstance(value, tuple) else value
