"""The partitions that a subscription delivers from: which there are, where they end, and reading them.

Promises: a topic that was deleted and created again is another one, delivered from its start; partitions that
were added are delivered from their start; nothing of a new topic is taken for a message of the old one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from storage.errors import NotFoundError, TopicChangedError, TopicNotFoundError
from storage.log import settings_stamp
from storage.segment import index_path, segment_bases
from storage.store import Store
from storage.subscription_changes import Dropped, Place, Placed
from storage.subscription_reader import Found, MessageReader
from storage.subscription_state import SubscriptionState
from storage.topic import TOPIC_FILE, Topic
from storage.watch import Watch


class Places:
    """The places of one open subscription. Not for several threads at once."""

    def __init__(
        self, store: Store, state: SubscriptionState, *, on_notice: Callable[[str], None] | None
    ) -> None:
        self._store = store
        self._state = state
        self._on_notice = on_notice
        self._topics: dict[str, Topic] = {}
        self._gone: set[str] = set()
        self._readers: dict[int, MessageReader] = {}
        self._stops: dict[int, int] | None = None
        self._turn = 0
        self._moved = False
        self._told: set[str] = set()

    def look(self) -> list[Placed | Dropped]:
        """What has to change in the subscription, since its topics did."""
        settings = self._state.settings
        assert settings is not None
        for name in settings.topics:
            known = self._topics.get(name)
            try:
                if known and settings_stamp(os.path.join(known.directory, TOPIC_FILE)) == known.stamp:
                    continue
                self._topics[name] = self._store.topic(name)
            except (FileNotFoundError, TopicNotFoundError):
                self._lose(name)
                continue
            self._gone.discard(name)
            self._readers.clear()
            self._moved = True
        if not self._moved:
            return []
        changes = [change for topic in self._topics.values() for change in self._changes(topic)]
        # Until they are made they are asked for again.
        self._moved = bool(changes)
        return changes

    def _changes(self, topic: Topic) -> list[Placed | Dropped]:
        topic_id = topic.topic_id.hex()
        new = [
            Place(topic.name, topic_id, number, 0)
            for number in range(topic.partitions)
            if self._state.number_of(topic_id, number) is None
        ]
        old = [
            (place.topic_id, place.partition)
            for place in self._state.places.values()
            if place.topic == topic.name and place.topic_id != topic_id
        ]
        if old and topic_id not in self._told:
            self._told.add(topic_id)
            self._notice(f"topic '{topic.name}' was deleted and created again; delivering the new one")
        changes: list[Placed | Dropped] = [Dropped(places=old)] if old else []
        return [*changes, Placed(places=new)] if new else changes

    def _lose(self, name: str) -> None:
        if name not in self._gone:
            self._notice(f"topic '{name}' was deleted; waiting for a new topic of this name")
        self._gone.add(name)
        self._topics.pop(name, None)
        self._readers.clear()

    def _notice(self, text: str) -> None:
        if self._on_notice is not None:
            self._on_notice(text)

    def reader(self, number: int) -> MessageReader | None:
        """What reads a place; `None` where its topic is gone."""
        reader = self._readers.get(number)
        if reader is not None:
            return reader
        place = self._state.places.get(number)
        topic = self._topics.get(place.topic) if place is not None else None
        if place is None or topic is None or topic.topic_id.hex() != place.topic_id:
            return None
        reader = self._readers[number] = MessageReader(topic, place.partition)
        return reader

    def read(self, number: int, offsets: Sequence[int]) -> Found:
        """The messages of a place; all are missing where its topic is gone."""
        reader = self.reader(number)
        try:
            return Found(missing=list(offsets)) if reader is None else reader.read(offsets)
        except TopicChangedError:
            return Found(missing=list(offsets))

    def ends(self, wanted: int) -> list[tuple[int, int, int]]:
        """Places with something that was not handed out yet, where they start and end.

        Only as many as have the `wanted` number of messages, each time beginning with another.
        """
        numbers = list(self._state.places)
        self._turn += 1
        first = self._turn % len(numbers) if numbers else 0
        found = []
        for number in numbers[first:] + numbers[:first]:
            reader = self.reader(number)
            if reader is None:
                continue
            try:
                start, end = reader.log.start_offset, reader.log.end_offset
            except TopicChangedError:
                continue  # the next look says so
            if self._stops is not None:
                end = min(end, self._stops.get(number, 0))
            begin = max(start, self._state.places[number].next_offset)
            if end > begin:
                found.append((number, start, end))
                wanted -= end - begin
                if wanted <= 0:
                    break
        return found

    def stop_here(self) -> None:
        """Deliver nothing for the first time that lies behind the ends as they are now."""
        self._stops = {}
        for number in self._state.places:
            reader = self.reader(number)
            if reader is not None:
                self._stops[number] = reader.log.end_offset

    @property
    def exhausted(self) -> bool:
        """Whether everything before the ends of `stop_here` was handed out."""
        if self._stops is None:
            return False
        places = self._state.places
        return all(
            places[number].next_offset >= end for number, end in self._stops.items() if number in places
        )

    def watch(self, watch: Watch) -> None:
        """Have `watch` wake when a partition grows."""
        for number in self._state.places:
            reader = self.reader(number)
            if reader is not None:
                watch_newest(watch, reader.log.directory)

    def help_the_dead(self) -> None:
        """Show what a publisher committed and did not live to show."""
        for number, place in self._state.places.items():
            reader = self.reader(number)
            if reader is None:
                continue
            try:
                end_offset = reader.log.end_offset
                self._store.show_committed(place.topic, place.partition, beyond_offset=end_offset)
            except (NotFoundError, TopicChangedError):
                continue  # deleted; the next look says so


def watch_newest(watch: Watch, directory: str) -> None:
    """Have `watch` wake when the log in this directory grows."""
    try:
        newest = segment_bases(directory)[-1:]
    except FileNotFoundError:
        return
    watch.add(directory, [index_path(directory, base) for base in newest])
