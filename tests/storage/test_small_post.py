"""The short way to post does what the long one does, and leaves to that what it does not see to the end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from storage import files
from storage.batch import Receipt, RecordBatch
from storage.libc import Futex
from storage.log import LogPlace
from storage.posts import Posts, open_posts
from storage.small_post import SmallPost
from tests.cli.processes import wait_for
from tests.storage.small_batches import lines

SALT = 0x1234_5678_9ABC_DEF0
STAMP = (7, 9)
PLACE = LogPlace(
    directory="t/3",
    log_id=bytes(16),
    topic="t",
    partition=3,
    settings_path="t/topic.toml",
    settings_stamp=STAMP,
    segment_bytes=1 << 20,
    segment_age_ms=1 << 20,
)


@dataclass
class Two:
    """A process that leads, and one that posts the short way."""

    leader: Posts
    poster: Posts
    small: SmallPost


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Two]:
    # Elsewhere there is no short way; what it does is the same.
    monkeypatch.setattr("storage.posts._weakly_ordered", False)
    made = [open_posts(str(tmp_path), salt=SALT) for _ in range(2)]
    assert made[0] is not None and made[1] is not None
    small = made[1].small(PLACE)
    assert small is not None
    yield Two(made[0], made[1], small)
    monkeypatch.undo()
    for posts in made:
        posts.close()  # type: ignore[union-attr]


def batches(posts: Posts) -> list[RecordBatch]:
    return posts.gather(10_000, stamp=STAMP).batches()


def done(posts: Posts, next_offset: int) -> None:
    """Lead: append all that is posted there, and say so."""
    posts.begin(posts.gather(10_000, stamp=STAMP))
    posts.take(next_offset)
    posts.settle(next_offset + 10, 5, 77)
    posts.end()
    posts.finish()


@pytest.fixture
def at_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[[], object]], None]:
    """Have something done at a step."""

    def at(name: str, work: Callable[[], object]) -> None:
        class Observer:
            def step(self, reached: str) -> None:
                if reached == name:
                    work()

        monkeypatch.setattr(files, "observer", Observer())

    return at


def test_both_ways_leave_the_same_request(two: Two) -> None:
    batch = lines('"one"', '{"two": 2}')
    assert two.leader.try_lead()
    assert two.small.append(batch, 0.0) is None
    short = two.leader.gather(10_000, stamp=STAMP)
    assert [batch] == short.batches()
    assert [two.small.number] == short.numbers
    number = two.poster.post(batch, stamp=STAMP)
    assert number == two.small.number + 1
    long = two.leader.gather(10_000, stamp=STAMP)
    assert ([number], short.slots, [batch]) == (long.numbers, long.slots, long.batches())


def test_the_news_of_its_leader_is_its_receipt(
    two: Two, at_step: Callable[[str, Callable[[], object]], None]
) -> None:
    assert two.leader.try_lead()
    posted = threading.Event()
    at_step("combine.posted", posted.set)

    def lead() -> None:
        assert posted.wait(10)
        done(two.leader, 40)

    thread = threading.Thread(target=lead)
    thread.start()
    receipt = two.small.append(lines("1", "2"), 10.0)
    thread.join(10)
    assert receipt == Receipt(topic="t", partition=3, base_offset=40, last_offset=41, append_time_ms=77)
    assert 0 == two.small.number


def test_nothing_is_posted_where_nobody_leads(two: Two) -> None:
    assert two.small.append(lines("1"), 10.0) is None
    assert 0 == two.small.number
    assert [] == batches(two.leader)


@pytest.mark.parametrize(
    "batch",
    [
        lines("1", key=b'"k"'),
        RecordBatch(lines=b"1\n", count=1, headers=[b"[]"]),
        RecordBatch(lines=b"1\n", count=1, timestamps_ms=[5]),
        lines('"' + "x" * 5000 + '"'),
    ],
    ids=["key", "headers", "time", "large"],
)
def test_what_is_more_than_a_few_lines_goes_the_long_way(two: Two, batch: RecordBatch) -> None:
    assert two.leader.try_lead()
    assert two.small.append(batch, 10.0) is None
    assert 0 == two.small.number
    assert [] == batches(two.leader)


def test_a_leader_that_goes_at_that_moment_is_not_waited_for(
    two: Two, at_step: Callable[[str, Callable[[], object]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert two.leader.try_lead()
    at_step("combine.posted", two.leader.leave)
    monkeypatch.setattr(Futex, "wait", lambda *given, **named: pytest.fail("it waits"))
    assert two.small.append(lines("1"), 10.0) is None
    assert 0 != two.small.number
    assert [lines("1")] == batches(two.poster)


def test_a_leader_that_is_done_at_that_moment_is_not_waited_for(
    two: Two, at_step: Callable[[str, Callable[[], object]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert two.leader.try_lead()
    at_step("combine.posted", lambda: done(two.leader, 8))
    monkeypatch.setattr(Futex, "wait", lambda *given, **named: pytest.fail("it waits"))
    receipt = two.small.append(lines("1"), 10.0)
    assert receipt is not None and 8 == receipt.base_offset


def test_a_poster_that_is_woken_for_another_leaves_its_request_to_be_seen_to(two: Two) -> None:
    assert two.leader.try_lead()
    answers: list[Receipt | None] = []
    thread = threading.Thread(target=lambda: answers.append(two.small.append(lines("1"), 10.0)))
    thread.start()
    wait_for(lambda: bool(batches(two.leader)))
    wait_for(lambda: two.leader._wake(1 << 1) or bool(answers))
    thread.join(10)
    assert [None] == answers
    assert 0 != two.small.number
