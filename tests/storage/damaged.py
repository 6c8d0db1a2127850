"""A small store and ways to damage its files, for the tests of verification and repair."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from storage.batch import RecordBatch
from storage.finding import Finding
from storage.reader import Gap
from storage.store import Append, Store
from storage.verify import verify

SEGMENT = "topics/t/0/00000000000000000000"
VALUES = [b'{"id":0}', b'{"id":1}', b'"a"', b'"b"', b'"c"', b"[1]", b'{"last":1}']


def make_store(root: Path) -> None:
    """Four batches in one partition: offsets 0-1 plain, 2-4 with times, 5 with a key, 6 alone."""
    with Store(root, create=True) as store:
        store.create_topic("t")
        plain = RecordBatch(lines=b'{"id":0}\n{"id":1}\n', count=2)
        times = RecordBatch(lines=b'"a"\n"b"\n"c"\n', count=3, timestamps_ms=[5, 6, 7])
        keys = RecordBatch(lines=b"[1]\n", count=1, keys=[b'"k"'])
        for batch in (plain, times, keys):
            store.append([Append(topic="t", partition=0, batches=[batch])])
        store.publish("t", {"last": 1})


def forget_the_journal(root: Path) -> None:
    """Recover the store in a new place: its journal then holds nothing any more."""
    copy = root.with_name("copy")
    shutil.copytree(root, copy)
    shutil.rmtree(root)
    copy.rename(root)
    with Store(root):
        pass


def flip(path: Path, position: int, bit: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1 << bit
    path.write_bytes(data)


def change(path: Path, edit: Callable[[bytes], bytes]) -> None:
    path.write_bytes(edit(path.read_bytes()))


def damages(root: Path) -> list[Finding]:
    return [finding for finding in verify(root) if finding.is_damage]


def kinds(findings: list[Finding]) -> list[str]:
    return [finding.kind.value for finding in findings]


def read(root: Path) -> tuple[dict[int, bytes], list[tuple[int, int]]]:
    """The values by offset, and the gaps."""
    values, gaps = {}, []
    with Store(root) as store:
        for item in store.batches("t", 0, start_offset=0):
            if isinstance(item, Gap):
                gaps.append((item.first_offset, item.end_offset))
            else:
                values.update({message.offset: message.value for message in item.messages()})
    return values, gaps


WHOLE = dict(enumerate(VALUES))
