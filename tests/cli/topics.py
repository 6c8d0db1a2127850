"""What tests of `aegis topic` share: messages in a topic, and what is read from answers and directories."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from storage.store import Store


def publish(aegis: Any, topic: str, *values: object) -> None:
    with Store(aegis.store) as store:
        for value in values:
            store.publish(topic, value)


def documents(finished: Any) -> list[Any]:
    return [json.loads(line) for line in finished.lines]


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())
