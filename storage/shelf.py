"""Where the logs of a store lie: topics, and beside them the logs of groups, producers and all that lasts.

A log that is no topic has a name of two parts, `groups/processors`, and lies in the directory of that name;
a topic's name has one part, and lies below `topics/`. All have the same form.
"""

from __future__ import annotations

import os

from storage.errors import InvalidNameError
from storage.names import check_name

TOPICS = "topics"
KINDS = ("groups", "producers", "subscriptions", "pipelines", "captures", "events")
# Beside a log's partition: one file a member of a group, locked as long as the member lives.
MEMBERS = "members"
# Beside the partition of a producer's log: locked as long as a run of it is at work.
RUN_LOCK = "run.lock"


def check_log_name(name: str) -> None:
    """Raise `InvalidNameError` unless a log can be called so."""
    kind, slash, own = name.rpartition("/")
    check_name(own)
    if slash and kind not in KINDS:
        raise InvalidNameError(name, f"'{kind}' is no kind of log")


def directory_of(store_path: str, name: str) -> str:
    """The directory of the log of this name."""
    kind, _, own = name.rpartition("/")
    return os.path.join(store_path, kind or TOPICS, own)


def names_of(store_path: str, kind: str = TOPICS) -> list[str]:
    """The names of all logs of a kind, sorted, without the kind. A damaged one has a name as well."""
    try:
        with os.scandir(os.path.join(store_path, kind)) as entries:
            return sorted(entry.name for entry in entries if not entry.name.startswith("."))
    except FileNotFoundError:
        return []


def all_names(store_path: str) -> list[str]:
    """The full names of all logs, topics first."""
    return [
        *names_of(store_path),
        *(f"{kind}/{name}" for kind in KINDS for name in names_of(store_path, kind)),
    ]
