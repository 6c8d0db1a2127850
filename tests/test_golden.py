"""Stores of every released format open for ever: `tests/golden/` holds one of each, built once."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from storage.envelope import encode_batch
from storage.reader import Gap
from storage.store import Store

ARCHIVES = sorted((Path(__file__).parent / "golden").glob("format-*/store.tar.gz"))
ARCHIVE_BYTES_MAX = 50_000


@pytest.fixture(params=ARCHIVES, ids=lambda path: path.parent.name)
def golden(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The directory with the store and what it has to show."""
    with tarfile.open(request.param) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


def envelopes(store: Store) -> bytes:
    found = []
    for name in store.topics():
        for number in range(store.topic(name).partitions):
            for batch in store.batches(name, number):
                assert not isinstance(batch, Gap), batch
                found.append(encode_batch(batch))
    return b"".join(found)


def test_there_is_one_of_each_format_and_they_are_small() -> None:
    assert ["format-1"] == [path.parent.name for path in ARCHIVES]
    assert all(path.stat().st_size < ARCHIVE_BYTES_MAX for path in ARCHIVES)


def test_a_golden_store_shows_its_messages(golden: Path) -> None:
    expected = (golden / "messages.jsonl").read_bytes()
    assert b"in the journal alone" in expected
    # It was cut off in another boot of another machine: opening recovers it, once.
    for _ in range(2):
        with Store(golden / "store") as store:
            assert expected == envelopes(store)


def test_a_golden_store_can_be_read_without_being_written(golden: Path) -> None:
    before = {path: path.read_bytes() for path in golden.rglob("*") if path.is_file()}
    shown = envelopes(Store(golden / "store", read_only=True))
    # What only its journal holds comes with recovery.
    expected = (golden / "messages.jsonl").read_bytes().splitlines(keepends=True)
    assert b"".join(line for line in expected if b"in the journal alone" not in line) == shown
    assert before == {path: path.read_bytes() for path in golden.rglob("*") if path.is_file()}


def test_a_golden_store_takes_more(golden: Path) -> None:
    expected = (golden / "messages.jsonl").read_bytes().splitlines()
    with Store(golden / "store") as store:
        ends = {
            (name, number): store.reader(name, number).end_offset
            for name in store.topics()
            for number in range(store.topic(name).partitions)
        }
        for (name, number), end in ends.items():
            receipt = store.publish(name, {"id": "new"}, partition=number)
            # Offsets of a topic that did not wait for the disk may have been read and lost.
            may_jump = store.topic(name).settings.durability == "os"
            assert end == receipt.base_offset or (may_jump and end < receipt.base_offset)
        shown = envelopes(store).splitlines()
    assert expected == [line for line in shown if json.loads(line)["value"] != {"id": "new"}]
    assert len(expected) + len(ends) == len(shown)
