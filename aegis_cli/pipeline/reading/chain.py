"""The chain of steps in the order of the file, and what may follow on what.

`group_by`, `window`, `allow_late` and `late` are parts of the aggregate that comes after them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from aegis_cli.pipeline.definition import Aggregate, Step, StreamJoin, Table, TableJoin, Time, Window
from aegis_cli.pipeline.document import Node, ScalarNode
from aegis_cli.pipeline.place import shown, suggestion
from aegis_cli.pipeline.reading import scalars, steps
from aegis_cli.pipeline.reading.expressions import aggregate_calls
from aegis_cli.pipeline.reading.join import join
from aegis_cli.pipeline.reading.keys import Keys, entries, items
from aegis_cli.pipeline.reading.window import window

AGGREGATE_EXAMPLE = "aggregate: {orders: count(), revenue: sum(amount)}"
STEPS_EXAMPLE = "steps: [{filter: amount > 100}, {map: {id: id}}]"
LATE_EXAMPLE = "late: {to: orders-late}"
PARTS = ("group_by", "window", "allow_late", "late")
# What a window's results carry besides the group and the aggregates.
WINDOW_FIELDS = ("window_start", "window_end", "revision")


def window_fields(window: Window | None) -> tuple[str, ...]:
    """Those that the results of this window carry: a revision only where a window can be given out anew."""
    if window is None:
        return ()
    return WINDOW_FIELDS if window.allow_late_ms else WINDOW_FIELDS[:2]


_READERS: dict[str, Callable[[Node], Step]] = {
    "filter": steps.filter_,
    "map": steps.map_,
    "flat_map": steps.flat_map,
    "time": steps.time,
    "dedup": steps.dedup,
}
# Each of these opens blocks in the function that is generated, and Python nests 20 of them at most.
_MOST = {"flat_map": 5, "dedup": 3}
STEP_KEYS = (*_READERS, "join", "aggregate", *PARTS)
AFTER_AGGREGATE = ("filter", "map")


def written(root: tuple[tuple[ScalarNode, Node], ...]) -> Iterator[tuple[ScalarNode, Node]]:
    """The steps among the keys of the file, with those of `steps` in its place; raises PipelineFileError."""
    for key, value in root:
        if key.text in STEP_KEYS:
            yield key, value
        elif key.text == "steps":
            yield from listed(value, known=STEP_KEYS)


def listed(node: Node, *, known: tuple[str, ...]) -> Iterator[tuple[ScalarNode, Node]]:
    """The steps of a list of mappings with one key each; raises PipelineFileError."""
    for item in items(node, what="'steps'", example=STEPS_EXAMPLE):
        found = entries(item, what="a step", example=STEPS_EXAMPLE)
        if len(found) > 1:
            raise found[1][0].place.error(
                "a step has more than one key", f"begin a new step with '- {shown(found[1][0].text)[1:-1]}:'"
            )
        key, value = found[0]
        if key.text not in known:
            raise key.place.error(f"there is no step {shown(key.text)}", suggestion(key.text, known))
        yield key, value


class Chain:
    """Takes the steps one after the other; raises PipelineFileError for what cannot follow."""

    def __init__(self, tables: Mapping[str, Table]) -> None:
        self.steps: list[Step] = []
        self._tables = tables
        self._parts: dict[str, tuple[ScalarNode, Node]] = {}
        self._counts: dict[str, int] = {}
        self._has_time = False
        self._takes_the_clock = False
        self._aggregated = False

    def add(self, key: ScalarNode, node: Node) -> None:
        """One step, or one part of the aggregate that is still to come."""
        name = key.text
        if self._aggregated and name in PARTS:
            raise key.place.error(
                f"{name!r} stands behind the 'aggregate' that it is for", "move it before that"
            )
        if self._aggregated and name not in AFTER_AGGREGATE:
            raise key.place.error(
                f"{name!r} cannot follow on 'aggregate'", "only 'filter' and 'map' can; move it before that"
            )
        if name in PARTS:
            if name in self._parts:
                raise key.place.error(f"there are two {name!r} for one 'aggregate'", "remove one of them")
            self._parts[name] = (key, node)
        else:
            self.steps.append(self._step(key, node))

    def end(self) -> None:
        """Raises if parts of an aggregate are left over."""
        for name, (key, _) in self._parts.items():
            raise key.place.error(f"{name!r} has no 'aggregate' after it", f"write {AGGREGATE_EXAMPLE}")

    def _step(self, key: ScalarNode, node: Node) -> Step:
        name = key.text
        if name == "aggregate":
            return self._aggregate(key, node)
        if name == "join":
            step = join(node, self._tables)
            if isinstance(step, StreamJoin):
                self._need_time(key, "a join with a topic")
            else:
                self._check_table_join(key, step)
            return step
        if name == "time" and self._has_time:
            raise key.place.error("there is a 'time' already", "a record has one; remove one of them")
        if name in _MOST:
            self._counts[name] = count = self._counts.get(name, 0) + 1
            if count > _MOST[name]:
                raise key.place.error(
                    f"there are more than {_MOST[name]} {name!r}", "make two pipelines, joined by a topic"
                )
        found = _READERS[name](node)
        if isinstance(found, Time):
            self._has_time = True
            self._takes_the_clock = found.processing
        if name == "dedup":
            self._need_time(key, "'dedup'")
        return found

    def _check_table_join(self, key: ScalarNode, step: TableJoin) -> None:
        """A row of a time, and a wait, need a time that is the same whenever the pipeline runs."""
        if step.wait_ms:
            what = "a join with 'wait'"
        elif self._tables[step.table].as_of is not None:
            what = f"a join with table {shown(step.table)}, which has 'as_of',"
        else:
            return
        self._need_time(key, what)
        if self._takes_the_clock:
            raise key.place.error(
                f"{what.rstrip(',')} needs the time of the records, and not the clock's",
                f"write {steps.TIME_EXAMPLE}",
            )

    def _need_time(self, key: ScalarNode, what: str) -> None:
        if not self._has_time:
            raise key.place.error(f"{what} needs a 'time' before it", f"write {steps.TIME_EXAMPLE}")

    def _aggregate(self, key: ScalarNode, node: Node) -> Aggregate:
        self._aggregated = True
        found = self._window()
        if found is not None and found.kind != "count":
            self._need_time(self._parts["window"][0], f"a {found.kind} window")
        group_by = steps.group_by(self._parts["group_by"][1]) if "group_by" in self._parts else {}
        results = aggregate_calls(node, example=AGGREGATE_EXAMPLE)
        for name in results:
            if name in group_by:
                raise key.place.error(
                    f"{shown(name)} is in 'group_by' and in 'aggregate'", "rename one of them"
                )
        if found is not None:
            for name in (*group_by, *results):
                if name in WINDOW_FIELDS:
                    raise key.place.error(
                        f"{name!r} is a field of every window's results", "take another name"
                    )
        late_to = self._late_to()
        self._parts.clear()
        return Aggregate(window=found, group_by=group_by, results=results, late_to=late_to)

    def _window(self) -> Window | None:
        found = window(self._parts["window"][1]) if "window" in self._parts else None
        for name in ("allow_late", "late"):
            if name in self._parts and (found is None or found.kind == "count"):
                raise self._parts[name][0].place.error(
                    f"{name!r} needs a 'window' of time", "nothing is late without one; remove it"
                )
        if found is None or "allow_late" not in self._parts:
            return found
        node = self._parts["allow_late"][1]
        allow_late_ms = scalars.limited_ms(node, what="'allow_late'", example="1h", least_ms=0)
        return replace(found, allow_late_ms=allow_late_ms)

    def _late_to(self) -> str | None:
        if "late" not in self._parts:
            return None
        keys = Keys(self._parts["late"][1], what="'late'", known=("to",), example=LATE_EXAMPLE)
        return scalars.topic(keys.need("to"), what="'to' of 'late'")
