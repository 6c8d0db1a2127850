"""The damage sweep: every truncation and every flipped bit of every small file of a store.

After each the store is opened, read, appended to and read again: what is handed out is what was published,
what is missing lies in the damaged batch, and it is reported or healed; nothing raises what it should not.

    variant   fresh: the records are live in the journal
              checkpointed: they are not any more, the head knows the end
              recovered: they are not any more, the head is of an old epoch
    identity  same: the damage happens to a store that is in use
              other: it is found after a reboot, with recovery

`AEGIS_SWEEP=exhaustive` flips all eight bits of every byte instead of one.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from storage import checksum, recovery, verify_partition
from storage import epoch as epochs
from storage import journal as journals
from storage.batch import RecordBatch
from storage.checksum import Check
from storage.entry import ENTRY_BYTES, decode_entry
from storage.errors import StorageError
from storage.finding import Kind
from storage.reader import Gap
from storage.store import Append, Store
from storage.verify import verify

NOW_MS = 1_700_000_000_000
JOURNAL_BYTES = 16 * 1024
BITS = range(8) if os.environ.get("AEGIS_SWEEP") == "exhaustive" else None
SEGMENT = "topics/t/0/00000000000000000000"

# A record as it is handed out: offset, time, value, key, headers.
Record = tuple[int, int, bytes, bytes | None, bytes | None]


class Clock:
    def __init__(self) -> None:
        self.now_ms = NOW_MS

    def __call__(self) -> int:
        self.now_ms += 7
        return self.now_ms


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory in memory where there is one: a sweep writes some hundred thousand small files."""
    memory = Path("/dev/shm")
    parent = memory if os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=parent) as name:
        yield Path(name)


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small journal files, and no waiting for a disk: a sweep is about contents."""
    monkeypatch.setattr(os, "fdatasync", lambda fd: None)
    monkeypatch.setattr(os, "fsync", lambda fd: None)
    monkeypatch.setattr(verify_partition, "_LOOKS", 1)
    monkeypatch.setattr(recovery, "FILE_BYTES", JOURNAL_BYTES)
    monkeypatch.setitem(journals.Journal.__init__.__kwdefaults__, "file_bytes", JOURNAL_BYTES)


@dataclass(frozen=True, slots=True)
class Image:
    """A store's files as bytes, to be put back before each damage, and what is in it."""

    root: Path
    variant: str
    files: dict[str, bytes]
    records: dict[int, Record]

    def restore(self) -> None:
        """Put every file back in place: the directories, and with them the store's identity, stay."""
        root = str(self.root)
        for directory, _, names in os.walk(root):
            for name in names:
                path = f"{directory}/{name}"
                if path[len(root) + 1 :] not in self.files:
                    os.unlink(path)  # noqa: PTH108 - pathlib takes most of the time of a sweep
        for name, data in self.files.items():
            write(f"{root}/{name}", data)


