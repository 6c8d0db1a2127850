"""The company of a store: who combines the small appends to each of its logs, see `storage.combine`.

A log's first append goes alone: it may be the only one of a short process, which then need not import that.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from storage.append import Write, append
from storage.batch import Receipt

if TYPE_CHECKING:
    from storage.combine import Combiner
    from storage.journal import Journal
    from storage.log import Log
    from storage.topic import Topic


class Way(NamedTuple):
    """How small appends go to a log of a topic, as that was when its settings were read."""

    topic: Topic
    log: Log
    combiner: Combiner
    durable: bool


class Company:
    """The combiners of a store's logs, each made when it is needed."""

    def __init__(self, clock_ms: Callable[[], int], lock_wait_seconds: float) -> None:
        self._clock_ms = clock_ms
        self._lock_wait_seconds = lock_wait_seconds
        self._mutex = threading.Lock()
        # None stands for a log that was appended to once.
        self._combiners: dict[Log, Combiner | None] = {}

    def append(self, journal: Journal, writes: list[Write], *, durable: bool) -> list[Receipt]:
        """Append to all logs or to none, in company where that can be. Raises what `storage.append` does."""
        log, batch = writes[0].log, writes[0].lone_batch
        if log not in self._combiners:
            self._combiners[log] = None
        elif len(writes) == 1 and batch is not None:
            combiner = self._combiners.get(log) or self.combiner(log)
            if combiner.can_take(batch):
                return [combiner.append(batch, durable)]
        clock_ms, wait = self._clock_ms, self._lock_wait_seconds
        return append(journal, writes, clock_ms=clock_ms, lock_wait_seconds=wait, durable=durable)

    def combiner(self, log: Log) -> Combiner:
        """The log's combiner, made if there is none."""
        from storage.combine import Combiner

        with self._mutex:
            combiner = self._combiners.get(log) or Combiner(log, self._clock_ms, self._lock_wait_seconds)
            self._combiners[log] = combiner
        return combiner

    def way(self, topic: Topic, log: Log) -> Way | None:
        """How small appends go to one log of the topic; `None` for the first of them."""
        combiner = self._combiners.get(log)
        if combiner is None:
            return None
        return Way(topic, log, combiner, topic.settings.durability == "fsync")

    def part(self, log: Log) -> None:
        """Forget a log that is closed, and give back what was shared with other processes."""
        combiner = self._combiners.pop(log, None)
        if combiner is not None:
            combiner.close()
