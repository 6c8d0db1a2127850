"""Writing to files: pieces that are many, or large, or that the kernel takes in part."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from storage import files, libc

MEGABYTE = 1024 * 1024


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    opened = files.open_file(str(tmp_path / "file"), create=True)
    yield opened
    files.close_file(opened)


def content(fd: int) -> bytes:
    return os.pread(fd, 16 * MEGABYTE, 0)


@pytest.mark.parametrize("count", [1, 511, 512, 513, 1500])
def test_pieces_are_written_one_after_another_however_many(fd: int, count: int) -> None:
    pieces = [b"%d," % number for number in range(count)]
    files.write_pieces_at(fd, pieces, 3)
    assert bytes(3) + b"".join(pieces) == content(fd)


def test_what_the_kernel_takes_in_part_is_written_on(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def some(fd: int, buffers: Sequence[bytes], position: int) -> int:
        return os.pwrite(fd, b"".join(buffers)[:5], position)

    monkeypatch.setattr("storage.files.os.pwritev", some)
    files.write_pieces_at(fd, [b"abc", b"defg", b"h"], 0)
    assert b"abcdefgh" == content(fd)


def test_the_disk_begins_with_each_megabyte_before_the_next_is_written(
    fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = []

    def begin(fd: int, position: int, length: int) -> None:
        # What it begins with is there, and what follows is not yet.
        begun.append((position, length, len(content(fd))))

    monkeypatch.setattr(libc, "start_writing", begin)
    half, whole = b"h" * (MEGABYTE // 2), b"w" * (MEGABYTE + 7)
    files.write_pieces_at(fd, [half, half, whole, half], 10)
    assert [(10, MEGABYTE, 10 + MEGABYTE), (10 + MEGABYTE, MEGABYTE + 7, 17 + 2 * MEGABYTE)] == begun
    assert bytes(10) + half + half + whole + half == content(fd)


def test_the_disk_is_asked_to_begin_and_promises_nothing(fd: int) -> None:
    os.write(fd, b"x")
    libc.start_writing(fd, 0, 1)
    # A sync that follows is told what is wrong.
    libc.start_writing(-1, 0, 1)


def test_what_the_kernel_says_of_a_missing_file_is_not_its_own_cause(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as refused:
        files.open_file(str(tmp_path / "missing"))
    assert refused.value.__cause__ is None
