"""Repairing settings: the store's aegis.toml and the topics' topic.toml.

A topic's id is in the header of every index; its other settings are kept line by line as far as they can be
read. What cannot be read takes its default, and the damaged file is kept in quarantine.
"""

from __future__ import annotations

import os

import msgspec

from storage import files, toml
from storage.entry import ENTRY_BYTES, decode_header
from storage.errors import DamageError, SettingError
from storage.opening import STORE_FILE, render_store_file
from storage.quarantine import keep_copy
from storage.segment import index_path, segment_bases
from storage.shelf import all_names, directory_of
from storage.topic import ID_BYTES, TOPIC_FILE, TopicSettings, read_topic, render_topic, settings_of

_FILE_BYTES_MAX = 1 << 20


def rewrite_store_file(store_path: str) -> str:
    """Give the store a new aegis.toml; returns where the damaged one is kept."""
    path = os.path.join(store_path, STORE_FILE)
    copy = keep_copy(store_path, path, STORE_FILE)
    files.replace_file(path, render_store_file(os.urandom(12).hex()))
    return copy


def damaged_topics(store_path: str) -> list[str]:
    """The directories of topics whose settings are missing, cannot be read, or have another topic's id."""
    found = []
    for name in all_names(store_path):
        directory = directory_of(store_path, name)
        if not os.path.isdir(directory):
            continue
        try:
            topic_id = read_topic(directory).topic_id
        except (DamageError, FileNotFoundError):
            if os.path.isdir(directory):
                found.append(directory)
        else:
            # One file against all indexes: the file is wrong.
            if _id_in_headers(directory) not in (None, topic_id):
                found.append(directory)
    return found


def rewrite_topic_file(store_path: str, directory: str) -> tuple[list[str], str] | None:
    """Make a topic's settings anew; returns the names of those that are lost, and where the old file is.

    `None` where not even the id is left: no index has a header that can be read.
    """
    topic_id = _id_in_headers(directory)
    if topic_id is None:
        return None
    path = os.path.join(directory, TOPIC_FILE)
    settings, lost = _salvage(path, partitions=max(_partitions(directory), default=0) + 1)
    copy = keep_copy(store_path, path, f"{os.path.basename(directory)}-{TOPIC_FILE}")
    files.replace_file(path, render_topic(topic_id, settings))
    return lost, copy


def _read(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read(_FILE_BYTES_MAX)
    except FileNotFoundError:
        return None


def _partitions(directory: str) -> list[int]:
    return sorted(
        int(name)
        for name in os.listdir(directory)
        if name.isdecimal() and os.path.isdir(os.path.join(directory, name))
    )


def _id_in_headers(directory: str) -> bytes | None:
    """The topic's id, if the indexes agree on one."""
    found = set()
    for partition in _partitions(directory):
        partition_directory = os.path.join(directory, str(partition))
        for base in segment_bases(partition_directory):
            with open(index_path(partition_directory, base), "rb") as file:
                header = decode_header(file.read(ENTRY_BYTES))
            if header is not None:
                found.add(header.log_id[:ID_BYTES])
    return found.pop() if len(found) == 1 else None


def _salvage(path: str, *, partitions: int) -> tuple[TopicSettings, list[str]]:
    """The settings that can be read line by line, and the names of those that cannot."""
    values: dict[str, object] = {"partitions": partitions}
    for line in (_read(path) or b"").split(b"\n"):
        try:
            table = toml.loads(line.decode())
            table.pop("id", None)
            table.pop("partitions", None)
            settings_of({**values, **table}).check()
        except (ValueError, SettingError):
            continue
        values.update(table)
    settings = settings_of(values)
    # Settings that were never written are not lost: only those that every topic's file has.
    always = [name for name, value in msgspec.structs.asdict(TopicSettings()).items() if value is not None]
    return settings, [name for name in always if name not in values]