def write(path: str, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.write(fd, data)
    os.close(fd)


def publish_some(store: Store) -> None:
    """Three batches: without and with keys, headers and times, of one and of several records."""
    plain = RecordBatch(lines=b'{"id":0}\n{"id":1}\n', count=2)
    times = RecordBatch(lines=b'"a"\n"b"\n"c"\n', count=3, timestamps_ms=[5, NOW_MS * 2, -1])
    for batch in (plain, times):
        store.append([Append(topic="t", partition=0, batches=[batch])])
    store.publish("t", {"last": 1}, key="k", headers={"h": "1"})


def build(root: Path, *, variant: str) -> Image:
    with Store(root, create=True, clock_ms=Clock()) as store:
        store.create_topic("t")
        publish_some(store)
        if variant == "checkpointed":
            fill_the_journal(store)
    if variant == "recovered":
        copy = root.with_name("copy")
        shutil.copytree(root, copy)
        shutil.rmtree(root)
        copy.rename(root)
    records, gaps = read(root)
    assert (6, []) == (len(records), gaps)
    assert [] == list(verify(root))
    files = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    return Image(root, variant, files, records)


def fill_the_journal(store: Store) -> None:
    """Push the topic's records out of the journal, by appends to another one."""
    store.create_topic("other")
    first = store.journal.end.file
    for _ in range(JOURNAL_BYTES // 2000):
        store.publish("other", "x" * 2000)
    assert first != store.journal.end.file
    store.maintenance.run_if_idle()
    store.delete_topic("other")


def read(root: Path) -> tuple[dict[int, Record], list[Gap]]:
    with Store(root, clock_ms=Clock()) as store:
        return read_open(store)


def read_open(store: Store) -> tuple[dict[int, Record], list[Gap]]:
    records: dict[int, Record] = {}
    gaps = []
    for item in store.batches("t", 0, start_offset=0):
        if isinstance(item, Gap):
            gaps.append(item)
            continue
        for message in item.messages():
            assert message.offset not in records, f"offset {message.offset} is handed out twice"
            records[message.offset] = (
                message.offset,
                message.timestamp_ms,
                message.value,
                message.key,
                message.headers,
            )
    return records, gaps


def damages(data: bytes, places: Iterable[int]) -> Iterator[tuple[str, int, bytes]]:
    """Every damaged form of a file: what was done, from which byte on, and the bytes."""
    for at in places:
        yield f"cut at {at}", at, data[:at]
        for bit in BITS if BITS is not None else (at * 5 % 8,):
            changed = bytearray(data)
            changed[at] ^= 1 << bit
            yield f"bit {bit} of byte {at}", at, bytes(changed)


def may_be_lost(image: Image, name: str, action: str, at: int) -> set[int]:
    """The offsets of the batches that a damage hits: none where the file is only a cache or a journal."""
    if not name.startswith(SEGMENT):
        return set()
    index = image.files[f"{SEGMENT}.index"]
    lost: set[int] = set()
    for slot in range(1, len(index) // ENTRY_BYTES):
        entry = decode_entry(index[slot * ENTRY_BYTES : (slot + 1) * ENTRY_BYTES])
        assert entry is not None
        if name.endswith(".jsonl"):
            begin, end = entry.data_position, entry.data_end
        elif name.endswith(".meta"):
            begin, end = entry.meta_position, entry.meta_end
        else:
            begin, end = slot * ENTRY_BYTES, (slot + 1) * ENTRY_BYTES
        hit = begin <= at < end or (action.startswith("cut") and at < end and begin < end)
        if hit:
            lost.update(range(entry.base_offset, entry.last_offset + 1))
    return lost


def problems(image: Image, name: str, action: str, at: int, data: bytes) -> list[str]:
    """What is wrong with how the store bears one damage."""
    image.restore()
    write(f"{image.root}/{name}", data)
    if at % 4 == 0:
        list(verify(image.root))
    allowed = may_be_lost(image, name, action, at)
    with Store(image.root, clock_ms=Clock()) as store:
        first, first_gaps = read_open(store)
        receipt = store.publish("t", "behind it")
        after, gaps = read_open(store)
    wrong = []
    new = after.pop(receipt.base_offset, None)
    if new is None or new[2] != b'"behind it"':
        wrong.append(f"what was appended is not there: {new}")
    if receipt.base_offset in image.records:
        wrong.append(f"offset {receipt.base_offset} was given twice")
    if vanished := set(first) - set(after):
        wrong.append(f"offsets {sorted(vanished)} vanished after an append")
    wrong += lost_or_altered(image, first, allowed) + lost_or_altered(image, after, allowed)
    untold = set(image.records) - set(first) - told(first_gaps)
    untold |= set(image.records) - set(after) - told(gaps)
    if untold and not is_found(image, name, data):
        wrong.append(f"offsets {sorted(untold)} are missing and nobody says so")
    return wrong


def lost_or_altered(image: Image, records: dict[int, Record], allowed: set[int]) -> list[str]:
    wrong = [f"altered: {record}" for record in records.values() if image.records.get(record[0]) != record]
    lost = set(image.records) - set(records) - allowed
    if lost:
        wrong.append(f"offsets {sorted(lost)} are missing, beyond {sorted(allowed)}")
    return wrong


def told(gaps: list[Gap]) -> set[int]:
    return {offset for gap in gaps if gap.damage for offset in range(gap.first_offset, gap.end_offset)}


def is_found(image: Image, name: str, data: bytes) -> bool:
    """Whether verification finds the damage before anybody opens the store."""
    image.restore()
    write(f"{image.root}/{name}", data)
    return any(finding.is_damage or finding.kind is Kind.PENDING for finding in verify(image.root))


def sweep(image: Image, name: str, *, places: Iterable[int] | None = None) -> list[str]:
    """What goes wrong with any damage of the file at these places, by default at all of them."""
    original = image.files[name]
    failures = []
    for action, at, data in damages(original, range(len(original)) if places is None else places):
        try:
            wrong = problems(image, name, action, at, data)
        except StorageError as error:
            wrong = [] if name.endswith(".toml") else [f"{type(error).__name__}: {error}"]
        except Exception as error:
            wrong = [f"unhandled {type(error).__name__}: {error}"]
        failures += [f"{name}, {action}: {text}" for text in wrong]
    return failures


# What recovery finds in an emptied journal is the same whether a checkpoint or a recovery emptied it.
SITUATIONS = [("fresh", "same"), ("fresh", "other"), ("checkpointed", "same"), ("recovered", "other")]


@pytest.fixture(params=SITUATIONS, ids="-".join)
def image(request: pytest.FixtureRequest, directory: Path, monkeypatch: pytest.MonkeyPatch) -> Image:
    variant, identity = request.param
    built = build(directory / "store", variant=variant)
    if identity == "other":
        monkeypatch.setattr(epochs, "_boot_id", lambda: b"another boot, ma")
    return built


@pytest.mark.parametrize("suffix", ["jsonl", "index", "meta"])
def test_no_damage_of_a_segment_loses_more_than_its_batch(image: Image, suffix: str) -> None:
    assert [] == sweep(image, f"{SEGMENT}.{suffix}")


def test_no_damage_of_a_journal_file_loses_what_was_applied(image: Image) -> None:
    for name in sorted(name for name in image.files if name.endswith(".wal")):
        # Only in a fresh store the journal holds records of the topic; otherwise its headers are what counts.
        used = len(image.files[name].rstrip(b"\0")) + 8 if image.variant == "fresh" else 0
        assert [] == sweep(image, name, places=[*range(68), *range(4096, used)])


@pytest.mark.parametrize("name", ["topics/t/0/head", "journal/epoch"])
def test_no_damage_of_what_can_be_found_again_loses_anything(image: Image, name: str) -> None:
    # A head is followed by zeros that nobody reads: a few of them are enough.
    used = len(image.files[name].rstrip(b"\0"))
    assert [] == sweep(image, name, places=[*range(used + 16), len(image.files[name]) - 1])


def test_no_damage_of_a_topics_settings_loses_a_message(image: Image) -> None:
    assert [] == sweep(image, "topics/t/topic.toml")


@pytest.mark.parametrize(
    ("check", "suffix", "places"),
    [
        (Check.BATCH_DATA, "jsonl", range(20)),
        (Check.BATCH_META, "meta", range(60)),
        (Check.INDEX_ENTRY, "index", range(128, 256)),
    ],
)
def test_without_a_checksum_the_sweep_sees_what_gets_through(
    directory: Path, monkeypatch: pytest.MonkeyPatch, check: Check, suffix: str, places: range
) -> None:
    image = build(directory / "store", variant="recovered")
    monkeypatch.setattr(checksum, "switched_off", check)
    assert [] != sweep(image, f"{SEGMENT}.{suffix}", places=places)
