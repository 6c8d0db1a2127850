"""The store: topics in one directory, shared by any number of processes.

    with Store("data", create=True) as store:
        store.create_topic("orders")
        store.publish("orders", {"id": 1}, key="order-123")
        for message in store.read("orders"):
            print(message.offset, message.value)

Many threads may use one `Store`; a forked child opens its own.
"""

from __future__ import annotations

import functools
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from storage import append as appending
from storage import opening
from storage.append import Append as Append
from storage.batch import SMALL_BYTES, Batch, Message, Receipt, RecordBatch
from storage.catalog import Catalog
from storage.errors import PartitionNotFoundError, StorageError, TopicChangedError, TopicExistsError
from storage.head import may_hide
from storage.journal import Journal
from storage.keys import partition_for
from storage.log import Log
from storage.message import encode, record_of
from storage.names import check_name
from storage.topic import Topic, TopicSettings

if TYPE_CHECKING:
    from storage.company import Company, Way
    from storage.maintenance import Maintenance
    from storage.reader import Gap, LogReader
    from storage.small_post import SmallPost
    from storage.subscriber import Subscriber
    from storage.subscription import Subscription
    from storage.transaction import Transaction

_TOPIC_RETRIES = 5


def clock_ms() -> int:
    """Now, in milliseconds UTC."""
    return time.time_ns() // 1_000_000


