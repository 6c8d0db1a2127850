"""A producer: it remembers how much of an input it has published, in the same record as the messages.

    with Producer(store, "import") as producer:
        publish_resumable(store, producer, topic, options, fd)

(`publish_resumable` is in `storage.producer_input`.) What a producer knows is in its log, `producers/NAME`:
for each topic how many lines of the input were published, and a checksum of them.

Promises: the messages of a step and the number of its last line are stored together or not at all, so an
input that is given again from its start after a crash is published without loss or duplicates; only one run
is at work at a time, by a kernel lock; and each run has a fence of its own, so that one which another has
taken over from can publish nothing, whatever became of the lock.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence

import msgspec

from storage.append import LOGS_MAX
from storage.batch import Receipt
from storage.errors import FencedError, SettingError, StorageError
from storage.lock import FileLock, holder_of
from storage.names import check_name
from storage.producer_errors import ProducerFencedError, ProducerInUseError
from storage.shelf import RUN_LOCK
from storage.state_log import Change, open_state_log
from storage.store import Append, Store
from storage.topic import Topic

KIND = "producers"
PARTITIONS_MAX = LOGS_MAX - 1
"""A step is one record, whatever partitions it goes to, and the producer's log needs a place in it."""

_TRIES = 100
# The log is looked at this often, whether it should be shortened.
_STEPS_BETWEEN_LOOKS = 256


class Progress(msgspec.Struct, frozen=True):
    """How many lines of an input are published, blank and refused ones counted.

    `crc32c` is the checksum of these lines, line ends included; `None` if some of them were too long to be
    kept, and so nobody can tell whether an input begins with them.
    """

    lines: int = 0
    crc32c: int | None = 0


class RunRecord(msgspec.Struct, frozen=True):
    """A record of the log: a run began. `run` is its fence."""

    run: int
    process: int
    at_ms: int


class ProgressRecord(msgspec.Struct, frozen=True):
    """A record of the log: so much is published to a topic."""

    topic: str
    topic_id: str
    lines: int
    crc32c: int | None
    at_ms: int


class ProducerState:
    """What the records of a producer's log fold to: see `storage.state_log.Fold`."""

    def __init__(self) -> None:
        self.run = 0
        self.topics: dict[str, Progress] = {}

    def apply(self, change: Change, offset: int) -> None:
        if "run" in change:
            self.run = msgspec.convert(change, RunRecord).run
        else:
            record = msgspec.convert(change, ProgressRecord)
            self.topics[record.topic_id] = Progress(record.lines, record.crc32c)

    def snapshot(self) -> object:
        return {"run": self.run, "topics": self.topics}

    def restore(self, snapshot: object) -> None:
        whole = msgspec.convert(snapshot, _Snapshot)
        self.run, self.topics = whole.run, whole.topics


class _Snapshot(msgspec.Struct):
    run: int
    topics: dict[str, Progress]


class Producer:
    """One run of the producer `name`, which is made when there is none. Not for several threads at once.

    Raises `ProducerInUseError`, `InvalidNameError`, and what `Store.append` raises.
    """

    def __init__(self, store: Store, name: str) -> None:
        check_name(name)
        self.name = name
        self._store = store
        self._state = ProducerState()
        self._log = open_state_log(store, f"{KIND}/{name}", self._state, create=True)
        self._steps = 0
        path = os.path.join(self._log.topic.directory, RUN_LOCK)
        self._lock = FileLock(path, what=f"producer '{name}'")
        try:
            if not self._lock.try_acquire():
                raise ProducerInUseError(name, holder_of(self._lock.fd))
            self._run = self._begin()
            self._shorten()
        except BaseException:
            self._lock.close()
            raise

    def _begin(self) -> int:
        """Append the record that begins the run; returns its fence."""
        log = self._log
        for _ in range(_TRIES):
            log.refresh()
            run = log.fence + 1
            record = RunRecord(run, os.getpid(), self._store.clock_ms())
            try:
                self._store.append([log.append([record], expect_fence=log.fence, fence=run)])
            except FencedError:
                continue
            # A step of a run that died may have been committed and not yet visible until now. From now on
            # nobody else can add one.
            log.refresh()
            return run
        raise ProducerFencedError(self.name)

    def progress(self, topic: Topic) -> Progress:
        """How much of its input is published to this topic; a deleted one of the same name is another."""
        return self._state.topics.get(topic.topic_id.hex(), Progress())

    def show(self, topic: Topic) -> None:
        """Make visible what a run that died had committed to this topic and did not live to show."""
        for partition in range(topic.partitions):
            visible_end = self._store.reader(topic.name, partition).end_offset
            self._store.show_committed(topic.name, partition, beyond_offset=visible_end)

    def append(self, appends: Sequence[Append], topic: Topic, progress: Progress) -> list[Receipt]:
        """Append messages to `topic`, perhaps none, and remember that its input is published so far.

        All of it or nothing. Raises `ProducerFencedError` if another run has begun, and what `Store.append`
        raises.
        """
        if len(appends) > PARTITIONS_MAX:
            raise too_many_partitions(topic, len(appends))
        record = ProgressRecord(
            topic.name, topic.topic_id.hex(), progress.lines, progress.crc32c, self._store.clock_ms()
        )
        state = self._log.append([record], expect_fence=self._run)
        try:
            receipts = self._store.append([*appends, state])[:-1]
        except FencedError as error:
            if error.name != self._log.name:
                raise
            raise ProducerFencedError(self.name) from error
        self._state.topics[record.topic_id] = progress
        self._steps += 1
        if self._steps % _STEPS_BETWEEN_LOOKS == 0:
            self._shorten()
        return receipts

    def _shorten(self) -> None:
        # What is acknowledged must not look undone because of the upkeep of the log.
        with contextlib.suppress(StorageError):
            self._log.refresh()
            self._log.shorten_if_due()

    def remember(self, topic: Topic, progress: Progress) -> None:
        """Remember lines behind the last message: blank ones, and those that were left out."""
        if progress.lines > self.progress(topic).lines:
            self.append([], topic, progress)

    def close(self) -> None:
        """End the run."""
        self._lock.close()

    def __enter__(self) -> Producer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def too_many_partitions(topic: Topic, partitions: int) -> SettingError:
    """The error for a step that no record can hold."""
    return SettingError(
        "producer",
        f"publishes to at most {PARTITIONS_MAX} partitions, and '{topic.name}' has {partitions}",
        remedy="give the partition, or publish without it",
    )
