"""Repair: what is restored, what is set aside, what stays; and that a second verification finds nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from storage import verify_partition
from storage.entry import ENTRY_BYTES
from storage.errors import StoreFailedError
from storage.journal import FAILED_FILE
from storage.repair import repair
from storage.segment import segment_bases
from storage.store import Store
from storage.topic import TopicSettings
from storage.verify import verify
from tests.storage.damaged import (
    SEGMENT,
    WHOLE,
    change,
    damages,
    flip,
    forget_the_journal,
    kinds,
    make_store,
    read,
)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(verify_partition, "_LOOKS", 2)
    make_store(tmp_path / "store")
    return tmp_path / "store"


@pytest.fixture
def settled(root: Path) -> Path:
    forget_the_journal(root)
    return root


def repaired(root: Path) -> list[tuple[str, str]]:
    """What a repair did; afterwards nothing is damaged any more, and the store takes appends."""
    done = repair(root)
    assert [] == damages(root)
    with Store(root) as store:
        receipt = store.publish("t", "after the repair")
    assert b'"after the repair"' == read(root)[0][receipt.base_offset]
    assert receipt.base_offset >= len(WHOLE)
    assert [] == damages(root)
    return [(one.action, one.kind.value) for one in done]


def kept(root: Path) -> dict[int, bytes]:
    return {offset: value for offset, value in read(root)[0].items() if offset in WHOLE}


def test_a_whole_store_is_left_alone(root: Path) -> None:
    before = {path: path.read_bytes() for path in (root / "topics").rglob("*") if path.is_file()}
    assert [] == repair(root)
    assert before == {path: path.read_bytes() for path in (root / "topics").rglob("*") if path.is_file()}
    assert not (root / "quarantine").exists()


@pytest.mark.parametrize(
    ("name", "position", "kind"),
    [(".jsonl", 20, "messages"), (".meta", 3, "meta"), (".index", 2 * ENTRY_BYTES + 50, "index-entry")],
)
def test_what_the_journal_holds_is_written_again(root: Path, name: str, position: int, kind: str) -> None:
    flip(root / f"{SEGMENT}{name}", position)
    assert [("restored", kind)] == repaired(root)
    assert WHOLE == kept(root)


def test_entries_that_are_missing_are_written_again_from_the_journal(root: Path) -> None:
    change(root / f"{SEGMENT}.index", lambda data: data[: 3 * ENTRY_BYTES])
    assert [("restored", "pending")] == repaired(root)
    assert WHOLE == kept(root)


@pytest.mark.parametrize("bit", range(8))
def test_one_flipped_bit_of_an_entry_is_turned_back(settled: Path, bit: int) -> None:
    flip(settled / f"{SEGMENT}.index", 3 * ENTRY_BYTES + 17 * (bit + 1) % ENTRY_BYTES, bit)
    assert [("restored", "index-entry")] == repaired(settled)
    assert WHOLE == kept(settled)


def test_an_entry_that_cannot_be_mended_is_set_aside_with_its_messages(settled: Path) -> None:
    change(
        settled / f"{SEGMENT}.index",
        lambda data: data[: 2 * ENTRY_BYTES] + b"x" * ENTRY_BYTES + data[3 * ENTRY_BYTES :],
    )
    done = repair(settled)
    assert ["quarantined"] == [one.action for one in done]
    assert b'"a"\n"b"\n"c"\n' == Path(done[0].copy or "").read_bytes()
    note = json.loads(Path(f"{done[0].copy}.json").read_bytes())
    assert ("index-entry", 2, 5) == (note["kind"], note["first_offset"], note["end_offset"])
    found = list(verify(settled))
    assert ["index-entry"] == kinds(found)
    assert not found[0].is_damage
    assert [(2, 5)] == read(settled)[1]


@pytest.mark.parametrize(
    ("name", "position", "kind", "copy"),
    [
        (".jsonl", 20, "messages", b'"!"\n"b"\n"c"\n'),
        (".meta", 3, "meta", b'{"b!se":2,"count":3,"times":[5,6,7]}\n'),
    ],
)
def test_damaged_bytes_are_set_aside_and_their_offsets_stay_a_gap(
    settled: Path, name: str, position: int, kind: str, copy: bytes
) -> None:
    place = 19 if name == ".jsonl" else position
    change(settled / f"{SEGMENT}{name}", lambda data: data[:place] + b"!" + data[place + 1 :])
    done = repair(settled)
    assert [("quarantined", kind)] == [(one.action, one.kind.value) for one in done]
    assert copy == Path(done[0].copy or "").read_bytes()
    assert [] == damages(settled)
    values, gaps = read(settled)
    assert [(2, 5)] == gaps
    assert {offset: WHOLE[offset] for offset in (0, 1, 5, 6)} == values
    assert [] == repair(settled)


def test_behind_entries_that_are_lost_the_log_goes_on_at_a_new_offset(settled: Path) -> None:
    change(settled / f"{SEGMENT}.index", lambda data: data[: 3 * ENTRY_BYTES])
    assert [("quarantined", "index-end")] == repaired(settled)
    values, gaps = read(settled)
    assert [(5, 7)] == gaps
    assert {*range(5), 7} == set(values)


@pytest.mark.parametrize("fresh", [True, False])
def test_a_damaged_index_header_is_made_anew(root: Path, fresh: bool) -> None:
    if not fresh:
        forget_the_journal(root)
    before = (root / f"{SEGMENT}.index").read_bytes()
    change(root / f"{SEGMENT}.index", lambda data: data[:40] + b"????????" + data[48:])
    assert [("restored", "index-header")] == repaired(root)
    assert before[16:40] == (root / f"{SEGMENT}.index").read_bytes()[16:40]


def test_messages_without_an_index_are_moved_aside_and_the_log_goes_on(settled: Path) -> None:
    (settled / f"{SEGMENT}.index").unlink()
    done = repaired(settled)
    assert {("quarantined", "segment-missing"), ("restored", "segment-missing")} == set(done)
    assert [7] == segment_bases(str(settled / "topics/t/0"))


def test_a_damaged_record_of_the_journal_is_put_aside_and_its_file_freed(root: Path) -> None:
    flip(root / "journal/0000.wal", 4096 + 30)
    assert [("quarantined", "journal-records")] == repaired(root)
    assert WHOLE == kept(root)


def test_a_damaged_journal_header_is_made_anew(root: Path) -> None:
    before = (root / "journal/0000.wal").read_bytes()[:40]
    flip(root / "journal/0000.wal", 9)
    assert [("restored", "journal-header")] == repaired(root)
    assert before[:32] == (root / "journal/0000.wal").read_bytes()[:32]


def test_settings_of_a_topic_keep_what_can_be_read(tmp_path: Path) -> None:
    root = tmp_path / "store"
    settings = TopicSettings(partitions=2, key="id", retention_ms=5000, segment_bytes=8192)
    with Store(root, create=True) as store:
        topic = store.create_topic("t", settings)
    change(root / "topics/t/topic.toml", lambda data: data.replace(b"segment_bytes = 8192", b"segment_byt"))
    done = repair(root)
    assert [("restored", "topic-settings")] == [(one.action, one.kind.value) for one in done]
    assert "set to the default: segment_bytes" == done[0].detail
    with Store(root) as store:
        after = store.topic("t")
    assert topic.topic_id == after.topic_id
    assert TopicSettings(partitions=2, key="id", retention_ms=5000) == after.settings
    assert b"segment_byt\n" in Path(done[0].copy or "").read_bytes()


def test_a_topics_id_is_taken_from_its_indexes(root: Path) -> None:
    before = (root / "topics/t/topic.toml").read_bytes()
    change(root / "topics/t/topic.toml", lambda data: data[:6] + b"0123" + data[10:])
    assert [("restored", "topic-settings")] == repaired(root)
    assert before == (root / "topics/t/topic.toml").read_bytes()
    assert WHOLE == kept(root)


def test_settings_of_the_store_are_made_anew(root: Path) -> None:
    (root / "aegis.toml").write_text("[store\n")
    assert [("restored", "store-settings")] == repaired(root)
    assert WHOLE == kept(root)


def test_a_lost_epoch_begins_a_new_one(root: Path) -> None:
    (root / "journal/epoch").unlink()
    assert [] == repaired(root)
    assert WHOLE == kept(root)


def test_a_missing_partition_is_left_to_a_person(root: Path) -> None:
    shutil.rmtree(root / "topics/t/0")
    done = repair(root)
    assert [("left", "partition-missing")] == [(one.action, one.kind.value) for one in done]
    assert not (root / "topics/t/0").exists()


def test_after_a_failed_sync_a_repair_lets_the_store_take_appends_again(root: Path) -> None:
    with Store(root) as store:
        store.journal.fail("Input/output error")
        with pytest.raises(StoreFailedError):
            store.publish("t", 1)
    assert ["failed-sync"] == kinds(damages(root))
    assert [("restored", "failed-sync")] == repaired(root)
    assert not (root / "journal" / FAILED_FILE).exists()
    assert WHOLE == kept(root)


def test_after_a_failed_sync_everything_is_written_before_it_is_synced(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from storage import files

    with Store(root) as store:
        store.journal.fail("Input/output error")
    written: list[tuple[int, int]] = []
    original = files.write_at

    def write_at(fd: int, data: bytes | memoryview, position: int) -> None:
        written.append((position, len(data)))
        original(fd, data, position)

    monkeypatch.setattr(files, "write_at", write_at)
    repair(root)
    used = len((root / "journal/0000.wal").read_bytes().rstrip(b"\0"))
    assert any(position == 0 and length >= used for position, length in written)


def test_a_repair_beside_writers_disturbs_none_of_them(root: Path) -> None:
    flip(root / f"{SEGMENT}.index", 2 * ENTRY_BYTES + 50)
    with Store(root) as store:
        store.publish("t", "before")
        assert [("restored", "index-entry")] == [(one.action, one.kind.value) for one in repair(root)]
        store.publish("t", "after")
    values, gaps = read(root)
    assert [] == gaps
    assert WHOLE | {7: b'"before"', 8: b'"after"'} == values


def test_retention_leaves_older_segments_alone_where_a_later_one_lost_its_messages(tmp_path: Path) -> None:
    root = tmp_path / "store"
    with Store(root, create=True) as store:
        store.create_topic("t", TopicSettings(segment_bytes=4096, retention_ms=10**12))
        for number in range(30):
            store.publish("t", {"id": number, "pad": "x" * 500})
        directory = root / "topics/t/0"
        bases = segment_bases(str(directory))
        (directory / f"{bases[1]:020d}.jsonl").unlink()
        assert [] == store.maintenance.clean("t")
        assert bases == segment_bases(str(directory))
