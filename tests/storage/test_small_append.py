"""Both ways of an append do the same: the same operations in the same order, and the same bytes."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from storage import files
from storage.batch import Receipt, RecordBatch
from storage.errors import NotYetVisibleError
from storage.files import Sync
from storage.head import MappedHead
from storage.journal import Journal
from storage.small_append import SmallAppend
from storage.store import Append, Store
from storage.topic import TopicSettings

APPENDS = 120
# The words of the shared page that say how long a sync took.
SYNC_TOOK = slice(20 * 8, 22 * 8)


class Noted:
    """An observer that notes all that is done to the disk."""

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self._paths: dict[int, str] = {}
        self.done: list[object] = []

    def _short(self, path: str) -> str:
        return path.removeprefix(self._root)

    def opened(self, fd: int, path: str) -> None:
        self._paths[fd] = self._short(path)

    def closed(self, fd: int) -> None:
        self._paths.pop(fd, None)

    def created(self, path: str) -> None:
        self.done.append(("created", self._short(path)))

    def write(self, fd: int, data: bytes | memoryview, position: int) -> None:
        self.done.append(("write", self._paths.get(fd), bytes(data), position))

    def allocate(self, fd: int, position: int, length: int) -> None:
        self.done.append(("allocate", self._paths.get(fd), position, length))

    def truncate(self, fd: int, length: int) -> None:
        self.done.append(("truncate", self._paths.get(fd), length))

    def sync(self, fd: int, promise: Sync) -> None:
        self.done.append(("sync", self._paths.get(fd), promise))

    def sync_directory(self, path: str, promise: Sync) -> None:
        self.done.append(("sync directory", self._short(path), promise))

    def rename(self, source: str, target: str) -> None:
        self.done.append(("rename", self._short(target)))

    def unlink(self, path: str) -> None:
        self.done.append(("unlink", self._short(path)))

    def make_directory(self, path: str) -> None:
        self.done.append(("directory", self._short(path)))

    def step(self, name: str) -> None:
        self.done.append(("step", name))


def plain(rng: random.Random, number: int) -> RecordBatch:
    value = b'{"n":%d,"p":"%s"}\n' % (number, b"x" * rng.randrange(300))
    return RecordBatch(lines=value, count=1)


def several(rng: random.Random, number: int) -> RecordBatch:
    count = rng.randrange(1, 9)
    return RecordBatch(lines=b"".join(b"[%d,%d]\n" % (number, part) for part in range(count)), count=count)


def keyed(rng: random.Random, number: int) -> RecordBatch:
    batch = several(rng, number)
    columns = rng.randrange(8)
    return RecordBatch(
        lines=batch.lines,
        count=batch.count,
        keys=[b'"k%d"' % number] * batch.count if columns & 1 else None,
        headers=[b'[{"key":"h","value":"v"}]'] * batch.count if columns & 2 else None,
        timestamps_ms=[rng.choice([-1, 5, 2_000_000_000_000]) for _ in range(batch.count)]
        if columns & 4
        else None,
    )


def of_any_size(rng: random.Random, number: int) -> RecordBatch:
    value = b'{"n":%d,"p":"%s"}\n' % (number, b"x" * rng.choice([1, 2000, 7000, 9000, 70_000]))
    return RecordBatch(lines=value, count=1)


SETTINGS = {
    "usual": TopicSettings(),
    "segments that are soon full": TopicSettings(segment_bytes=4096),
    "segments that are soon old": TopicSettings(segment_age_ms=1000),
    "not waiting for the disk": TopicSettings(durability="os"),
}


def write(
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    batch_of: Callable[[random.Random, int], RecordBatch],
    settings: TopicSettings,
    *,
    small: bool,
) -> tuple[list[object], list[Receipt], dict[str, bytes], int]:
    """What was done to the disk, the receipts, what lies there then, and how many went the small way."""
    rng = random.Random(3)
    clock_ms = 1_700_000_000_000
    went: list[Receipt] = []
    real = SmallAppend.append

    def append(self: SmallAppend, batch: RecordBatch, durable: bool) -> Receipt | None:
        receipt = real(self, batch, durable) if small else None
        went.extend([receipt] if receipt is not None else [])
        return receipt

    with monkeypatch.context() as patched:
        patched.setattr(os, "urandom", random.Random(7).randbytes)
        patched.setattr(SmallAppend, "append", append)
        patched.setitem(Journal.__init__.__kwdefaults__ or {}, "file_bytes", 128 * 1024)
        patched.setattr("storage.recovery.FILE_BYTES", 128 * 1024)
        noted = Noted(root)
        patched.setattr(files, "observer", noted)
        with Store(root, create=True, clock_ms=lambda: clock_ms) as store:
            store.create_topic("t", settings)
            receipts = []
            for number in range(APPENDS):
                # The clock goes back now and then.
                clock_ms += 40 - 400 * (number % 17 == 5)
                fence = 7 if number == 20 else None
                batch = batch_of(rng, number)
                receipts += store.append([Append(topic="t", partition=0, batches=[batch], fence=fence)])
    lies = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    page = bytearray(lies["journal/shared"])
    page[SYNC_TOOK] = bytes(16)
    lies["journal/shared"] = bytes(page)
    # It knows the directory by its inode.
    del lies["journal/epoch"]
    return [item for item in noted.done if "/journal/epoch" not in str(item)], receipts, lies, len(went)


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("batch_of", [plain, several, keyed, of_any_size])
def test_both_ways_do_the_same_and_leave_the_same_bytes(
    quick_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    batch_of: Callable[[random.Random, int], RecordBatch],
    settings: str,
) -> None:
    ordinary = write(quick_path / "ordinary", monkeypatch, batch_of, SETTINGS[settings], small=False)
    small = write(quick_path / "small", monkeypatch, batch_of, SETTINGS[settings], small=True)
    assert 0 == ordinary[3]
    # What the ordinary way has to do now and then is left to it; the rest is not.
    assert small[3] > APPENDS / (10 if batch_of is of_any_size or "soon" in settings else 1.5)
    assert ordinary[1] == small[1]
    assert ordinary[2] == small[2]
    assert ordinary[0] == small[0]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    opened = Store(tmp_path / "store", create=True)
    opened.create_topic("t")
    for number in range(3):
        opened.publish("t", number)
    return opened


@pytest.fixture
def small_ones(monkeypatch: pytest.MonkeyPatch) -> list[Receipt | None]:
    """What the small way answers from now on."""
    answers: list[Receipt | None] = []
    real = SmallAppend.append

    def append(self: SmallAppend, batch: RecordBatch, durable: bool) -> Receipt | None:
        answers.append(real(self, batch, durable))
        return answers[-1]

    monkeypatch.setattr(SmallAppend, "append", append)
    return answers


def values(store: Store) -> list[bytes]:
    return [message.value for message in store.read("t")]


def test_writers_that_take_turns_both_go_the_small_way(
    store: Store, small_ones: list[Receipt | None]
) -> None:
    with store, Store(store.path) as other:
        for number in range(3, 13):
            (store if number % 2 else other).publish("t", number)
        assert [b"%d" % number for number in range(13)] == values(store)
    # The first append of the other store goes alone, and its second opens its combiner.
    assert [True] * 9 == [receipt is not None for receipt in small_ones]


@pytest.mark.parametrize("damage", ["flipped", "dirty", "another epoch", "emptied", "removed"])
def test_a_head_that_cannot_be_believed_is_left_to_the_ordinary_way(
    store: Store, small_ones: list[Receipt | None], damage: str
) -> None:
    path = Path(store.path, "topics/t/0/head")
    log = store._log("t", 0)
    with store:
        if damage == "removed":
            path.unlink()
        elif damage == "emptied":
            path.write_bytes(b"")
        else:
            head = MappedHead(str(path), fd=log.lock.fd)
            found = head.read(salt=store.journal.salt)
            assert found is not None
            if damage == "flipped":
                head.page[40] ^= 1
            else:
                salt = store.journal.salt + (damage == "another epoch")
                head.write(found.tail, salt=salt, mark=found.tail.last if damage == "dirty" else None)
            head.close()
        store.publish("t", 3)
        store.publish("t", 4)
        assert [b"0", b"1", b"2", b"3", b"4"] == values(store)
    assert [False, True] == [receipt is not None for receipt in small_ones]


def test_a_topic_that_was_altered_is_noticed(store: Store, small_ones: list[Receipt | None]) -> None:
    with store, Store(store.path) as other:
        other.alter_topic("t", TopicSettings(segment_bytes=4096))
        store.publish("t", 3)
        assert 4096 == store._log("t", 0).place.segment_bytes
        assert [b"0", b"1", b"2", b"3"] == values(store)


def test_what_cannot_be_shown_is_said_so_and_shown_before_the_next(
    store: Store, monkeypatch: pytest.MonkeyPatch, small_ones: list[Receipt | None]
) -> None:
    class Full(Noted):
        def write(self, fd: int, data: bytes | memoryview, position: int) -> None:
            if fd == index_fd:
                raise OSError(28, "no space")

    segment = store._log("t", 0).open_segment
    assert segment is not None
    index_fd = segment.index_fd
    with store:
        with monkeypatch.context() as patched:
            patched.setattr(files, "observer", Full(Path(store.path)))
            with pytest.raises(NotYetVisibleError):
                store.publish("t", 3)
        assert [b"0", b"1", b"2"] == values(Store(store.path, read_only=True))
        store.publish("t", 4)
        assert [b"0", b"1", b"2", b"3", b"4"] == values(store)
    # A log that is stuck is left to the ordinary way.
    assert [None] == small_ones


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What the disk is told to begin with, and each sync of the journal, from now on."""
    told: list[object] = []
    real = os.fdatasync

    def sync(fd: int) -> None:
        told.append("sync")
        real(fd)

    monkeypatch.setattr(files, "_advise", lambda fd, *given: told.append(given[:2]))
    monkeypatch.setattr(os, "fdatasync", sync)
    return told