class Store:
    """An open store. `create` makes it if there is none; `read_only` never writes, not even to recover.

    `lock_wait_seconds` bounds the wait for a lock that another process holds. Raises `StoreNotFoundError`,
    `NotAStoreError`, `NewerFormatError`, `UnsafeFileSystemError`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        create: bool = False,
        read_only: bool = False,
        lock_wait_seconds: float = 30.0,
        clock_ms: Callable[[], int] = clock_ms,
    ) -> None:
        self.path = os.path.abspath(os.fspath(path))
        self.read_only = read_only
        self.lock_wait_seconds = lock_wait_seconds
        self.clock_ms = clock_ms
        if create:
            opening.create_store(self.path, lock_wait_seconds=lock_wait_seconds)
        self.store_id = opening.check_format(self.path, write=not read_only)
        opening.check_file_system(self.path)
        self.catalog = Catalog(self.path, lock_wait_seconds=lock_wait_seconds)
        self._opened: opening.OpenStore | None = None
        self._journal: Journal | None = None
        self._maintenance: Maintenance | None = None
        self._logs: dict[bytes, Log] = {}
        self._topics: dict[str, Topic] = {}
        self._placed: dict[tuple[str, int], tuple[tuple[int, int], Log]] = {}
        self._ways: dict[tuple[str, int], Way | None] = {}
        self._small_posts: dict[str, SmallPost] = {}
        self._turns: dict[str, Iterator[int]] = {}
        self._mutex = threading.RLock()
        if not read_only and opening.recovery_is_due(self.path):
            self.journal  # noqa: B018  opening it recovers

    # -- opening and closing --------------------------------------------------------------------------

    @property
    def journal(self) -> Journal:
        """The open journal; opening it recovers the store where that is due."""
        if self._journal is None:
            with self._mutex:
                if self._journal is None:
                    wait, now_ms = self.lock_wait_seconds, self.clock_ms()
                    self._opened = opening.open_store(self.path, lock_wait_seconds=wait, now_ms=now_ms)
                    self._journal = opening.open_journal(self.path, self._opened, lock_wait_seconds=wait)
        return self._journal

    @property
    def maintenance(self) -> Maintenance:
        """Checkpoints and retention."""
        if self._maintenance is None:
            _ = self.journal
            from storage.maintenance import Maintenance

            self._maintenance = Maintenance(self)
        return self._maintenance

    @functools.cached_property
    def _company(self) -> Company:
        from storage.company import Company

        return Company(self.clock_ms, self.lock_wait_seconds)

    def close(self) -> None:
        """Close every file. The store must not be used afterwards."""
        with self._mutex:
            for log in self._logs.values():
                self._company.part(log)
                log.close()
            self._logs.clear()
            self._placed.clear()
            self._ways.clear()
            self._small_posts.clear()
            for part in (self._maintenance, self._journal, self._opened):
                if part is not None:
                    part.close()
            self._maintenance = self._journal = self._opened = None

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # -- topics ---------------------------------------------------------------------------------------

    def topics(self) -> list[str]:
        """The names of all topics, sorted."""
        return self.catalog.names()

    def topic(self, name: str) -> Topic:
        """A topic as it is now. Raises `TopicNotFoundError`, `InvalidNameError`, `DamageError`."""
        check_name(name)
        return self.log_topic(name)

    def log_topic(self, name: str) -> Topic:
        """A topic, or another log (`storage.shelf`), whose messages are for those alone who keep it."""
        self._topics[name] = self.catalog.topic(name)
        return self._topics[name]

    def create_topic(
        self, name: str, settings: TopicSettings | None = None, *, if_not_exists: bool = False
    ) -> Topic:
        """Make a topic, durably. Raises `TopicExistsError`, `InvalidNameError`, `SettingError`."""
        check_name(name)
        try:
            return self.create_log(name, settings or TopicSettings())
        except TopicExistsError as error:
            if if_not_exists and error.existing == name:
                return self.topic(name)
            raise

    def create_log(self, name: str, settings: TopicSettings) -> Topic:
        """Make a topic or another log, see `storage.shelf`, durably. Raises what `create_topic` does."""
        self.journal.check_healthy()
        with self.journal.failing():
            self._topics[name] = self.catalog.create(name, settings, now_ms=self.clock_ms())
            return self._topics[name]

    def alter_topic(
        self, name: str, settings: TopicSettings | Callable[[TopicSettings], TopicSettings]
    ) -> Topic:
        """Give a topic these settings, or what a function makes of those it has, durably.

        Raises `SettingError`, `TopicNotFoundError`, `LockTimeoutError`.
        """
        from storage.alter import alter_topic

        change = (lambda _: settings) if isinstance(settings, TopicSettings) else settings
        self._topics[name] = topic = alter_topic(self, name, change)[1]
        return topic

    def delete_topic(self, name: str, *, check: Callable[[], None] | None = None) -> None:
        """Delete a topic and all its messages, durably, unless `check`, called under its locks, raises."""
        with self.maintenance.locked(), self.journal.failing():
            self.journal.check_healthy()
            self.catalog.delete(name, check=check)
        self._topics.pop(name, None)

    # -- writing --------------------------------------------------------------------------------------

    def publish(
        self,
        topic: str,
        value: object,
        *,
        key: str | int | float | None = None,
        headers: Mapping[str, str] | None = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
    ) -> Receipt:
        """Publish one message, durably and visibly; `value` is anything that JSON can say."""
        lines = b""
        is_plain = key is None and headers is None and partition is None and timestamp_ms is None
        if is_plain and (small_post := self._small_posts.get(topic)) is not None:
            # What all that follows would do, for one among many: see `storage.small_post`.
            lines = encode(value) + b"\n"
            posted = small_post.append(lines, 1)
            if posted is not None:
                if not small_post.is_open and (way := self._ways.get((topic, 0))) is not None:
                    self._look_after(way.log)
                return posted
        number, known = 0, self._topics.get(topic)
        if is_plain and known is not None and known.is_plain:
            # What `message` would find out, for nearly all of them.
            batch = RecordBatch(lines=lines or encode(value) + b"\n", count=1)
        else:
            number, batch = self.message(
                topic, value, key=key, headers=headers, partition=partition, timestamp_ms=timestamp_ms
            )
        receipt = self._append_small(topic, number, batch)
        return receipt or self.append([Append(topic=topic, partition=number, batches=[batch])])[0]

    def transaction(self) -> Transaction:
        """Messages to several topics, and changes of state, all or nothing: see `storage.transaction`."""
        from storage.transaction import Transaction

        return Transaction(self)

    def message(
        self,
        topic: str,
        value: object,
        *,
        key: str | int | float | None = None,
        headers: Mapping[str, str] | None = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
    ) -> tuple[int, RecordBatch]:
        """The record that `publish` would append, and the partition that it would choose."""
        settings = (self._topics.get(topic) or self.topic(topic)).settings
        batch, chosen_by = record_of(value, key, headers, timestamp_ms, settings.key)
        if partition is None:
            partition = 0 if settings.partitions == 1 else self.choose_partition(topic, chosen_by)
        return partition, batch

    def choose_partition(self, topic: str, key: bytes | None = None) -> int:
        """The partition for a key (raw JSON text), or the next in turn for a batch without."""
        partitions = (self._topics.get(topic) or self.topic(topic)).partitions
        if partitions == 1:
            return 0
        if key is not None:
            return partition_for(key, partitions)
        if topic not in self._turns:
            self._turns[topic] = itertools.count(int.from_bytes(os.urandom(2), "little"))
        return next(self._turns[topic]) % partitions

    def append(self, appends: Sequence[Append]) -> list[Receipt]:
        """Append to several partitions, all or nothing; durable and visible when it returns.

        Raises `OffsetConflictError`, `TopicNotFoundError`, `PartitionNotFoundError`, `LockTimeoutError`,
        `DiskFullError`, `StoreFailedError`: nothing was stored. `SyncFailedError`: in doubt.
        `InDoubtError`: it may come yet. `NotYetVisibleError`: committed all the same.
        """
        if (journal := self.journal).wants_checkpoint:
            self.maintenance.relieve_pressure()
        for attempt in range(_TOPIC_RETRIES):
            writes = [
                appending.Write(
                    log=self._log(item.topic, item.partition),
                    batches=item.batches,
                    expect_offset=item.expect_offset,
                    expect_fence=item.expect_fence,
                    fence=item.fence,
                )
                for item in appends
            ]
            durable = any(self._topics[item.topic].settings.durability == "fsync" for item in appends)
            try:
                receipts = self._company.append(journal, writes, durable=durable)
                break
            except TopicChangedError as error:
                # New settings of the same topic are taken over; another topic of that name is another.
                known = self._topics[error.name].topic_id
                if self.log_topic(error.name).topic_id != known or attempt == _TOPIC_RETRIES - 1:
                    raise
        self._look_after(*[write.log for write in writes])
        return receipts

    def _append_small(self, topic: str, partition: int, batch: RecordBatch) -> Receipt | None:
        """Append one record to a log that is known; `None`, with nothing stored, if there is more to do."""
        journal, known = self._journal, self._topics[topic]
        way = self._ways.get((topic, partition))
        if way is None or way.topic is not known:
            found = self._placed.get((topic, partition))
            if found is None or found[0] != known.stamp:
                return None
            way = self._ways[topic, partition] = self._company.way(known, found[1])
        if way is None or journal is None or journal.wants_checkpoint or len(batch.lines) > SMALL_BYTES:
            return None
        try:
            receipt = way.combiner.append(batch, way.durable)
        except TopicChangedError:
            return None
        small_post = way.combiner.small_post
        if small_post is not None and known.is_plain and small_post.place.settings_stamp == known.stamp:
            self._small_posts[topic] = small_post
        if way.log.rolled or journal.wants_checkpoint:
            self._look_after(way.log)
        return receipt

    def _look_after(self, *logs: Log) -> None:
        """The upkeep that is due after an acknowledged append to these logs."""
        rolled = [log for log in logs if log.rolled]
        if rolled or self.journal.wants_checkpoint:
            from storage.maintenance import maintain_after

            maintain_after(self, rolled)
            # If something is left to do, the next append looks at it before it begins.
            self._small_posts.clear()

    def show_committed(self, topic: str, partition: int, *, beyond_offset: int) -> None:
        """Make visible what a process committed beyond `beyond_offset` and did not live to show.

        Does nothing where nothing is missing, somebody is at work there, or the store may not be written.
        """
        if self.read_only or not os.access(os.path.join(self.path, "journal"), os.W_OK):
            return
        from storage.unshown import show_committed

        show_committed(self._log(topic, partition), beyond_offset=beyond_offset)

    def _log(self, name: str, partition: int) -> Log:
        """The log of one partition, as its topic was when its settings were last read."""
        topic = self._topics.get(name) or self.log_topic(name)
        found = self._placed.get((name, partition))
        if found is not None and found[0] == topic.stamp:
            return found[1]
        if not 0 <= partition < topic.partitions:
            topic = self.log_topic(name)
            if not 0 <= partition < topic.partitions:
                raise PartitionNotFoundError(name, partition, topic.partitions)
        place = topic.place(partition)
        with self._mutex:
            log = self._logs.get(place.log_id)
            if log is None:
                log = self._logs[place.log_id] = Log(place, journal=self.journal)
            log.place = place
            self._placed[name, partition] = (topic.stamp, log)
        return log

    # -- reading --------------------------------------------------------------------------------------

    def reader(self, topic: str, partition: int) -> LogReader:
        """One partition, open for reading. Raises `TopicNotFoundError`, `PartitionNotFoundError`.

        What a dead process committed to it and did not show is shown first, where that can be done.
        """
        from storage.reader import LogReader

        reader = LogReader(self.log_topic(topic), partition)
        if may_hide(reader.directory, reader.end_offset):
            with suppress(StorageError):
                self.show_committed(topic, partition, beyond_offset=reader.end_offset)
        return reader

    def batches(
        self, topic: str, partition: int, *, start_offset: int | None = None, end_offset: int | None = None
    ) -> Iterator[Batch | Gap]:
        """A partition's batches from `start_offset` to before `end_offset`; to the end as it is now."""
        return self.reader(topic, partition).batches(start_offset=start_offset, end_offset=end_offset)

    def subscribe(self, *topics: str, group: str, **options: Any) -> Subscriber:
        """The messages of topics, shared with the other members of a group; see `storage.subscriber`."""
        from storage.subscriber import Subscriber

        return Subscriber(self, topics, group=group, **options)

    def subscription(self, name: str, *topics: str, **options: Any) -> Subscription:
        """Messages that are acknowledged one by one; see `storage.subscription.open_subscription`."""
        from storage.subscription import open_subscription

        return open_subscription(self, name, topics=topics, **options)

    def read(
        self, topic: str, *, partition: int | None = None, start_offset: int | None = None
    ) -> Iterator[Message]:
        """The messages of a topic, partition after partition, to the end as it is now. Damage raises."""
        from storage.reader import messages

        return messages(self, topic, partition, start_offset)
