"""The log store of Aegis: topics as plain JSON Lines files, shared safely by many processes.

    from storage import Store

    with Store("data", create=True) as store:
        store.create_topic("orders")
        store.publish("orders", {"id": 1}, key="order-123")

The package knows nothing of the command line: it prints nothing and raises `StorageError` and its kin (see
`storage.errors`). The files are described in FORMAT.md. Names are loaded when they are first used, so that a
program pays only for what it needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from storage.batch import Batch, Message, Receipt, RecordBatch
    from storage.errors import StorageError
    from storage.reader import Gap, LogReader
    from storage.store import Append, Store
    from storage.topic import Topic, TopicSettings

__all__ = [
    "Append",
    "Batch",
    "Gap",
    "LogReader",
    "Message",
    "Receipt",
    "RecordBatch",
    "StorageError",
    "Store",
    "Topic",
    "TopicSettings",
]

_HOMES = {
    "Append": "store",
    "Batch": "batch",
    "Gap": "reader",
    "LogReader": "reader",
    "Message": "batch",
    "Receipt": "batch",
    "RecordBatch": "batch",
    "StorageError": "errors",
    "Store": "store",
    "Topic": "topic",
    "TopicSettings": "topic",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'storage' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"storage.{_HOMES[name]}"), name)
