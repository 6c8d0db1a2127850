"""What tests of `aegis publish` share: topics, and what readers see in them afterwards."""

from __future__ import annotations

import json
from typing import Any

from storage.store import Store
from storage.topic import TopicSettings


def make(aegis: Any, name: str, **settings: Any) -> None:
    with Store(aegis.store, create=True) as store:
        store.create_topic(name, TopicSettings(**settings))


def stored(aegis: Any, topic: str = "t") -> list[Any]:
    """What readers of the topic see, as envelopes."""
    finished = aegis("consume", topic, "--json")
    assert (0, b"") == (finished.code, finished.stderr)
    return [json.loads(line) for line in finished.stdout.split(b"\n")[:-1]]


def values(aegis: Any, topic: str = "t") -> list[Any]:
    return [record["value"] for record in stored(aegis, topic)]


def count(aegis: Any, topic: str = "t") -> int:
    finished = aegis("consume", topic)
    assert (0, b"") == (finished.code, finished.stderr)
    return int(finished.stdout.count(b"\n"))
