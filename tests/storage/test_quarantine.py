"""Quarantine: all of the bytes, under a name that nothing else has."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage import files
from storage.names import NAME_CHARACTERS_MAX
from storage.quarantine import place_for, set_aside
from storage.repair import repair
from storage.store import Store
from storage.verify import verify
from tests.storage.damaged import change

NAME = "00000000000000000000.jsonl"


@pytest.fixture
def segment(tmp_path: Path) -> Iterator[tuple[str, int]]:
    path = tmp_path / "topics" / "t" / "0" / NAME
    path.parent.mkdir(parents=True)
    path.write_bytes(bytes(range(256)) * 5000)
    fd = os.open(path, os.O_RDWR)
    yield str(path), fd
    os.close(fd)


def test_the_bytes_from_a_position_on_are_copied(tmp_path: Path, segment: tuple[str, int]) -> None:
    path, fd = segment
    copy = Path(set_aside(str(tmp_path), path, fd, 1_100_003))
    assert f"000000-t-0-{NAME}@1100003" == copy.name
    assert (bytes(range(256)) * 5000)[1_100_003:] == copy.read_bytes()
    copy = Path(set_aside(str(tmp_path), path, fd, 5, 1_050_000))
    assert (bytes(range(256)) * 5000)[5:1_050_005] == copy.read_bytes()
    assert b"" == Path(set_aside(str(tmp_path), path, fd, 1_280_000, 10)).read_bytes()


def test_a_whole_segment_is_copied_however_large(
    tmp_path: Path, segment: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, fd = segment
    size = (1 << 30) + 12_345
    os.truncate(fd, size)
    pieces: list[tuple[int, int]] = []
    # A gigabyte of zeros need not be written to see that it would be.
    monkeypatch.setattr(files, "write_at", lambda _, data, at: pieces.append((at, len(data))))
    set_aside(str(tmp_path), path, fd, 1)
    ends = [at + length for at, length in pieces]
    assert [0, *ends[:-1]] == [at for at, _ in pieces]
    assert size - 1 == ends[-1]


def test_no_copy_takes_the_place_of_another(tmp_path: Path, segment: tuple[str, int]) -> None:
    path, fd = segment
    first, second = (Path(set_aside(str(tmp_path), path, fd, 0, length)) for length in (10, 20))
    # Somebody has looked at it and cleared it away.
    first.unlink()
    third = Path(set_aside(str(tmp_path), path, fd, 0, 5))
    assert (20, 5) == (len(second.read_bytes()), len(third.read_bytes()))


def test_the_copy_is_synced_before_anything_can_be_cut(
    tmp_path: Path, segment: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, fd = segment
    done: list[str] = []
    monkeypatch.setattr(files, "sync", lambda fd, promise, path: done.append(path))
    monkeypatch.setattr(files, "sync_directory", lambda path, promise: done.append(path))
    copy = set_aside(str(tmp_path), path, fd, 0)
    assert [copy, str(Path(copy).parent)] == done


def test_a_topic_with_the_longest_name_can_be_repaired(tmp_path: Path) -> None:
    root = tmp_path / "store"
    topic = "n" * NAME_CHARACTERS_MAX
    with Store(root, create=True) as store:
        store.create_topic(topic)
        store.publish(topic, 1)
        store.publish(topic, 2)
    # What the journal holds of it is damaged as well.
    change(root / "journal" / "0000.wal", lambda raw: raw.replace(b"1\n", b"7\n"))
    change(root / "topics" / topic / "0" / NAME, lambda raw: b"7" + raw[1:])
    (done,) = [one for one in repair(root) if one.kind.value == "messages"]
    assert done.copy is not None and done.copy.endswith(f"-0-{NAME}@0")
    assert b"7\n" == Path(done.copy).read_bytes()
    assert [] == [finding for finding in verify(root) if finding.is_damage]


def test_damaged_settings_of_a_topic_with_the_longest_name_are_kept_whole(tmp_path: Path) -> None:
    root = tmp_path / "store"
    topic = "n" * NAME_CHARACTERS_MAX
    with Store(root, create=True) as store:
        store.create_topic(topic)
    settings = root / "topics" / topic / "topic.toml"
    settings.write_bytes(b"?" * (3 << 20))
    (done,) = repair(root)
    assert done.copy is not None
    assert b"?" * (3 << 20) == Path(done.copy).read_bytes()
    assert [] == list(verify(root))


def test_a_number_is_above_all_that_are_there(tmp_path: Path) -> None:
    assert "000000-note" == Path(place_for(str(tmp_path), "note")).name
    (tmp_path / "quarantine" / "000041-something").touch()
    (tmp_path / "quarantine" / "mine.txt").touch()
    assert "000042-note" == Path(place_for(str(tmp_path), "note")).name
