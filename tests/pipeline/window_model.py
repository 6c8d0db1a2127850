"""Windows computed the plain way, from all records that ever came, and a store at work on the same records.

The model keeps every record, forgets nothing before it must, and computes each result anew. It shares no code
with the stores.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from aegis_cli.pipeline.aggregate import Layout
from aegis_cli.pipeline.errors import RecordError
from aegis_cli.pipeline.windows.key import key_of
from aegis_cli.pipeline.windows.windows import NEVER_MS, Closed, Windows
from tests.pipeline.inlined import plan, taker

LAYOUT: Layout = plan(n="count", total="sum(x)", values="collect(x)", middle="percentile(x, 0.5)")

Out = tuple[int, int, tuple[Any, ...], int, tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Record:
    """A record; text for `x` is refused by the sum."""

    time_ms: int
    key: Any
    x: int | str | None
    partition: int = 0


@dataclass(frozen=True, slots=True)
class Moment:
    """The watermarks around a record: what is closed for it, and up to where all is closed after it."""

    closed_ms: int
    low_ms: int


def moments(records: Sequence[Record], *, bound_ms: int) -> list[Moment]:
    """The watermarks of a run over records, by partition, of the least of all that had records."""
    marks: dict[int, int] = {}
    low_ms = NEVER_MS
    found = []
    for record in records:
        own_ms = marks.get(record.partition, NEVER_MS)
        closed_ms = max(own_ms, low_ms)
        marks[record.partition] = max(own_ms, record.time_ms - bound_ms)
        low_ms = max(low_ms, min(marks.values()))
        found.append(Moment(closed_ms, low_ms))
    return found


def results(records: Sequence[Record]) -> tuple[Any, ...]:
    """What the aggregates of `LAYOUT` are, for records in the order in which they arrived."""
    values = [
        record.x for record in sorted(records, key=lambda record: record.time_ms) if record.x is not None
    ]
    ordered = sorted(values)  # type: ignore[type-var]
    total = sum(values) if values else None  # type: ignore[arg-type]
    return len(records), total, values or None, ordered[(len(ordered) - 1) // 2] if ordered else None


def order(out: Out) -> tuple[Any, ...]:
    """Any two groups in order: null, booleans, numbers, text."""
    ranks = []
    for value in out[2]:
        kinds = [
            value is None,
            isinstance(value, bool),
            isinstance(value, int | float),
            isinstance(value, str),
        ]
        ranks.append((kinds.index(True), 0 if value is None else value))
    return out[1], out[0], ranks


@dataclass
class AlignedModel:
    """Tumbling and hopping windows."""

    size_ms: int
    advance_ms: int
    offset_ms: int
    allow_late_ms: int
    windows: dict[tuple[int, str, Any], list[Record]] = field(default_factory=dict)
    revisions: dict[tuple[int, str, Any], int] = field(default_factory=dict)
    low_ms: int = NEVER_MS

    def take(self, record: Record, moment: Moment) -> list[Out] | None:
        """What comes out because of a record; `None` if it is late."""
        starts = [
            start
            for start in range(record.time_ms - self.size_ms + 1, record.time_ms + 1)
            if (start - self.offset_ms) % self.advance_ms == 0
        ]
        starts = [start for start in starts if start + self.size_ms + self.allow_late_ms > moment.closed_ms]
        if not starts:
            return None
        if isinstance(record.x, str):
            return []
        names = [(start, json.dumps(record.key), record.key) for start in starts]
        for name in names:
            self.windows.setdefault(name, []).append(record)
        return self._give(name for name in names if name[0] + self.size_ms <= self.low_ms)

    def close(self, low_ms: int) -> list[Out]:
        self.low_ms = max(self.low_ms, low_ms)
        ended = [name for name in self.windows if name[0] + self.size_ms <= self.low_ms]
        return self._give(name for name in ended if name not in self.revisions)

    def flush(self) -> list[Out]:
        return self.close(max((start + self.size_ms for start, _, _ in self.windows), default=NEVER_MS))

    def _give(self, names: Any) -> list[Out]:
        given = []
        for name in list(names):
            revision = self.revisions[name] = self.revisions.get(name, -1) + 1
            start, _, key = name
            given.append((start, start + self.size_ms, (key,), revision, results(self.windows[name])))
        return sorted(given, key=order)


@dataclass(eq=False)
class Session:
    key: Any
    records: list[Record]
    revision: int = -1
    is_due: bool = True


@dataclass
class SessionModel:
    """Session windows, as lists of records."""

    gap_ms: int
    max_ms: int | None
    allow_late_ms: int
    sessions: list[Session] = field(default_factory=list)
    low_ms: int = NEVER_MS

    def _bounds(self, records: Sequence[Record]) -> tuple[int, int]:
        times = [record.time_ms for record in records]
        end = max(times) + self.gap_ms
        return min(times), end if self.max_ms is None else min(end, min(times) + self.max_ms)

    def _join(self, record: Record) -> list[Session]:
        alone = self._bounds([record])
        joined: list[Session] = []
        times = [record.time_ms]
        for session in sorted(self.sessions, key=lambda session: self._bounds(session.records)):
            start, end = self._bounds(session.records)
            if json.dumps(session.key) != json.dumps(record.key) or start > alone[1] or record.time_ms > end:
                continue
            together = times + [other.time_ms for other in session.records]
            if self.max_ms is None or max(together) - min(together) < self.max_ms:
                joined.append(session)
                times = together
        return joined

    def take(self, record: Record, moment: Moment) -> list[Out] | None:
        joined = self._join(record)
        if not joined and self._bounds([record])[1] + self.allow_late_ms < moment.closed_ms:
            return None
        if isinstance(record.x, str):
            return []
        merged = Session(record.key, [record])
        if joined:
            merged.records = [other for session in joined for other in session.records] + [record]
            merged.revision = max(session.revision for session in joined)
        self.sessions = [session for session in self.sessions if session not in joined] + [merged]
        return self.close(self.low_ms)

    def close(self, low_ms: int) -> list[Out]:
        self.low_ms = max(self.low_ms, low_ms)
        due = [each for each in self.sessions if each.is_due and self._bounds(each.records)[1] < self.low_ms]
        given = self._give(due)
        self.sessions = [
            each
            for each in self.sessions
            if self._bounds(each.records)[1] + self.allow_late_ms >= self.low_ms
        ]
        return given

    def flush(self) -> list[Out]:
        ends = [self._bounds(each.records)[1] for each in self.sessions if each.is_due]
        return self.close(max(ends) + 1) if ends else []

    def _give(self, due: list[Session]) -> list[Out]:
        given = []
        for session in due:
            session.is_due = False
            session.revision += 1
            given.append(
                (*self._bounds(session.records), (session.key,), session.revision, results(session.records))
            )
        return sorted(given, key=order)


def shown(closed: Sequence[Closed]) -> list[Out]:
    """Groups that were given out, with their results as JSON says them."""
    return [
        (each.start_ms, each.end_ms, each.key, each.revision, LAYOUT.results(each.acc)) for each in closed
    ]


@dataclass
class Run:
    """A store at work on records. `log` is what `changes` said, `out` what came out, `late` what was late."""

    make: Callable[[], Any]
    out: list[Out] = field(default_factory=list)
    late: list[Record] = field(default_factory=list)
    log: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store: Windows = self.make()
        self._take = taker(LAYOUT)

    def take(self, record: Record, moment: Moment) -> None:
        found = self.store.find(record.time_ms, key_of((record.key,)), moment.closed_ms)
        if not found:
            self.late.append(record)
        else:
            try:
                self._take(found, {"x": record.x}, record.time_ms, self.store.touch)
            except RecordError:
                self.store.undo()
        self.out += shown(self.store.revised())
        if moment.low_ms >= self.store.next_end_ms:
            self.close(moment.low_ms)

    def refuse_before(self) -> None:
        """A record that is refused before it gets to the windows."""
        self.store.undo()

    def close(self, low_ms: int) -> None:
        self.out += shown(self.store.close(low_ms))

    def commit(self) -> None:
        self.log.append(json.dumps(self.store.changes()))

    def restart(self, low_ms: int, *, whole: bool) -> None:
        """Go on with a store made of what was written: all of it at once, or change by change."""
        if whole:
            self.log = [json.dumps(self.store.snapshot())]
        else:
            self.commit()
        self.store = self.make()
        for rows in self.log:
            self.store.apply(json.loads(rows))
        assert [] == self.store.close(low_ms)

    def flush(self) -> None:
        self.out += shown(self.store.flush())
