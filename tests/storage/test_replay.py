"""Replaying the journal writes what the appends wrote, byte for byte, and appends in a row as one."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage import files, journal_file
from storage.batch import RecordBatch
from storage.entry import ENTRY_BYTES
from storage.files import Sync
from storage.journal_scan import scan
from storage.replay import Replay
from storage.store import Append, Store
from storage.topic import TopicSettings
from tests.storage.small_batches import lines

PARTITIONS = 3


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store", create=True) as opened:
        opened.create_topic("t", TopicSettings(partitions=PARTITIONS))
        yield opened


def to(partition: int, batch: RecordBatch, topic: str = "t") -> Append:
    return Append(topic=topic, partition=partition, batches=[batch])


def segments(store: Store, topic: str = "t") -> dict[str, bytes]:
    """The files of all segments."""
    root = Path(store.path) / "topics" / topic
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.glob("*/*"))
        if path.name[:20].isdigit()
    }


def lose(store: Store) -> None:
    """Leave of every segment what it was when it was made."""
    for path in sorted((Path(store.path) / "topics" / "t").glob("*/*")):
        if path.name[:20].isdigit():
            with path.open("r+b") as file:
                file.truncate(ENTRY_BYTES if path.suffix == ".index" else 0)


def replay(store: Store) -> None:
    done = Replay(store.catalog.find, file_sync=Sync.RECOVERY_FILE, directory_sync=Sync.RECOVERY_DIRECTORY)
    for item in scan(store.journal.path, salt=store.journal.salt):
        assert not isinstance(item, journal_file.Gap)
        done.apply(item.record)
    done.sync()


@pytest.mark.parametrize("seed", range(5))
def test_it_writes_what_was_appended_byte_for_byte(store: Store, seed: int) -> None:
    rng = random.Random(seed)
    for number in range(300):
        partitions = rng.sample(range(PARTITIONS), rng.choice((1, 1, 1, 2, 3)))
        key = rng.choice((None, None, None, b'"k"'))
        values = [str(number), '"' + "x" * rng.randrange(200) + '"'][: rng.randrange(1, 3)]
        store.append([to(partition, lines(*values, key=key)) for partition in partitions])
    before = segments(store)
    assert any(name.endswith(".meta") and data for name, data in before.items())
    lose(store)
    assert before != segments(store)
    for _ in range(2):
        replay(store)
        assert before == segments(store)


def test_records_that_were_damaged_in_between_leave_the_others_where_they_belong(store: Store) -> None:
    for number in range(20):
        store.append([to(0, lines(str(number)))])
    before = segments(store)
    lose(store)
    done = Replay(store.catalog.find, file_sync=Sync.RECOVERY_FILE, directory_sync=Sync.RECOVERY_DIRECTORY)
    for number, item in enumerate(scan(store.journal.path, salt=store.journal.salt)):
        assert not isinstance(item, journal_file.Gap)
        if number != 7:
            done.apply(item.record)
    done.sync()
    after = segments(store)
    [data] = [name for name in before if name.startswith("0/") and name.endswith(".jsonl")]
    # The digits of number 7 and its line end are missing, and all else is in its place.
    assert before[data].replace(b"7\n", b"\0\0", 1) == after[data]


def test_a_segment_that_went_meanwhile_is_left_out(store: Store) -> None:
    store.create_topic("gone")
    for _ in range(3):
        store.append([to(0, lines("1")), to(0, lines("2"), "gone")])
    before = segments(store)
    shutil.rmtree(Path(store.path) / "topics" / "gone" / "0")
    lose(store)
    replay(store)
    assert before == segments(store)


def test_appends_in_a_row_are_written_as_one(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(400):
        store.append([to(number % 2, lines(str(number)))])
    written: list[int] = []

    class Observer:
        def write(self, fd: int, data: bytes, position: int) -> None:
            written.append(len(data))

        def __getattr__(self, name: str) -> object:
            return lambda *given: None

    lose(store)
    monkeypatch.setattr(files, "observer", Observer())
    replay(store)
    monkeypatch.undo()
    # The lines and the entries of two partitions.
    assert 4 == len(written)
    assert 400 * ENTRY_BYTES == sum(length for length in written if length % ENTRY_BYTES == 0)
