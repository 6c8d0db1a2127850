"""Altering a topic: some of its settings change, and what that asks of the journal is done first.

Promises: two alterations at the same time are both in the settings afterwards; once a topic is said to wait
for the disk, everything that it holds is on disk.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from storage.topic import Topic, TopicSettings

if TYPE_CHECKING:
    from storage.store import Store


def alter_topic(
    store: Store, name: str, change: Callable[[TopicSettings], TopicSettings]
) -> tuple[TopicSettings, Topic]:
    """Give a topic the settings that `change` makes of those it has; returns the earlier ones and the topic.

    Raises `SettingError`, `TopicNotFoundError`, `LockTimeoutError`: nothing was changed. What `change` raises
    is raised, and nothing was changed either.
    """
    journal = store.journal
    journal.check_healthy()
    earlier = wanted = TopicSettings()

    def note(settings: TopicSettings) -> TopicSettings:
        nonlocal earlier, wanted
        earlier, wanted = settings, change(settings)
        return wanted

    def settle() -> None:
        # Recovery trusts every entry of a topic that waits for the disk. Entries from before that may be
        # ahead of the journal, so the journal has to catch up while nobody can add another.
        if earlier.durability != "fsync" and wanted.durability == "fsync" and journal.end.sequence:
            journal.wait_durable(journal.end.sequence - 1)

    with journal.failing():
        topic = store.catalog.alter(name, note, now_ms=store.clock_ms(), settle=settle)
    return earlier, topic
