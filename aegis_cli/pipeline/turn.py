"""What a pipeline makes of its input between two commits: rows for its sinks, records put aside, the account.

The generated functions (`aegis_cli.pipeline.program`) work on a `Turn`; it is emptied by each commit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from msgspec import json

from aegis_cli.pipeline.account import Account
from aegis_cli.pipeline.definition import OnError
from aegis_cli.pipeline.errors import PipelineError, RecordError, RecordRefusedError, TooManyRefusedError
from aegis_cli.pipeline.fit import Fit
from aegis_cli.pipeline.items import TOO_MUCH_MADE
from storage.batch import Batch

# Below every event time there is.
NEVER_MS = -(1 << 62)
# A share of refused records means something only from here on.
_RATIO_RECORDS_MIN = 100
# More bytes than any row has.
UNLIMITED_BYTES = 1 << 62
# The side of a topic whose records have no time: a table's.
NO_TIME = -1
# More than any topic has partitions.
_SIDE = 1 << 20


@dataclass(slots=True)
class Aside:
    """A record that is put aside: its line as it came, and why, if there is a reason to tell."""

    line: bytes
    place: str
    reason: str | None = None


class Partition:
    """A partition of the source as the pipeline knows it: the highest event time that it gave."""

    __slots__ = ("high_ms", "idle", "number", "seen")

    @property
    def side(self) -> int:
        """Which of the joined streams it is of."""
        return self.number // _SIDE

    def __init__(self, number: int) -> None:
        self.number = number
        self.high_ms = NEVER_MS
        self.seen = False
        self.idle = False


class Turn:
    """The working state of a run. `outs` has a list of rows for each sink, of the partition in work."""

    def __init__(self, pipeline: str, sinks: int, on_error: OnError, *, bound_ms: int) -> None:
        self.pipeline = pipeline
        self.account = Account()
        self.partitions: dict[int, Partition] = {}
        self.closed_ms = NEVER_MS
        # The highest watermark there was: a partition that comes later lowers it, and what was forgotten
        # until then stays so. Only where something is forgotten by it.
        self.reached_ms = NEVER_MS
        self.others_ms = NEVER_MS
        self.now_ms = 0
        self.outs: list[list[Any]] = [[] for _ in range(sinks)]
        self.asides: dict[str, list[Aside]] = {}
        # What the topic of each sink takes; sinks that are no topics have none.
        self.fits: list[Fit] = [Fit("", UNLIMITED_BYTES) for _ in range(sinks)]
        # Rows of each sink in the order in which they were made, in runs of one partition.
        self.rows: list[list[tuple[int, list[Any]]]] = [[] for _ in range(sinks)]
        # For each sink the first one of the same name: their rows go there in one order.
        self.same = list(range(sinks))
        self._earlier_rows = 0
        self._on_error = on_error
        self._bound_ms = bound_ms
        self._lines: list[bytes] = []
        self._raw = b""
        self._offsets: Any = ()
        self._topic = ""
        self._partition = 0
        # Whether the batch is of a table, whose rows are no records of the stream.
        self._is_table = False
        self._batch: Batch | None = None
        self._keys: list[bytes | None] | None = None
        self._times_ms: list[int] | None = None
        # The partition of the source whose rows are made.
        self.number = 0
        # Records that were kept and go on now: line and place. Their indexes are -1, -2 and so on.
        self.kept: list[tuple[bytes, str]] = []
        # The record of the batch at which they do, if it is one.
        self.at = -1
        # Whether nothing is to wait any more, since no record will come.
        self.flushing = False
        # How large the rows are that steps made of one record of the batch; and of those before it, since
        # somebody asked.
        self.made_of = -1
        self.made_bytes = 0
        self._made_before_bytes = 0
        # The record of the batch that became too much.
        self._too_much = -1
        self.late_to: str | None = None
        # How many streams there must have been records of before there is a watermark.
        self.sides = 1
        self.after: Callable[..., None] = _nothing_to_fire
        self.fire: Callable[[int], None] = _nothing_to_fire

    # -- one batch ------------------------------------------------------------------------------------

    def begin(
        self,
        topic: str,
        partition: int,
        raw: bytes,
        offsets: Any,
        append_time_ms: int,
        batch: Batch | None = None,
    ) -> None:
        """What is processed next is a batch of this partition; `raw` are its lines."""
        self._topic, self._partition = topic, partition
        self._batch, self._keys, self._times_ms = batch, None, None
        self._raw, self._lines, self._offsets = raw, [], offsets
        self._too_much = self.made_of = -1
        self.now_ms = append_time_ms

    def restore(self, account: Account, times: tuple[int, int], high_ms: Mapping[str, int]) -> None:
        """Be what a commit left: what it counted, up to where windows were given out, the highest watermark,
        and how far the time of each partition was.
        """
        self.account = Account(**{name: getattr(account, name) for name in account.__struct_fields__})
        self.closed_ms, self.reached_ms = times
        for name, time_ms in high_ms.items():
            partition = Partition(int(name))
            if partition.side >= self.sides:
                continue  # of a stream that is joined no more: nothing waits for it
            partition.high_ms = time_ms
            partition.seen = True
            self.partitions[partition.number] = partition

    def turn_to(self, number: int, *, side: int = 0) -> Partition:
        """Let rows go to those of this partition of the source, whose state is returned.

        Of a topic that is read beside the source, `side` keeps its partitions apart; where it is negative the
        topic's records have no time, and nothing waits for them.
        """
        self.turn_to_rows(number)
        self._is_table = side < 0
        if side < 0:
            return Partition(number)
        number += side * _SIDE
        partition = self.partitions.get(number)
        if partition is None:
            partition = self.partitions[number] = Partition(number)
        partition.seen = True
        partition.idle = False
        others = [each for each in self.partitions.values() if each is not partition and holds_back(each)]
        self.others_ms = self._least_ms(others, [*others, partition], alone=1 << 62)
        return partition

    def line(self, index: int) -> bytes:
        """The line of a record of the batch; one of no batch has none."""
        if index < 0:
            return self.kept[~index][0] if self.kept else b"null"
        if not self._lines:
            self._lines = self._raw.split(b"\n")
        return self._lines[index]

    def place(self, index: int) -> str:
        """Where a record of the batch stands, in words; a negative number is that of a kept record."""
        if index < 0:
            return self.kept[~index][1] if self.kept else "a record that was kept and matched nothing"
        return f"{self._topic}/{self._partition}@{self._offsets[index]}"

    def key(self, index: int) -> bytes | None:
        """The stored key of a message of the batch."""
        if self._keys is None:
            found = None if self._batch is None else self._batch.keys()
            self._keys = [None] * len(self._offsets) if found is None else found
        return self._keys[index]

    def time_ms(self, index: int) -> int:
        """The timestamp of a message of the batch."""
        if self._times_ms is None:
            found = None if self._batch is None else self._batch.timestamps_ms()
            self._times_ms = [self.now_ms] * len(self._offsets) if found is None else found
        return self._times_ms[index]

    def begin_rows(self, index: int) -> None:
        """What is made next is made of this record."""
        self.made_of = index
        self._made_before_bytes += self.made_bytes
        self.made_bytes = 0

    def take_made_bytes(self) -> int:
        """How large the rows are that steps made of records since the last call."""
        self.begin_rows(-1)
        taken, self._made_before_bytes = self._made_before_bytes, 0
        return taken

    # -- records that do not go on --------------------------------------------------------------------

    def late(self, index: int) -> None:
        self.account.late += 1
        if self.late_to is not None:
            self._put_aside(self.late_to, index)

    def duplicate(self, index: int, to: str | None) -> None:
        self.account.deduped += 1
        if to is not None:
            self._put_aside(to, index)

    def refuse(self, index: int, error: RecordError) -> None:
        """Put a record aside that cannot be processed. Raises `RecordRefusedError`, `TooManyRefusedError`."""
        action = self._on_error
        reason = str(error)
        if action.action == "stop":
            raise self._stopped(index, RecordRefusedError(self.pipeline, self.place(index), reason))
        # A kept record goes on when another one comes, and that one has been seen.
        account, is_table = self.account, self._is_table and index >= 0
        seen = (account.table_rows if is_table else account.records_in) + index + 1
        if index < 0:
            seen = account.records_in + (0 if self._is_table else self.at + 1)
        dead = (account.table_dead if is_table else account.dead) + 1
        ratio = action.max_ratio
        if ratio is not None and seen >= _RATIO_RECORDS_MIN and dead > ratio * seen:
            what = "table rows" if is_table else "records"
            cause = TooManyRefusedError(self.pipeline, dead, seen, ratio, reason, what=what)
            raise self._stopped(index, cause)
        if is_table:
            account.table_dead = dead
        else:
            account.dead = dead
        if action.topic is not None and not (reason == TOO_MUCH_MADE and index == self._too_much):
            self._put_aside(action.topic, index, reason)
        if reason == TOO_MUCH_MADE:
            # All the rows that it would still become are refused, and once says it.
            self._too_much = index

    def _stopped(self, index: int, cause: RecordRefusedError | TooManyRefusedError) -> Exception:
        """What ends the processing: before this record, or before the one that let a kept one go on.

        Without one nothing can be committed.
        """
        place = self.at if index < 0 else index
        return cause if place < 0 else StoppedAt(place, cause)

    def refuse_result(self, group: Any, error: RecordError) -> None:
        """A result that cannot be given out: no record stands for it, and it counts among the results.

        Raises `RecordRefusedError`, `TooManyRefusedError`: then nothing since the last commit counts.
        """
        account, action = self.account, self._on_error
        place = f"the result of group {json.encode(group.key).decode()}"
        if action.action == "stop":
            raise RecordRefusedError(self.pipeline, place, str(error))
        ratio, seen, dead = action.max_ratio, account.results, account.results_dead + 1
        if ratio is not None and seen >= _RATIO_RECORDS_MIN and dead > ratio * seen:
            raise TooManyRefusedError(self.pipeline, dead, seen, ratio, str(error), what="results")
        account.results_dead = dead
        if action.topic is not None:
            line = json.encode({"key": group.key, "start_ms": group.start_ms, "end_ms": group.end_ms})
            self.asides.setdefault(action.topic, []).append(Aside(line, place, str(error)))

    def _put_aside(self, topic: str, index: int, reason: str | None = None) -> None:
        self.asides.setdefault(topic, []).append(Aside(self.line(index), self.place(index), reason))

    # -- commits --------------------------------------------------------------------------------------

    @property
    def low_ms(self) -> int:
        """The watermark: the least of all partitions that ever had records."""
        partitions = [each for each in self.partitions.values() if holds_back(each)]
        return self._least_ms(partitions, partitions, alone=NEVER_MS)

    def turn_to_rows(self, number: int) -> None:
        """Let rows go to those of this partition."""
        self.number = number
        for position, runs in enumerate(self.rows):
            if self.same[position] != position:
                self.outs[position] = self.outs[self.same[position]]
                continue
            if not runs or runs[-1][0] != number:
                self._earlier_rows += len(runs[-1][1]) if runs else 0
                runs.append((number, []))
            self.outs[position] = runs[-1][1]

    def _least_ms(self, partitions: list[Partition], known: list[Partition], *, alone: int) -> int:
        """The least watermark of some; `alone` if there are none, and no time while a side is unknown."""
        if any(all(each.side != side for each in known) for side in range(self.sides)):
            return NEVER_MS
        return min(each.high_ms for each in partitions) - self._bound_ms if partitions else alone

    @property
    def held_rows(self) -> int:
        """How many rows wait for the commit."""
        return self._earlier_rows + sum(len(runs[-1][1]) for runs in self.rows if runs)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        return not self.asides and not self.held_rows

    def clear(self) -> None:
        """Begin with nothing to write."""
        for runs in self.rows:
            runs.clear()
        self._earlier_rows = 0
        self.asides.clear()


class StoppedAt(Exception):
    """Processing ends at a record of the batch, before it; `cause` says why."""

    def __init__(self, index: int, cause: RecordRefusedError | TooManyRefusedError) -> None:
        super().__init__(str(cause))
        self.index = index
        self.cause = cause


class HaltedAt(Exception):
    """The record at `position` of `place` stops the pipeline, for the reason `cause`."""

    def __init__(self, place: str, position: int, cause: PipelineError) -> None:
        super().__init__(str(cause))
        self.place = place
        self.position = position
        self.cause = cause


def holds_back(partition: Partition) -> bool:
    """Whether the watermark waits for a partition."""
    return partition.seen and not partition.idle


def _nothing_to_fire(*arguments: object) -> None:
    raise AssertionError("no window is open")