def test_the_disk_begins_with_a_record_before_its_sync(store: Store, begun: list[object]) -> None:
    with store:
        journal = store.journal
        before = journal.end.position
        store.publish("t", 3)
        assert [(before, journal.end.position - before), "sync"] == begun


def test_the_disk_does_not_begin_with_what_nobody_waits_for(store: Store, begun: list[object]) -> None:
    with store:
        store.alter_topic("t", TopicSettings(durability="os"))
        store.publish("t", 3)
        begun.clear()
        store.publish("t", 4)
        assert [] == begun


def test_the_disk_does_not_begin_twice_with_a_page_that_somebody_syncs(
    store: Store, begun: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    with store:
        # As if another process were at its sync; the next sync is none the less waited for.
        monkeypatch.setattr(type(store.journal.page), "intent", lambda self, lane: 0)
        store.publish("t", 3)
        assert ["sync"] == begun


def test_the_disk_does_not_begin_with_more_than_a_page(store: Store, begun: list[object]) -> None:
    with store:
        store.publish("t", "x" * 4096)
        assert ["sync"] == begun


def test_a_kernel_that_does_not_begin_early_changes_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*given: object) -> None:
        raise OSError(22, "Invalid argument")

    with store:
        monkeypatch.setattr(files, "_advise", refuse)
        assert 3 == store.publish("t", 3).base_offset
        monkeypatch.setattr(files, "_advise", None)
        assert 4 == store.publish("t", 4).base_offset
