"""From which offset to which the partitions of many places reach, told from the ends of their files.

Promises: a topic's settings and a partition's directory are looked at once each, however often they are asked
for; no messages are read; a place whose topic is gone, or another one by now, is an answer and no error.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from storage.assignor import Place
from storage.errors import DamageError, NotFoundError, TopicChangedError
from storage.read_segment import ReadSegment
from storage.reader import LogReader
from storage.store import Store
from storage.topic import Topic


class Extent(NamedTuple):
    """From `start_offset` to before `end_offset`; both `None` where `state` says that there is no telling."""

    start_offset: int | None
    end_offset: int | None
    state: Literal["ok", "deleted", "damaged"] = "ok"
    damage: DamageError | None = None


DELETED = Extent(None, None, "deleted")


class Extents:
    """Answers for one moment: what was looked at once is not looked at again."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._topics: dict[str, Topic | DamageError | None] = {}
        self._extents: dict[Place, Extent] = {}

    def of(self, place: Place) -> Extent:
        """The extent of a place."""
        found = self._extents.get(place)
        if found is None:
            found = self._extents[place] = self._look(place)
        return found

    def places_of(self, name: str) -> list[Place]:
        """All partitions of a topic as it is now. Raises `TopicNotFoundError`, `DamageError`."""
        topic = self._topics[name] = self._store.topic(name)
        return [Place(name, topic.topic_id.hex(), number) for number in range(topic.partitions)]

    def _look(self, place: Place) -> Extent:
        topic = self._topic(place.topic)
        if isinstance(topic, DamageError):
            return Extent(None, None, "damaged", topic)
        if topic is None or topic.topic_id.hex() != place.topic_id or place.partition >= topic.partitions:
            return DELETED
        try:
            reader = LogReader(topic, place.partition)
            bases = reader.bases()
            return Extent(bases[0], _end_offset(reader, bases[-1]))
        except TopicChangedError:
            return DELETED
        except DamageError as error:
            return Extent(None, None, "damaged", error)

    def _topic(self, name: str) -> Topic | DamageError | None:
        if name not in self._topics:
            try:
                self._topics[name] = self._store.topic(name)
            except NotFoundError:
                self._topics[name] = None
            except DamageError as error:
                self._topics[name] = error
        return self._topics[name]


def _end_offset(reader: LogReader, newest_base: int) -> int:
    """`LogReader.end_offset`, where the directory is listed already."""
    try:
        last = ReadSegment(reader.directory, newest_base, without_data=True).last_entry()
    except FileNotFoundError:
        return reader.end_offset  # replaced or removed since it was listed
    return newest_base if last is None else last.last_offset + 1
