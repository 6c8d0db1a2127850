"""Verification: each kind of finding, with its place; no false ones beside writers; nothing is written."""

from __future__ import annotations

import itertools
import os
import threading
from pathlib import Path

import pytest

from storage import verify_partition
from storage.batch import RecordBatch
from storage.entry import ENTRY_BYTES
from storage.errors import NewerFormatError, NotAStoreError, StoreNotFoundError
from storage.finding import Finding, Kind, Severity
from storage.journal import FAILED_FILE
from storage.store import Append, Store, clock_ms
from storage.topic import TopicSettings
from storage.verify import verify
from storage.verify_segment import are_json_lines
from tests.storage.damaged import SEGMENT, change, damages, flip, forget_the_journal, kinds, make_store


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(verify_partition, "_LOOKS", 2)
    make_store(tmp_path / "store")
    return tmp_path / "store"


@pytest.fixture
def settled(root: Path) -> Path:
    forget_the_journal(root)
    return root


def only(root: Path) -> Finding:
    found = list(verify(root))
    assert 1 == len(found), found
    return found[0]


def test_a_whole_store_has_no_findings(root: Path) -> None:
    assert [] == list(verify(root))
    forget_the_journal(root)
    assert [] == list(verify(root))


def test_a_partition_that_is_ahead_of_the_clock_is_a_notice(tmp_path: Path) -> None:
    root = tmp_path / "store"
    jump_ms = 3 * 3600 * 1000 + 10_000
    with Store(root, create=True) as store:
        store.create_topic("t", TopicSettings(partitions=2, segment_bytes=4096))
        store.publish("t", "in time", partition=1)
    with Store(root, clock_ms=lambda: clock_ms() + jump_ms) as store:
        store.publish("t", "x" * 3000, partition=0)
    with Store(root) as store:
        # The clock is right again, and the partition's time does not go back; nor does a new segment's.
        receipt = store.publish("t", "y" * 3000, partition=0)
    assert receipt.append_time_ms > clock_ms() + jump_ms - 60_000
    found = only(root)
    assert (Kind.APPEND_TIME, Severity.NOTICE, "t", 0, 1) == (
        *(found.kind, found.severity, found.topic, found.partition),
        found.segment,
    )
    assert found.detail.startswith("the time of the last append is 3h")
    with Store(root, clock_ms=lambda: clock_ms() + jump_ms) as store:
        # Where the clock has got there, append time goes on.
        assert store.publish("t", "later", partition=0).append_time_ms > receipt.append_time_ms


def test_a_head_that_was_never_written_is_no_finding(root: Path) -> None:
    # As it is made by an append that was then refused.
    (root / "topics/t/0/head").write_bytes(bytes(4096))
    assert [] == list(verify(root))


def test_a_clock_that_is_corrected_by_a_little_is_not_worth_a_notice(tmp_path: Path) -> None:
    with Store(tmp_path / "store", create=True, clock_ms=lambda: clock_ms() + 30_000) as store:
        store.create_topic("t")
        store.publish("t", 1)
    assert [] == list(verify(tmp_path / "store"))


def test_verification_writes_nothing(root: Path) -> None:
    flip(root / f"{SEGMENT}.jsonl", 3)
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in root.rglob("*")}
    assert damages(root)
    assert before == {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in root.rglob("*")}


def test_damaged_messages_are_found_with_their_offsets_and_place(settled: Path) -> None:
    flip(settled / f"{SEGMENT}.jsonl", 20)
    found = only(settled)
    assert (Kind.MESSAGES, Severity.DAMAGE, "t", 0, 0) == (
        *(found.kind, found.severity, found.topic, found.partition),
        found.segment,
    )
    assert (2, 5, 18, 12) == (found.first_offset, found.end_offset, found.position, found.size_bytes)
    assert f"{settled}/{SEGMENT}.jsonl" == found.path


def test_what_the_journal_still_holds_is_said_to_be_there(root: Path) -> None:
    flip(root / f"{SEGMENT}.jsonl", 20)
    assert "the journal still holds it" in only(root).remedy


