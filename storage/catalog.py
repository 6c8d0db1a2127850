"""The catalog: which topics the store has. Creating, altering and deleting them. FORMAT.md section 2.

Promises: a topic appears, changes and disappears in one rename, and is acknowledged when that is on disk; a
name that differs from an existing one only in case is refused; a writer that works on a topic when it is
altered or deleted finds out under its lock, and no append goes by settings that were replaced before it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

from storage import files
from storage.entry import IndexHeader
from storage.errors import DamageError, SettingError, TopicExistsError, TopicNotFoundError
from storage.files import Sync
from storage.lock import FileLock
from storage.names import suggest
from storage.segment import create_segment
from storage.shelf import TOPICS, all_names, check_log_name, directory_of, names_of
from storage.topic import ID_BYTES, TOPIC_FILE, Topic, TopicSettings, log_id, read_topic, render_topic

TRASH = "trash"
_NEW_PREFIX = ".new-"


class Catalog:
    """The topics of one store, and its other logs: topics of one partition under a name of two parts.

    Reading needs no lock; a change takes the lock of the topics directory.
    """

    def __init__(self, store_path: str, *, lock_wait_seconds: float) -> None:
        self._store_path = store_path
        self._topics_path = os.path.join(store_path, TOPICS)
        self._trash_path = os.path.join(store_path, TRASH)
        self._lock_wait_seconds = lock_wait_seconds

    # -- reading --------------------------------------------------------------------------------------

    def names(self, kind: str = TOPICS) -> list[str]:
        """The names of all topics, or of all logs of a kind, sorted."""
        return names_of(self._store_path, kind)

    def topic(self, name: str) -> Topic:
        """The topic of this name. Raises `InvalidNameError`, `TopicNotFoundError`, `DamageError`."""
        check_log_name(name)
        try:
            return read_topic(directory_of(self._store_path, name), name)
        except (FileNotFoundError, NotADirectoryError):
            raise TopicNotFoundError(name, suggest(name, self.names())) from None

    def find(self, wanted_log_id: bytes) -> str | None:
        """The directory of a log, or `None` where its topic is deleted or damaged."""
        wanted, partition = wanted_log_id[:ID_BYTES], int.from_bytes(wanted_log_id[ID_BYTES:], "big")
        for name in all_names(self._store_path):
            try:
                topic = read_topic(directory_of(self._store_path, name), name)
            except (FileNotFoundError, DamageError):
                continue
            if topic.topic_id == wanted:
                return topic.partition_directory(partition)
        return None

    def check_readable(self) -> None:
        """Raise `DamageError` if the settings of some topic cannot be read."""
        for name in all_names(self._store_path):
            try:
                read_topic(directory_of(self._store_path, name), name)
            except (FileNotFoundError, NotADirectoryError):
                continue

    # -- changing -------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        lock = FileLock(os.path.join(self._topics_path, ".lock"), what="the list of topics")
        try:
            lock.acquire(timeout_seconds=self._lock_wait_seconds)
            try:
                yield
            finally:
                lock.release()
        finally:
            lock.close()

    def create(self, name: str, settings: TopicSettings, *, now_ms: int) -> Topic:
        """Make a topic. Raises `InvalidNameError`, `SettingError`, `TopicExistsError`."""
        check_log_name(name)
        target = directory_of(self._store_path, name)
        settings.check()
        with self._locked():
            parent, own_name = os.path.split(target)
            self._make_shelf(parent)
            for existing in self.names(os.path.basename(parent)):
                if existing.lower() == own_name.lower():
                    raise TopicExistsError(own_name, existing)
            topic_id = os.urandom(ID_BYTES)
            _remove_unfinished(parent)
            new = os.path.join(parent, _NEW_PREFIX + topic_id.hex())
            files.make_directory(new)
            for partition in range(settings.partitions):
                _make_partition(new, topic_id, partition, now_ms=now_ms)
            files.replace_file(
                os.path.join(new, TOPIC_FILE), render_topic(topic_id, settings), Sync.TOPIC_CREATE
            )
            files.step("topic.create")
            files.rename(new, target)
            files.sync_directory(parent, Sync.TOPIC_CREATE)
            return read_topic(target, name)

    def _make_shelf(self, path: str) -> None:
        """Make the directory for logs of a kind, before the first of them."""
        if not os.path.isdir(path):
            files.make_directory(path)
            files.sync_directory(self._store_path, Sync.TOPIC_CREATE)

    def alter(
        self,
        name: str,
        settings: TopicSettings | Callable[[TopicSettings], TopicSettings],
        *,
        now_ms: int,
        settle: Callable[[], None] | None = None,
    ) -> Topic:
        """Replace a topic's settings. The number of partitions can only grow; the key field stays.

        `settings` may be a function of those that the topic has: whoever changes some of them must not undo
        what another process changed since they were read. `settle` is called while nobody can append, before
        the settings change. Raises `SettingError`, `TopicNotFoundError`, `LockTimeoutError`.
        """
        if isinstance(settings, TopicSettings):
            settings.check()
        with self._locked():
            topic = self.topic(name)
            if not isinstance(settings, TopicSettings):
                settings = settings(topic.settings)
                settings.check()
            if settings.partitions < topic.partitions:
                raise SettingError(
                    "partitions",
                    f"cannot go from {topic.partitions} to {settings.partitions}",
                    remedy="it can only grow",
                )
            if settings.key != topic.settings.key:
                # Messages of one key would lie in two partitions, and older ones would change their key.
                raise SettingError(
                    "key", "cannot be changed", remedy="create another topic and copy the messages into it"
                )
            for partition in range(topic.partitions, settings.partitions):
                _make_partition(topic.directory, topic.topic_id, partition, now_ms=now_ms)
            # The settings name the partitions: these must be there first.
            files.sync_directory(topic.directory, Sync.TOPIC_CREATE)
            with self._partitions_locked(topic):
                if settle is not None:
                    settle()
                path = os.path.join(topic.directory, TOPIC_FILE)
                files.replace_file(path, render_topic(topic.topic_id, settings))
            return self.topic(name)

    @contextlib.contextmanager
    def _partitions_locked(self, topic: Topic) -> Iterator[None]:
        """Keep every writer of the topic away."""
        locks: list[FileLock] = []
        try:
            for partition in range(topic.partitions):
                what = f"topic '{topic.name}' partition {partition}"
                lock = FileLock(os.path.join(topic.partition_directory(partition), "head"), what=what)
                locks.append(lock)
                lock.acquire(timeout_seconds=self._lock_wait_seconds)
            yield
        finally:
            for lock in locks:
                lock.close()

    def delete(self, name: str, *, check: Callable[[], None] | None = None) -> None:
        """Delete a topic: durably out of sight first, its files after.

        `check` is called while nobody can append; what it raises keeps the topic.
        """
        with self._locked():
            topic = self.topic(name)
            with self._partitions_locked(topic):
                if check is not None:
                    check()
                trashed = os.path.join(self._trash_path, topic.topic_id.hex())
                files.rename(topic.directory, trashed)
                files.sync_directory(self._trash_path, Sync.TOPIC_DELETE)
                files.sync_directory(os.path.dirname(topic.directory), Sync.TOPIC_DELETE)
                files.step("topic.deleted")
            self.empty_trash()

    def empty_trash(self) -> None:
        """Remove what deletions left, also those that were cut short."""
        for name in os.listdir(self._trash_path):
            _remove_tree(os.path.join(self._trash_path, name))


def _remove_unfinished(parent: str) -> None:
    for name in os.listdir(parent):
        if name.startswith(_NEW_PREFIX):
            _remove_tree(os.path.join(parent, name))


def _make_partition(topic_directory: str, topic_id: bytes, partition: int, *, now_ms: int) -> None:
    directory = os.path.join(topic_directory, str(partition))
    files.make_directory(directory)
    create_segment(directory, IndexHeader(log_id(topic_id, partition), 0, 0, now_ms))


def _remove_tree(path: str) -> None:
    """Remove a topic's directory: files, partitions, itself. Deeper than that nothing of a topic lies."""
    for partition in os.scandir(path):
        if partition.is_dir(follow_symlinks=False):
            for file in os.scandir(partition.path):
                files.unlink(file.path)
            files.remove_directory(partition.path)
        else:
            files.unlink(partition.path)
    files.remove_directory(path)
