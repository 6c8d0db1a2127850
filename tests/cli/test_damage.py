"""Damaged and missing files of a store: each loss is reported, and all else is read and published."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from storage.batch import RecordBatch
from storage.store import Append, Store
from storage.topic import TopicSettings
from tests.storage.damaged import forget_the_journal


def flip(path: Path, position: int) -> None:
    """Change one byte of a file."""
    raw = bytearray(path.read_bytes())
    raw[position] ^= 0x01
    path.write_bytes(raw)


@pytest.fixture
def batches(aegis: Any) -> Path:
    """Five batches of two records each in topic t; returns where its files lie."""
    with Store(aegis.store, create=True) as store:
        store.create_topic("t")
        for number in range(5):
            lines = b'{"n":%d}\n{"n":%d}\n' % (2 * number, 2 * number + 1)
            batch = RecordBatch(lines=lines, count=2, keys=[b'"key"'] * 2)
            store.append([Append(topic="t", partition=0, batches=[batch])])
    return Path(aegis.store / "topics/t/0")


DAMAGE = [
    ("jsonl", 16 * 2 + 5, 4, 5, "messages do not match their checksum"),
    ("index", 128 * 3 + 70, 4, 5, "index entries do not match their checksum"),
    ("meta", -1, 8, 9, "the metadata does not match its checksum"),
]


@pytest.mark.parametrize(("suffix", "position", "first", "last", "reason"), DAMAGE)
@pytest.mark.parametrize("options", [["--json"], ["-F", '{"offset":%o,"value":%v}\\n'], ["--grep", "n"], []])
def test_damage_is_reported_and_all_else_is_read(
    aegis: Any,
    batches: Path,
    options: list[str],
    suffix: str,
    position: int,
    first: int,
    last: int,
    reason: str,
) -> None:
    path = batches / f"{0:020}.{suffix}"
    flip(path, position if position >= 0 else path.stat().st_size - 20)
    finished = aegis("consume", "t", *options)
    if suffix == "meta" and options == []:
        # Nothing of the damaged file was asked for.
        assert (0, 10) == (finished.code, len(finished.lines))
        return
    assert 5 == finished.code
    expected = (
        f"topic 't' partition 0: offsets {first} to {last} cannot be read: {reason}; run 'aegis store verify'"
    )
    assert f"aegis: warning: {expected}\n" == finished.err
    left = [number for number in range(10) if number not in (first, last)]
    records = [json.loads(line) for line in finished.lines]
    if "--json" in options or "-F" in options:
        assert left == [record["offset"] for record in records]
        records = [record["value"] for record in records]
    assert left == [record["n"] for record in records]


def test_damage_at_the_end_is_reported(aegis: Any, batches: Path) -> None:
    forget_the_journal(aegis.store)
    flip(batches / f"{0:020}.index", 128 * 5 + 70)
    finished = aegis("consume", "t")
    assert (5, 8) == (finished.code, len(finished.lines))
    assert finished.err.startswith("aegis: warning: topic 't' partition 0: offsets 8 to ")


def test_damage_at_the_end_is_undone_while_the_journal_still_has_it(aegis: Any, batches: Path) -> None:
    index = batches / f"{0:020}.index"
    before = index.read_bytes()
    flip(index, 128 * 5 + 70)
    finished = aegis("consume", "t")
    assert (0, 10, "") == (finished.code, len(finished.lines), finished.err)
    assert before == index.read_bytes()


def test_a_data_file_that_was_cut_is_reported(aegis: Any, batches: Path) -> None:
    os.truncate(batches / f"{0:020}.jsonl", 60)
    finished = aegis("consume", "t")
    assert 5 == finished.code
    assert 6 == len(finished.lines)
    assert "offsets 6 to 7 cannot be read" in finished.err
    assert "offsets 8 to 9 cannot be read" in finished.err


@pytest.fixture
def segments(aegis: Any) -> Path:
    """Three segments of one record each in topic t, which the journal has forgotten; where its files lie."""
    with Store(aegis.store, create=True) as store:
        store.create_topic("t", TopicSettings(segment_bytes=4096))
        for number in range(3):
            store.publish("t", {"n": number, "pad": "x" * 4000}, key="k")
    forget_the_journal(aegis.store)
    return Path(aegis.store / "topics/t/0")


MISSING = [
    ("jsonl", "the file of their messages"),
    ("index", "the index of their segment"),
]


# Where a partition begins only its first index knows; a test below is about that one.
@pytest.mark.parametrize(
    ("suffix", "what", "lost"),
    [(*missing, lost) for missing in MISSING for lost in range(3) if (missing[0], lost) != ("index", 0)],
)
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_missing_file_of_a_segment_is_named_and_all_else_is_read(
    aegis: Any, segments: Path, suffix: str, what: str, lost: int, options: list[str]
) -> None:
    name = f"{lost:020}.{suffix}"
    (segments / name).unlink()
    finished = aegis("consume", "t", *options)
    reason = f"{name}, {what}, is missing"
    assert (
        f"aegis: warning: topic 't' partition 0: offsets {lost} to {lost} cannot be read: {reason}; "
        "run 'aegis store verify'\n" == finished.err
    )
    records = [json.loads(line) for line in finished.lines]
    read = [(record["value"] if options else record)["n"] for record in records]
    assert (5, [number for number in range(3) if number != lost]) == (finished.code, read)


@pytest.mark.parametrize("suffix", ["jsonl", "index"])
def test_a_partition_whose_newest_segment_lacks_a_file_is_refused_until_it_is_repaired(
    aegis: Any, segments: Path, suffix: str
) -> None:
    path = segments / f"{2:020}.{suffix}"
    path.unlink()
    finished = aegis("publish", "t", "3")
    expected = f"aegis: error: {path} is damaged: it is missing; run 'aegis store verify'\n"
    assert (5, b"", expected) == (finished.code, finished.stdout, finished.err)
    verified = aegis("store", "verify")
    named = {
        "jsonl": f"damage: {path}: the file of the messages is missing",
        "index": f"damage: {segments}: ",
    }
    assert (5, True) == (verified.code, named[suffix] in verified.out)
    assert "run 'aegis store repair'" in verified.out
    assert 0 == aegis("store", "repair", "--yes").code
    assert 0 == aegis("store", "verify").code
    assert 0 == aegis("publish", "t", '{"n":3}').code
    # No offset of those that are lost is given again, and raw readers find nothing but messages.
    finished = aegis("consume", "t", "-F", "%o\\n")
    assert ["0", "1", "3"] == finished.lines
    assert all(json.loads(line) for raw in segments.glob("*.jsonl") for line in raw.read_text().splitlines())


@pytest.mark.parametrize("suffix", ["jsonl", "index"])
@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_missing_file_of_a_segment_stops_no_other_topic_after_a_reboot(
    aegis: Any, segments: Path, suffix: str, lost: int
) -> None:
    with Store(aegis.store) as store:
        store.create_topic("u")
    (segments / f"{lost:020}.{suffix}").unlink()
    # A copy has another identity, so it is recovered first.
    forget_the_journal(aegis.store)
    assert 0 == aegis("publish", "u", "1").code
    assert 5 == aegis("store", "verify").code
    # Messages whose index is lost are not written over.
    assert (5 if (suffix, lost) == ("jsonl", 2) else 0) == aegis("publish", "t", '{"n":3}').code
    assert 0 == aegis("store", "repair", "--yes").code
    assert 0 == aegis("store", "verify").code
    assert 0 == aegis("publish", "t", '{"n":4}').code
    offsets = [int(line) for line in aegis("consume", "t", "-F", "%o\\n").lines]
    assert [number for number in range(3) if number != lost] == offsets[:2]
    assert min(offsets[2:]) >= 3
    kept = b"".join(path.read_bytes() for path in aegis.store.glob("quarantine/*.jsonl"))
    assert (suffix == "index") == (b'{"n":%d,' % lost in kept)


def test_a_first_segment_without_messages_is_what_retention_left(aegis: Any, segments: Path) -> None:
    assert 0 == aegis("topic", "alter", "t", "--retention", "1d").code
    (segments / f"{0:020}.jsonl").unlink()
    finished = aegis("consume", "t", "-F", "%o\\n")
    assert (0, ["1", "2"]) == (finished.code, finished.lines)
    assert "offsets 0 to 0 were removed by retention" in finished.err
    assert 0 == aegis("store", "verify").code
    assert 0 == aegis("topic", "clean").code
    assert not (segments / f"{0:020}.index").exists()


def test_a_topic_without_its_first_index_begins_later(aegis: Any, segments: Path) -> None:
    (segments / f"{0:020}.index").unlink()
    assert ["1", "2"] == aegis("consume", "t", "-F", "%o\\n").lines
    verified = aegis("store", "verify")
    assert (5, True) == (verified.code, "messages without an index" in verified.out)


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_many_small_batches_that_are_lost_are_each_reported(aegis: Any, options: list[str]) -> None:
    with Store(aegis.store, create=True) as store:
        store.create_topic("t")
        batches = [RecordBatch(lines=b"%d\n" % number, count=1) for number in range(3000)]
        store.append([Append(topic="t", partition=0, batches=batches)])
    path = aegis.store / "topics/t/0" / f"{0:020}.jsonl"
    kept = b"".join(b"%d\n" % number for number in range(1000))
    path.write_bytes(kept)
    finished = aegis("consume", "t", *options)
    assert (5, 1000, 2000) == (finished.code, len(finished.lines), len(finished.err.splitlines()))


def test_a_corrupt_topic_file_is_named(aegis: Any, topic: str) -> None:
    assert 0 == aegis("publish", topic, "1").code
    path = aegis.store / "topics/t/topic.toml"
    path.write_text("partitions = ?")
    for command in ("publish", "consume"):
        finished = aegis(command, topic, stdin=b"2\n")
        assert (5, b"") == (finished.code, finished.stdout)
        assert finished.err.startswith(f"aegis: error: {path} is damaged: it is not a topic's settings (")
        assert finished.err.endswith("; run 'aegis store verify'\n")


def test_a_corrupt_head_is_found_again(aegis: Any, batches: Path) -> None:
    head = batches / "head"
    head.write_bytes(b"\xff" * head.stat().st_size)
    assert 0 == aegis("publish", "t", '{"n":10}').code
    assert list(range(11)) == [json.loads(line)["n"] for line in aegis("consume", "t").lines]