def test_before_a_recovery_the_segments_may_lack_what_the_journal_has(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flip(root / f"{SEGMENT}.jsonl", 20)
    monkeypatch.setattr("storage.epoch._boot_id", lambda: b"another boot, ma")
    found = only(root)
    assert (Severity.NOTICE, True) == (found.severity, "the next opening" in found.remedy)


def test_cut_messages_are_found(settled: Path) -> None:
    change(settled / f"{SEGMENT}.jsonl", lambda data: data[:-4])
    found = only(settled)
    assert (Kind.MESSAGES, 6, 7) == (found.kind, found.first_offset, found.end_offset)
    assert "4 bytes of messages are missing" == found.detail


def test_damaged_metadata_is_found(settled: Path) -> None:
    flip(settled / f"{SEGMENT}.meta", 3)
    found = only(settled)
    assert (Kind.META, 2, 5) == (found.kind, found.first_offset, found.end_offset)


def test_a_missing_file_of_metadata_damages_the_batches_that_have_any(settled: Path) -> None:
    (settled / f"{SEGMENT}.meta").unlink()
    assert [(Kind.META, 2), (Kind.META, 5)] == [(f.kind, f.first_offset) for f in damages(settled)]


def test_a_damaged_index_header_is_found(settled: Path) -> None:
    flip(settled / f"{SEGMENT}.index", 30)
    assert Kind.INDEX_HEADER is only(settled).kind


@pytest.mark.parametrize(("slot", "first", "end"), [(1, 0, 2), (2, 2, 5), (4, 6, 7)])
def test_a_damaged_entry_is_found_with_the_offsets_between_its_neighbours(
    settled: Path, slot: int, first: int, end: int
) -> None:
    flip(settled / f"{SEGMENT}.index", slot * ENTRY_BYTES + 50)
    found = only(settled)
    assert (Kind.INDEX_ENTRY, first, end) == (found.kind, found.first_offset, found.end_offset)
    assert slot * ENTRY_BYTES == found.position


def test_entries_that_are_missing_at_the_end_are_found(settled: Path) -> None:
    change(settled / f"{SEGMENT}.index", lambda data: data[: 3 * ENTRY_BYTES])
    found = only(settled)
    assert (Kind.INDEX_END, 5, 7) == (found.kind, found.first_offset, found.end_offset)


def test_entries_that_the_journal_holds_are_only_not_visible_yet(root: Path) -> None:
    change(root / f"{SEGMENT}.index", lambda data: data[: 3 * ENTRY_BYTES])
    found = only(root)
    assert (Kind.PENDING, Severity.NOTICE) == (found.kind, found.severity)


def test_entries_missing_at_the_end_of_a_sealed_segment_are_found(tmp_path: Path) -> None:
    root = tmp_path / "store"
    with Store(root, create=True) as store:
        store.create_topic("t", TopicSettings(segment_bytes=4096))
        for number in range(20):
            store.publish("t", {"id": number, "pad": "x" * 500})
    change(root / f"{SEGMENT}.index", lambda data: data[:-ENTRY_BYTES])
    found = damages(root)
    assert ["index-end"] == kinds(found)
    assert (found[0].first_offset or 0) + 1 == found[0].end_offset


def test_a_damaged_head_is_no_damage(root: Path) -> None:
    flip(root / "topics/t/0/head", 40)
    found = only(root)
    assert (Kind.HEAD, Severity.NOTICE) == (found.kind, found.severity)


def test_lines_that_are_no_json_are_found_though_their_checksum_fits(root: Path) -> None:
    with Store(root) as store:
        lines = RecordBatch(lines=b"{\n1} 2\n", count=2)
        store.append([Append(topic="t", partition=0, batches=[lines])])
    assert "lines that are no JSON values" == only(root).detail


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (b'1\n"a"\n { "b": [] }\t\n', True),
        (b"1 2\n", False),
        (b"[1,\n2]\n3 4\n", False),
        (b"[1,\n2]\n", False),
        (b"\n", False),
        (b'"\xff"\n', False),
        (b"[" * 100_000 + b"\n", False),
    ],
)
def test_json_lines_are_one_value_a_line(lines: bytes, expected: bool) -> None:
    assert expected is are_json_lines(lines)


def test_a_damaged_record_of_the_journal_is_found_where_later_ones_prove_it(root: Path) -> None:
    flip(root / "journal/0000.wal", 4096 + 30)
    found = only(root)
    assert (Kind.JOURNAL_RECORDS, 4096) == (found.kind, found.position)
    assert found.detail.startswith("record 1 cannot be read")


def test_damage_at_the_end_of_the_journal_is_found_while_its_memory_lives(root: Path) -> None:
    data = (root / "journal/0000.wal").read_bytes().rstrip(b"\0")
    flip(root / "journal/0000.wal", len(data) - 20)
    assert only(root).detail.startswith("record 4 cannot be read")


def test_a_damaged_journal_header_is_found(root: Path) -> None:
    flip(root / "journal/0000.wal", 9)
    assert Kind.JOURNAL_HEADER is only(root).kind


def test_a_damaged_epoch_is_found(root: Path) -> None:
    flip(root / "journal/epoch", 60)
    assert "epoch" in kinds(damages(root))


def test_the_mark_of_a_failed_sync_is_found(root: Path) -> None:
    (root / "journal" / FAILED_FILE).write_text("Input/output error")
    found = only(root)
    assert (Kind.FAILED_SYNC, True) == (found.kind, "Input/output error" in found.detail)


