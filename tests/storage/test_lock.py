"""A lock belongs to the file that has the name now."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.errors import LockTimeoutError
from storage.lock import FileLock


def test_a_lock_on_a_file_that_was_removed_and_made_again_is_taken_on_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "head"
    first = FileLock(str(path), what="it")
    first.acquire(timeout_seconds=1)
    first.release()
    path.unlink()
    second = FileLock(str(path), what="it")
    second.acquire(timeout_seconds=1)
    assert first.try_acquire() is False
    second.release()
    assert first.try_acquire() is True
    with pytest.raises(LockTimeoutError):
        second.acquire(timeout_seconds=0)
    first.close()
    second.close()


def test_a_lock_whose_directory_was_moved_away_is_still_one(tmp_path: Path) -> None:
    (tmp_path / "topic").mkdir()
    lock = FileLock(str(tmp_path / "topic" / "head"), what="it")
    (tmp_path / "topic").rename(tmp_path / "trash")
    assert lock.try_acquire() is True
    lock.close()


def test_a_waiter_names_the_holder(tmp_path: Path) -> None:
    holder, waiter = (FileLock(str(tmp_path / "head"), what="it") for _ in range(2))
    holder.acquire(timeout_seconds=1)
    with pytest.raises(LockTimeoutError, match=r"it is locked by process \d+ .*--lock-wait"):
        waiter.acquire(timeout_seconds=0.01)
    holder.close()
    waiter.close()
