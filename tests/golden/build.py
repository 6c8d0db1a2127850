"""Builds the golden store of the format of today: `python -m tests.golden.build`.

A golden store is built once, when its format is released, and must open for ever. So this refuses to replace
one. What goes in is the same on every machine: clock, ids, salts and identity are fixed.

The archive holds the directory `store`, as it lay there when its machine lost power, and `messages.jsonl`:
what `aegis consume --json` prints of all its topics.
"""

from __future__ import annotations

import gzip
import io
import os
import random
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from storage import epoch

ARCHIVE = Path(__file__).parent / "format-1" / "store.tar.gz"
START_MS = 1_700_000_000_000


class Place:
    """Where the store believes to lie: the same on every machine, until it is moved."""

    identity = epoch.Identity(b"the golden boot ", 1, 2, 3)


def fix_what_varies() -> None:
    epoch.current_identity = lambda journal_path: Place.identity
    os.urandom = random.Random(1).randbytes
    os.getpid = lambda: 4242


class PowerCut(Exception):
    """The end of the building: what is in the journal is not yet in the segments."""


class CutPower:
    """An observer (`storage.files.Observer`) that ends it when an append is durable and not yet visible."""

    def __getattr__(self, name: str) -> object:
        return lambda *arguments: None

    def step(self, name: str) -> None:
        if name == "append.durable":
            raise PowerCut


def fill(path: Path) -> None:
    """Make the store at `path`: a bit of everything that the format can hold."""
    from storage import files
    from storage.batch import RecordBatch
    from storage.store import Append, Store
    from storage.topic import TopicSettings

    clock = iter(range(START_MS, START_MS + 10**9, 1000))
    store = Store(path, create=True, clock_ms=lambda: next(clock))

    def append(topic: str, *batches: RecordBatch, partition: int = 0) -> None:
        store.append([Append(topic=topic, partition=partition, batches=list(batches))])

    strange = b'null\n1e400\n12345678901234567890\n"\\u0000"\n{"a":1,"a":2}\n{"$base64":"AP8="}\n"\xc3\xa4"\n'
    store.create_topic("plain")
    append("plain", RecordBatch(lines=strange, count=7))
    append("plain", RecordBatch(lines=b"1\n", count=1), RecordBatch(lines=b"2\n3\n", count=2))

    store.create_topic("everything", TopicSettings(partitions=2))
    for partition in range(2):
        append(
            "everything",
            RecordBatch(
                lines=b"1\n2\n3\n4\n",
                count=4,
                keys=[b'"a"', b"7", b'{"$base64":"AP8="}', b"null"],
                headers=[b'[{"key":"h","value":"1"},{"key":"h","value":null}]', b"null", b"null", b"null"],
                timestamps_ms=[START_MS - 5000, -1, START_MS + 5000, 0],
            ),
            partition=partition,
        )

    store.create_topic("keyed", TopicSettings(partitions=3, key="id"))
    for number in range(9):
        lines = b'{"id":"k%d","n":%d}\n' % (number, number)
        append("keyed", RecordBatch(lines=lines, count=1), partition=number % 3)

    store.create_topic("bulk", TopicSettings(segment_bytes=100_000))
    lines = b"".join(b'{"n":%d,"pad":"%s"}\n' % (number, b"x" * 90) for number in range(700))
    keys = [b'"bulk"'] * 700
    for _ in range(2):
        append("bulk", RecordBatch(lines=lines, count=700, keys=keys))

    store.create_topic("rolled", TopicSettings(segment_bytes=4096, retention_bytes=10_000))
    for number in range(10):
        store.publish("rolled", {"n": number, "pad": "y" * 2000})
    store.maintenance.clean()

    store.create_topic("unsynced", TopicSettings(durability="os"))
    for number in range(3):
        store.publish("unsynced", number)

    store.create_topic("deleted")
    store.publish("deleted", "gone")
    store.delete_topic("deleted")

    files.observer = CutPower()  # type: ignore[assignment]
    try:
        append("plain", RecordBatch(lines=b'"in the journal alone"\n', count=1))
    except PowerCut:
        files.observer = None
    else:
        raise AssertionError("the last append went all the way")


def members(path: Path) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    """The files below `path`, by name, without owner and time."""
    for file in sorted(path.rglob("*")):
        if file == path / "journal" / "shared":
            # A cache, with waiters and measured times: as good as lost after a power cut.
            continue
        entry = tarfile.TarInfo(str(file.relative_to(path.parent)))
        entry.mtime = START_MS // 1000
        entry.mode = 0o755 if file.is_dir() else 0o644
        entry.type = tarfile.DIRTYPE if file.is_dir() else tarfile.REGTYPE
        data = b"" if file.is_dir() else file.read_bytes()
        entry.size = len(data)
        yield entry, data


def build() -> bytes:
    """The archive."""
    fix_what_varies()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "store")
        fill(path)
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
            for entry, data in members(path):
                archive.addfile(entry, io.BytesIO(data))
            messages = messages_of(path)
            entry = tarfile.TarInfo("messages.jsonl")
            entry.size = len(messages)
            archive.addfile(entry, io.BytesIO(messages))
    return gzip.compress(packed.getvalue(), mtime=0)


def messages_of(path: Path) -> bytes:
    """What the store holds once it was recovered, which is tried on a copy."""
    from storage.envelope import encode_batch
    from storage.reader import Gap
    from storage.store import Store

    copy = path.with_name("copy")
    shutil.copytree(path, copy)
    Place.identity = epoch.Identity(b"the boot behind ", 1, 2, 3)
    found = []
    with Store(copy, clock_ms=lambda: START_MS) as store:
        for name in store.topics():
            for number in range(store.topic(name).partitions):
                for batch in store.batches(name, number):
                    assert not isinstance(batch, Gap), batch
                    found.append(encode_batch(batch))
    return b"".join(found)


def main() -> int:
    if ARCHIVE.exists():
        sys.stderr.write(f"{ARCHIVE} exists, and a golden store is never built again\n")
        return 1
    ARCHIVE.parent.mkdir(parents=True, exist_ok=True)
    ARCHIVE.write_bytes(build())
    return 0


if __name__ == "__main__":
    sys.exit(main())