def test_damaged_settings_of_a_topic_are_found(root: Path) -> None:
    change(root / "topics/t/topic.toml", lambda data: data.replace(b"partitions", b"parti tions"))
    found = only(root)
    assert (Kind.TOPIC_SETTINGS, "t") == (found.kind, found.topic)
    (root / "topics/t/topic.toml").unlink()
    assert Kind.TOPIC_SETTINGS is only(root).kind


def test_a_missing_partition_is_found(root: Path) -> None:
    for path in (root / "topics/t/0").iterdir():
        path.unlink()
    (root / "topics/t/0").rmdir()
    assert "partition-missing" in kinds(damages(root))


def test_messages_without_an_index_are_found(root: Path) -> None:
    (root / f"{SEGMENT}.index").unlink()
    assert "segment-missing" in kinds(damages(root))


def test_files_that_belong_to_nothing_are_noticed(root: Path) -> None:
    strange = [
        "notes.txt",
        "journal/notes.txt",
        "topics/notes.txt",
        "topics/t/notes.txt",
        "topics/t/0/notes.txt",
    ]
    for name in strange:
        (root / name).write_text("hello")
    found = list(verify(root))
    assert {str(root / name) for name in strange} == {finding.path for finding in found}
    assert {(Kind.UNKNOWN_FILE, Severity.NOTICE)} == {(finding.kind, finding.severity) for finding in found}


def test_damaged_settings_of_the_store_are_found_and_the_rest_is_verified(root: Path) -> None:
    (root / "aegis.toml").write_text("[store\n")
    flip(root / f"{SEGMENT}.jsonl", 3)
    assert ["store-settings", "messages"] == kinds(damages(root))


def test_what_is_no_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFoundError):
        list(verify(tmp_path / "nothing"))
    (tmp_path / "mail").write_text("from: somebody")
    with pytest.raises(NotAStoreError):
        list(verify(tmp_path))


def test_a_store_of_a_newer_format_is_refused(root: Path) -> None:
    change(root / "aegis.toml", lambda text: text.replace(b"format_read = 1", b"format_read = 2"))
    with pytest.raises(NewerFormatError):
        list(verify(root))


def test_verification_beside_writers_finds_nothing(tmp_path: Path) -> None:
    root = tmp_path / "store"
    done = threading.Event()
    with Store(root, create=True) as store:
        store.create_topic("t", TopicSettings(segment_bytes=200_000))
        large = RecordBatch(lines=b'{"id":1}\n' * 10_000, count=10_000)

        def write() -> None:
            turns = itertools.count()
            while not done.is_set():
                store.publish("t", {"id": 1}, key="k")
                # Where nobody waits for a disk there would soon be more than can be verified, or stored.
                if next(turns) < 200:
                    store.append([Append(topic="t", partition=0, batches=[large])])

        writers = [threading.Thread(target=write) for _ in range(2)]
        for writer in writers:
            writer.start()
        try:
            found = [finding for _ in range(12) for finding in verify(root) if finding.is_damage]
        finally:
            done.set()
            for writer in writers:
                writer.join()
        assert [] == found
        assert store.reader("t", 0).end_offset > 10_000
    assert [] == list(verify(root))


@pytest.mark.parametrize("head_is_lost", [False, True])
def test_a_segment_that_a_dead_process_did_not_begin_is_only_noticed_and_then_finished(
    root: Path, head_is_lost: bool
) -> None:
    with Store(root) as store:
        end = store.reader("t", 0).end_offset
        for suffix in (".jsonl", ".index"):
            (root / f"topics/t/0/{end:020d}{suffix}").touch()
        found = only(root)
        assert (Kind.LEFTOVER, Severity.NOTICE, end) == (found.kind, found.severity, found.segment)
        if head_is_lost:
            os.truncate(root / "topics/t/0/head", 0)
            assert end == store.publish("t", {"id": 9}).base_offset
            assert [] == list(verify(root))


def test_an_append_that_is_under_way_is_only_noticed(root: Path) -> None:
    import fcntl

    with (root / f"{SEGMENT}.jsonl").open("ab") as data, (root / "topics/t/0/head").open("rb") as head:
        data.write(b'{"id":7}\n')
        data.flush()
        fcntl.flock(head, fcntl.LOCK_EX)
        found = only(root)
    assert (Kind.LEFTOVER, Severity.NOTICE) == (found.kind, found.severity)
    assert f"by process {os.getpid()} " in found.detail


def test_messages_behind_the_end_that_nobody_is_appending_are_damage(root: Path) -> None:
    with (root / f"{SEGMENT}.jsonl").open("ab") as data:
        data.write(b'{"id":7}\n')
    assert ["index-end"] == kinds(damages(root))
